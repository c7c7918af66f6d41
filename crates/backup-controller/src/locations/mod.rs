//! The read-only locations on members that Restores make for reading what does not lie where the
//! member stores now, such as another member's backups: uses
//! end with their operations, and what nobody uses goes, copies included (`DESIGN.md` 6).
//!
//! Each member is swept by itself, when something of it changes and now and then: a member that does
//! not answer delays no other, and nothing depends on a sweep being made in time.

pub mod plan;
mod searches;
mod sweep;
pub mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api_types::key::ClusterKey;
use api_types::restore::Restore;
use futures::StreamExt;
use kube::ResourceExt;
use proxy_client::Change;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use velero_kit::borrowed;

use crate::context::Context;
use crate::controller::HUB_KINDS;
use crate::operation::entry;
use crate::operation::objects::PARALLEL;
use searches::Searches;
use work::Work;

/// Searches for copies after a location has gone, none of which may find any: Velero goes on with a sync
/// that it had begun, and what that brings would lie there until the next sweep of all members.
const SEARCHES: u8 = 2;

/// Members that are to be swept. What waits is a set, so it is bounded by the number of members.
#[derive(Debug, Default)]
pub struct Sweeps {
    waiting: Mutex<BTreeSet<ClusterKey>>,
    more: Notify,
}

impl Sweeps {
    fn add(&self, keys: impl IntoIterator<Item = ClusterKey>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extend(keys);
        self.more.notify_one();
    }

    fn take(&self) -> BTreeSet<ClusterKey> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A Restore that ends or goes may have been the last one to use a location.
pub fn restore_changed(ctx: &Context, restore: &Restore) {
    let namespace = restore.namespace().unwrap_or_default();
    let details = restore
        .status
        .iter()
        .flat_map(|status| &status.restore_details);
    let keys = details.filter_map(|detail| entry::key_of(&namespace, detail));
    ctx.sweeps.add(keys);
}

/// Sweeps members until it is dropped.
pub async fn run(ctx: Arc<Context>) {
    // A Restore that is not listed yet must not pass for one that is gone.
    ctx.intake.complete(HUB_KINDS).await;
    let mut changes = ctx.locations.changes();
    let mut leadership = ctx.leadership.clone();
    let mut broom = Broom {
        ctx: Arc::clone(&ctx),
        turns: Arc::new(Semaphore::new(PARALLEL)),
        due: BTreeMap::new(),
        searches: Searches::default(),
        at_work: Work::default(),
        unreadable: BTreeMap::new(),
    };
    broom.everywhere();
    let mut all = tokio::time::interval(ctx.timings.location_sweep);
    loop {
        broom.start();
        let next = broom.next_due();
        tokio::select! {
            change = changes.next() => match change {
                Some(change) => broom.changed(change),
                None => return,
            },
            () = ctx.sweeps.more.notified() => {
                for key in ctx.sweeps.take() {
                    broom.sweep(key, Duration::ZERO);
                }
            }
            (key, swept) = broom.at_work.ended() => {
                let swept = swept.unwrap_or_else(|| {
                    tracing::error!(cluster = %key, "a sweep of read-only locations panicked");
                    Swept::failed(ctx.timings.look_again)
                });
                broom.done(&key, swept);
            }
            _ = all.tick() => broom.everywhere(),
            still = leadership.changed() => {
                if !still {
                    return;
                }
                broom.everywhere();
            }
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

/// What a sweep leaves to do.
#[derive(Debug, Default)]
struct Swept {
    /// When to sweep again, if nothing changes before.
    again: Option<Duration>,
    /// How often copies are still to be looked for.
    searches: u8,
    /// Marks of use that cannot be read.
    unreadable: BTreeSet<String>,
}

impl Swept {
    /// Nothing is known: look again then.
    fn failed(again: Duration) -> Self {
        Self {
            again: Some(again),
            searches: 1,
            ..Self::default()
        }
    }
}

/// Which member is swept when.
struct Broom {
    ctx: Arc<Context>,
    turns: Arc<Semaphore>,
    due: BTreeMap<ClusterKey, Instant>,
    /// Where copies of locations that are gone are to be looked for.
    searches: Searches,
    at_work: Work<Swept>,
    /// Marks of use that cannot be read, as last told.
    unreadable: BTreeMap<ClusterKey, BTreeSet<String>>,
}

impl Broom {
    fn everywhere(&mut self) {
        let known = self.ctx.locations.clusters();
        self.searches.keep(&known);
        self.unreadable.retain(|key, _| known.contains(key));
        for key in known {
            self.search(key.clone(), 1);
            self.sweep(key, Duration::ZERO);
        }
    }

    fn search(&mut self, key: ClusterKey, times: u8) {
        self.searches.owe(key, times, None);
    }

    fn sweep(&mut self, key: ClusterKey, after: Duration) {
        let at = Instant::now() + after;
        let due = self.due.entry(key).or_insert(at);
        *due = (*due).min(at);
    }

    fn changed(&mut self, change: Change<api_types::external::velero::BackupStorageLocation>) {
        match change {
            Change::Object {
                cluster, key, new, ..
            } if borrowed::is_borrowed(&key.name) => {
                if new.is_none() {
                    self.search(cluster.clone(), SEARCHES);
                }
                self.sweep(cluster, Duration::ZERO);
            }
            Change::State { cluster } => {
                self.search(cluster.clone(), 1);
                self.sweep(cluster, Duration::ZERO);
            }
            Change::Lagged => self.everywhere(),
            Change::Object { .. } | Change::Invalid { .. } => {}
        }
    }

    fn next_due(&self) -> Instant {
        let far = Instant::now() + self.ctx.timings.location_sweep;
        let free = self
            .due
            .iter()
            .filter(|(key, _)| !self.at_work.is_busy(key));
        free.map(|(_, at)| *at).min().unwrap_or(far)
    }

    /// Starts every sweep that is due, one a member at a time.
    fn start(&mut self) {
        let now = Instant::now();
        let due = self.due.iter().filter(|(_, at)| **at <= now);
        let due: Vec<ClusterKey> = due
            .map(|(key, _)| key.clone())
            .filter(|key| !self.at_work.is_busy(key))
            .collect();
        for key in due {
            self.due.remove(&key);
            let searches = self.searches.take(&key, now);
            let (ctx, turns) = (Arc::clone(&self.ctx), Arc::clone(&self.turns));
            let member = key.clone();
            self.at_work.start(key, async move {
                // The semaphore is never closed.
                let _turn = turns.acquire().await.ok();
                sweep::sweep(&ctx, &member, searches).await
            });
        }
    }

    fn done(&mut self, key: &ClusterKey, swept: Swept) {
        if swept.searches > 0 {
            // One that could not be made at all is made once the member is there.
            let after = swept.again.map(|_| self.ctx.timings.look_again);
            let from = after.map(|after| Instant::now() + after);
            self.searches.owe(key.clone(), swept.searches, from);
        }
        if let Some(from) = self.searches.due(key) {
            self.sweep(key.clone(), from.saturating_duration_since(Instant::now()));
        }
        if let Some(again) = swept.again {
            self.sweep(key.clone(), again);
        }
        let told = self.unreadable.entry(key.clone()).or_default();
        for mark in swept.unreadable.difference(told) {
            tracing::warn!(cluster = %key, %mark,
                "a mark of use cannot be read: the location stays until somebody removes it");
        }
        *told = swept.unreadable;
    }
}
