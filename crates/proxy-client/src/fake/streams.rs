//! The streams of the fake.

use api_types::key::ClusterKey;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

use super::{Fake, soon, wire};
use crate::{
    proto::{
        self, ClusterEvent, ClusterStatus, SubscribeFrame, SubscribeRequest, cluster_event,
        inventory_server::Inventory, member_watch_server::MemberWatch, subscribe_frame::F,
        subscribe_request::Op,
    },
    wire::cluster_ref,
};

/// A stream that a client opened, seen from the proxy.
#[derive(Debug)]
pub struct SubscribeStream {
    /// What it was opened with.
    pub metadata: MetadataMap,
    requests: Streaming<SubscribeRequest>,
    frames: mpsc::Sender<Result<SubscribeFrame, Status>>,
}

impl SubscribeStream {
    /// The next message of the client.
    pub async fn next_op(&mut self) -> Op {
        let request = soon(self.requests.message()).await.unwrap();
        request.expect("the client closed the stream").op.unwrap()
    }

    /// The next subscription, past the opening.
    pub async fn next_add(&mut self) -> proto::Add {
        match self.next_op().await {
            Op::Open(_) => match self.next_op().await {
                Op::Add(add) => add,
                other => panic!("{other:?} is no subscription"),
            },
            Op::Add(add) => add,
            other => panic!("{other:?} is no subscription"),
        }
    }

    /// Sends a frame.
    pub async fn send(&self, frame: F) {
        let frame = SubscribeFrame { f: Some(frame) };
        soon(self.frames.send(Ok(frame))).await.unwrap();
    }

    /// A snapshot begins.
    pub async fn sync_start(&self, sub_id: u32, cluster: &ClusterKey) {
        self.send(F::SyncStart(proto::SyncStart {
            sub_id,
            cluster: Some(cluster_ref(cluster)),
            reason: "INITIAL".into(),
        }))
        .await;
    }

    /// Objects that are new or changed.
    pub async fn upsert(&self, sub_id: u32, cluster: &ClusterKey, objects: &[Value]) {
        self.send(F::Batch(proto::Batch {
            sub_id,
            cluster: Some(cluster_ref(cluster)),
            upserts: objects.iter().map(wire).collect(),
            deletes: Vec::new(),
        }))
        .await;
    }

    /// An object is gone.
    pub async fn delete(&self, sub_id: u32, cluster: &ClusterKey, (namespace, name): (&str, &str)) {
        let key = proto::ObjectKey {
            namespace: namespace.into(),
            name: name.into(),
            ..Default::default()
        };
        self.send(F::Batch(proto::Batch {
            sub_id,
            cluster: Some(cluster_ref(cluster)),
            upserts: Vec::new(),
            deletes: vec![key],
        }))
        .await;
    }

    /// The snapshot is complete.
    pub async fn sync_end(&self, sub_id: u32, cluster: &ClusterKey) {
        self.send(F::SyncEnd(proto::SyncEnd {
            sub_id,
            cluster: Some(cluster_ref(cluster)),
            resource_version: "9".into(),
        }))
        .await;
    }

    /// A whole snapshot.
    pub async fn snapshot(&self, sub_id: u32, cluster: &ClusterKey, objects: &[Value]) {
        self.sync_start(sub_id, cluster).await;
        self.upsert(sub_id, cluster, objects).await;
        self.sync_end(sub_id, cluster).await;
    }
}

/// An inventory stream that a client opened, seen from the proxy.
#[derive(Debug)]
pub struct InventoryStream {
    events: mpsc::Sender<Result<ClusterEvent, Status>>,
}

impl InventoryStream {
    /// Sends an event; one about no cluster has no status.
    pub async fn send(&self, kind: cluster_event::Type, status: ClusterStatus) {
        let event = ClusterEvent {
            r#type: kind.into(),
            status: Some(status).filter(|status| status.cluster.is_some()),
        };
        soon(self.events.send(Ok(event))).await.unwrap();
    }
}

type Chunks<T> = ReceiverStream<Result<T, Status>>;

/// A stream of what is known already.
pub(super) fn stream_of<T: Send + 'static>(items: Vec<T>) -> Chunks<T> {
    let (sender, receiver) = mpsc::channel(items.len().max(1));
    for item in items {
        sender.try_send(Ok(item)).unwrap();
    }
    ReceiverStream::new(receiver)
}

#[tonic::async_trait]
impl MemberWatch for Fake {
    type SubscribeStream = Chunks<SubscribeFrame>;

    async fn subscribe(
        &self,
        request: Request<Streaming<SubscribeRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let (frames, receiver) = mpsc::channel(64);
        let stream = SubscribeStream {
            metadata: request.metadata().clone(),
            requests: request.into_inner(),
            frames,
        };
        self.state().streams.push_back(stream);
        self.changed.notify_waiters();
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

#[tonic::async_trait]
impl Inventory for Fake {
    type ListClustersStream = Chunks<ClusterStatus>;
    type WatchClustersStream = Chunks<ClusterEvent>;

    async fn list_clusters(
        &self,
        _: Request<proto::ListClustersRequest>,
    ) -> Result<Response<Self::ListClustersStream>, Status> {
        Ok(Response::new(stream_of(Vec::new())))
    }

    async fn watch_clusters(
        &self,
        _: Request<proto::WatchClustersRequest>,
    ) -> Result<Response<Self::WatchClustersStream>, Status> {
        let (events, receiver) = mpsc::channel(64);
        let stream = InventoryStream { events };
        self.state().inventories.push_back(stream);
        self.changed.notify_waiters();
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn probe(
        &self,
        request: Request<proto::ProbeRequest>,
    ) -> Result<Response<ClusterStatus>, Status> {
        self.admit("probe", request.get_ref().cluster.as_ref(), &request)
            .await?;
        Ok(Response::new(ClusterStatus {
            cluster: request.into_inner().cluster,
            state: proto::cluster_status::State::Ready.into(),
            kubernetes_version: "v1.34.4".into(),
            ..Default::default()
        }))
    }
}
