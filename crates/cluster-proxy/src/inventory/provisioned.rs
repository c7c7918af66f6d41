//! Clusters that Kurator's cluster operator made (`cluster.kurator.dev/v1alpha1` `Cluster`).
//!
//! Their type is not ours, and most hubs do not serve it: they are followed where it is. Only the name
//! of the kubeconfig's Secret is read, from `status.kubeconfigSecretRef`, as Kurator v0.5.0 writes it.

use std::time::Duration;

use api_types::key::{ClusterKey, ClusterKind};
use futures::StreamExt;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use tokio::{sync::mpsc, time::sleep};

use super::hub::{Found, from_metadata, map};

const GROUP_VERSION: &str = "cluster.kurator.dev/v1alpha1";
const PLURAL: &str = "clusters";
/// The key of the Secret, which is Cluster API's.
const KEY: &str = "value";
/// A type that comes is noticed within this time.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

fn resource() -> ApiResource {
    ApiResource {
        group: "cluster.kurator.dev".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: GROUP_VERSION.to_owned(),
        kind: ClusterKind::Cluster.as_str().to_owned(),
        plural: PLURAL.to_owned(),
    }
}

/// What there is; `None`: that cannot be told now, and what is known stays.
pub(super) type News = Option<Event<Found>>;

/// Tells of all there are, again and again: of none while the hub does not serve the type. Ends when
/// nobody listens.
pub(super) async fn run(client: Client, told: mpsc::Sender<News>) {
    let mut served_before = None;
    loop {
        let served = match is_served(&client).await {
            Ok(served) => served,
            Err(error) => {
                tracing::warn!(%error, "whether the hub has Clusters cannot be asked");
                // What is known stays; the first time, that they are not known keeps nobody waiting.
                served_before.unwrap_or(false)
            }
        };
        if served_before.replace(served) != Some(served) {
            tracing::info!(served, "members of kind Cluster");
        }
        let more = if served {
            follow(&client, &told).await
        } else {
            none(&told).await
        };
        if more.is_none() {
            return;
        }
        sleep(LOOK_AGAIN).await;
    }
}

async fn is_served(client: &Client) -> kube::Result<bool> {
    match client.list_api_group_resources(GROUP_VERSION).await {
        Ok(list) => Ok(list.resources.iter().any(|served| served.name == PLURAL)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

/// There are none. None when nobody listens.
async fn none(told: &mpsc::Sender<News>) -> Option<()> {
    told.send(Some(Event::Init)).await.ok()?;
    told.send(Some(Event::InitDone)).await.ok()
}

/// Until the type is no longer served, or may not be read. None when nobody listens.
async fn follow(client: &Client, told: &mpsc::Sender<News>) -> Option<()> {
    let clusters: Api<DynamicObject> = Api::all_with(client.clone(), &resource());
    let config = watcher::Config::default();
    let mut events = watcher(clusters, config).default_backoff().boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => told
                .send(Some(map(event, |cluster| found(&cluster))))
                .await
                .ok()?,
            Err(error) => {
                tracing::warn!(%error, "the hub's Clusters cannot be followed");
                let refusal = refusal(&error);
                if refusal == Some(404) {
                    return none(told).await;
                }
                // It must not keep the proxy from being ready for the others.
                told.send(None).await.ok()?;
                if refusal == Some(403) {
                    return Some(());
                }
            }
        }
    }
    Some(())
}

fn refusal(error: &watcher::Error) -> Option<u16> {
    use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(kube::Error::Api(status))
        | WatchStartFailed(kube::Error::Api(status))
        | WatchFailed(kube::Error::Api(status))
        | WatchError(status) => Some(status.code),
        _ => None,
    }
}

fn found(cluster: &DynamicObject) -> Found {
    let mut wanted = from_metadata(&cluster.metadata);
    let secret = cluster.data.pointer("/status/kubeconfigSecretRef");
    let secret = secret.and_then(|name| name.as_str());
    wanted.spec.secret = secret
        .filter(|name| !name.is_empty())
        .map(|name| (name.to_owned(), KEY.to_owned()));
    Found {
        key: ClusterKey::new(
            cluster.namespace().unwrap_or_default(),
            ClusterKind::Cluster,
            cluster.name_any(),
        ),
        wanted,
        readable: true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn secret(status: &Value) -> Option<(String, String)> {
        let cluster = json!({"apiVersion": GROUP_VERSION, "kind": "Cluster",
            "metadata": {"namespace": "ns", "name": "c"}, "status": status});
        let found = found(&serde_json::from_value(cluster).unwrap());
        assert_eq!(found.key, ClusterKey::new("ns", ClusterKind::Cluster, "c"));
        found.wanted.spec.secret
    }

    #[test]
    fn a_cluster_names_its_secret_once_it_is_made() {
        let named = secret(&json!({"phase": "Ready", "kubeconfigSecretRef": "c-kubeconfig"}));
        assert_eq!(named, Some(("c-kubeconfig".into(), "value".into())));
        for none in [
            json!(null),
            json!({}),
            json!({"kubeconfigSecretRef": ""}),
            json!({"kubeconfigSecretRef": {"name": "c"}}),
        ] {
            assert_eq!(secret(&none), None, "{none}");
        }
    }
}
