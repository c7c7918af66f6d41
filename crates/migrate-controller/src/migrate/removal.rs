//! Deleting a Migrate: in which order what it made goes. Pure.
//!
//! The Velero Restores go first, each target by itself, and with them the use of the source's place.
//! The backup is kept, or goes once nothing reads it any more.

use api_types::common::DeletionPolicy;
use api_types::condition::reason;
use velero_kit::problem::Problem;

/// What is left of a Migrate in one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// Nothing: its Restore and its use of the source's place are gone.
    Nothing,
    /// Something, and what it waits for.
    Open(Problem),
    /// Something that nobody waits for any more: by force, or because the cluster is gone for good.
    LetGo(Problem),
}

/// What is done about the backup in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfBackup {
    /// It stays until its ttl, also while it runs; its member is not needed.
    Keep,
    /// It goes, but something reads it.
    Await(Problem),
    /// It goes now, with its data.
    Remove,
}

/// Decides about the backup; `begun`: its source was claimed.
pub fn of_backup<'a>(
    policy: DeletionPolicy,
    begun: bool,
    targets: impl Iterator<Item = (&'a str, &'a Left)>,
) -> OfBackup {
    if policy == DeletionPolicy::Retain || !begun {
        return OfBackup::Keep;
    }
    let mut reading = targets.filter(|(_, left)| matches!(left, Left::Open(_)));
    let Some((first, _)) = reading.next() else {
        return OfBackup::Remove;
    };
    let more = match reading.count() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    OfBackup::Await(Problem::new(
        reason::DELETION_PENDING,
        format!(
            "waits for the Velero Restore in {first}{more} to be gone, which may read the backup"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Left {
        Left::Open(Problem::new(reason::DELETION_PENDING, "it runs"))
    }

    fn decide(policy: DeletionPolicy, begun: bool, targets: &[(&str, Left)]) -> OfBackup {
        let targets = targets.iter().map(|(name, left)| (*name, left));
        of_backup(policy, begun, targets)
    }

    #[test]
    fn the_backup_goes_only_where_that_is_asked_for_and_after_all_that_may_read_it() {
        use DeletionPolicy::{Delete, Retain};
        let let_go = Left::LetGo(Problem::new(reason::UNREACHABLE, "silent"));
        let gone = [("bergen", Left::Nothing), ("turku", let_go)];
        let reading = [("bergen", open()), ("turku", open())];
        assert_eq!(decide(Retain, true, &gone), OfBackup::Keep);
        assert_eq!(decide(Retain, true, &reading), OfBackup::Keep);
        assert_eq!(decide(Delete, false, &reading), OfBackup::Keep);
        assert_eq!(decide(Delete, true, &gone), OfBackup::Remove);
        assert_eq!(decide(Delete, true, &[]), OfBackup::Remove);
        let OfBackup::Await(problem) = decide(Delete, true, &reading) else {
            panic!("it is read");
        };
        assert_eq!(problem.reason, "DeletionPending");
        assert!(problem.message.contains("bergen and 1 more"), "{problem:?}");
    }
}
