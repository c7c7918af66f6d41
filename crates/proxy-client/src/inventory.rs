//! Following the members themselves: which there are, and how they are doing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use api_types::key::ClusterKey;
use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use tokio::{
    sync::broadcast,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};

use crate::{
    MAX_MESSAGE_BYTES,
    backoff::Backoff,
    call::{Caller, DEADLINE, Subject},
    error::Error,
    proto::{
        self, ClusterEvent, cluster_event::Type, cluster_status::State,
        inventory_client::InventoryClient,
    },
    wire::{cluster_key, timestamp},
};

const CHANGES: usize = 4096;
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// How a member is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// Not tried yet, or trying for the first time.
    Connecting,
    /// It answers.
    Ready,
    /// It answers, with a warning in the reason.
    Degraded,
    /// It does not answer.
    Unreachable,
    /// It refuses our credentials.
    CredentialsInvalid,
    /// Its kubeconfig is missing, unreadable or refused; the reason says which.
    Misconfigured,
    /// Its hub object is being deleted.
    Draining,
}

impl MemberState {
    /// Whether calls to the member can be expected to succeed.
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Ready | Self::Degraded)
    }
}

/// What is known about one member.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterState {
    /// The member.
    pub key: ClusterKey,
    /// uid of its `kube-system` namespace; absent until first contact.
    pub member_uid: Option<String>,
    /// How it is doing.
    pub state: MemberState,
    /// Upper camel case, such as `KubeconfigRefused`; may be empty.
    pub reason: String,
    /// A sentence; may be empty.
    pub message: String,
    /// Since when the state holds.
    pub since: Option<Timestamp>,
    /// The member's last answer.
    pub last_ok: Option<Timestamp>,
    /// Such as `v1.34.4`.
    pub kubernetes_version: Option<String>,
    /// Earliest expiry of the client certificate or token, when it has one.
    pub credential_expiry: Option<Timestamp>,
    /// API groups that the member serves.
    pub served_groups: Vec<String>,
}

impl ClusterState {
    /// A member in this state, of which nothing more is known.
    pub fn new(key: ClusterKey, state: MemberState) -> Self {
        Self {
            key,
            member_uid: None,
            state,
            reason: String::new(),
            message: String::new(),
            since: None,
            last_ok: None,
            kubernetes_version: None,
            credential_expiry: None,
            served_groups: Vec::new(),
        }
    }

    /// Whether the member serves an API group.
    pub fn serves(&self, group: &str) -> bool {
        self.served_groups.iter().any(|served| served == group)
    }

    fn from_wire(status: proto::ClusterStatus) -> Option<Self> {
        let state = match status.state() {
            State::Connecting => MemberState::Connecting,
            State::Ready => MemberState::Ready,
            State::Degraded => MemberState::Degraded,
            State::Unreachable => MemberState::Unreachable,
            State::CredentialsInvalid => MemberState::CredentialsInvalid,
            State::Misconfigured => MemberState::Misconfigured,
            State::Draining => MemberState::Draining,
        };
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        Some(Self {
            key: cluster_key(status.cluster.as_ref()?)?,
            member_uid: some(status.member_uid),
            state,
            reason: status.reason,
            message: status.message,
            since: timestamp(status.since),
            last_ok: timestamp(status.last_ok),
            kubernetes_version: some(status.kubernetes_version),
            credential_expiry: timestamp(status.credential_expiry),
            served_groups: status.served_groups,
        })
    }

    /// Whether another state says something new, beside that time has passed.
    fn differs(&self, other: &Self) -> bool {
        let other = Self {
            last_ok: self.last_ok,
            ..other.clone()
        };
        *self != other
    }
}

/// A change of the inventory, already visible in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InventoryChange {
    /// A member came, changed or went.
    Cluster(ClusterKey),
    /// More than one thing changed: the first snapshot is complete, the proxy was lost or found, or
    /// this reader was too slow. Read the inventory.
    Resync,
}

/// The members, kept up to date in the background. Clones share one view.
#[derive(Clone)]
pub struct Inventory {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    caller: Caller,
    task: JoinHandle<()>,
}

struct Shared {
    view: RwLock<View>,
    changes: broadcast::Sender<InventoryChange>,
}

#[derive(Default)]
struct View {
    clusters: BTreeMap<ClusterKey, Arc<ClusterState>>,
    synced: bool,
    /// Why the stream is down; None while it is up.
    lost: Option<String>,
    /// What the snapshot brought so far, while one arrives.
    snapshot: Option<BTreeSet<ClusterKey>>,
}

impl fmt::Debug for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inventory").finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Inventory {
    pub(crate) fn start(caller: Caller) -> Self {
        let view = View {
            lost: Some("not connected yet".into()),
            ..View::default()
        };
        let shared = Arc::new(Shared {
            view: RwLock::new(view),
            changes: broadcast::Sender::new(CHANGES),
        });
        let task = tokio::spawn(keep_up(Arc::clone(&shared), caller.clone()));
        let inner = Inner {
            shared,
            caller,
            task,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The last known state of a member; None when the proxy does not know it.
    pub fn get(&self, cluster: &ClusterKey) -> Option<Arc<ClusterState>> {
        self.read(|view| view.clusters.get(cluster).cloned())
    }

    /// All members, sorted.
    pub fn list(&self) -> Vec<Arc<ClusterState>> {
        self.read(|view| view.clusters.values().cloned().collect())
    }

    /// Whether a whole snapshot has arrived at some time.
    pub fn synced(&self) -> bool {
        self.read(|view| view.synced)
    }

    /// Why the proxy cannot be asked at present; the states are then those of before. None while
    /// all is well.
    pub fn lost(&self) -> Option<String> {
        self.read(|view| view.lost.clone())
    }

    /// What changes from now on. Subscribe first and read then, and nothing is missed.
    pub fn changes(&self) -> impl Stream<Item = InventoryChange> + Send + Unpin + use<> {
        let changes = self.inner.shared.changes.subscribe();
        BroadcastStream::new(changes).map(|change| match change {
            Ok(change) => change,
            Err(BroadcastStreamRecvError::Lagged(_)) => InventoryChange::Resync,
        })
    }

    /// Waits until the condition holds; it is checked after each change.
    pub async fn until(&self, mut condition: impl FnMut(&Self) -> bool) {
        let mut changes = self.changes();
        while !condition(self) {
            changes.next().await;
        }
    }

    /// Has the proxy ask the member now.
    pub async fn probe(&self, cluster: &ClusterKey) -> Result<ClusterState, Error> {
        self.inner.caller.probe(cluster).await
    }

    fn read<T>(&self, look: impl FnOnce(&View) -> T) -> T {
        let view = self.inner.shared.view.read();
        look(&view.unwrap_or_else(PoisonError::into_inner))
    }
}

impl Caller {
    async fn probe(&self, cluster: &ClusterKey) -> Result<ClusterState, Error> {
        let subject = Subject {
            verb: "probe",
            cluster: Some(cluster.clone()),
            resource: String::new(),
            object: String::new(),
            writes: false,
        };
        let mut inventory = InventoryClient::new(self.channel());
        let request = proto::ProbeRequest {
            cluster: Some(crate::wire::cluster_ref(cluster)),
        };
        let send = |_, request| async move { inventory.probe(request).await };
        let status = self.unary(&subject, DEADLINE, request, send).await?;
        ClusterState::from_wire(status)
            .ok_or_else(|| Error::unreadable(&subject, "the answer names no member"))
    }
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut View) -> Option<InventoryChange>) {
        let announcement = {
            let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
            change(&mut view)
        };
        if let Some(announcement) = announcement {
            // an error only says that nobody listens
            let _ = self.changes.send(announcement);
        }
    }
}

impl View {
    fn apply(&mut self, event: ClusterEvent) -> Option<InventoryChange> {
        let kind = event.r#type();
        if kind == Type::Synced {
            return Some(self.sync_end());
        }
        let Some(state) = event.status.and_then(ClusterState::from_wire) else {
            tracing::warn!("inventory event about a member without usable name");
            return None;
        };
        let key = state.key.clone();
        if kind == Type::Removed {
            let known = self.clusters.remove(&key);
            return known.map(|_| InventoryChange::Cluster(key));
        }
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.insert(key.clone());
        }
        let state = Arc::new(state);
        let known = self.clusters.insert(key.clone(), Arc::clone(&state));
        let news = known.is_none_or(|known| known.differs(&state));
        news.then_some(InventoryChange::Cluster(key))
    }

    fn sync_end(&mut self) -> InventoryChange {
        if let Some(snapshot) = self.snapshot.take() {
            self.clusters.retain(|key, _| snapshot.contains(key));
        }
        self.synced = true;
        self.lost = None;
        InventoryChange::Resync
    }

    fn disconnected(&mut self, reason: String) -> Option<InventoryChange> {
        self.snapshot = None;
        let news = self.lost.is_none();
        self.lost = Some(reason);
        news.then_some(InventoryChange::Resync)
    }
}

async fn keep_up(shared: Arc<Shared>, caller: Caller) {
    let mut backoff = Backoff::default();
    loop {
        let lost = match follow(&shared, &caller, &mut backoff).await {
            Ok(()) => "cluster-proxy closed the stream".to_owned(),
            Err(error) => error.to_string(),
        };
        let wait = backoff.next();
        tracing::warn!(error = lost, ?wait, "inventory stream is down");
        shared.change(|view| view.disconnected(lost));
        sleep(wait).await;
    }
}

async fn follow(shared: &Shared, caller: &Caller, backoff: &mut Backoff) -> Result<(), Error> {
    let subject = Subject {
        verb: "watch inventory",
        cluster: None,
        resource: String::new(),
        object: String::new(),
        writes: false,
    };
    let failed = |status| Error::from_status(&subject, &status);
    let request = caller.request(proto::WatchClustersRequest { select: None });
    let mut client =
        InventoryClient::new(caller.channel()).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let mut events = timeout(OPEN_TIMEOUT, client.watch_clusters(request))
        .await
        .map_err(|_elapsed| Error::no_answer(&subject, OPEN_TIMEOUT))?
        .map_err(failed)?
        .into_inner();
    shared.change(|view| {
        view.snapshot = Some(BTreeSet::new());
        None
    });
    while let Some(event) = events.message().await.map_err(failed)? {
        backoff.reset();
        shared.change(|view| view.apply(event));
    }
    Ok(())
}
