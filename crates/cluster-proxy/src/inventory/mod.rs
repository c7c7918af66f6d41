//! The members that the hub knows, each with its link.

pub mod hub;
mod provisioned;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use api_types::key::{ClusterKey, ClusterKind};
use arc_swap::ArcSwap;
use proxy_client::proto;
use tokio::sync::{Mutex, watch};

use crate::link::{Link, LinkContext, LinkSpec};

/// The links by key.
pub type Links = HashMap<ClusterKey, Arc<Link>>;

/// The only state that links share: who there is. Readers never wait; it is replaced as a whole.
#[derive(Debug)]
pub struct Registry {
    links: ArcSwap<Links>,
    version: watch::Sender<u64>,
    synced: watch::Sender<bool>,
    context: LinkContext,
    /// Only one writer at a time.
    writing: Mutex<()>,
}

/// What a hub object says about a member.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Uid of the hub object.
    pub uid: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// How to reach the member.
    pub spec: LinkSpec,
}

impl Registry {
    /// An empty registry.
    pub fn new(context: LinkContext) -> Arc<Self> {
        Arc::new(Self {
            links: ArcSwap::default(),
            version: watch::Sender::new(0),
            synced: watch::Sender::new(false),
            context,
            writing: Mutex::default(),
        })
    }

    /// All links now.
    pub fn links(&self) -> Arc<Links> {
        self.links.load_full()
    }

    /// One link.
    pub fn link(&self, key: &ClusterKey) -> Option<Arc<Link>> {
        self.links.load().get(key).cloned()
    }

    /// Changes whenever links or their labels do.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Whether the hub was read once.
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Waits until the hub was read once.
    pub async fn synced(&self) {
        let mut synced = self.synced.subscribe();
        // An error means that the registry is gone, and with it whoever waits.
        let _ = synced.wait_for(|synced| *synced).await;
    }

    /// The hub was read completely.
    pub fn set_synced(&self) {
        self.synced
            .send_if_modified(|synced| !std::mem::replace(synced, true));
    }

    /// Adds a member, or takes over what changed. Another uid is another member.
    pub async fn put(&self, key: ClusterKey, wanted: Wanted) {
        let _writing = self.writing.lock().await;
        if let Some(link) = self.link(&key)
            && link.hub_uid() == wanted.uid
        {
            let relabelled = *link.labels() != wanted.labels;
            link.update(wanted.labels, wanted.spec);
            if relabelled {
                self.changed();
            }
            return;
        }
        let Wanted { uid, labels, spec } = wanted;
        let link = Link::start(key.clone(), uid, labels, spec, self.context.clone());
        let old = self.swap(|links| links.insert(key.clone(), Arc::clone(&link)));
        if let Some(old) = old {
            old.stop();
        }
        tracing::info!(cluster = %key, "member added");
    }

    /// Drains a member whose hub object is gone.
    pub async fn remove(&self, key: &ClusterKey) {
        let _writing = self.writing.lock().await;
        if let Some(link) = self.swap(|links| links.remove(key)) {
            link.stop();
            tracing::info!(cluster = %key, "member removed");
        }
    }

    /// Drains every member of a kind that is not in the set.
    pub async fn retain(&self, kind: ClusterKind, known: &HashSet<ClusterKey>) {
        let links = self.links();
        let of_kind = links.keys().filter(|key| key.kind == kind);
        for key in of_kind.filter(|key| !known.contains(*key)) {
            self.remove(key).await;
        }
    }

    /// Ends all links.
    pub fn stop(&self) {
        for link in self.links().values() {
            link.stop();
        }
    }

    fn swap<T>(&self, change: impl FnOnce(&mut Links) -> T) -> T {
        let mut links = Links::clone(&self.links.load());
        let result = change(&mut links);
        self.links.store(Arc::new(links));
        self.changed();
        result
    }

    fn changed(&self) {
        self.version.send_modify(|version| *version += 1);
    }
}

/// The reference to a cluster in answers.
pub fn cluster_ref(key: &ClusterKey) -> proto::ClusterRef {
    proto::ClusterRef {
        namespace: key.namespace.clone(),
        kind: key.kind.as_str().to_owned(),
        name: key.name.clone(),
    }
}
