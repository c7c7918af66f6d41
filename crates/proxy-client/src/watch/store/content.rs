//! One object of a member, as it is stored: one that can be read, or why it cannot.

use std::sync::Arc;

use api_types::key::ClusterKey;
use kube::core::{ObjectMeta, PartialObjectMeta};

use super::super::{Change, InvalidObject, ObjectKey};
use crate::{api::MemberResource, proto};

pub(super) struct Stored<K> {
    pub(super) uid: String,
    resource_version: String,
    pub(super) content: Content<K>,
}

#[derive(Clone)]
pub(super) enum Content<K> {
    Readable(Arc<K>),
    Invalid(Arc<InvalidObject>),
}

impl<K> Content<K> {
    pub(super) fn readable(&self) -> Option<Arc<K>> {
        match self {
            Self::Readable(object) => Some(Arc::clone(object)),
            Self::Invalid(_) => None,
        }
    }

    /// What is told about it.
    pub(super) fn arrived(
        self,
        cluster: ClusterKey,
        key: ObjectKey,
        old: Option<Arc<K>>,
    ) -> Change<K> {
        match self {
            Self::Readable(new) => Change::Object {
                cluster,
                key,
                old,
                new: Some(new),
            },
            Self::Invalid(object) => Change::Invalid {
                cluster,
                key,
                old,
                object,
                gone: false,
            },
        }
    }
}

impl<K: MemberResource> Stored<K> {
    pub(super) fn new(object: proto::Object) -> Self {
        Self {
            content: read(&object),
            uid: object.uid,
            resource_version: object.resource_version,
        }
    }
}

impl<K> Stored<K> {
    /// Whether this very version is stored.
    pub(super) fn is(&self, object: &proto::Object) -> bool {
        self.uid == object.uid && self.resource_version == object.resource_version
    }
}

fn read<K: MemberResource>(object: &proto::Object) -> Content<K> {
    match serde_json::from_slice(&object.json) {
        Ok(read) => Content::Readable(Arc::new(read)),
        Err(error) => Content::Invalid(Arc::new(InvalidObject {
            metadata: metadata(object),
            error: error.to_string(),
        })),
    }
}

fn metadata(object: &proto::Object) -> ObjectMeta {
    match serde_json::from_slice::<PartialObjectMeta>(&object.json) {
        Ok(read) => read.metadata,
        Err(_) => ObjectMeta {
            name: Some(object.name.clone()),
            namespace: Some(object.namespace.clone()).filter(|namespace| !namespace.is_empty()),
            uid: Some(object.uid.clone()),
            resource_version: Some(object.resource_version.clone()),
            ..Default::default()
        },
    }
}
