//! A fake of cluster-proxy, for tests of what uses this crate: calls get the answers that a test sets,
//! streams are driven by hand. It is without policy, limits and members; what the real proxy does is
//! shown in its own tests, so use the real one where it can be made to do what a test is about.
//!
//! ```
//! use api_types::key::ClusterKey;
//! use k8s_openapi::api::core::v1::ConfigMap;
//! use proxy_client::{Error, fake::{self, Proxy}};
//! use tonic::Code;
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let proxy = Proxy::start();
//! let member = ClusterKey::attached("default", "oslo");
//! let maps = proxy.members().api::<ConfigMap>(&member).namespace("shop");
//! let down = fake::status(Code::Unavailable, "CLUSTER_UNREACHABLE", fake::BY_PROXY, "gone", &[]);
//! proxy.fake.state().failure = Some(down);
//! assert!(matches!(maps.get("prices").await, Err(Error::Unreachable(_))));
//! # });
//! # Ok::<(), std::io::Error>(())
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a fake that cannot do its part fails the test"
)]

mod access;
mod streams;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::{
    net::{TcpListener, UnixListener},
    runtime::Runtime,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::{Code, Request, Status, metadata::MetadataMap, transport::Server};
use tonic_types::{ErrorDetails, StatusExt as _};

pub use self::streams::{InventoryStream, SubscribeStream};
use crate::{
    Endpoint, Members,
    proto::{
        self, Object, inventory_server::InventoryServer, member_access_server::MemberAccessServer,
        member_watch_server::MemberWatchServer,
    },
};

/// `ErrorInfo.domain` of what a member answered.
pub const BY_MEMBER: &str = "kubernetes";
/// `ErrorInfo.domain` of what the proxy answered.
pub const BY_PROXY: &str = "cluster-proxy.kurator.dev";

/// Nothing takes this long unless it is broken.
const DEADLINE: Duration = Duration::from_secs(10);
/// The hint of [`status`].
const RETRY_AFTER: Duration = Duration::from_secs(7);

/// Waits for something that must happen, 10 s at most.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(DEADLINE, what)
        .await
        .expect("did not happen in time")
}

/// A failure as the proxy sends it, with a hint to wait 7 s; `extra` are entries of its metadata, such
/// as `write_outcome`.
pub fn status(
    code: Code,
    reason: &str,
    domain: &str,
    message: &str,
    extra: &[(&str, &str)],
) -> Status {
    let metadata: HashMap<String, String> = extra
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let mut details = ErrorDetails::with_error_info(reason, domain, metadata);
    details.set_retry_info(Some(RETRY_AFTER));
    Status::with_error_details(code, message, details)
}

/// The wire form of an object.
pub fn wire(body: &Value) -> Object {
    Object {
        kind: text(body, "/kind"),
        namespace: text(body, "/metadata/namespace"),
        name: text(body, "/metadata/name"),
        uid: text(body, "/metadata/uid"),
        resource_version: text(body, "/metadata/resourceVersion"),
        json: serde_json::to_vec(body).unwrap(),
        ..Default::default()
    }
}

fn text(body: &Value, at: &str) -> String {
    let found = body.pointer(at).and_then(Value::as_str);
    found.unwrap_or_default().to_owned()
}

/// A proxy in a runtime of its own, so that it can be killed with all its connections.
#[derive(Debug)]
pub struct Proxy {
    /// What it answers and was asked.
    pub fake: Fake,
    address: Address,
    runtime: Option<Runtime>,
}

#[derive(Clone, Debug)]
enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Proxy {
    /// On a free port of a loopback address of its own: nobody else takes the port while it is down.
    pub fn start() -> Self {
        static STARTED: AtomicU8 = AtomicU8::new(1);
        let [.., process] = std::process::id().to_be_bytes();
        let own = [127, 83, process, STARTED.fetch_add(1, Ordering::Relaxed)];
        Self::start_at(Address::Tcp(SocketAddr::from((own, 0))))
    }

    /// On a Unix socket that does not exist yet.
    pub fn start_on_socket(path: PathBuf) -> Self {
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
            .add_service(MemberAccessServer::new(self.fake.clone()))
            .add_service(MemberWatchServer::new(self.fake.clone()))
            .add_service(InventoryServer::new(self.fake.clone()));
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

    /// As `kill -9`: every connection breaks. Nothing listens any more when this returns.
    pub fn kill(&mut self) {
        let runtime = self.runtime.take().unwrap();
        // In a thread of its own, since a runtime must not be awaited within another.
        let end = std::thread::spawn(move || runtime.shutdown_timeout(DEADLINE));
        end.join().unwrap();
    }

    /// At the address of before, remembering nothing.
    pub fn restart(&mut self) {
        self.fake.state().streams.clear();
        self.listen();
    }

    /// Where it is.
    pub fn endpoint(&self) -> Endpoint {
        let endpoint = match &self.address {
            Address::Tcp(address) => format!("http://{address}"),
            Address::Unix(path) => format!("unix:{}", path.display()),
        };
        endpoint.parse().unwrap()
    }

    /// A client of it.
    pub fn members(&self) -> Members {
        Members::connect(&self.endpoint(), "test-controller").unwrap()
    }

    /// The next stream that a client opens.
    pub async fn next_subscribe(&self) -> SubscribeStream {
        soon(self.fake.next(|state| state.streams.pop_front())).await
    }

    /// The next inventory stream that a client opens.
    pub async fn next_inventory(&self) -> InventoryStream {
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

/// What the fake answers and was asked.
#[derive(Clone, Debug, Default)]
pub struct Fake {
    state: Arc<Mutex<State>>,
    changed: Arc<tokio::sync::Notify>,
}

/// Resource, namespace and name.
pub type ObjectId = (String, String, String);

/// What calls find. There is one set of objects, whatever member is asked.
#[derive(Debug, Default)]
pub struct State {
    /// What every call is answered with instead of its result.
    pub failure: Option<Status>,
    /// The next write happens, and is answered with this.
    pub failure_after_write: Option<Status>,
    /// Calls are taken and never answered.
    pub hangs: bool,
    /// Members, by name, whose calls are answered after this time.
    pub delays: BTreeMap<String, Duration>,
    /// Members, by name, whose calls are never answered.
    pub silent: BTreeSet<String>,
    /// The list ends before its last chunk.
    pub breaks_lists: bool,
    /// What every call was made with.
    pub calls: Vec<(&'static str, MetadataMap)>,
    /// Objects that were written, or put here.
    pub objects: BTreeMap<ObjectId, Value>,
    /// The last message of all calls, as text.
    pub last: String,
    streams: VecDeque<SubscribeStream>,
    inventories: VecDeque<InventoryStream>,
}

impl Fake {
    /// To be read and set; hold it for no longer than that.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Waits until something was taken.
    async fn next<T>(&self, mut take: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            if let Some(taken) = take(&mut self.state()) {
                return taken;
            }
            changed.await;
        }
    }

    /// Waits until a call of this verb has come, such as `create`.
    pub async fn called(&self, verb: &str) {
        self.next(|state| {
            let mut calls = state.calls.iter();
            calls.any(|(seen, _)| *seen == verb).then_some(())
        })
        .await;
    }

    /// Records a call and answers as the test says.
    async fn admit<T: std::fmt::Debug>(
        &self,
        verb: &'static str,
        member: Option<&proto::ClusterRef>,
        request: &Request<T>,
    ) -> Result<(), Status> {
        let member = member.map_or_else(String::new, |cluster| cluster.name.clone());
        let (failure, hangs, delay) = {
            let mut state = self.state();
            state.calls.push((verb, request.metadata().clone()));
            state.last = format!("{:?}", request.get_ref());
            let delay = state.delays.get(&member).copied();
            let hangs = state.hangs || state.silent.contains(&member);
            (state.failure.clone(), hangs, delay)
        };
        self.changed.notify_waiters();
        if hangs {
            std::future::pending::<()>().await;
        }
        if let Some(delay) = delay {
            sleep(delay).await;
        }
        failure.map_or(Ok(()), Err)
    }
}
