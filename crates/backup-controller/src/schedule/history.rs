//! The runs of one cluster: which is the newest, which ended, how did they go. Pure.

use std::sync::Arc;

use api_types::aggregate::{Seen, VeleroPhase, Work, entry_state, sanitize_backup};
use api_types::backup::{BackupDetail, BackupRun};
use api_types::external::velero;
use api_types::phase::EntryPhase;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use velero_kit::classify;

use crate::operation::entry::whole_seconds;

/// The runs of one cluster, the newest first.
#[derive(Debug, Clone, Default)]
pub struct Runs(Vec<Arc<velero::Backup>>);

/// When a run began; one that has not begun yet counts from its creation.
fn began(run: &velero::Backup) -> Option<Timestamp> {
    let created = run.metadata.creation_timestamp.as_ref();
    run.start_timestamp()
        .or_else(|| created.map(|created| created.0))
}

fn is_done(run: &velero::Backup) -> bool {
    VeleroPhase::of(run.phase()).is_final()
}

fn completion(run: &velero::Backup) -> Option<Timestamp> {
    let status = sanitize_backup(&run.status).status;
    status.completion_timestamp.map(|time| time.0)
}

impl Runs {
    /// The same in order, each once.
    pub fn new(runs: impl IntoIterator<Item = Arc<velero::Backup>>) -> Self {
        let mut runs: Vec<_> = runs.into_iter().collect();
        runs.sort_by_cached_key(|run| std::cmp::Reverse((began(run), run.name_any())));
        runs.dedup_by(|a, b| a.metadata.name == b.metadata.name);
        Self(runs)
    }

    /// The same with one more.
    pub fn add(&mut self, run: Option<Arc<velero::Backup>>) {
        if let Some(run) = run {
            *self = Self::new(std::mem::take(&mut self.0).into_iter().chain([run]));
        }
    }

    /// The newest one that Velero has still to end. One that is being deleted is none.
    pub fn unfinished(&self) -> Option<&Arc<velero::Backup>> {
        let going = |run: &velero::Backup| {
            run.metadata.deletion_timestamp.is_some()
                || VeleroPhase::of(run.phase()) == VeleroPhase::Deleting
        };
        self.0.iter().find(|run| !is_done(run) && !going(run))
    }

    /// Whether Velero starts no other run of their Schedule while they are as they are. It looks for
    /// these phases only (`velero.md` 4): one that is queued, waits for operations of plugins or is
    /// finalized stops none.
    pub fn hold_up_next(&self) -> bool {
        let holds = |phase| matches!(phase, "" | "New" | "InProgress");
        self.0.iter().any(|run| holds(run.phase()))
    }

    /// When the last of them to end did so, by the clock of the member; what that sets in the future
    /// does not count.
    pub fn last_end(&self, now: Timestamp) -> Option<Timestamp> {
        let ended = self.0.iter().filter(|run| is_done(run));
        let ends = ended.filter_map(|run| completion(run));
        ends.filter(|end| *end <= now).max()
    }

    /// Whether there is one with such a name.
    pub fn any(&self, name: impl Fn(&str) -> bool) -> bool {
        let mut names = self.0.iter().filter_map(|run| run.metadata.name.as_deref());
        names.any(name)
    }

    /// The earliest time at which the data of a run that can be restored may go.
    pub fn expiration(&self) -> Option<Timestamp> {
        let restorable = |run: &&Arc<velero::Backup>| {
            matches!(
                VeleroPhase::of(run.phase()),
                VeleroPhase::Completed | VeleroPhase::PartiallyFailed
            )
        };
        let restorable = self.0.iter().filter(restorable);
        restorable.filter_map(|run| run.expiration()).min()
    }

    /// What went wrong with the newest run that has ended, if it did not complete.
    pub fn failure(&self) -> Option<String> {
        let newest = self.0.iter().find(|run| is_done(run))?;
        if VeleroPhase::of(newest.phase()) == VeleroPhase::Completed {
            return None;
        }
        let name = newest.name_any();
        let copy = sanitize_backup(&newest.status);
        let why = classify::failure_message(&name, &copy.status).unwrap_or_default();
        Some(format!("run {name}: {why}"))
    }

    /// Whether the run that an entry shows had begun, and is gone before it has ended. One that was
    /// only just made may not have been seen yet.
    pub fn has_lost(&self, detail: &BackupDetail) -> bool {
        let began = detail
            .backup_status_in_cluster
            .as_ref()
            .is_some_and(|shown| shown.start_timestamp.is_some());
        let goes = detail.phase == EntryPhase::Deleting;
        began && !goes && !detail.phase.is_final() && self.is_gone(detail)
    }

    fn is_gone(&self, detail: &BackupDetail) -> bool {
        let shown = detail.backup_name_in_cluster.as_deref();
        shown.is_some_and(|shown| !self.any(|name| name == shown))
    }

    /// Writes the runs into an entry: the newest is the entry itself, `older` more that have ended
    /// are listed. A final result outlives its object, until a newer run is there.
    pub fn write(&self, detail: &mut BackupDetail, older: usize) {
        if let Some(newest) = self.newest(detail) {
            write_newest(detail, newest);
        }
        let shown = detail.backup_name_in_cluster.clone();
        let ended = self
            .0
            .iter()
            .filter(|run| is_done(run) && run.metadata.name != shown);
        detail.runs = ended.take(older).map(|run| listed(run)).collect();
        self.write_outcomes(detail);
    }

    /// The newest run, unless the entry shows a newer one that is gone.
    fn newest(&self, detail: &BackupDetail) -> Option<&Arc<velero::Backup>> {
        let newest = self.0.first()?;
        let shown = detail.backup_status_in_cluster.as_ref();
        let gone = detail.phase.is_final() && self.is_gone(detail);
        let shown = shown
            .and_then(|shown| shown.start_timestamp.as_ref())
            .map(|time| time.0);
        (!gone || began(newest) > shown).then_some(newest)
    }

    fn write_outcomes(&self, detail: &mut BackupDetail) {
        let completed =
            |run: &&Arc<velero::Backup>| VeleroPhase::of(run.phase()) == VeleroPhase::Completed;
        let success = self
            .0
            .iter()
            .find(completed)
            .and_then(|run| completion(run));
        let known = detail.last_success_time.as_ref().map(|time| time.0);
        detail.last_success_time = success.map(whole_seconds).max(known).map(Time);
        let ended = || self.0.iter().filter(|run| is_done(run));
        let failures = ended().take_while(|run| !completed(run)).count();
        // What the entry shows is newer than all that are there.
        let lost = self.is_gone(detail)
            && matches!(
                detail.phase,
                EntryPhase::Failed | EntryPhase::PartiallyFailed
            );
        let failures = failures + usize::from(lost);
        let broken = ended().any(|run| completed(&run));
        let failures = i32::try_from(failures).unwrap_or(i32::MAX);
        // Of failures whose objects have expired, only the count is left.
        let known = detail.consecutive_failures.filter(|_| !broken).unwrap_or(0);
        let any = lost || ended().next().is_some() || detail.consecutive_failures.is_some();
        detail.consecutive_failures = any.then_some(failures.max(known));
    }
}

fn write_newest(detail: &mut BackupDetail, run: &velero::Backup) {
    let seen = Seen::Present {
        phase: run.phase(),
        deleting: run.metadata.deletion_timestamp.is_some(),
    };
    if let Some(state) = entry_state(Work::Backup, EntryPhase::Pending, seen, false) {
        detail.phase = state.phase;
    }
    detail.backup_name_in_cluster.clone_from(&run.metadata.name);
    detail.backup_status_in_cluster = Some(sanitize_backup(&run.status).status);
}

fn listed(run: &velero::Backup) -> BackupRun {
    let status = sanitize_backup(&run.status).status;
    BackupRun {
        name: run.name_any(),
        phase: run.phase().to_owned(),
        start_timestamp: status.start_timestamp,
        completion_timestamp: status.completion_timestamp,
    }
}

/// How many older runs each cluster may show, so that the status of many clusters stays small
/// (`api.md` 3.3).
pub fn older_runs(history_limit: usize, clusters: usize) -> usize {
    let affordable = 2000_usize.checked_div(clusters).unwrap_or(2000).max(1);
    history_limit.min(affordable).saturating_sub(1)
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
