//! What Kurator v0.5.0 has begun, on a hub that was upgraded in place: it is told as it was last seen,
//! and nothing of it begins again. Pure.

use std::collections::BTreeMap;

use api_types::aggregate::{Seen, entry_state};
use api_types::common::Destination;
use api_types::condition::reason;
use api_types::key::ClusterKey;
use api_types::phase::EntryPhase;
use jiff::Timestamp;
use velero_kit::problem::Problem;

use super::destination::Requested;
use super::{Detail, entry};

/// Whether an entry is one of Kurator v0.5.0: it wrote the object's name and no member. Nothing
/// proves whose that object is.
pub fn is_inherited(detail: &impl Detail) -> bool {
    detail.member_uid().is_none() && detail.object_name().is_some()
}

/// The clusters of an operation that Kurator v0.5.0 has begun; `None` if it has not. Of a whole fleet
/// those that it wrote down, since who joined later was never asked for; of a list all of it.
pub fn requested<D: Detail>(
    stored: &BTreeMap<ClusterKey, D>,
    now: &Requested,
    destination: &Destination,
) -> Option<Requested> {
    if !stored.values().any(is_inherited) {
        return None;
    }
    let listed = now.keys().filter(|_| !destination.clusters.is_empty());
    let all = stored.keys().chain(listed);
    Some(all.map(|key| (key.clone(), None)).collect())
}

/// Ends an entry of such an operation with what Velero was last seen to say of it.
pub fn end<D: Detail>(detail: &mut D, now: Timestamp) {
    if detail.phase().is_final() {
        return;
    }
    let before = detail.phase();
    let phase = detail.velero_phase().unwrap_or_default().to_owned();
    let seen = Seen::Present {
        phase: &phase,
        deleting: false,
    };
    let state = entry_state(D::WORK, EntryPhase::Pending, seen, false);
    let state = state.filter(|state| state.phase.is_final() && is_inherited(detail));
    if let Some(state) = state {
        *detail.common().phase = state.phase;
        if let Some(reason) = state.reason {
            let message = format!("ended {phase}, as Kurator v0.5.0 has last seen it");
            entry::say(detail, &Problem::new(reason, message));
        }
    } else {
        *detail.common().phase = EntryPhase::Failed;
        let message = "an earlier controller has begun this, and it cannot be followed any \
                       more: look at Velero in the member, and make a new one";
        entry::say(detail, &Problem::new(reason::NOT_FOLLOWED, message));
    }
    entry::transition(detail, before, now);
}

#[cfg(test)]
mod tests {
    use api_types::backup::BackupDetail;
    use serde_json::json;

    use super::*;
    use crate::backup::fixtures::{NAME, at, attached, detail, key};

    /// As Kurator v0.5.0 has written it.
    fn of_v050(phase: Option<&str>) -> BackupDetail {
        let velero = phase.map(|phase| json!({ "phase": phase }));
        BackupDetail {
            backup_name_in_cluster: Some(NAME.to_owned()),
            backup_status_in_cluster: velero.map(|velero| serde_json::from_value(velero).unwrap()),
            ..detail("oslo", EntryPhase::Pending)
        }
    }

    #[test]
    fn an_entry_of_v0_5_0_ends_as_velero_was_last_seen_and_else_failed() {
        let table = [
            (Some("Completed"), EntryPhase::Completed, None),
            (
                Some("PartiallyFailed"),
                EntryPhase::PartiallyFailed,
                Some("BackupPartiallyFailed"),
            ),
            (Some("Failed"), EntryPhase::Failed, Some("BackupFailed")),
            (
                Some("FailedValidation"),
                EntryPhase::Failed,
                Some("BackupRejected"),
            ),
            (Some("InProgress"), EntryPhase::Failed, Some("NotFollowed")),
            (Some("Deleting"), EntryPhase::Failed, Some("NotFollowed")),
            (Some(""), EntryPhase::Failed, Some("NotFollowed")),
            (None, EntryPhase::Failed, Some("NotFollowed")),
        ];
        for (velero, phase, reason) in table {
            let mut entry = of_v050(velero);
            end(&mut entry, at(5));
            assert_eq!((entry.phase, entry.reason.as_deref()), (phase, reason));
            let once = entry.clone();
            end(&mut entry, at(9));
            assert_eq!(entry, once, "it stays as it ended");
        }
    }

    #[test]
    fn what_was_listed_and_never_begun_fails_and_who_joined_the_fleet_later_is_not_asked_for() {
        let stored = BTreeMap::from([(key("oslo"), of_v050(Some("Completed")))]);
        let now: Requested = [(key("bergen"), None), (key("oslo"), None)].into();
        let whole = Destination::default();
        let of_fleet = requested(&stored, &now, &whole).unwrap();
        assert_eq!(of_fleet.keys().collect::<Vec<_>>(), [&key("oslo")]);
        let list = Destination {
            clusters: vec![attached("bergen"), attached("oslo")],
            ..whole.clone()
        };
        assert_eq!(requested(&stored, &now, &list).unwrap().len(), 2);
        let mut never = detail("bergen", EntryPhase::Pending);
        end(&mut never, at(5));
        assert_eq!(never.phase, EntryPhase::Failed);

        let ours = BackupDetail {
            member_uid: Some("claimed".to_owned()),
            ..of_v050(None)
        };
        for ours in [ours, detail("oslo", EntryPhase::Pending)] {
            let stored = BTreeMap::from([(key("oslo"), ours)]);
            assert_eq!(requested(&stored, &now, &whole), None);
        }
    }
}
