//! `Inventory`: the states of the members.

use std::{collections::HashMap, pin::Pin, sync::Arc, time::Duration};

use api_types::key::ClusterKey;
use futures::{Stream, StreamExt, stream::SelectAll};
use proxy_client::proto::{self, cluster_event::Type, inventory_server::Inventory};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::{ReceiverStream, WatchStream};
use tonic::{Request, Response, Status};

use super::Core;
use crate::{
    link::Link,
    request::deadline::{Deadline, MAX},
    subscribe::{
        selection::{Selection, cluster_key},
        session::draining,
    },
};

const EVENTS: usize = 64;
/// How long a probe may take to show a result.
const PROBE_WAIT: Duration = Duration::from_secs(9);

/// Serves `clusterproxy.v1.Inventory`.
#[derive(Clone, Debug)]
pub struct InventoryService {
    core: Arc<Core>,
}

impl InventoryService {
    /// The service.
    pub fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}

type Results<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Inventory for InventoryService {
    type ListClustersStream = Results<proto::ClusterStatus>;
    type WatchClustersStream = ReceiverStream<Result<proto::ClusterEvent, Status>>;

    async fn list_clusters(
        &self,
        request: Request<proto::ListClustersRequest>,
    ) -> Result<Response<Self::ListClustersStream>, Status> {
        let deadline = Deadline::from_metadata(request.metadata(), MAX);
        let (metadata, _, message) = request.into_parts();
        let call = async {
            self.core.caller(&metadata)?;
            let selection = Selection::from_proto(message.select)?;
            self.core.synced(deadline).await?;
            let links = self.core.registry.links();
            Ok(links
                .iter()
                .filter(|(key, link)| selection.matches(key, &link.labels()))
                .map(|(_, link)| Ok(status_of(link)))
                .collect::<Vec<_>>())
        };
        let all = self.core.observed("ListClusters", &metadata, call).await?;
        let stream = tokio_stream::iter(all.into_inner());
        Ok(Response::new(Box::pin(stream) as Self::ListClustersStream))
    }

    async fn watch_clusters(
        &self,
        request: Request<proto::WatchClustersRequest>,
    ) -> Result<Response<Self::WatchClustersStream>, Status> {
        let (metadata, _, message) = request.into_parts();
        let call = async {
            self.core.caller(&metadata)?;
            Selection::from_proto(message.select)
        };
        let selection = self.core.observed("WatchClusters", &metadata, call).await?;
        let (output, events) = mpsc::channel(EVENTS);
        let follower = Follower {
            core: Arc::clone(&self.core),
            selection: selection.into_inner(),
            members: HashMap::new(),
            changes: SelectAll::new(),
            output,
        };
        tokio::spawn(follower.run());
        Ok(Response::new(ReceiverStream::new(events)))
    }

    async fn probe(
        &self,
        request: Request<proto::ProbeRequest>,
    ) -> Result<Response<proto::ClusterStatus>, Status> {
        let deadline = Deadline::from_metadata(request.metadata(), MAX);
        let (metadata, _, message) = request.into_parts();
        let call = async {
            self.core.caller(&metadata)?;
            let key = cluster_key(message.cluster)?;
            let link = self.core.link(&key, deadline).await?;
            probe(&link).await;
            Ok(status_of(&link))
        };
        self.core.observed("Probe", &metadata, call).await
    }
}

/// Asks the member now, and waits for what comes of it.
async fn probe(link: &Link) {
    let mut status = link.follow();
    let before = link.last_ok();
    status.mark_unchanged();
    if !link.probe() {
        return;
    }
    let news = async {
        loop {
            tokio::select! {
                _ = status.changed() => return,
                () = sleep(Duration::from_millis(50)) => if link.last_ok() != before {
                    return;
                }
            }
        }
    };
    // Without news the last known state is the answer.
    let _ = timeout(PROBE_WAIT, news).await;
}

fn status_of(link: &Link) -> proto::ClusterStatus {
    link.status().to_proto(link.key(), link.last_ok())
}

/// One `WatchClusters` stream.
struct Follower {
    core: Arc<Core>,
    selection: Selection,
    members: HashMap<ClusterKey, Arc<Link>>,
    /// Keys of members whose status changed; a stream ends with its link.
    changes: SelectAll<Pin<Box<dyn Stream<Item = ClusterKey> + Send>>>,
    output: mpsc::Sender<Result<proto::ClusterEvent, Status>>,
}

/// The client is gone.
struct Gone;

impl Follower {
    async fn run(mut self) {
        let output = self.output.clone();
        let stop = self.core.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {
                let _ = output.try_send(Err(draining().into()));
            }
            () = output.closed() => {}
            _ = self.follow() => {}
        }
    }

    async fn follow(&mut self) -> Result<(), Gone> {
        // An empty answer before the hub was read would say that there are no members.
        self.core.registry.synced().await;
        let mut versions = self.core.registry.changes();
        versions.mark_unchanged();
        self.resolve(Type::Snapshot).await?;
        self.send(Type::Synced, None).await?;
        loop {
            tokio::select! {
                changed = versions.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    self.resolve(Type::Added).await?;
                }
                Some(key) = self.changes.next() => {
                    if let Some(link) = self.members.get(&key) {
                        let status = status_of(link);
                        self.send(Type::Updated, Some(status)).await?;
                    }
                }
            }
        }
    }

    /// Makes the followed members equal to the selected ones.
    async fn resolve(&mut self, kind: Type) -> Result<(), Gone> {
        let links = self.core.registry.links();
        let gone: Vec<ClusterKey> = self
            .members
            .iter()
            .filter(|(key, link)| {
                !links.get(*key).is_some_and(|now| {
                    Arc::ptr_eq(now, link) && self.selection.matches(key, &now.labels())
                })
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            if let Some(link) = self.members.remove(&key) {
                self.send(Type::Removed, Some(status_of(&link))).await?;
            }
        }
        for (key, link) in links.iter() {
            if self.members.contains_key(key) || !self.selection.matches(key, &link.labels()) {
                continue;
            }
            let named = key.clone();
            let mut status = link.follow();
            status.mark_unchanged();
            let changes = WatchStream::from_changes(status).map(move |_| named.clone());
            self.changes.push(Box::pin(changes));
            self.members.insert(key.clone(), Arc::clone(link));
            self.send(kind, Some(status_of(link))).await?;
        }
        Ok(())
    }

    async fn send(&mut self, kind: Type, status: Option<proto::ClusterStatus>) -> Result<(), Gone> {
        let event = proto::ClusterEvent {
            r#type: kind.into(),
            status,
        };
        self.output.send(Ok(event)).await.map_err(|_| Gone)
    }
}
