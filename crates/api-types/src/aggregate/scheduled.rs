//! The phase and the conditions of a scheduled Backup, which never ends.

use crate::aggregate::{Decision, Motion};
use crate::condition::{ConditionStatus, reason};
use crate::phase::Phase;

/// What is wrong in a cluster of a scheduled Backup, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Velero refuses the schedule.
    Rejected,
    /// The newest run that has ended did not complete.
    Failing,
    /// A run that was due did not appear.
    Missed,
    /// The cluster does not answer.
    Unreachable,
    /// It cannot have its schedule yet.
    Waiting,
}

/// One cluster of a scheduled Backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduledCluster {
    /// It has its schedule, as far as is known.
    pub placed: bool,
    /// The worst that is wrong there.
    pub fault: Option<Fault>,
}

/// All that the aggregate of a scheduled Backup is computed from.
#[derive(Clone, Copy, Debug)]
pub struct Scheduled<'a> {
    /// Whether no run is to be started.
    pub paused: bool,
    /// Whether the Fleet exists.
    pub fleet_found: bool,
    /// One for each cluster that is asked for.
    pub clusters: &'a [ScheduledCluster],
    /// The reason that all waiting clusters have in common, if there is one.
    pub waiting_for: Option<&'a str>,
}

/// What the status of a scheduled Backup has to say (`api.md` 3.5).
pub fn decide_scheduled(of: &Scheduled<'_>) -> Decision {
    let phase = if of.paused {
        Phase::Paused
    } else if of.clusters.iter().any(|cluster| cluster.placed) {
        Phase::Scheduled
    } else {
        Phase::Pending
    };
    let not_ready = |reason: &str, motion| decision(phase, ConditionStatus::False, reason, motion);
    if !of.fleet_found {
        return not_ready(reason::FLEET_NOT_FOUND, Motion::Reconciling);
    }
    if of.clusters.is_empty() {
        return not_ready(reason::NO_CLUSTERS, Motion::Reconciling);
    }
    let worst = of.clusters.iter().filter_map(|cluster| cluster.fault).min();
    match worst {
        None if of.paused => decision(phase, ConditionStatus::True, reason::PAUSED, Motion::Still),
        None => decision(
            phase,
            ConditionStatus::True,
            reason::SCHEDULED,
            Motion::Still,
        ),
        Some(Fault::Rejected) => not_ready(reason::SCHEDULE_REJECTED, Motion::Stalled),
        Some(Fault::Failing) => not_ready(reason::RUNS_FAILING, Motion::Stalled),
        Some(Fault::Missed) => not_ready(reason::RUN_MISSED, Motion::Stalled),
        Some(Fault::Unreachable) => not_ready(reason::CLUSTERS_UNREACHABLE, Motion::Stalled),
        Some(Fault::Waiting) => not_ready(
            of.waiting_for.unwrap_or(reason::WAITING_FOR_CLUSTERS),
            Motion::Reconciling,
        ),
    }
}

/// What is said of a scheduled Backup whose spec cannot work as it is. Never final: it may be edited.
pub fn refused_schedule(reason: &str) -> Decision {
    decision(
        Phase::FailedValidation,
        ConditionStatus::False,
        reason,
        Motion::Stalled,
    )
}

fn decision(phase: Phase, ready: ConditionStatus, reason: &str, motion: Motion) -> Decision {
    Decision {
        phase,
        ready,
        reason: reason.to_owned(),
        motion,
        succeeded: None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::aggregate::{OperationKind, transition_allowed};

    const WELL: ScheduledCluster = ScheduledCluster {
        placed: true,
        fault: None,
    };

    fn faulty(placed: bool, fault: Fault) -> ScheduledCluster {
        ScheduledCluster {
            placed,
            fault: Some(fault),
        }
    }

    fn of(clusters: &[ScheduledCluster]) -> Scheduled<'_> {
        Scheduled {
            paused: false,
            fleet_found: true,
            clusters,
            waiting_for: None,
        }
    }

    #[test]
    fn the_worst_of_all_clusters_is_told() {
        use Fault::{Failing, Missed, Rejected, Unreachable, Waiting};
        let waits = faulty(false, Waiting);
        let table: [(&[ScheduledCluster], Phase, &str, Motion); 8] = [
            (&[WELL, WELL], Phase::Scheduled, "Scheduled", Motion::Still),
            (&[], Phase::Pending, "NoClusters", Motion::Reconciling),
            (
                &[waits],
                Phase::Pending,
                "WaitingForClusters",
                Motion::Reconciling,
            ),
            (
                &[WELL, waits],
                Phase::Scheduled,
                "WaitingForClusters",
                Motion::Reconciling,
            ),
            (
                &[waits, faulty(true, Unreachable)],
                Phase::Scheduled,
                "ClustersUnreachable",
                Motion::Stalled,
            ),
            (
                &[faulty(true, Unreachable), faulty(true, Missed)],
                Phase::Scheduled,
                "RunMissed",
                Motion::Stalled,
            ),
            (
                &[faulty(true, Missed), faulty(true, Failing), WELL],
                Phase::Scheduled,
                "RunsFailing",
                Motion::Stalled,
            ),
            (
                &[faulty(true, Failing), faulty(true, Rejected)],
                Phase::Scheduled,
                "ScheduleRejected",
                Motion::Stalled,
            ),
        ];
        for (clusters, phase, reason, motion) in table {
            let decision = decide_scheduled(&of(clusters));
            assert_eq!(
                (decision.phase, decision.reason.as_str(), decision.motion),
                (phase, reason, motion),
                "{clusters:?}"
            );
            let ready = decision.ready == ConditionStatus::True;
            assert_eq!(ready, reason == "Scheduled", "{clusters:?}");
        }
    }

    #[test]
    fn what_all_wait_for_is_named() {
        let clusters = [faulty(false, Fault::Waiting)];
        let decision = decide_scheduled(&Scheduled {
            waiting_for: Some("VeleroNotInstalled"),
            ..of(&clusters)
        });
        assert_eq!(decision.reason, "VeleroNotInstalled");
    }

    #[test]
    fn a_missing_fleet_is_told_first_and_takes_no_phase_back() {
        let decision = decide_scheduled(&Scheduled {
            fleet_found: false,
            ..of(&[WELL])
        });
        assert_eq!(decision.phase, Phase::Scheduled);
        assert_eq!(decision.reason, "FleetNotFound");
    }

    #[test]
    fn paused_is_ready_once_every_member_has_it() {
        let paused = |clusters| {
            decide_scheduled(&Scheduled {
                paused: true,
                ..of(clusters)
            })
        };
        let ready = paused(&[WELL]);
        assert_eq!(
            (ready.phase, ready.ready, ready.reason.as_str()),
            (Phase::Paused, ConditionStatus::True, "Paused")
        );
        let waits = paused(&[WELL, faulty(true, Fault::Unreachable)]);
        assert_eq!(
            (waits.phase, waits.ready, waits.reason.as_str()),
            (Phase::Paused, ConditionStatus::False, "ClustersUnreachable")
        );
    }

    fn any_cluster() -> impl Strategy<Value = ScheduledCluster> {
        use Fault::{Failing, Missed, Rejected, Unreachable, Waiting};
        let faults = vec![Rejected, Failing, Missed, Unreachable, Waiting];
        (
            any::<bool>(),
            prop::option::of(prop::sample::select(faults)),
        )
            .prop_map(|(placed, fault)| ScheduledCluster { placed, fault })
    }

    proptest! {
        #[test]
        fn it_never_ends_and_is_ready_only_when_nothing_is_wrong_anywhere(
            clusters in prop::collection::vec(any_cluster(), 0..6),
            paused in any::<bool>(),
            fleet_found in any::<bool>(),
        ) {
            let decision = decide_scheduled(&Scheduled { paused, fleet_found, ..of(&clusters) });
            prop_assert_eq!(decision.succeeded, None);
            let kind = OperationKind::Scheduled;
            prop_assert!(transition_allowed(kind, Phase::FailedValidation, decision.phase));
            let well = fleet_found && !clusters.is_empty() && clusters.iter().all(|c| c.fault.is_none());
            prop_assert_eq!(decision.ready == ConditionStatus::True, well);
            prop_assert_eq!(decision.motion == Motion::Still, well);
        }
    }
}
