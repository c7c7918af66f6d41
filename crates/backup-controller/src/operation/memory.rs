//! What this process remembers between passes. Losing it costs time, never correctness.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api_types::external::velero::BackupRecord;
use api_types::key::ClusterKey;
use jiff::Timestamp;
use kube::Resource;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use velero_kit::deletion;

use super::calls::Slot;
use super::refusal::Refusal;
use crate::restore::look::Looked;
use crate::restore::results::Reading;
use crate::schedule::plan::Accepted;
use crate::schedule::turn::Turn;

/// Memory of all operations, by the hub object's uid. Entries go when their object is settled or gone.
#[derive(Debug, Default)]
pub struct Memory(Mutex<HashMap<String, Remembered>>);

/// Memory of one operation.
#[derive(Debug, Default)]
pub struct Remembered {
    /// Number of the newest pass over it.
    pub pass: u64,
    /// When its status was last written.
    pub written: Option<Instant>,
    /// Its clusters.
    pub clusters: HashMap<ClusterKey, OfCluster>,
    /// What the deletion waited for last, and since when it has been just that.
    pub deletion: Option<(String, Timestamp)>,
    /// What its targets take over of other members, by member and name.
    pub records: HashMap<(ClusterKey, String), Arc<OnceCell<BackupRecord>>>,
    /// It is being deleted, and since then a live look has shown no Restore that reads it.
    pub unread: bool,
}

/// Memory of one cluster of one operation.
#[derive(Debug, Default)]
pub struct OfCluster {
    /// The Velero object's uid and resourceVersion as last seen, and since when they are so.
    version: Option<(String, Instant)>,
    /// What Velero said when it was last asked whether it lives.
    pub probe: Probe,
    /// Whether it is being asked now.
    pub asking: bool,
    /// How far the deletion of each Velero Backup is, by its name.
    pub deletions: HashMap<String, deletion::Memory>,
    /// How far the proof is that nothing is left at a place where the cluster has stored before.
    pub places: HashMap<String, deletion::Memory>,
    /// Name of the location that each of them was last seen in.
    pub seen_in: HashMap<String, String>,
    /// What the member made of the last Schedule that was applied, if not what was wanted.
    pub accepted: Option<Accepted>,
    /// The member of which a live look has shown that no Schedule is there any more.
    pub stopped: Option<String>,
    /// Since when Velero may start the next run of its Schedule.
    pub turn: Turn,
    /// The call that is under way.
    pub call: Slot,
    /// What it refused.
    pub refusal: Refusal,
    /// What the results of a restore that went wrong say.
    pub results: Reading,
    /// What the newest look for another member's backup has shown, if that is not there yet.
    pub looked: Option<Arc<Looked>>,
}

/// The newest question to Velero.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Not asked since the object last changed.
    #[default]
    None,
    /// Answered, then.
    Answered(Instant),
    /// Not answered in time, then.
    Silent(Instant),
    /// The question could not be put, then: that says nothing about Velero.
    Unasked(Instant),
}

impl Probe {
    /// Whether it is time for the next question.
    pub fn is_due(self, again: Duration) -> bool {
        match self {
            Self::None => true,
            Self::Answered(at) | Self::Silent(at) | Self::Unasked(at) => at.elapsed() >= again,
        }
    }
}

impl Remembered {
    /// Another pass begins.
    pub fn begin_pass(&mut self) {
        self.pass = self.pass.saturating_add(1);
    }
}

impl OfCluster {
    /// How long the object has not changed. A change makes earlier answers of Velero worthless.
    pub fn unchanged(&mut self, object: &impl Resource) -> Duration {
        let meta = object.meta();
        let version = format!(
            "{}/{}",
            meta.uid.as_deref().unwrap_or_default(),
            meta.resource_version.as_deref().unwrap_or_default()
        );
        match &self.version {
            Some((known, since)) if *known == version => since.elapsed(),
            _ => {
                self.version = Some((version, Instant::now()));
                self.probe = Probe::None;
                Duration::ZERO
            }
        }
    }
}

impl Memory {
    /// Reads or changes the memory of one operation. Never held across an await.
    pub fn with<T>(&self, uid: &str, f: impl FnOnce(&mut Remembered) -> T) -> T {
        f(self.lock().entry(uid.to_owned()).or_default())
    }

    /// Changes the memory of one operation, unless it was forgotten meanwhile.
    pub fn amend(&self, uid: &str, f: impl FnOnce(&mut Remembered)) {
        if let Some(known) = self.lock().get_mut(uid) {
            f(known);
        }
    }

    /// Forgets an operation.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Remembered>> {
        // A panic while it was held leaves at worst an entry out of date.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
