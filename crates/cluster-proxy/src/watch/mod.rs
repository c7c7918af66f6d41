//! Shared upstream watches: one per (member, type, namespace, selector, projection), however many
//! subscribers there are.
//!
//! The reader of an upstream watch never waits for a subscriber: it puts the newest state of each
//! object into the subscribers' queues and goes on.

mod cache;
pub mod event;
pub mod held;
mod initial;
pub mod lines;
mod proof;
pub mod selector;
mod stop;
mod stream;
mod upstream;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use proxy_client::proto::link_state;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::cache::Cache;
pub use self::cache::ObjectId;
pub use self::selector::Filter;
use crate::{json::Projection, link::Link, request::path::Gvr, subscribe::queue::Lane};

/// What makes two subscriptions share a watch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WatchKey {
    /// The type.
    pub gvr: Gvr,
    /// Empty: all namespaces.
    pub namespace: String,
    /// For the member, `$(member)` included; empty where subscribers filter.
    pub selector: String,
    /// Which part of the objects.
    pub projection: Projection,
}

/// Why a snapshot is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncReason {
    /// The subscription is new.
    Initial,
    /// The cache had to be given up in between.
    Relist,
    /// Another cluster answers under this name, or it went back in time.
    MemberReincarnated,
}

impl SyncReason {
    /// As frames carry it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initial => "INITIAL",
            Self::Relist => "RELIST",
            Self::MemberReincarnated => "MEMBER_REINCARNATED",
        }
    }
}

/// How a watch is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchState {
    /// State.
    pub state: link_state::State,
    /// Why.
    pub reason: String,
    /// The data is that of this time.
    pub as_of: Timestamp,
}

/// A shared watch. It ends when the last attachment goes.
#[derive(Debug)]
pub struct SharedWatch {
    cache: Mutex<Cache>,
    _stop: DropGuard,
}

/// One subscriber's place at a shared watch.
#[derive(Debug)]
pub struct Attachment {
    watch: Arc<SharedWatch>,
    lane: u64,
}

impl SharedWatch {
    /// Starts the watch's task.
    pub fn start(link: &Arc<Link>, key: WatchKey) -> Arc<Self> {
        let stop = CancellationToken::new();
        let watch = Arc::new(Self {
            cache: Mutex::new(Cache::new(Arc::clone(link.cached_bytes()))),
            _stop: stop.clone().drop_guard(),
        });
        let upstream = upstream::run(Arc::clone(link), Arc::downgrade(&watch), key);
        let drained = link.stopped().clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = drained.cancelled() => {}
                () = upstream => {}
            }
        });
        watch
    }

    /// Adds a subscriber: it gets the state now, and a snapshot now or when there is one, of the
    /// objects that it selects.
    pub fn attach(self: &Arc<Self>, lane: Lane, filter: Filter) -> Attachment {
        let id = lane.id();
        self.cache().attach(lane, filter);
        Attachment {
            watch: Arc::clone(self),
            lane: id,
        }
    }

    /// The time of which the data is, or None before the first data.
    pub fn as_of(&self) -> Option<Timestamp> {
        let cache = self.cache();
        cache.is_synced().then(|| cache.as_of())
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attachment {
    /// The time of which the data is.
    pub fn as_of(&self) -> Timestamp {
        self.watch.cache().as_of()
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.watch.cache().detach(self.lane);
    }
}
