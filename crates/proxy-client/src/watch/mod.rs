//! Following objects of one type on many members: a local store and a stream of what changed.
//!
//! All watches of a process share one stream to the proxy ([`Mux`]); what arrives on it is applied
//! to the store of the watch it belongs to, and only then announced.

mod mux;
mod session;
mod store;

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use api_types::key::ClusterKey;
use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use kube::core::ObjectMeta;
use tokio::sync::broadcast;
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};

pub(crate) use self::mux::Mux;
use self::{
    mux::{Registration, Signal, Sink},
    store::Store,
};
use crate::{
    api::MemberResource,
    body::{gvr, projection, resource_name},
    proto,
    wire::cluster_ref,
};

/// Changes that wait for a slow reader; one that falls further behind gets [`Change::Lagged`].
const CHANGES: usize = 4096;

/// What to watch. The default is all objects of the type, on all members.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only objects of this namespace.
    pub namespace: Option<String>,
    /// A label selector; `$(member)` in it stands for each member's own id.
    pub labels: Option<String>,
    /// Receive apiVersion, kind and metadata only, for a type that needs no more.
    pub metadata_only: bool,
    /// On which members.
    pub clusters: Clusters,
}

/// Which members to watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Clusters {
    /// All that the proxy knows, also those that come later.
    #[default]
    All,
    /// These.
    Listed(Vec<ClusterKey>),
    /// The members of a fleet, as they come and go.
    Fleet {
        /// The fleet's namespace.
        namespace: String,
        /// The fleet's name.
        name: String,
    },
    /// Those whose hub object has these labels.
    Labels(String),
}

/// An object's name within a member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The namespace, empty for cluster-scoped types.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// How a watch of one member is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// Nothing was heard of this member yet.
    #[default]
    Waiting,
    /// Changes arrive.
    Up,
    /// The member does not answer.
    Down,
    /// The member failed so often that the proxy pauses before it tries again.
    BreakerOpen,
    /// The member refuses the proxy's credentials, or they are unusable.
    CredentialsInvalid,
    /// The member does not serve the type (yet).
    NotServed,
    /// The proxy or the member refuses this watch.
    Refused,
    /// The stream to the proxy is down.
    ProxyLost,
}

/// What is known about the watch of one member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchState {
    /// Whether a whole snapshot arrived at some time. The store then misses nothing up to `as_of`,
    /// also while the link is down.
    pub synced: bool,
    /// How the link is doing.
    pub link: Link,
    /// One word for it, from the proxy; may be empty.
    pub reason: String,
    /// A sentence; may be empty.
    pub message: String,
    /// The data is right as of this time, give or take the proxy's own reporting (90 s).
    pub as_of: Option<Timestamp>,
}

/// An object that is no `K`. It is kept out of the store, and it is not gone.
#[derive(Clone, Debug)]
pub struct InvalidObject {
    /// Its metadata; only names when that cannot be read either.
    pub metadata: ObjectMeta,
    /// Why it could not be read.
    pub error: String,
}

/// What a look-up found.
#[derive(Clone, Debug)]
pub enum Found<K> {
    /// The object.
    Object(Arc<K>),
    /// An object that cannot be read.
    Invalid(Arc<InvalidObject>),
    /// There was none as of [`WatchState::as_of`].
    Absent,
    /// Not known: no whole snapshot of this member has arrived.
    Unknown,
}

/// One change of the store, already visible in it.
#[derive(Clone, Debug)]
pub enum Change<K> {
    /// An object came, changed or went. One that was replaced by another of the same name while we
    /// were not looking goes first and then comes.
    Object {
        /// The member.
        cluster: ClusterKey,
        /// The object's name.
        key: ObjectKey,
        /// What it was; None when it is new.
        old: Option<Arc<K>>,
        /// What it is; None when it is gone.
        new: Option<Arc<K>>,
    },
    /// An object came or changed that cannot be read, or such an object went.
    Invalid {
        /// The member.
        cluster: ClusterKey,
        /// The object's name.
        key: ObjectKey,
        /// What it was when it could be read.
        old: Option<Arc<K>>,
        /// What can be said about it.
        object: Arc<InvalidObject>,
        /// Whether it went.
        gone: bool,
    },
    /// The state of a member changed: see [`MemberWatch::state`]. When the member left the
    /// selection its objects left the store without further changes.
    State {
        /// The member.
        cluster: ClusterKey,
    },
    /// This reader was too slow and missed changes: read the store.
    Lagged,
}

/// Objects of type `K` on the selected members. Clones share one store, which is kept up to date in
/// the background as long as one of them exists, through losses of the proxy and of members.
#[derive(Clone)]
pub struct MemberWatch<K> {
    handle: Arc<Handle<K>>,
}

struct Handle<K> {
    shared: Arc<Shared<K>>,
    _registration: Registration,
}

struct Shared<K> {
    store: RwLock<Store<K>>,
    changes: broadcast::Sender<Change<K>>,
}

impl<K> fmt::Debug for MemberWatch<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemberWatch").finish_non_exhaustive()
    }
}

impl<K: MemberResource> MemberWatch<K> {
    pub(crate) fn start(mux: &Arc<Mux>, selection: Selection) -> Self {
        let shared = Arc::new(Shared {
            store: RwLock::new(Store::new(resource_name::<K>())),
            changes: broadcast::Sender::new(CHANGES),
        });
        let add = proto::Add {
            sub_id: 0,
            gvr: Some(gvr::<K>()),
            namespace: selection.namespace.unwrap_or_default(),
            label_selector: selection.labels.unwrap_or_default(),
            projection: Some(projection(selection.metadata_only)),
            clusters: Some(cluster_set(&selection.clusters)),
        };
        let registration = mux.register(add, Arc::clone(&shared) as Arc<dyn Sink>);
        Self {
            handle: Arc::new(Handle {
                shared,
                _registration: registration,
            }),
        }
    }

    /// The object, if it is there and can be read. Use [`MemberWatch::lookup`] where it matters
    /// whether a missing object is really gone.
    pub fn get(&self, cluster: &ClusterKey, namespace: &str, name: &str) -> Option<Arc<K>> {
        match self.lookup(cluster, namespace, name) {
            Found::Object(object) => Some(object),
            _ => None,
        }
    }

    /// What is known about the object.
    pub fn lookup(&self, cluster: &ClusterKey, namespace: &str, name: &str) -> Found<K> {
        let key = ObjectKey {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        self.read(|store| store.lookup(cluster, &key))
    }

    /// All readable objects on a member, by namespace and name.
    pub fn list(&self, cluster: &ClusterKey) -> Vec<Arc<K>> {
        self.read(|store| store.list(cluster))
    }

    /// All objects on a member that cannot be read.
    pub fn invalid(&self, cluster: &ClusterKey) -> Vec<Arc<InvalidObject>> {
        self.read(|store| store.invalid(cluster))
    }

    /// The members of which something was heard, sorted.
    pub fn clusters(&self) -> Vec<ClusterKey> {
        self.read(Store::clusters)
    }

    /// How the watch of a member is doing.
    pub fn state(&self, cluster: &ClusterKey) -> WatchState {
        self.read(|store| store.state(cluster))
    }

    /// How many times an object could not be read, for a metric.
    pub fn invalid_total(&self) -> u64 {
        self.read(Store::invalid_total)
    }

    /// What changes from now on. Subscribe first and read the store then, and nothing is missed.
    /// The stream ends with the last handle.
    pub fn changes(&self) -> impl Stream<Item = Change<K>> + Send + Unpin + use<K> {
        BroadcastStream::new(self.handle.shared.changes.subscribe()).map(|change| match change {
            Ok(change) => change,
            Err(BroadcastStreamRecvError::Lagged(_)) => Change::Lagged,
        })
    }

    /// Waits until the condition holds; it is checked after each change.
    pub async fn until(&self, mut condition: impl FnMut(&Self) -> bool) {
        let mut changes = self.changes();
        while !condition(self) {
            // the sender lives in `self`, so the stream cannot end here
            changes.next().await;
        }
    }

    fn read<T>(&self, look: impl FnOnce(&Store<K>) -> T) -> T {
        let store = self.handle.shared.store.read();
        look(&store.unwrap_or_else(PoisonError::into_inner))
    }
}

impl<K: MemberResource> Sink for Shared<K> {
    fn signal(&self, signal: Signal) {
        let changes = self
            .store
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .apply(signal);
        for change in changes {
            // an error only says that nobody listens
            let _ = self.changes.send(change);
        }
    }
}

fn cluster_set(clusters: &Clusters) -> proto::ClusterSet {
    let mut set = proto::ClusterSet::default();
    match clusters {
        Clusters::All => {}
        Clusters::Listed(keys) => set.clusters = keys.iter().map(cluster_ref).collect(),
        Clusters::Fleet { namespace, name } => {
            set.fleet_namespace.clone_from(namespace);
            set.fleet.clone_from(name);
        }
        Clusters::Labels(selector) => set.label_selector.clone_from(selector),
    }
    set
}
