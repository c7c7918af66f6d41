//! What this process remembers between passes. Losing it costs time, never correctness.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::deletion;
use api_types::key::ClusterKey;
use jiff::Timestamp;
use kube::Resource;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use super::calls::Slot;
use super::context::Process;
use super::refusal::Refusal;
use crate::reading::elsewhere::Asked;
use crate::reading::look::Looked;
use crate::results::read::Reading;

/// Memory of all operations, by the hub object's uid. Entries go when their object is settled or gone.
#[derive(Debug, Default)]
pub struct Memory<P: Process>(Mutex<HashMap<String, Remembered<P>>>);

/// Memory of one operation.
#[derive(Debug, Default)]
pub struct Remembered<P: Process> {
    /// Number of the newest pass over it.
    pub pass: u64,
    /// The newest writes of its status.
    pub written: Option<Written>,
    /// Its clusters.
    pub clusters: HashMap<ClusterKey, OfCluster<P>>,
    /// What the deletion waited for last, and since when it has been just that.
    pub deletion: Option<(String, Timestamp)>,
    /// What its targets take over of other members, by member and name. Whoever holds one asks for all.
    pub records: HashMap<(ClusterKey, String), Arc<AsyncMutex<Asked>>>,
    /// What only this process's operations have.
    pub own: P::OfOperation,
}

/// The writes of a status that one pass has made.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    /// When the last one was done.
    pub at: Instant,
    /// How long all of them took.
    pub took: Duration,
}

impl Written {
    /// How long the object rests before its next pass, so that a large status, or a hub that is slow,
    /// is written to for a third of the time at most (`api.md` 3.6). It is the pass that waits and not
    /// its write: what a member has answered to a pass is on the hub at its end.
    pub fn rest(&self, least: Duration) -> Option<Duration> {
        let rest = least.max(self.took.saturating_mul(2));
        let left = rest.checked_sub(self.at.elapsed())?;
        (!left.is_zero()).then_some(left)
    }
}

/// Memory of one cluster of one operation.
#[derive(Debug)]
pub struct OfCluster<P: Process> {
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
    /// The call that is under way.
    pub call: Slot<P::Answer>,
    /// What it refused.
    pub refusal: Refusal,
    /// What the results of a restore that went wrong say.
    pub results: Reading,
    /// What the newest look for another member's backup has shown, if that is not there yet.
    pub looked: Option<Arc<Looked>>,
    /// What only this process's operations have.
    pub own: P::OfCluster,
}

// The derived one would want an answer to have a default too.
impl<P: Process> Default for OfCluster<P> {
    fn default() -> Self {
        Self {
            version: None,
            probe: Probe::default(),
            asking: false,
            deletions: HashMap::new(),
            places: HashMap::new(),
            seen_in: HashMap::new(),
            call: Slot::default(),
            refusal: Refusal::default(),
            results: Reading::default(),
            looked: None,
            own: P::OfCluster::default(),
        }
    }
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

impl<P: Process> Remembered<P> {
    /// Another pass begins, unless the object still rests: for so long.
    pub fn begin_pass(&mut self, least: Duration) -> Option<Duration> {
        let rest = self.written.and_then(|written| written.rest(least));
        if rest.is_none() {
            self.pass = self.pass.saturating_add(1);
        }
        rest
    }
}

impl<P: Process> OfCluster<P> {
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

impl<P: Process> Memory<P> {
    /// Reads or changes the memory of one operation. Never held across an await.
    pub fn with<T>(&self, uid: &str, f: impl FnOnce(&mut Remembered<P>) -> T) -> T {
        f(self.lock().entry(uid.to_owned()).or_default())
    }

    /// Changes the memory of one operation, unless it was forgotten meanwhile.
    pub fn amend<T>(&self, uid: &str, f: impl FnOnce(&mut Remembered<P>) -> T) -> Option<T> {
        self.lock().get_mut(uid).map(f)
    }

    /// Forgets an operation.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Remembered<P>>> {
        // A panic while it was held leaves at worst an entry out of date.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
