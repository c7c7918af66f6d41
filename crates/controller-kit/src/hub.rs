//! Reads and writes of the hub: a client that repeats nothing, whole statuses by server-side apply,
//! finalizers by JSON patch.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use api_types::labels::IDENTITY_NAMESPACE;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Config, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
    config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError},
    core::{PartialObjectMeta, Request},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::timeout;

mod finalizers;

pub use finalizers::{add_finalizer, remove_finalizer};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A status of 1 MiB takes the hub about a second.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// Why there is no client for the hub.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The kubeconfig cannot be used.
    #[error("kubeconfig {path} cannot be used")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KubeconfigError,
    },
    /// No kubeconfig was named, and none was found.
    #[error("no hub found: name a kubeconfig with --kubeconfig, or run in a pod")]
    Infer(#[source] Box<InferConfigError>),
    /// The client refuses the configuration.
    #[error("no client for the hub")]
    Client(#[source] Box<kube::Error>),
    /// The hub does not tell which one it is.
    #[error("cannot read namespace {IDENTITY_NAMESPACE} of the hub")]
    Identity(#[source] Box<kube::Error>),
    /// What tells it from another one has no uid.
    #[error("namespace {IDENTITY_NAMESPACE} of the hub has no uid")]
    Anonymous,
}

/// How the hub is reached: by the kubeconfig, else by the usual places and the pod's account.
pub async fn config(kubeconfig: Option<&Path>) -> Result<Config, HubError> {
    let mut config = match kubeconfig {
        Some(path) => {
            let wrong = |source| HubError::Kubeconfig {
                path: path.to_owned(),
                source,
            };
            let kubeconfig = Kubeconfig::read_from(path).map_err(wrong)?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .map_err(wrong)?
        }
        None => Config::infer()
            .await
            .map_err(|error| HubError::Infer(Box::new(error)))?,
    };
    // the default repeats requests up to 15 times, also those that create
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    Ok(config)
}

/// What tells this hub from another one: the uid of its namespace `kube-system`.
pub async fn uid(client: &Client) -> Result<String, HubError> {
    let namespaces = Api::<Namespace>::all(client.clone());
    let identity = namespaces.get_metadata(IDENTITY_NAMESPACE).await;
    let identity = identity.map_err(|error| HubError::Identity(Box::new(error)))?;
    identity.uid().ok_or(HubError::Anonymous)
}

/// A client for the hub. It repeats nothing: what failed is tried again by the next reconcile.
pub async fn client(kubeconfig: Option<&Path>) -> Result<Client, HubError> {
    let config = config(kubeconfig).await?;
    Client::try_from(config).map_err(|error| HubError::Client(Box::new(error)))
}

/// Why a write to the hub failed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The object changed, or another has its name: discard the pass, the change starts the next.
    #[error("{0} changed meanwhile")]
    Conflict(String),
    /// The object is gone.
    #[error("{0} is gone")]
    Gone(String),
    /// The hub will never accept this: a mistake of ours or a value that breaks the schema.
    #[error("the hub refuses the write to {0}: {1}")]
    Rejected(String, String),
    /// We may not.
    #[error("no permission to write {0}: {1}")]
    Forbidden(String, String),
    /// The hub did not answer in time; the write may have happened.
    #[error("the hub did not answer the write to {0} within {WRITE_TIMEOUT:?}")]
    Timeout(String),
    /// The hub failed in another way; the write may have happened.
    #[error("the write to {0} failed")]
    Failed(String, #[source] Box<kube::Error>),
}

/// What an API server says, with code 500, of writes that it will never accept: a value of a wrong type
/// in an apply, what etcd does not take, and what is not even sent to it.
const NEVER: [&str; 3] = [
    "failed to create typed patch object",
    "etcdserver: request is too large",
    "trying to send message larger than max",
];

impl WriteError {
    /// A bounded name for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Conflict(_) => "hub_conflict",
            Self::Gone(_) => "hub_gone",
            Self::Rejected(..) => "hub_rejected",
            Self::Forbidden(..) => "hub_forbidden",
            Self::Timeout(_) => "hub_timeout",
            Self::Failed(..) => "hub_failed",
        }
    }

    fn from_kube(object: String, error: kube::Error) -> Self {
        let kube::Error::Api(status) = &error else {
            return Self::Failed(object, Box::new(error));
        };
        match status.code {
            404 => Self::Gone(object),
            409 => Self::Conflict(object),
            403 => Self::Forbidden(object, status.message.clone()),
            400 | 413 | 415 | 422 => Self::Rejected(object, status.message.clone()),
            500 if NEVER.iter().any(|never| status.message.contains(never)) => {
                Self::Rejected(object, status.message.clone())
            }
            _ => Self::Failed(object, Box::new(error)),
        }
    }
}

/// Applies the status that `manager` owns, whole: what it owned and does not repeat is dropped. Only
/// metadata comes back. Returns the new resourceVersion.
///
/// `resource_version` is a precondition: if the object is another one by now, or the same one in
/// another version, the answer is [`WriteError::Conflict`], even if the status is what is stored.
/// Without it the status may reach an object that has taken the name of the one it was computed
/// from: for a status subresource the API server does not compare uids.
pub async fn apply_status<K>(
    client: &Client,
    object: &K,
    status: &(impl Serialize + ?Sized),
    manager: &str,
    resource_version: Option<&str>,
) -> Result<String, WriteError>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    let body = status_body(object, &json!(status), resource_version);
    let params = PatchParams::apply(manager).force();
    write::<K>(client, object, |request, name| {
        request.patch_subresource("status", name, &params, &Patch::Apply(&body))
    })
    .await
}

fn status_body<K: Resource<DynamicType = ()>>(
    object: &K,
    status: &Value,
    resource_version: Option<&str>,
) -> Value {
    let meta = object.meta();
    let mut metadata = json!({ "name": meta.name });
    for (field, value) in [
        ("namespace", meta.namespace.as_deref()),
        ("resourceVersion", resource_version),
    ] {
        if let Some(value) = value {
            metadata[field] = json!(value);
        }
    }
    json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": metadata,
        "status": status,
    })
}

/// Sets a label, or takes it away, on the object as it is: uid and resourceVersion of `object` are
/// preconditions, and a mismatch is [`WriteError::Conflict`]. Returns the new resourceVersion.
pub async fn set_label<K>(
    client: &Client,
    object: &K,
    label: &str,
    value: Option<&str>,
    manager: &str,
) -> Result<String, WriteError>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    let body = json!({ "metadata": {
        "uid": object.uid(),
        "resourceVersion": object.resource_version(),
        "labels": { label: value },
    }});
    let params = PatchParams {
        field_manager: Some(manager.to_owned()),
        ..PatchParams::default()
    };
    write::<K>(client, object, |request, name| {
        request.patch(name, &params, &Patch::Merge(&body))
    })
    .await
}

/// Sends one write, asks for metadata only, and returns the new resourceVersion.
async fn write<K>(
    client: &Client,
    object: &K,
    request: impl FnOnce(Request, &str) -> Result<http::Request<Vec<u8>>, kube::core::request::Error>,
) -> Result<String, WriteError>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    let meta = object.meta();
    let path = K::url_path(&(), meta.namespace.as_deref());
    let name = meta.name.as_deref().unwrap_or_default();
    let mut request = request(Request::new(path), name)
        .map_err(|error| WriteError::Rejected(describe(object), error.to_string()))?;
    let accept = http::HeaderValue::from_static(METADATA_ONLY);
    request.headers_mut().insert(http::header::ACCEPT, accept);
    match timeout(
        WRITE_TIMEOUT,
        client.request::<PartialObjectMeta<K>>(request),
    )
    .await
    {
        Ok(Ok(written)) => Ok(written.metadata.resource_version.unwrap_or_default()),
        Ok(Err(error)) => Err(WriteError::from_kube(describe(object), error)),
        Err(_elapsed) => Err(WriteError::Timeout(describe(object))),
    }
}

fn describe<K: Resource<DynamicType = ()>>(object: &K) -> String {
    let meta = object.meta();
    let name = meta.name.as_deref().unwrap_or_default();
    match meta.namespace.as_deref() {
        Some(namespace) => format!("{} {namespace}/{name}", K::kind(&())),
        None => format!("{} {name}", K::kind(&())),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::Status;

    use super::*;

    pub(super) fn object(finalizers: &[&str]) -> ConfigMap {
        serde_json::from_value(json!({ "metadata": {
            "namespace": "default", "name": "nightly", "uid": "u-1", "finalizers": finalizers,
        }}))
        .unwrap()
    }

    #[test]
    fn a_status_is_bound_to_the_version_it_was_computed_from() {
        let body = status_body(&object(&[]), &json!({ "phase": "Pending" }), Some("42"));
        assert_eq!(
            body,
            json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "namespace": "default", "name": "nightly", "resourceVersion": "42",
                },
                "status": { "phase": "Pending" },
            })
        );
        let unbound = status_body(&object(&[]), &json!({}), None);
        assert!(unbound["metadata"].get("resourceVersion").is_none());
    }

    #[test]
    fn answers_of_the_hub_are_told_apart() {
        let category = |code, message: &str| {
            let status = Status::failure(message, "Because").with_code(code).boxed();
            WriteError::from_kube("Backup default/x".into(), kube::Error::Api(status)).category()
        };
        assert_eq!(category(404, ""), "hub_gone");
        assert_eq!(category(409, ""), "hub_conflict");
        assert_eq!(category(403, ""), "hub_forbidden");
        assert_eq!(category(422, ""), "hub_rejected");
        assert_eq!(
            category(500, "failed to create typed patch object (x)"),
            "hub_rejected"
        );
        assert_eq!(category(500, "etcd is away"), "hub_failed");
        assert_eq!(category(429, ""), "hub_failed");
    }
}
