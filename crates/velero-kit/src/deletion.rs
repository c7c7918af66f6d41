//! Getting rid of one Velero Backup with its data, step by step and never on a guess.
//!
//! Velero removes `backups/<name>/` by name, whoever wrote it, and brings a plainly deleted Backup
//! back at its next sync. So a `DeleteBackupRequest` is made only for a Backup that a live read has
//! shown to be ours and done, and a Backup that is absent counts as gone only once a whole sync of its
//! location has passed since we first looked. [`next`] is the pure decision; callers read, act and call it again.

use std::time::Duration;

use api_types::aggregate::VeleroPhase;
use api_types::external::velero;
use jiff::Timestamp;

/// A request that does not move for this long is made again.
const REQUEST_PATIENCE: Duration = Duration::from_mins(5);
/// The wait before the second request, doubled for each further one.
const RETRY_BASE: Duration = Duration::from_secs(10);
/// The longest wait between two requests.
const RETRY_CAP: Duration = Duration::from_mins(5);

/// What live reads have just shown. Everything in it was checked to carry our owner and member
/// labels.
#[derive(Debug, Clone, Copy, Default)]
pub struct Observed<'a> {
    /// The Backup under its claimed name.
    pub backup: Option<&'a velero::Backup>,
    /// Our newest request for it.
    pub request: Option<&'a velero::DeleteBackupRequest>,
    /// `lastSyncedTime` of the location that the Backup was made in.
    pub last_synced: Option<Timestamp>,
}

/// What this process remembers of one Backup that it is deleting. Losing it costs two more syncs of
/// Velero's (about two minutes), never data.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    saw_backup: bool,
    /// A request that Velero has not answered with errors was seen beside the Backup.
    saw_request: bool,
    /// The uid of the Backup that was last deleted plainly.
    dropped: Option<String>,
    /// The Backup as it was first found absent.
    absent_since: Option<Absence>,
    /// Number of the newest request, and since when it has had its present phase.
    request: Option<Seen>,
    /// Since when a Backup is `Deleting` without a request of ours.
    orphaned_since: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy)]
struct Absence {
    /// The newest `lastSyncedTime` since; `None` for a location that was never synced, or is absent
    /// itself.
    synced: Option<Timestamp>,
    /// How often it has changed since.
    syncs: u8,
}

/// Velero writes the time at the end of a sync. The first one that ends may have compared bucket and
/// objects before the Backup went, and would then prove nothing; the second one has begun after it.
const PROOF: u8 = 2;

#[derive(Debug, Clone)]
struct Seen {
    number: u32,
    phase: String,
    since: Timestamp,
}

impl Memory {
    /// A request was created. Velero removes one only when it has succeeded, so a Backup and a
    /// request that are both gone later are proof, seen together or not.
    pub fn requested(&mut self) {
        self.saw_request = true;
    }
}

/// The next step towards an empty bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Backup and data are gone.
    Done,
    /// Nothing to do now; look again when something changes, at the latest after `again`.
    Wait { why: String, again: Duration },
    /// The last request failed; wait, then ask again.
    Failed { why: String, again: Duration },
    /// Create the `DeleteBackupRequest` of this number.
    Request { number: u32 },
    /// Delete the Backup object itself: Velero has no data of it, or will bring it back, and then it
    /// is requested.
    DeletePlainly,
}

/// Name of a request: fixed, so that creating it twice is noticed.
pub fn request_name(backup_uid: &str, number: u32) -> String {
    format!("{backup_uid}-{number}")
}

/// Number of a request that [`request_name`] named.
pub fn request_number(name: &str) -> Option<u32> {
    name.rsplit_once('-').and_then(|(_, n)| n.parse().ok())
}

/// Decides the next step and remembers what it saw.
pub fn next(memory: &mut Memory, seen: Observed<'_>, now: Timestamp) -> Step {
    match seen.backup {
        Some(backup) => present(memory, backup, seen.request, now),
        None => absent(memory, seen),
    }
}

fn present(
    memory: &mut Memory,
    backup: &velero::Backup,
    request: Option<&velero::DeleteBackupRequest>,
    now: Timestamp,
) -> Step {
    memory.saw_backup = true;
    memory.absent_since = None;
    if backup.metadata.deletion_timestamp.is_some() {
        return wait("the Velero Backup is going away", REQUEST_PATIENCE);
    }
    match backup.phase() {
        "Deleting" if request.is_none() => return orphaned(memory, now),
        "Completed" | "PartiallyFailed" | "Deleting" => {}
        // Velero has made it anew from the bucket, so there is data under our name.
        "Failed" | "FailedValidation" if came_back(memory, backup) => {}
        phase if is_running(phase) => {
            return wait(
                "the backup is still running: Velero cannot stop it, it is deleted when it has \
                 ended",
                REQUEST_PATIENCE,
            );
        }
        _ => {
            memory.dropped.clone_from(&backup.metadata.uid);
            return Step::DeletePlainly;
        }
    }
    memory.orphaned_since = None;
    follow(memory, request, now)
}

/// Whether this is another object than the one that was deleted plainly.
fn came_back(memory: &Memory, backup: &velero::Backup) -> bool {
    memory.dropped.is_some() && memory.dropped != backup.metadata.uid
}

/// A phase that this version does not know counts as running.
fn is_running(phase: &str) -> bool {
    matches!(
        VeleroPhase::of(phase),
        VeleroPhase::Running | VeleroPhase::Unknown
    )
}

/// A Backup that Velero left `Deleting`: the request that did it is gone, so one more is needed.
fn orphaned(memory: &mut Memory, now: Timestamp) -> Step {
    let since = *memory.orphaned_since.get_or_insert(now);
    let left = REQUEST_PATIENCE.saturating_sub(elapsed(since, now));
    if left.is_zero() {
        memory.orphaned_since = None;
        return Step::Request {
            number: next_number(memory),
        };
    }
    wait("Velero is deleting the backup", left)
}

fn follow(
    memory: &mut Memory,
    request: Option<&velero::DeleteBackupRequest>,
    now: Timestamp,
) -> Step {
    let Some(request) = request else {
        // A request that vanished while the Backup stayed: ask again, as the next number.
        memory.saw_request = false;
        return Step::Request {
            number: next_number(memory),
        };
    };
    let number = request
        .metadata
        .name
        .as_deref()
        .and_then(request_number)
        .unwrap_or(0);
    let phase = request.phase();
    let since = match &memory.request {
        Some(seen) if seen.number == number && seen.phase == phase => seen.since,
        _ => now,
    };
    memory.request = Some(Seen {
        number,
        phase: phase.to_owned(),
        since,
    });
    let errors = request.errors();
    let failed = phase == "Processed" && !errors.is_empty();
    memory.saw_request = !failed;
    let patience = if failed {
        RETRY_BASE.saturating_mul(1 << number.min(8)).min(RETRY_CAP)
    } else {
        REQUEST_PATIENCE
    };
    let left = patience.saturating_sub(elapsed(since, now));
    if left.is_zero() {
        return Step::Request {
            number: number.saturating_add(1),
        };
    }
    if failed {
        return Step::Failed {
            why: errors.join("; "),
            again: left,
        };
    }
    wait("Velero is deleting the backup", left)
}

fn absent(memory: &mut Memory, seen: Observed<'_>) -> Step {
    let absence = memory.absent_since.get_or_insert(Absence {
        synced: seen.last_synced,
        syncs: 0,
    });
    if seen.last_synced.is_some() && seen.last_synced != absence.synced {
        absence.synced = seen.last_synced;
        absence.syncs = absence.syncs.saturating_add(1);
    }
    let proved = absence.syncs >= PROOF;
    match seen.request {
        // It removes the request last of all.
        Some(request) if request.phase() != "Processed" => {
            return wait("Velero is finishing the deletion", REQUEST_PATIENCE);
        }
        None if memory.saw_backup && memory.saw_request => return Step::Done,
        _ => {}
    }
    if proved {
        return Step::Done;
    }
    wait(NEEDS_SYNC, REQUEST_PATIENCE)
}

const NEEDS_SYNC: &str = "no Velero Backup is there; waiting for Velero's next two looks into the \
                          bucket, one a minute, to be sure";

fn next_number(memory: &Memory) -> u32 {
    memory
        .request
        .as_ref()
        .map_or(0, |seen| seen.number.saturating_add(1))
}

fn wait(why: &str, again: Duration) -> Step {
    Step::Wait {
        why: why.to_owned(),
        again,
    }
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

#[cfg(test)]
#[path = "deletion_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "deletion_properties.rs"]
mod properties;
