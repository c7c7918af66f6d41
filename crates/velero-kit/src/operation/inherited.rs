//! What Kurator v0.5.0 has begun, on a hub that was upgraded in place: it is told as it was last seen,
//! and nothing of it begins again. Pure.

use std::collections::BTreeMap;

use crate::problem::Problem;
use api_types::aggregate::{Seen, entry_state};
use api_types::common::Destination;
use api_types::condition::reason;
use api_types::key::ClusterKey;
use api_types::phase::EntryPhase;
use jiff::Timestamp;

use super::destination::Requested;
use super::{Detail, entry};

/// Whether an entry is one of Kurator v0.5.0: it wrote the object's name and no member. Nothing
/// proves whose that object is.
pub fn is_inherited(detail: &impl Detail) -> bool {
    detail.member_uid().is_none() && detail.object_name().is_some()
}

/// The clusters of an operation that Kurator v0.5.0 has begun; `None` if it has not. Of a whole fleet
/// those that it wrote down, since who joined later was never asked for; of a list all of it.
fn requested<D: Detail>(
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

/// The entries of an operation, as they are stored or fresh, each with what is in the way of its
/// cluster. What Kurator v0.5.0 has begun is ended.
pub fn entries<D: Detail>(
    mut stored: BTreeMap<ClusterKey, D>,
    now: Requested,
    destination: &Destination,
    time: Timestamp,
) -> Vec<(ClusterKey, Option<Problem>, D)> {
    let inherited = requested(&stored, &now, destination);
    let ended = inherited.is_some();
    inherited
        .unwrap_or(now)
        .into_iter()
        .map(|(key, problem)| {
            let known = stored.remove(&key);
            let mut detail = known.unwrap_or_else(|| entry::fresh(&key));
            if ended {
                end(&mut detail, time);
            }
            (key, problem, detail)
        })
        .collect()
}

/// Why a deletion leaves the object of an entry behind, if Kurator v0.5.0 has made it: nothing proves
/// whose it is, so it is named and not touched. `velero`: what `velero` calls its kind.
pub fn left(detail: &impl Detail, velero: &str) -> Option<Problem> {
    is_inherited(detail).then(|| {
        let message = format!(
            "made by an earlier controller: if it is to go, delete it with `velero {velero} delete`"
        );
        Problem::new(reason::DELETION_PENDING, message)
    })
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
    use crate::operation::fixtures::{NAME, at, attached, detail, key};

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

    #[test]
    fn of_what_v0_5_0_has_begun_each_entry_ends_and_what_is_ours_goes_on() {
        let all = |stored: BackupDetail| {
            let stored = BTreeMap::from([(key("oslo"), stored)]);
            let now: Requested = [(key("bergen"), None), (key("oslo"), None)].into();
            let listed = Destination {
                clusters: vec![attached("oslo"), attached("bergen")],
                ..Destination::default()
            };
            let entries = entries(stored, now, &listed, at(5)).into_iter();
            let phases = entries.map(|(key, _, detail)| (key.name, detail.phase));
            phases.collect::<Vec<_>>()
        };
        let told = |bergen, oslo| vec![("bergen".to_owned(), bergen), ("oslo".to_owned(), oslo)];
        let theirs = told(EntryPhase::Failed, EntryPhase::Completed);
        assert_eq!(all(of_v050(Some("Completed"))), theirs);
        let mut ours = of_v050(Some("Completed"));
        ours.member_uid = Some("kube-system".to_owned());
        let pending = told(EntryPhase::Pending, EntryPhase::Pending);
        assert_eq!(all(ours), pending);
    }
}
