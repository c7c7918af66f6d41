//! The shared watches of a link.

use std::{
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

use super::Link;
use crate::watch::{SharedWatch, WatchKey};

/// Members are upgraded now and then.
const WATCH_LIST_RETRY: Duration = Duration::from_hours(1);

impl Link {
    /// Whether a watch that begins with all there is may be asked for.
    pub fn may_watch_list(&self) -> bool {
        let refused = self.no_watch_list.lock();
        let refused = *refused.unwrap_or_else(PoisonError::into_inner);
        refused.is_none_or(|at| at.elapsed() >= WATCH_LIST_RETRY)
    }

    /// The member does not do that.
    pub fn no_watch_list(&self) {
        let refused = self.no_watch_list.lock();
        *refused.unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// The shared watch for a key, started if nobody has it yet.
    pub fn shared_watch(self: &Arc<Self>, key: &WatchKey) -> Arc<SharedWatch> {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = watches.get(key).and_then(Weak::upgrade) {
            return shared;
        }
        watches.retain(|_, watch| watch.strong_count() > 0);
        let shared = SharedWatch::start(self, key.clone());
        watches.insert(key.clone(), Arc::downgrade(&shared));
        shared
    }

    /// The shared watches that someone has now and whose key is as wanted.
    pub fn shared_watches(
        &self,
        wanted: impl Fn(&WatchKey) -> bool,
    ) -> Vec<(WatchKey, Arc<SharedWatch>)> {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = watches.iter().filter(|(key, _)| wanted(key));
        wanted
            .filter_map(|(key, watch)| Some((key.clone(), watch.upgrade()?)))
            .collect()
    }

    /// How many upstream watches run.
    pub fn watch_count(&self) -> usize {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.values().filter(|w| w.strong_count() > 0).count()
    }

    /// The time of the oldest data that any of its watches holds.
    pub fn oldest_data(&self) -> Option<Timestamp> {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let held = watches.values().filter_map(Weak::upgrade);
        held.filter_map(|watch| watch.as_of()).min()
    }
}
