//! The end of a tenant.

use std::thread;

use anyhow::Result;
use api_types::cluster::AttachedCluster;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, Config, ResourceExt};
use serde_json::json;

/// Detaches all clusters of a namespace when it is dropped, beside whoever drops it.
pub(crate) struct Detach {
    pub(crate) hub: Config,
    pub(crate) namespace: String,
}

impl Drop for Detach {
    fn drop(&mut self) {
        let (hub, namespace) = (self.hub.clone(), self.namespace.clone());
        // The runtime of a test ends with it.
        thread::spawn(move || {
            if let Err(error) = detach_all(hub, &namespace) {
                eprintln!("the clusters of {namespace} stay attached: {error:#}");
            }
        });
    }
}

/// Whatever still needs them: its test has ended.
#[tokio::main(flavor = "current_thread")]
async fn detach_all(hub: Config, namespace: &str) -> Result<()> {
    let clusters: Api<AttachedCluster> = Api::namespaced(Client::try_from(hub)?, namespace);
    let released = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    let params = PatchParams::default();
    for cluster in clusters.list(&ListParams::default()).await? {
        let name = cluster.name_any();
        let gone = clusters.delete(&name, &DeleteParams::default()).await?;
        if gone.is_right() {
            continue;
        }
        match clusters.patch(&name, &params, &released).await {
            // Its controller was faster.
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            patched => drop(patched?),
        }
    }
    Ok(())
}
