//! The calls that are about a member but about no type of ours: what it serves, its namespaces and
//! the Secrets that we put there.

use std::{collections::BTreeMap, fmt};

use api_types::key::ClusterKey;
use tonic::{Response, Status, Streaming};

use crate::{
    call::{AccessClient, Caller, DEADLINE, Subject, request_id},
    error::Error,
    proto::{self, write_result::Outcome},
    wire::cluster_ref,
};

/// A resource type that a member serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The API group, empty for the core group.
    pub group: String,
    /// Such as `v1`.
    pub version: String,
    /// The plural name, such as `backups`.
    pub resource: String,
    /// Such as `Backup`.
    pub kind: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// What may be done with it.
    pub verbs: Vec<String>,
}

/// What a write changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is new.
    Created,
    /// It was there and is different now.
    Configured,
    /// It was there just so.
    Unchanged,
}

/// A Secret to be written to a member. Its debug form names the keys only.
#[derive(Clone, Default)]
pub struct SecretSpec {
    /// The namespace, which must exist.
    pub namespace: String,
    /// The name, which the proxy's policy must list.
    pub name: String,
    /// Kubernetes' Secret type; empty: `Opaque`.
    pub type_: String,
    /// The content.
    pub data: BTreeMap<String, Vec<u8>>,
    /// Labels; the owner label among them marks the Secret as ours.
    pub labels: BTreeMap<String, String>,
}

impl fmt::Debug for SecretSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretSpec")
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("keys", &self.data.keys())
            .finish_non_exhaustive()
    }
}

impl Caller {
    pub(crate) async fn discover(
        &self,
        cluster: &ClusterKey,
        group: Option<&str>,
    ) -> Result<Vec<Served>, Error> {
        let subject = Subject {
            verb: "discover",
            cluster: Some(cluster.clone()),
            resource: group.unwrap_or("all groups").to_owned(),
            object: String::new(),
            writes: false,
        };
        let request = proto::DiscoverRequest {
            cluster: Some(cluster_ref(cluster)),
            group: group.unwrap_or_default().to_owned(),
        };
        let send =
            |mut client: AccessClient, request| async move { client.discover(request).await };
        self.call(&subject, DEADLINE, request, send, collect).await
    }

    pub(crate) async fn ensure_namespace(
        &self,
        cluster: &ClusterKey,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<Written, Error> {
        let subject = ensure(cluster, "namespaces", name.to_owned());
        let request = proto::EnsureNamespaceRequest {
            cluster: Some(cluster_ref(cluster)),
            name: name.to_owned(),
            labels: labels.clone().into_iter().collect(),
            request_id: request_id(),
        };
        let send = |mut client: AccessClient, request| async move {
            client.ensure_namespace(request).await
        };
        outcome(
            &subject,
            &self.unary(&subject, DEADLINE, request, send).await?,
        )
    }

    pub(crate) async fn ensure_secret(
        &self,
        cluster: &ClusterKey,
        secret: &SecretSpec,
    ) -> Result<Written, Error> {
        let subject = ensure(
            cluster,
            "secrets",
            format!("{}/{}", secret.namespace, secret.name),
        );
        let request = proto::EnsureSecretRequest {
            cluster: Some(cluster_ref(cluster)),
            namespace: secret.namespace.clone(),
            name: secret.name.clone(),
            r#type: secret.type_.clone(),
            data: secret.data.clone().into_iter().collect(),
            labels: secret.labels.clone().into_iter().collect(),
            request_id: request_id(),
        };
        let send =
            |mut client: AccessClient, request| async move { client.ensure_secret(request).await };
        outcome(
            &subject,
            &self.unary(&subject, DEADLINE, request, send).await?,
        )
    }
}

fn ensure(cluster: &ClusterKey, resource: &str, object: String) -> Subject {
    Subject {
        verb: "ensure",
        cluster: Some(cluster.clone()),
        resource: resource.to_owned(),
        object,
        writes: true,
    }
}

async fn collect(
    response: Response<Streaming<proto::ServedResource>>,
) -> Result<Vec<Served>, Status> {
    let mut stream = response.into_inner();
    let mut served = Vec::new();
    while let Some(resource) = stream.message().await? {
        let gvr = resource.gvr.unwrap_or_default();
        served.push(Served {
            group: gvr.group,
            version: gvr.version,
            resource: gvr.resource,
            kind: resource.kind,
            namespaced: resource.namespaced,
            verbs: resource.verbs,
        });
    }
    Ok(served)
}

fn outcome(subject: &Subject, result: &proto::WriteResult) -> Result<Written, Error> {
    match result.outcome() {
        Outcome::Created => Ok(Written::Created),
        Outcome::Configured => Ok(Written::Configured),
        Outcome::Unchanged => Ok(Written::Unchanged),
        other => Err(Error::unreadable(
            subject,
            format!("outcome {} answers no such write", other.as_str_name()),
        )),
    }
}
