//! What becomes of a read-only location: which uses have ended, and whether it goes. Pure.

use std::time::Duration;

use api_types::external::velero::BackupStorageLocation;
use api_types::phase::Phase;
use api_types::restore::Restore;
use jiff::Timestamp;
use velero_kit::borrowed::{self, Use};

use crate::operation::{is_settled, sooner};
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
    let uses = borrowed::uses(&location.metadata);
    for by in &uses {
        match need(by) {
            Need::Yes => {}
            Need::For(left) => decision.again = sooner(decision.again, Some(left)),
            Need::No => decision.release.push(by.uid.clone()),
        }
    }
    if uses.is_empty() {
        let made = location.metadata.creation_timestamp.as_ref();
        let made = made.map_or(now, |made| made.0);
        let left = left(made, timings.location_age, now);
        decision.delete = left.is_zero();
        decision.again = Some(left).filter(|left| !left.is_zero());
    }
    decision
}

/// Whether a Restore needs a location that it has marked as used. `known`: what the hub has under its
/// name.
pub fn need(by: &Use, known: Option<&Restore>, now: Timestamp, timings: &Timings) -> Need {
    let Some(restore) = known.filter(|restore| restore.metadata.uid.as_ref() == Some(&by.uid))
    else {
        return Need::No;
    };
    let status = restore.status.clone().unwrap_or_default();
    // One that is being deleted needs it until its Velero Restores are gone, and it is.
    if restore.metadata.deletion_timestamp.is_some() || !is_settled(restore) {
        return Need::Yes;
    }
    if status.phase == Some(Phase::Completed) {
        return Need::No;
    }
    let ended = status.completion_time.map_or(now, |ended| ended.0);
    match left(ended, timings.location_kept, now) {
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
    use api_types::restore::{RestoreSpec, RestoreStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

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
        let by = &borrowed::uses(&location(&["u"]).metadata)[0];
        need(by, known, at(second), &Timings::default())
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
