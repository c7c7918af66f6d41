//! A stand-in for cluster-proxy that says about the members what a test wants it to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use api_types::key::ClusterKey;
use proxy_client::cluster_ref;
use proxy_client::proto::{
    Batch, ClusterEvent, ClusterStatus, ListClustersRequest, Object, ProbeRequest, SubscribeFrame,
    SubscribeRequest, SyncEnd, SyncStart, WatchClustersRequest, cluster_event,
    inventory_server as inventory, member_watch_server as member_watch, subscribe_frame::F,
    subscribe_request::Op,
};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::world::DEADLINE;

/// The stand-in in a runtime of its own, so that it can be killed with all its connections.
pub(crate) struct Proxy {
    pub(crate) script: Script,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Proxy {
    pub(crate) fn start() -> Self {
        let mut proxy = Self {
            script: Script::default(),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            runtime: None,
        };
        proxy.restart();
        proxy
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it as `kill -9` does; its port is free afterwards.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime may not be waited for inside another.
            let ended = std::thread::spawn(|| runtime.shutdown_timeout(DEADLINE));
            ended.join().unwrap();
        }
    }

    /// Starts it where it was.
    pub(crate) fn restart(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let _inside = runtime.enter();
        let listener = std::net::TcpListener::bind(self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.address = listener.local_addr().unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let server = Server::builder()
            .add_service(inventory::InventoryServer::new(self.script.clone()))
            .add_service(member_watch::MemberWatchServer::new(self.script.clone()));
        runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        self.runtime = Some(runtime);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the stand-in says.
#[derive(Clone)]
pub(crate) struct Script {
    lines: Arc<Mutex<Lines>>,
    news: broadcast::Sender<News>,
}

#[derive(Default)]
struct Lines {
    clusters: BTreeMap<ClusterKey, ClusterStatus>,
    nodes: BTreeMap<ClusterKey, u32>,
}

#[derive(Clone)]
enum News {
    Cluster(Box<ClusterStatus>),
    Nodes(ClusterKey, u32),
}

impl Default for Script {
    fn default() -> Self {
        Self {
            lines: Arc::default(),
            news: broadcast::Sender::new(1024),
        }
    }
}

impl Script {
    /// Says this about a member from now on.
    pub(crate) fn say(&self, cluster: &ClusterKey, mut status: ClusterStatus) {
        status.cluster = Some(cluster_ref(cluster));
        self.lines
            .lock()
            .unwrap()
            .clusters
            .insert(cluster.clone(), status.clone());
        _ = self.news.send(News::Cluster(Box::new(status)));
    }

    /// Gives a member so many nodes.
    pub(crate) fn count_nodes(&self, cluster: &ClusterKey, nodes: u32) {
        self.lines
            .lock()
            .unwrap()
            .nodes
            .insert(cluster.clone(), nodes);
        _ = self.news.send(News::Nodes(cluster.clone(), nodes));
    }

    fn snapshot(&self) -> Vec<ClusterEvent> {
        let lines = self.lines.lock().unwrap();
        lines
            .clusters
            .values()
            .map(|status| event(cluster_event::Type::Snapshot, status.clone()))
            .collect()
    }
}

fn event(kind: cluster_event::Type, status: ClusterStatus) -> ClusterEvent {
    ClusterEvent {
        r#type: kind.into(),
        status: Some(status),
    }
}

#[tonic::async_trait]
impl inventory::Inventory for Script {
    type ListClustersStream = ReceiverStream<Result<ClusterStatus, Status>>;
    type WatchClustersStream = ReceiverStream<Result<ClusterEvent, Status>>;

    async fn list_clusters(
        &self,
        _request: Request<ListClustersRequest>,
    ) -> Result<Response<Self::ListClustersStream>, Status> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn watch_clusters(
        &self,
        _request: Request<WatchClustersRequest>,
    ) -> Result<Response<Self::WatchClustersStream>, Status> {
        let (frames, stream) = mpsc::channel(64);
        let mut news = self.news.subscribe();
        let snapshot = self.snapshot();
        tokio::spawn(async move {
            let synced = ClusterEvent {
                r#type: cluster_event::Type::Synced.into(),
                status: None,
            };
            for event in snapshot.into_iter().chain([synced]) {
                frames.send(Ok(event)).await.ok()?;
            }
            loop {
                if let News::Cluster(status) = news.recv().await.ok()? {
                    let event = event(cluster_event::Type::Updated, *status);
                    frames.send(Ok(event)).await.ok()?;
                }
            }
            #[allow(unreachable_code)]
            Some(())
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn probe(
        &self,
        _request: Request<ProbeRequest>,
    ) -> Result<Response<ClusterStatus>, Status> {
        Err(Status::unimplemented("not in the script"))
    }
}

#[tonic::async_trait]
impl member_watch::MemberWatch for Script {
    type SubscribeStream = ReceiverStream<Result<SubscribeFrame, Status>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<SubscribeRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let (frames, stream) = mpsc::channel(64);
        let (script, mut requests) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                if let Some(Op::Add(add)) = request.op {
                    assert_eq!(
                        add.gvr.unwrap().resource,
                        "nodes",
                        "nothing else is watched"
                    );
                    tokio::spawn(script.clone().tell_nodes(add.sub_id, frames.clone()));
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl Script {
    async fn tell_nodes(
        self,
        sub_id: u32,
        frames: mpsc::Sender<Result<SubscribeFrame, Status>>,
    ) -> Option<()> {
        let mut news = self.news.subscribe();
        let known: Vec<_> = self
            .lines
            .lock()
            .unwrap()
            .nodes
            .clone()
            .into_iter()
            .collect();
        for (cluster, nodes) in known {
            tell(sub_id, &cluster, nodes, &frames).await?;
        }
        loop {
            if let News::Nodes(cluster, nodes) = news.recv().await.ok()? {
                tell(sub_id, &cluster, nodes, &frames).await?;
            }
        }
    }
}

async fn tell(
    sub_id: u32,
    cluster: &ClusterKey,
    nodes: u32,
    frames: &mpsc::Sender<Result<SubscribeFrame, Status>>,
) -> Option<()> {
    let cluster = Some(cluster_ref(cluster));
    let start = SyncStart {
        sub_id,
        cluster: cluster.clone(),
        reason: "INITIAL".into(),
    };
    let batch = Batch {
        sub_id,
        cluster: cluster.clone(),
        upserts: (0..nodes).map(node).collect(),
        deletes: vec![],
    };
    let end = SyncEnd {
        sub_id,
        cluster,
        resource_version: "1".into(),
    };
    for frame in [F::SyncStart(start), F::Batch(batch), F::SyncEnd(end)] {
        frames
            .send(Ok(SubscribeFrame { f: Some(frame) }))
            .await
            .ok()?;
    }
    Some(())
}

fn node(index: u32) -> Object {
    let name = format!("node-{index}");
    let metadata = json!({"name": name, "uid": format!("uid-{index}"), "resourceVersion": "1"});
    let body = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata});
    Object {
        kind: "Node".into(),
        name,
        uid: format!("uid-{index}"),
        resource_version: "1".into(),
        json: serde_json::to_vec(&body).unwrap(),
        ..Object::default()
    }
}
