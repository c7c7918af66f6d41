//! What becomes of a read-only location: which uses have ended, and whether it goes. Pure.

use std::time::Duration;

use api_types::aggregate;
use api_types::external::velero::BackupStorageLocation;
use api_types::migrate::Migrate;
use api_types::phase::Phase;
use api_types::restore::Restore;
use jiff::Timestamp;
use velero_kit::borrowed::{self, Mark, Use};

use crate::operation::{conclude, sooner};
use crate::timings::Timings;

/// What is to be done about a location now.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Uids of the uses that have ended.
    pub release: Vec<String>,
    /// Nobody uses it.
    pub delete: bool,
    /// When to look again, if nothing changes before.
    pub again: Option<Duration>,
}

/// Whether an operation still needs what it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Yes, or it is not ours to say.
    Yes,
    /// For this long.
    For(Duration),
    /// No.
    No,
}

/// Decides about a location; `need` tells of each use.
pub fn decide(
    location: &BackupStorageLocation,
    need: impl Fn(&Use) -> Need,
    now: Timestamp,
    timings: &Timings,
) -> Decision {
    let mut decision = Decision::default();
    let marks = borrowed::uses(&location.metadata);
    for mark in &marks {
        let Mark::By(by) = mark else { continue };
        match need(by) {
            Need::Yes => {}
            Need::For(left) => decision.again = sooner(decision.again, Some(left)),
            Need::No => decision.release.push(by.uid.clone()),
        }
    }
    if marks.is_empty() {
        let made = location.metadata.creation_timestamp.as_ref();
        let made = made.map_or(now, |made| made.0);
        let left = left(made, timings.location_age, now);
        decision.delete = left.is_zero();
        decision.again = Some(left).filter(|left| !left.is_zero());
    }
    decision
}

/// What the hub has of an operation that has marked a location as used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub uid: Option<String>,
    /// It is being deleted.
    pub goes: bool,
    pub phase: Option<Phase>,
    pub succeeded: Option<bool>,
    /// When its outcome became final.
    pub ended: Option<Timestamp>,
    /// It was cancelled: nobody will look what it has read.
    pub cancelled: bool,
}

// The kinds that read from elsewhere have these fields alike.
macro_rules! known {
    ($($kind:ty: $cancelled:expr),+) => {$(
        impl From<&$kind> for Known {
            fn from(object: &$kind) -> Self {
                let status = object.status.as_ref();
                let ended = status.and_then(|status| status.completion_time.as_ref());
                Self {
                    uid: object.metadata.uid.clone(),
                    goes: object.metadata.deletion_timestamp.is_some(),
                    phase: status.and_then(|status| status.phase),
                    succeeded: status.and_then(|status| conclude::succeeded(&status.conditions)),
                    ended: ended.map(|ended| ended.0),
                    cancelled: {
                        let cancelled: fn(&$kind) -> bool = $cancelled;
                        cancelled(object)
                    },
                }
            }
        }
    )+};
}

known!(Restore: |_| false, Migrate: |migrate| migrate.spec.cancel == Some(true));

/// Whether an operation needs a location that it has marked as used. `known`: what the hub has under
/// its name.
pub fn need(by: &Use, known: Option<&Known>, now: Timestamp, timings: &Timings) -> Need {
    let Some(known) = known.filter(|known| known.uid.as_ref() == Some(&by.uid)) else {
        return Need::No;
    };
    // One that is being deleted needs it until its Velero Restores are gone, and it is.
    if known.goes || !aggregate::is_final(known.phase, known.succeeded) {
        return Need::Yes;
    }
    if known.phase == Some(Phase::Completed) || known.cancelled {
        return Need::No;
    }
    match left(known.ended.unwrap_or(now), timings.location_kept, now) {
        Duration::ZERO => Need::No,
        left => Need::For(left),
    }
}

/// What is left of a span that began then.
fn left(began: Timestamp, span: Duration, now: Timestamp) -> Duration {
    let passed = Duration::try_from(now.duration_since(began)).unwrap_or_default();
    span.saturating_sub(passed)
}

#[cfg(test)]
mod tests {
    use api_types::condition::SUCCEEDED;
    use api_types::migrate::{MigrateSpec, MigrateStatus};
    use api_types::restore::{RestoreSpec, RestoreStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use kube::ResourceExt;
    use serde_json::json;

    use super::*;
    use crate::backup::fixtures::at;

    fn location(uses: &[&str]) -> BackupStorageLocation {
        let annotations: serde_json::Map<String, serde_json::Value> = uses
            .iter()
            .map(|uid| {
                (
                    format!("use.kurator.dev/{uid}"),
                    json!("hub/Restore/team-a/again"),
                )
            })
            .collect();
        let object = json!({ "metadata": {
            "name": "kurator-from-0123456789",
            "creationTimestamp": at(0).to_string(),
            "annotations": annotations,
        } });
        serde_json::from_value(object).unwrap()
    }

    fn decided(uses: &[&str], need: Need, second: i64) -> Decision {
        decide(&location(uses), |_| need, at(second), &Timings::default())
    }

    #[test]
    fn a_location_goes_only_without_uses_and_not_while_it_is_new() {
        let new = Decision {
            again: Some(Duration::from_secs(59)),
            ..Decision::default()
        };
        assert_eq!(decided(&[], Need::Yes, 1), new);
        assert!(decided(&[], Need::Yes, 60).delete);
        assert_eq!(decided(&["a"], Need::Yes, 9999), Decision::default());
        // The last use must be seen to have gone first.
        let released = decided(&["a", "b"], Need::No, 9999);
        assert_eq!(released.release, ["a", "b"]);
        assert!(!released.delete);
        let later = decided(&["a"], Need::For(Duration::from_secs(7)), 9999);
        assert_eq!(later.again, Some(Duration::from_secs(7)));
        assert!(!later.delete && later.release.is_empty());
    }

    fn restore(phase: Phase, succeeded: Option<bool>) -> Restore {
        let mut restore = Restore::new("again", RestoreSpec::default());
        restore.metadata.uid = Some("u".to_owned());
        let conditions = succeeded.map(|succeeded| {
            let condition = json!({
                "type": SUCCEEDED,
                "status": if succeeded { "True" } else { "False" },
                "lastTransitionTime": at(100).to_string(),
            });
            serde_json::from_value(condition).unwrap()
        });
        restore.status = Some(RestoreStatus {
            phase: Some(phase),
            conditions: conditions.into_iter().collect(),
            completion_time: succeeded.map(|_| Time(at(100))),
            ..RestoreStatus::default()
        });
        restore
    }

    fn needs(known: Option<&Restore>, second: i64) -> Need {
        needs_of(known.map(Known::from).as_ref(), second)
    }

    fn needs_of(known: Option<&Known>, second: i64) -> Need {
        let marks = borrowed::uses(&location(&["u"]).metadata);
        let [Mark::By(by)] = marks.as_slice() else {
            panic!("{marks:?}")
        };
        need(by, known, at(second), &Timings::default())
    }

    #[test]
    fn a_mark_that_cannot_be_read_keeps_the_location() {
        let mut marked = location(&["a"]);
        let broken = "use.kurator.dev/b".to_owned();
        marked.annotations_mut().insert(broken, "?".to_owned());
        let decided = decide(&marked, |_| Need::No, at(9999), &Timings::default());
        assert_eq!(decided.release, ["a"], "the other one is another's");
        marked.annotations_mut().remove("use.kurator.dev/a");
        let decided = decide(&marked, |_| Need::No, at(9999), &Timings::default());
        assert_eq!(decided, Decision::default());
    }

    #[test]
    fn a_migrate_needs_it_like_a_restore() {
        let mut migrate = Migrate::new("move", MigrateSpec::default());
        migrate.metadata.uid = Some("u".to_owned());
        let mut needs = |phase, ended: Option<i64>, second| {
            migrate.status = Some(MigrateStatus {
                phase: Some(phase),
                completion_time: ended.map(|ended| Time(at(ended))),
                ..MigrateStatus::default()
            });
            needs_of(Some(&Known::from(&migrate)), second)
        };
        assert_eq!(needs(Phase::RestoreInProgress, None, 9999), Need::Yes);
        assert_eq!(needs(Phase::Completed, Some(100), 100), Need::No);
        let day = 24 * 60 * 60;
        let left = Need::For(Duration::from_secs(day - 10));
        assert_eq!(needs(Phase::Failed, Some(100), 110), left);
        assert_eq!(
            needs(Phase::Failed, Some(100), 100 + 24 * 60 * 60),
            Need::No
        );
        migrate.spec.cancel = Some(true);
        let of = |migrate: &Migrate| needs_of(Some(&Known::from(migrate)), 200);
        assert_eq!(of(&migrate), Need::No, "it was cancelled");
        migrate.status.as_mut().unwrap().phase = Some(Phase::RestoreInProgress);
        assert_eq!(of(&migrate), Need::Yes, "what runs is awaited");
    }

    #[test]
    fn a_restore_needs_it_until_it_completed_or_a_day_after_another_end() {
        let day = 24 * 60 * 60;
        let running = restore(Phase::InProgress, None);
        assert_eq!(needs(Some(&running), 9999), Need::Yes);
        let completed = restore(Phase::Completed, Some(true));
        assert_eq!(needs(Some(&completed), 100), Need::No);
        let failed = restore(Phase::PartiallyFailed, Some(false));
        assert_eq!(
            needs(Some(&failed), 110),
            Need::For(Duration::from_secs(day - 10))
        );
        assert_eq!(needs(Some(&failed), 100 + 24 * 60 * 60), Need::No);
    }

    #[test]
    fn what_is_gone_or_another_of_its_name_needs_nothing_and_what_goes_still_does() {
        assert_eq!(needs(None, 0), Need::No);
        let mut other = restore(Phase::InProgress, None);
        other.metadata.uid = Some("another".to_owned());
        assert_eq!(needs(Some(&other), 0), Need::No);
        let mut going = restore(Phase::Completed, Some(true));
        going.metadata.deletion_timestamp = Some(Time(at(1)));
        assert_eq!(needs(Some(&going), 200), Need::Yes);
    }
}
