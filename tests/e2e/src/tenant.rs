//! A namespace of the hub with clusters and a fleet of its own.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use api_types::backup::{Backup, BackupSpec};
use api_types::cluster::{AttachedCluster, AttachedClusterSpec, SecretKeyRef};
use api_types::fleet::{Fleet, FleetSpec};
use api_types::key::ClusterKey;
use api_types::phase::{FleetPhase, Phase};
use api_types::restore::{Restore, RestoreSpec};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;
use serde_json::json;

use crate::await_object::{await_gone, await_object};
use crate::cluster::Attached;
use crate::detach::Detach;
use crate::specs::cluster_ref;
use crate::status::is_phase;

/// Name of every tenant's fleet.
pub const FLEET: &str = "quickstart";

/// Key of a kubeconfig in its Secret.
const KEY: &str = "kubeconfig";

/// How long a step may take. Most take a second on a machine with nothing else to do; some wait for two
/// of Velero's looks into the bucket, which are a minute apart, at times two.
pub const PATIENCE: Duration = Duration::from_mins(5);

/// A namespace of the hub. Its client belongs to the runtime that made it.
#[derive(Clone)]
pub struct Tenant {
    hub: Client,
    namespace: String,
    logs: PathBuf,
    _detach: Option<Arc<Detach>>,
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tenant").field(&self.namespace).finish()
    }
}

impl Tenant {
    pub(crate) async fn create(hub: Client, namespace: &str, logs: &Path) -> Result<Self> {
        let meta = ObjectMeta {
            name: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        };
        let object = Namespace {
            metadata: meta,
            ..Namespace::default()
        };
        let created = Api::all(hub.clone())
            .create(&PostParams::default(), &object)
            .await;
        match created {
            Ok(_) => {}
            // The namespace `default` is always there.
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot make namespace {namespace}"));
            }
        }
        Ok(Self {
            hub,
            namespace: namespace.to_owned(),
            logs: logs.to_owned(),
            _detach: None,
        })
    }

    /// The same, whose clusters are detached when the last copy of it is dropped.
    pub(crate) fn detached_when_dropped(self, hub: kube::Config) -> Self {
        let namespace = self.namespace.clone();
        Self {
            _detach: Some(Arc::new(Detach { hub, namespace })),
            ..self
        }
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A client of the hub's administrator.
    pub fn hub(&self) -> &Client {
        &self.hub
    }

    /// Objects of one kind in the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.hub.clone(), &self.namespace)
    }

    /// Its Backups.
    pub fn backups(&self) -> Api<Backup> {
        self.api()
    }

    /// How controllers and the proxy call a cluster of this tenant.
    pub fn key(&self, cluster: &str) -> ClusterKey {
        ClusterKey::attached(&self.namespace, cluster)
    }

    /// Attaches a cluster: its Secret and its AttachedCluster.
    pub async fn attach(&self, cluster: &Attached) -> Result<()> {
        self.write_kubeconfig(cluster).await?;
        let kubeconfig = SecretKeyRef {
            name: cluster.name.clone(),
            key: KEY.to_owned(),
        };
        let spec = AttachedClusterSpec {
            kubeconfig: Some(kubeconfig),
        };
        let object = AttachedCluster::new(&cluster.name, spec);
        self.api().create(&PostParams::default(), &object).await?;
        Ok(())
    }

    /// Writes a cluster's Secret, be it new or not.
    pub async fn write_kubeconfig(&self, cluster: &Attached) -> Result<()> {
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": cluster.name },
            "stringData": { KEY: cluster.kubeconfig },
        });
        let params = PatchParams::apply("e2e").force();
        self.api::<Secret>()
            .patch(&cluster.name, &params, &Patch::Apply(secret))
            .await?;
        Ok(())
    }

    /// Makes the fleet.
    pub async fn create_fleet(&self, clusters: &[&str]) -> Result<()> {
        self.api()
            .create(&PostParams::default(), &fleet(clusters))
            .await?;
        Ok(())
    }

    /// Changes which clusters the fleet has.
    pub async fn change_fleet(&self, clusters: &[&str]) -> Result<()> {
        let patch = json!({ "spec": { "clusters": fleet(clusters).spec.clusters } });
        self.api::<Fleet>()
            .patch(FLEET, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Waits until the fleet and so all its clusters are ready.
    pub async fn wait_fleet_ready(&self) -> Result<Fleet> {
        let ready = |fleet: &Fleet| {
            let status = fleet.status.as_ref();
            status.is_some_and(|status| status.phase == Some(FleetPhase::Ready))
        };
        self.explain(await_object(&self.api(), FLEET, "phase Ready", PATIENCE, ready).await)
    }

    /// Waits until a cluster is, or is not, ready.
    pub async fn wait_cluster(&self, name: &str, ready: bool) -> Result<AttachedCluster> {
        let what = if ready { "ready" } else { "not ready" };
        let holds = |cluster: &AttachedCluster| {
            cluster
                .status
                .as_ref()
                .is_some_and(|status| status.ready == ready)
        };
        self.explain(await_object(&self.api(), name, what, PATIENCE, holds).await)
    }

    /// Makes a Backup.
    pub async fn back_up(&self, name: &str, spec: BackupSpec) -> Result<Backup> {
        let object = Backup::new(name, spec);
        let created = self.backups().create(&PostParams::default(), &object).await;
        created.with_context(|| format!("cannot make Backup {}/{name}", self.namespace))
    }

    /// Waits until something holds of a Backup.
    pub async fn wait_backup(
        &self,
        name: &str,
        what: &str,
        holds: impl FnMut(&Backup) -> bool,
    ) -> Result<Backup> {
        self.explain(await_object(&self.backups(), name, what, PATIENCE, holds).await)
    }

    /// Waits until a Backup is in a phase.
    pub async fn wait_phase(&self, name: &str, phase: Phase) -> Result<Backup> {
        let what = format!("phase {}", phase.as_str());
        self.wait_backup(name, &what, |backup| is_phase(backup, phase))
            .await
    }

    /// Its Restores.
    pub fn restores(&self) -> Api<Restore> {
        self.api()
    }

    /// Makes a Restore.
    pub async fn restore(&self, name: &str, spec: RestoreSpec) -> Result<Restore> {
        let object = Restore::new(name, spec);
        let created = self
            .restores()
            .create(&PostParams::default(), &object)
            .await;
        created.with_context(|| format!("cannot make Restore {}/{name}", self.namespace))
    }

    /// Waits until something holds of a Restore.
    pub async fn wait_restore(
        &self,
        name: &str,
        what: &str,
        holds: impl FnMut(&Restore) -> bool,
    ) -> Result<Restore> {
        self.explain(await_object(&self.restores(), name, what, PATIENCE, holds).await)
    }

    /// Asks for the deletion of a Restore.
    pub async fn delete_restore(&self, name: &str) -> Result<()> {
        self.restores()
            .delete(name, &DeleteParams::default())
            .await?;
        Ok(())
    }

    /// Waits until a Restore is gone.
    pub async fn wait_restore_gone(&self, name: &str) -> Result<()> {
        self.explain(await_gone(&self.restores(), name, PATIENCE).await)
    }

    /// Asks for the deletion of a Backup.
    pub async fn delete_backup(&self, name: &str) -> Result<()> {
        self.backups()
            .delete(name, &DeleteParams::default())
            .await?;
        Ok(())
    }

    /// Waits until a Backup is gone.
    pub async fn wait_backup_gone(&self, name: &str) -> Result<()> {
        self.explain(await_gone(&self.backups(), name, PATIENCE).await)
    }

    /// The reasons of all events about an object of the namespace, in no order.
    pub async fn event_reasons(&self, object: &str) -> Result<Vec<String>> {
        let events = self.events(object).await?;
        Ok(events
            .into_iter()
            .filter_map(|event| event.reason)
            .collect())
    }

    /// All events about an object of the namespace.
    pub async fn events(&self, object: &str) -> Result<Vec<Event>> {
        let found = self.api::<Event>().list(&ListParams::default()).await?;
        let about = |event: &Event| {
            event
                .regarding
                .as_ref()
                .is_some_and(|r| r.name.as_deref() == Some(object))
        };
        Ok(found.items.into_iter().filter(about).collect())
    }

    /// An error also says where to look.
    fn explain<T>(&self, result: Result<T>) -> Result<T> {
        result.with_context(|| {
            format!(
                "namespace {}; logs are in {}",
                self.namespace,
                self.logs.display()
            )
        })
    }
}

fn fleet(clusters: &[&str]) -> Fleet {
    let clusters = clusters.iter().map(|name| cluster_ref(name)).collect();
    Fleet::new(
        FLEET,
        FleetSpec {
            clusters,
            plugin: None,
        },
    )
}
