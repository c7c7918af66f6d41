//! A namespace of the hub and what tests do in it.

use std::fmt::Debug;

use anyhow::{Context, ensure};
use api_types::cluster::AttachedCluster;
use api_types::condition;
use api_types::fleet::Fleet;
use api_types::key::ClusterKey;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use proxy_client::proto::{ClusterStatus, cluster_status::State};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use testbed::wait_ok;

use crate::script::Script;
use crate::world::DEADLINE;

pub(crate) struct Space {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) script: Script,
}

/// What a test asks of a hub object's type.
pub(crate) trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}
impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

impl Space {
    pub(crate) async fn make(client: Client, namespace: &str, script: Script) -> Self {
        let mut object = Namespace::default();
        object.metadata.name = Some(namespace.to_owned());
        let api: Api<Namespace> = Api::all(client.clone());
        api.create(&PostParams::default(), &object).await.unwrap();
        Self {
            client,
            namespace: namespace.to_owned(),
            script,
        }
    }

    pub(crate) fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn key(&self, name: &str) -> ClusterKey {
        ClusterKey::attached(&self.namespace, name)
    }

    /// Creates an object of this spec.
    pub(crate) async fn create<K: Kind>(&self, name: &str, spec: Value) -> K {
        self.create_with(name, json!({}), spec).await
    }

    pub(crate) async fn create_with<K: Kind>(
        &self,
        name: &str,
        mut metadata: Value,
        spec: Value,
    ) -> K {
        metadata["name"] = json!(name);
        let object = json!({
            "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": metadata, "spec": spec,
        });
        let object: K = serde_json::from_value(object).unwrap();
        self.api()
            .create(&PostParams::default(), &object)
            .await
            .unwrap()
    }

    /// Creates an AttachedCluster that the proxy does not know yet.
    pub(crate) async fn attach(&self, name: &str) -> AttachedCluster {
        self.create(name, json!({"kubeconfig": {"name": name}}))
            .await
    }

    /// Creates one that answers.
    pub(crate) async fn attach_ready(&self, name: &str) {
        self.script.say(&self.key(name), ready());
        self.attach(name).await;
    }

    pub(crate) async fn fleet(&self, name: &str, members: &[&str]) -> Fleet {
        self.create(name, json!({"clusters": listed(members)}))
            .await
    }

    pub(crate) async fn get<K: Kind>(&self, name: &str) -> K {
        self.api().get(name).await.unwrap()
    }

    pub(crate) async fn merge<K: Kind>(&self, name: &str, patch: Value) -> K {
        let api: Api<K> = self.api();
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap()
    }

    pub(crate) async fn merge_status<K: Kind>(&self, name: &str, status: Value) {
        let api: Api<K> = self.api();
        let patch = Patch::Merge(json!({"status": status}));
        api.patch_status(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    pub(crate) async fn delete<K: Kind>(&self, name: &str) {
        let api: Api<K> = self.api();
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Waits until an object is as wanted; the error shows it as it is.
    pub(crate) async fn until<K: Kind>(&self, name: &str, wanted: impl Fn(&K) -> bool) -> K {
        let api: Api<K> = self.api();
        let what = format!("{} {}/{name}", K::kind(&()), self.namespace);
        wait_ok(&what, DEADLINE, async || {
            let object = api.get(name).await?;
            ensure!(
                wanted(&object),
                "{}",
                serde_json::to_string_pretty(&object)?
            );
            Ok(object)
        })
        .await
        .unwrap()
    }

    /// Waits until an object is gone.
    pub(crate) async fn until_gone<K: Kind>(&self, name: &str) {
        let api: Api<K> = self.api();
        let what = format!("the end of {} {}/{name}", K::kind(&()), self.namespace);
        wait_ok(&what, DEADLINE, async || match api.get_opt(name).await? {
            None => Ok(()),
            Some(object) => anyhow::bail!("{}", serde_json::to_string_pretty(&object)?),
        })
        .await
        .unwrap();
    }

    /// Waits until a cluster's condition Ready has this reason.
    pub(crate) async fn until_ready_is(&self, name: &str, reason: &str) -> AttachedCluster {
        self.until(name, |cluster: &AttachedCluster| {
            ready_reason(cluster) == reason
        })
        .await
    }

    /// Waits until a Fleet's condition Ready has this reason.
    pub(crate) async fn until_fleet_is(&self, name: &str, reason: &str) -> Fleet {
        self.until(name, |fleet: &Fleet| fleet_reason(fleet) == reason)
            .await
    }

    /// A cluster that answers and the Fleet that has it, all of it written.
    pub(crate) async fn settle(&self, cluster: &str, fleet: &str) {
        self.attach_ready(cluster).await;
        self.fleet(fleet, &[cluster]).await;
        self.until_fleet_is(fleet, "Ready").await;
        // The claim is the last thing to be written.
        self.until(cluster, |cluster: &AttachedCluster| {
            let status = cluster.status.as_ref();
            status.and_then(|status| status.fleet.as_deref()) == Some(fleet)
        })
        .await;
    }

    /// Waits for an event about an object and returns its note.
    pub(crate) async fn event(&self, regarding: &str, reason: &str) -> String {
        let api: Api<Event> = self.api();
        wait_ok(
            &format!("event {reason} of {regarding}"),
            DEADLINE,
            async || {
                let events = api.list(&ListParams::default()).await?.items;
                let about = |event: &Event| {
                    let name = event
                        .regarding
                        .as_ref()
                        .and_then(|object| object.name.clone());
                    (
                        name.unwrap_or_default(),
                        event.reason.clone().unwrap_or_default(),
                    )
                };
                let wanted = (regarding.to_owned(), reason.to_owned());
                let found = events.iter().find(|event| about(event) == wanted);
                let seen: Vec<_> = events.iter().map(about).collect();
                Ok(found
                    .with_context(|| format!("{seen:?}"))?
                    .note
                    .clone()
                    .unwrap_or_default())
            },
        )
        .await
        .unwrap()
    }
}

/// Entries of `spec.clusters`.
pub(crate) fn listed(members: &[&str]) -> Value {
    members
        .iter()
        .map(|name| json!({"kind": "AttachedCluster", "name": name}))
        .collect()
}

pub(crate) fn state(state: State, reason: &str) -> ClusterStatus {
    ClusterStatus {
        member_uid: "0c1ae5a4-7f9d-4ac4-8f0e-0a4a6a0d7f11".into(),
        state: state.into(),
        reason: reason.into(),
        message: format!("scripted {reason}"),
        kubernetes_version: "v1.34.4".into(),
        ..ClusterStatus::default()
    }
}

pub(crate) fn ready() -> ClusterStatus {
    state(State::Ready, "Connected")
}

pub(crate) fn unreachable() -> ClusterStatus {
    state(State::Unreachable, "Unreachable")
}

pub(crate) fn ready_reason(cluster: &AttachedCluster) -> &str {
    let conditions = cluster
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.conditions);
    condition::find(conditions, condition::READY).map_or("", |ready| &ready.reason)
}

pub(crate) fn fleet_reason(fleet: &Fleet) -> &str {
    let conditions = fleet
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.conditions);
    condition::find(conditions, condition::READY).map_or("", |ready| &ready.reason)
}

pub(crate) fn fleet_message(fleet: &Fleet) -> &str {
    let conditions = fleet
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.conditions);
    condition::find(conditions, condition::READY).map_or("", |ready| &ready.message)
}

pub(crate) fn label<K: Resource>(object: &K) -> Option<&str> {
    object
        .labels()
        .get(api_types::labels::FLEET_NAME)
        .map(String::as_str)
}
