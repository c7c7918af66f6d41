//! What this process remembers between passes: when it wrote what, and since when a deletion waits.
//! All of it may be forgotten; a restart then writes a little more or waits a little longer.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use api_types::key::ClusterKey;
use jiff::Timestamp;

use crate::attached_cluster::damping::Recent;

/// Namespace and name of a Fleet.
type FleetName = (String, String);

/// The memory of all passes.
#[derive(Debug, Default)]
pub struct Memory {
    clusters: Mutex<HashMap<ClusterKey, Recent>>,
    fleets: Mutex<HashMap<FleetName, FleetMemory>>,
}

/// What is remembered of one Fleet.
#[derive(Clone, Debug, Default)]
pub struct FleetMemory {
    last_write: Option<Timestamp>,
    deletion: Option<(String, Timestamp)>,
}

impl Memory {
    /// Looks at what was written of a cluster, or changes it.
    pub fn cluster<T>(&self, key: &ClusterKey, look: impl FnOnce(&mut Recent) -> T) -> T {
        look(lock(&self.clusters).entry(key.clone()).or_default())
    }

    /// Looks at what was written of a Fleet, or changes it.
    pub fn fleet<T>(
        &self,
        namespace: &str,
        name: &str,
        look: impl FnOnce(&mut FleetMemory) -> T,
    ) -> T {
        look(
            lock(&self.fleets)
                .entry((namespace.to_owned(), name.to_owned()))
                .or_default(),
        )
    }

    /// A cluster is gone.
    pub fn forget_cluster(&self, key: &ClusterKey) {
        lock(&self.clusters).remove(key);
    }

    /// A Fleet is gone.
    pub fn forget_fleet(&self, namespace: &str, name: &str) {
        lock(&self.fleets).remove(&(namespace.to_owned(), name.to_owned()));
    }
}

impl FleetMemory {
    /// When its status was last written.
    pub fn last_write(&self) -> Option<Timestamp> {
        self.last_write
    }

    /// Takes note of a write.
    pub fn wrote(&mut self, now: Timestamp) {
        self.last_write = Some(now);
    }

    /// Since when the deletion waits for exactly this.
    pub fn waiting_since(&mut self, what: String, now: Timestamp) -> Timestamp {
        match &self.deletion {
            Some((known, since)) if *known == what => *since,
            _ => {
                self.deletion = Some((what, now));
                now
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::at;

    #[test]
    fn a_deletion_that_waits_for_something_else_has_made_progress() {
        let mut memory = FleetMemory::default();
        assert_eq!(memory.waiting_since("two backups".into(), at(0)), at(0));
        assert_eq!(memory.waiting_since("two backups".into(), at(60)), at(0));
        assert_eq!(memory.waiting_since("one backup".into(), at(90)), at(90));
    }
}
