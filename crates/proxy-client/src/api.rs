//! Typed reads and writes of one member's objects.

use std::{fmt, marker::PhantomData, time::Duration};

use api_types::key::ClusterKey;
use kube::Resource;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tonic::{Request, Response, Status};

use crate::{
    body::{collect, decode, encode, gvr, identified, projection, resource_name, written},
    call::{AccessClient, Caller, DEADLINE, LIST_DEADLINE, Subject, request_id},
    error::Error,
    proto::{self, write_result::Outcome},
    wire::cluster_ref,
};

/// The proxy allows no more.
const MAX_DEADLINE: Duration = Duration::from_mins(1);

/// A Kubernetes type that can be read from and written to members.
pub trait MemberResource:
    Resource<DynamicType = ()>
    + Clone
    + fmt::Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> MemberResource for K where
    K: Resource<DynamicType = ()>
        + Clone
        + fmt::Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// A label selector; may contain `$(member)`.
    pub labels: Option<String>,
    /// A field selector.
    pub fields: Option<String>,
    /// Items at most; all when absent.
    pub limit: Option<u32>,
}

/// How a patch's body is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 7386.
    Merge,
    /// RFC 6902.
    Json,
    /// Kubernetes' own; not for custom resources.
    Strategic,
}

/// What must still be true for a deletion to happen; a mismatch is [`Error::Conflict`].
#[derive(Clone, Debug, Default)]
pub struct Preconditions {
    /// The object's uid.
    pub uid: Option<String>,
    /// The object's resourceVersion.
    pub resource_version: Option<String>,
}

/// What a deletion found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The member accepted it; finalizers may still hold the object.
    Accepted,
    /// There was nothing to delete.
    Absent,
}

/// Objects of type `K` on one member. Without [`MemberApi::namespace`] it addresses cluster-scoped
/// objects and lists all namespaces.
///
/// Calls end within 10 s, lists within 60 s. Nothing is retried here: a write whose outcome is not
/// known comes back as [`Error::OutcomeUnknown`].
#[derive(Clone, Debug)]
pub struct MemberApi<K> {
    caller: Caller,
    cluster: ClusterKey,
    namespace: String,
    metadata_only: bool,
    deadline: Duration,
    kind: PhantomData<fn() -> K>,
}

impl<K: MemberResource> MemberApi<K> {
    pub(crate) fn new(caller: Caller, cluster: ClusterKey) -> Self {
        Self {
            caller,
            cluster,
            namespace: String::new(),
            metadata_only: false,
            deadline: DEADLINE,
            kind: PhantomData,
        }
    }

    /// Addresses objects of this namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Asks for apiVersion, kind and metadata only, for a `K` that needs no more.
    #[must_use]
    pub fn metadata_only(mut self) -> Self {
        self.metadata_only = true;
        self
    }

    /// Ends calls other than lists after this time, 60 s at most.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline.min(MAX_DEADLINE);
        self
    }

    /// The member that is addressed.
    pub fn cluster(&self) -> &ClusterKey {
        &self.cluster
    }

    /// Reads one object, live.
    pub async fn get(&self, name: &str) -> Result<K, Error> {
        let subject = self.subject("get", name, false);
        let request = proto::GetRequest {
            target: Some(self.target(name)),
            projection: Some(self.projection()),
            ..Default::default()
        };
        let send = |mut client: AccessClient, request| async move { client.get(request).await };
        let object = self.unary(&subject, request, send).await?;
        decode(&subject, &object)
    }

    /// Reads one object, live; None when there is none.
    pub async fn get_opt(&self, name: &str) -> Result<Option<K>, Error> {
        match self.get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a collection, live. One item that is no `K` fails the whole.
    pub async fn list(&self, options: &ListOptions) -> Result<Vec<K>, Error> {
        let subject = self.subject("list", "", false);
        let request = proto::ListRequest {
            cluster: Some(cluster_ref(&self.cluster)),
            gvr: Some(gvr::<K>()),
            namespace: self.namespace.clone(),
            label_selector: options.labels.clone().unwrap_or_default(),
            field_selector: options.fields.clone().unwrap_or_default(),
            projection: Some(self.projection()),
            limit: options.limit.unwrap_or_default(),
            ..Default::default()
        };
        let send = |mut client: AccessClient, request| async move { client.list(request).await };
        let chunks = self
            .caller
            .call(&subject, LIST_DEADLINE, request, send, collect)
            .await?;
        let objects = chunks.ok_or_else(|| Error::unreadable(&subject, "the list broke off"))?;
        objects
            .iter()
            .map(|object| decode(&subject, object))
            .collect()
    }

    /// Creates an object that must not exist yet; its metadata holds the name.
    pub async fn create(&self, object: &K, manager: &str) -> Result<K, Error> {
        let name = object.meta().name.clone().unwrap_or_default();
        let subject = self.subject("create", &name, true);
        if name.is_empty() {
            return Err(Error::unsendable(&subject, "the object has no name"));
        }
        let request = proto::CreateRequest {
            json: identified::<K>(&subject, &self.namespace, &name, object)?,
            target: Some(self.target(&name)),
            field_manager: manager.to_owned(),
            request_id: request_id(),
            return_object: true,
            projection: Some(self.projection()),
            ..Default::default()
        };
        let send = |mut client: AccessClient, request| async move { client.create(request).await };
        written(&subject, self.unary(&subject, request, send).await?)
    }

    /// Server-side apply of a whole `K` or of a JSON value with only the fields that are ours.
    /// Missing `apiVersion`, `kind`, name and namespace are filled in.
    pub async fn apply<B: Serialize + ?Sized>(
        &self,
        name: &str,
        body: &B,
        manager: &str,
        force: bool,
    ) -> Result<K, Error> {
        let subject = self.subject("apply", name, true);
        let request = proto::ApplyRequest {
            json: identified::<K>(&subject, &self.namespace, name, body)?,
            target: Some(self.target(name)),
            field_manager: manager.to_owned(),
            force,
            request_id: request_id(),
            return_object: true,
            projection: Some(self.projection()),
            ..Default::default()
        };
        let send = |mut client: AccessClient, request| async move { client.apply(request).await };
        written(&subject, self.unary(&subject, request, send).await?)
    }

    /// Patches an object.
    pub async fn patch(
        &self,
        name: &str,
        kind: PatchKind,
        body: &Value,
        manager: &str,
    ) -> Result<K, Error> {
        let subject = self.subject("patch", name, true);
        let request = proto::PatchRequest {
            target: Some(self.target(name)),
            r#type: match kind {
                PatchKind::Merge => proto::patch_request::Type::Merge,
                PatchKind::Json => proto::patch_request::Type::Json,
                PatchKind::Strategic => proto::patch_request::Type::Strategic,
            }
            .into(),
            body: encode(&subject, body)?,
            field_manager: manager.to_owned(),
            request_id: request_id(),
            return_object: true,
            projection: Some(self.projection()),
            ..Default::default()
        };
        let send = |mut client: AccessClient, request| async move { client.patch(request).await };
        written(&subject, self.unary(&subject, request, send).await?)
    }

    /// Deletes an object in the background.
    pub async fn delete(&self, name: &str, only_if: &Preconditions) -> Result<Deleted, Error> {
        let subject = self.subject("delete", name, true);
        let request = proto::DeleteRequest {
            target: Some(self.target(name)),
            if_uid: only_if.uid.clone().unwrap_or_default(),
            if_resource_version: only_if.resource_version.clone().unwrap_or_default(),
            propagation: proto::delete_request::Propagation::Background.into(),
            request_id: request_id(),
            ..Default::default()
        };
        let send = |mut client: AccessClient, request| async move { client.delete(request).await };
        let result = self.unary(&subject, request, send).await;
        match result.map(|result| result.outcome()) {
            Ok(Outcome::Deleted) => Ok(Deleted::Accepted),
            Ok(Outcome::Absent) | Err(Error::NotFound(_)) => Ok(Deleted::Absent),
            Ok(other) => Err(Error::unreadable(
                &subject,
                format!("outcome {} answers no deletion", other.as_str_name()),
            )),
            Err(error) => Err(error),
        }
    }

    async fn unary<M, R, F>(
        &self,
        subject: &Subject,
        message: M,
        send: impl FnOnce(AccessClient, Request<M>) -> F,
    ) -> Result<R, Error>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        self.caller
            .unary(subject, self.deadline, message, send)
            .await
    }

    fn subject(&self, verb: &'static str, name: &str, writes: bool) -> Subject {
        let object = match (self.namespace.as_str(), name) {
            ("", name) => name.to_owned(),
            (namespace, "") => format!("in {namespace}"),
            (namespace, name) => format!("{namespace}/{name}"),
        };
        Subject {
            verb,
            cluster: Some(self.cluster.clone()),
            resource: resource_name::<K>(),
            object,
            writes,
        }
    }

    fn target(&self, name: &str) -> proto::Target {
        proto::Target {
            cluster: Some(cluster_ref(&self.cluster)),
            gvr: Some(gvr::<K>()),
            namespace: self.namespace.clone(),
            name: name.to_owned(),
        }
    }

    fn projection(&self) -> proto::Projection {
        projection(self.metadata_only)
    }
}
