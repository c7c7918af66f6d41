//! A fake of cluster-proxy: calls get the answers that a test sets, streams are driven by hand.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use api_types::key::ClusterKey;
use k8s_openapi::api::core::v1::ConfigMap;
use proxy_client::{
    Members, cluster_ref,
    proto::{
        self, ClusterEvent, ClusterStatus, ListChunk, Object, ServedResource, SubscribeFrame,
        SubscribeRequest, WriteResult, cluster_event, inventory_server as inventory,
        member_access_server as access, member_watch_server as member_watch, subscribe_frame::F,
        subscribe_request::Op, write_result::Outcome,
    },
};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, UnixListener},
    runtime::Runtime,
    sync::mpsc,
    time::timeout,
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap, transport::Server};

/// Nothing in these tests takes this long unless it is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) fn oslo() -> ClusterKey {
    ClusterKey::attached("default", "oslo")
}

pub(crate) fn bergen() -> ClusterKey {
    ClusterKey::attached("default", "bergen")
}

/// Waits for something that must happen.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(DEADLINE, what)
        .await
        .expect("did not happen in time")
}

/// A proxy in a runtime of its own, so that it can be killed with all its connections.
pub(crate) struct Proxy {
    pub(crate) fake: Fake,
    address: Address,
    runtime: Option<Runtime>,
}

#[derive(Clone)]
enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Proxy {
    pub(crate) fn start() -> Self {
        Self::start_at(Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))))
    }

    pub(crate) fn start_on_socket(path: PathBuf) -> Self {
        Self::start_at(Address::Unix(path))
    }

    fn start_at(address: Address) -> Self {
        let mut proxy = Self {
            fake: Fake::default(),
            address,
            runtime: None,
        };
        proxy.listen();
        proxy
    }

    fn listen(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let server = Server::builder()
            .add_service(access::MemberAccessServer::new(self.fake.clone()))
            .add_service(member_watch::MemberWatchServer::new(self.fake.clone()))
            .add_service(inventory::InventoryServer::new(self.fake.clone()));
        let _inside = runtime.enter();
        match self.address.clone() {
            Address::Tcp(address) => {
                let listener = std::net::TcpListener::bind(address).unwrap();
                listener.set_nonblocking(true).unwrap();
                self.address = Address::Tcp(listener.local_addr().unwrap());
                let incoming = TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
                runtime.spawn(server.serve_with_incoming(incoming));
            }
            Address::Unix(path) => {
                let incoming = UnixListenerStream::new(UnixListener::bind(path).unwrap());
                runtime.spawn(server.serve_with_incoming(incoming));
            }
        }
        self.runtime = Some(runtime);
    }

    /// As `kill -9`: every connection breaks.
    pub(crate) fn kill(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    /// At the address of before, remembering nothing.
    pub(crate) fn restart(&mut self) {
        self.fake.state.lock().unwrap().streams.clear();
        self.listen();
    }

    pub(crate) fn members(&self) -> Members {
        let endpoint = match &self.address {
            Address::Tcp(address) => format!("http://{address}"),
            Address::Unix(path) => format!("unix:{}", path.display()),
        };
        Members::connect(&endpoint.parse().unwrap(), "test-controller").unwrap()
    }

    /// The next stream that a client opens.
    pub(crate) async fn next_subscribe(&self) -> SubscribeStream {
        soon(self.fake.next(|state| state.streams.pop_front())).await
    }

    /// The next inventory stream that a client opens.
    pub(crate) async fn next_inventory(&self) -> InventoryStream {
        soon(self.fake.next(|state| state.inventories.pop_front())).await
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Clone, Default)]
pub(crate) struct Fake {
    pub(crate) state: Arc<Mutex<State>>,
    changed: Arc<tokio::sync::Notify>,
}

#[derive(Default)]
pub(crate) struct State {
    /// What every call is answered with instead of its result.
    pub(crate) failure: Option<Status>,
    /// Calls are taken and never answered.
    pub(crate) hangs: bool,
    /// The list ends before its last chunk.
    pub(crate) breaks_lists: bool,
    /// What every call was made with.
    pub(crate) calls: Vec<(&'static str, MetadataMap)>,
    /// Objects by namespace and name.
    pub(crate) objects: BTreeMap<(String, String), Value>,
    /// The last message of each verb, as text.
    pub(crate) last: String,
    streams: VecDeque<SubscribeStream>,
    inventories: VecDeque<InventoryStream>,
}

impl Fake {
    async fn next<T>(&self, mut take: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            if let Some(taken) = take(&mut self.state.lock().unwrap()) {
                return taken;
            }
            changed.await;
        }
    }

    pub(crate) async fn called(&self, verb: &str) {
        self.next(|state| {
            state
                .calls
                .iter()
                .any(|(seen, _)| *seen == verb)
                .then_some(())
        })
        .await;
    }

    /// Records a call and answers as the test says.
    async fn admit<T: std::fmt::Debug>(
        &self,
        verb: &'static str,
        request: &Request<T>,
    ) -> Result<(), Status> {
        let (failure, hangs) = {
            let mut state = self.state.lock().unwrap();
            state.calls.push((verb, request.metadata().clone()));
            state.last = format!("{:?}", request.get_ref());
            (state.failure.clone(), state.hangs)
        };
        self.changed.notify_waiters();
        if hangs {
            std::future::pending::<()>().await;
        }
        failure.map_or(Ok(()), Err)
    }

    fn put(&self, outcome: Outcome, json: &[u8]) -> WriteResult {
        let body: Value = serde_json::from_slice(json).unwrap();
        let text = |at: &str| {
            body.pointer(at)
                .and_then(Value::as_str)
                .unwrap_or("")
                .to_owned()
        };
        let key = (text("/metadata/namespace"), text("/metadata/name"));
        self.state.lock().unwrap().objects.insert(key, body.clone());
        WriteResult {
            outcome: outcome.into(),
            object: Some(wire(&body)),
            ..Default::default()
        }
    }
}

/// The wire form of an object.
pub(crate) fn wire(body: &Value) -> Object {
    let text = |at: &str| {
        body.pointer(at)
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned()
    };
    Object {
        kind: text("/kind"),
        namespace: text("/metadata/namespace"),
        name: text("/metadata/name"),
        uid: text("/metadata/uid"),
        resource_version: text("/metadata/resourceVersion"),
        json: serde_json::to_vec(body).unwrap(),
        ..Default::default()
    }
}

/// A ConfigMap in namespace `shop`; uid and resourceVersion as given, `data.value` too.
pub(crate) fn config_map(name: &str, uid: &str, version: u32, value: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "namespace": "shop", "name": name, "uid": uid, "resourceVersion": version.to_string(),
            "labels": { "owner": format!("owner-of-{name}") },
        },
        "data": { "value": value },
    })
}

pub(crate) fn value(map: &ConfigMap) -> String {
    map.data.as_ref().unwrap()["value"].clone()
}

/// A stream that a client opened, seen from the proxy.
pub(crate) struct SubscribeStream {
    pub(crate) metadata: MetadataMap,
    requests: Streaming<SubscribeRequest>,
    frames: mpsc::Sender<Result<SubscribeFrame, Status>>,
}

impl SubscribeStream {
    pub(crate) async fn next_op(&mut self) -> Op {
        let request = soon(self.requests.message()).await.unwrap();
        request.expect("the client closed the stream").op.unwrap()
    }

    /// The next subscription, past the opening.
    pub(crate) async fn next_add(&mut self) -> proto::Add {
        match self.next_op().await {
            Op::Open(_) => match self.next_op().await {
                Op::Add(add) => add,
                other => panic!("{other:?} is no subscription"),
            },
            Op::Add(add) => add,
            other => panic!("{other:?} is no subscription"),
        }
    }

    pub(crate) async fn send(&self, frame: F) {
        let frame = SubscribeFrame { f: Some(frame) };
        soon(self.frames.send(Ok(frame))).await.unwrap();
    }

    pub(crate) async fn sync_start(&self, sub_id: u32, cluster: &ClusterKey) {
        self.send(F::SyncStart(proto::SyncStart {
            sub_id,
            cluster: Some(cluster_ref(cluster)),
            reason: "INITIAL".into(),
        }))
        .await;
    }

    pub(crate) async fn upsert(&self, sub_id: u32, cluster: &ClusterKey, objects: &[Value]) {
        self.send(F::Batch(proto::Batch {
            sub_id,
            cluster: Some(cluster_ref(cluster)),
            upserts: objects.iter().map(wire).collect(),
            deletes: Vec::new(),
        }))
        .await;
    }

    pub(crate) async fn delete(&self, sub_id: u32, cluster: &ClusterKey, name: &str) {
        let key = proto::ObjectKey {
            namespace: "shop".into(),
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

    pub(crate) async fn sync_end(&self, sub_id: u32, cluster: &ClusterKey) {
        self.send(F::SyncEnd(proto::SyncEnd {
            sub_id,
            cluster: Some(cluster_ref(cluster)),
            resource_version: "9".into(),
        }))
        .await;
    }

    pub(crate) async fn snapshot(&self, sub_id: u32, cluster: &ClusterKey, objects: &[Value]) {
        self.sync_start(sub_id, cluster).await;
        self.upsert(sub_id, cluster, objects).await;
        self.sync_end(sub_id, cluster).await;
    }
}

/// An inventory stream that a client opened, seen from the proxy.
pub(crate) struct InventoryStream {
    events: mpsc::Sender<Result<ClusterEvent, Status>>,
}

impl InventoryStream {
    pub(crate) async fn send(&self, kind: cluster_event::Type, status: ClusterStatus) {
        let event = ClusterEvent {
            r#type: kind.into(),
            status: Some(status).filter(|status| status.cluster.is_some()),
        };
        soon(self.events.send(Ok(event))).await.unwrap();
    }
}

type Chunks<T> = ReceiverStream<Result<T, Status>>;

fn stream_of<T: Send + 'static>(items: Vec<T>) -> Chunks<T> {
    let (sender, receiver) = mpsc::channel(items.len().max(1));
    for item in items {
        sender.try_send(Ok(item)).unwrap();
    }
    ReceiverStream::new(receiver)
}

#[tonic::async_trait]
impl access::MemberAccess for Fake {
    type ListStream = Chunks<ListChunk>;
    type DiscoverStream = Chunks<ServedResource>;

    async fn get(&self, request: Request<proto::GetRequest>) -> Result<Response<Object>, Status> {
        self.admit("get", &request).await?;
        let target = request.into_inner().target.unwrap();
        let state = self.state.lock().unwrap();
        let found = state.objects.get(&(target.namespace, target.name));
        found.map(|body| Response::new(wire(body))).ok_or_else(|| {
            crate::errors::status(tonic::Code::NotFound, "", "kubernetes", "not found")
        })
    }

    async fn list(
        &self,
        request: Request<proto::ListRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        self.admit("list", &request).await?;
        let state = self.state.lock().unwrap();
        let mut chunks: Vec<_> = state
            .objects
            .values()
            .map(|body| ListChunk {
                items: vec![wire(body)],
                ..Default::default()
            })
            .collect();
        if !state.breaks_lists {
            chunks.push(ListChunk {
                last: true,
                ..Default::default()
            });
        }
        Ok(Response::new(stream_of(chunks)))
    }

    async fn apply(
        &self,
        request: Request<proto::ApplyRequest>,
    ) -> Result<Response<WriteResult>, Status> {
        self.admit("apply", &request).await?;
        Ok(Response::new(
            self.put(Outcome::Configured, &request.into_inner().json),
        ))
    }

    async fn create(
        &self,
        request: Request<proto::CreateRequest>,
    ) -> Result<Response<WriteResult>, Status> {
        self.admit("create", &request).await?;
        Ok(Response::new(
            self.put(Outcome::Created, &request.into_inner().json),
        ))
    }

    async fn patch(
        &self,
        request: Request<proto::PatchRequest>,
    ) -> Result<Response<WriteResult>, Status> {
        self.admit("patch", &request).await?;
        // an outcome without the object that was asked for
        Ok(Response::new(WriteResult {
            outcome: Outcome::Configured.into(),
            ..Default::default()
        }))
    }

    async fn delete(
        &self,
        request: Request<proto::DeleteRequest>,
    ) -> Result<Response<WriteResult>, Status> {
        self.admit("delete", &request).await?;
        let target = request.into_inner().target.unwrap();
        let mut state = self.state.lock().unwrap();
        let known = state.objects.remove(&(target.namespace, target.name));
        let outcome = known.map_or(Outcome::Absent, |_| Outcome::Deleted);
        Ok(Response::new(WriteResult {
            outcome: outcome.into(),
            ..Default::default()
        }))
    }

    async fn discover(
        &self,
        request: Request<proto::DiscoverRequest>,
    ) -> Result<Response<Self::DiscoverStream>, Status> {
        self.admit("discover", &request).await?;
        let served = ServedResource {
            gvr: Some(proto::Gvr {
                group: "velero.io".into(),
                version: "v1".into(),
                resource: "backups".into(),
            }),
            kind: "Backup".into(),
            namespaced: true,
            verbs: vec!["get".into()],
        };
        Ok(Response::new(stream_of(vec![served])))
    }

    async fn ensure_namespace(
        &self,
        request: Request<proto::EnsureNamespaceRequest>,
    ) -> Result<Response<WriteResult>, Status> {
        self.admit("ensure_namespace", &request).await?;
        Ok(Response::new(WriteResult {
            outcome: Outcome::Created.into(),
            ..Default::default()
        }))
    }

    async fn ensure_secret(
        &self,
        request: Request<proto::EnsureSecretRequest>,
    ) -> Result<Response<WriteResult>, Status> {
        self.admit("ensure_secret", &request).await?;
        Ok(Response::new(WriteResult {
            outcome: Outcome::Unchanged.into(),
            ..Default::default()
        }))
    }
}

#[tonic::async_trait]
impl member_watch::MemberWatch for Fake {
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
        self.state.lock().unwrap().streams.push_back(stream);
        self.changed.notify_waiters();
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

#[tonic::async_trait]
impl inventory::Inventory for Fake {
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
        self.state.lock().unwrap().inventories.push_back(stream);
        self.changed.notify_waiters();
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn probe(
        &self,
        request: Request<proto::ProbeRequest>,
    ) -> Result<Response<ClusterStatus>, Status> {
        self.admit("probe", &request).await?;
        Ok(Response::new(ClusterStatus {
            cluster: request.into_inner().cluster,
            state: proto::cluster_status::State::Ready.into(),
            kubernetes_version: "v1.34.4".into(),
            ..Default::default()
        }))
    }
}
