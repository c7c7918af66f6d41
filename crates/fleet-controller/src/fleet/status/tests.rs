use super::super::members::Problem;
use super::*;
use crate::fixture::at;
use crate::operation::{Holder, Need};
use api_types::common::Leftover;
use api_types::condition::ConditionStatus;
use api_types::fleet::{PLUGIN_BACKUP, PluginStatus};

fn judged(name: &str, problem: Option<&'static str>) -> Judged {
    Judged {
        name: name.into(),
        kind: "AttachedCluster".into(),
        problem: problem.map(|reason| Problem {
            reason,
            message: format!("{name} is {reason}"),
        }),
    }
}

fn validated(members: Vec<Judged>) -> Validated {
    Validated {
        members,
        plugins: Vec::new(),
        failed_plugins: Vec::new(),
        control_plane: None,
        deletion: None,
        leftovers: Vec::new(),
        adds_finalizer: false,
    }
}

fn backup(ready: bool) -> Plugin {
    Plugin {
        name: PLUGIN_BACKUP,
        ready,
        problem: "NoController".into(),
    }
}

fn in_use() -> Step {
    Step::InUse(vec![Holder {
        kind: "Backup".into(),
        name: "nightly".into(),
        need: Need::Scheduled,
    }])
}

type Change = fn(&mut Validated);

#[test]
fn the_phase_follows_the_table() {
    let cases: [(Change, &str, &str); 12] = [
        (|_| {}, "Ready", "Ready"),
        (|fleet| fleet.members.clear(), "Pending", "NoClusters"),
        (
            |fleet| fleet.members.push(judged("hamar", Some("Unreachable"))),
            "Running",
            "MembersNotReady",
        ),
        (
            |fleet| fleet.plugins.push(backup(false)),
            "Running",
            "PluginsNotReady",
        ),
        (|fleet| fleet.plugins.push(backup(true)), "Ready", "Ready"),
        (
            |fleet| fleet.failed_plugins.push("backup".into()),
            "Failed",
            "PluginFailed",
        ),
        (
            |fleet| fleet.control_plane = Some("karmada".into()),
            "Failed",
            "ControlPlaneUnsupported",
        ),
        // nothing fails before there are clusters
        (
            |fleet| {
                fleet.control_plane = Some("karmada".into());
                fleet.members.clear();
            },
            "Pending",
            "NoClusters",
        ),
        (
            |fleet| fleet.deletion = Some(in_use()),
            "Terminating",
            "InUse",
        ),
        (
            |fleet| fleet.deletion = Some(Step::Plugins(vec![])),
            "Terminating",
            "Terminating",
        ),
        (
            |fleet| fleet.deletion = Some(Step::Members(vec![])),
            "Terminating",
            "Terminating",
        ),
        (
            |fleet| fleet.deletion = Some(Step::Done),
            "TerminateSucceeded",
            "Terminating",
        ),
    ];
    for (change, phase, reason) in cases {
        let mut fleet = validated(vec![judged("bergen", None)]);
        change(&mut fleet);
        let status = status(&fleet, Some(1), None, false, at(0));

        assert_eq!(format!("{:?}", status.phase.unwrap()), phase);
        let ready = condition::find(&status.conditions, condition::READY).unwrap();
        assert_eq!(ready.reason, reason);
        assert_eq!(ready.status == ConditionStatus::True, phase == "Ready");
        assert_eq!(
            status.reason.as_deref(),
            (phase != "Ready").then_some(reason)
        );
        let both = condition::is_true(&status.conditions, condition::STALLED)
            && condition::is_true(&status.conditions, condition::RECONCILING);
        assert!(!both, "kstatus allows one of the two");
    }
}

#[test]
fn a_deletion_without_progress_has_failed_and_says_what_it_waits_for() {
    let mut fleet = validated(vec![judged("bergen", None)]);
    fleet.deletion = Some(in_use());
    let status = status(&fleet, Some(1), None, true, at(0));
    assert_eq!(status.phase, Some(FleetPhase::TerminateFailed));
    let stalled = condition::find(&status.conditions, condition::STALLED).unwrap();
    assert_eq!(stalled.reason, reason::DELETION_BLOCKED);
    assert!(
        stalled.message.contains("Backup nightly"),
        "{}",
        stalled.message
    );
}

#[test]
fn what_a_forced_deletion_leaves_behind_is_in_the_last_status() {
    let mut fleet = validated(vec![judged("bergen", None)]);
    let Step::InUse(holders) = in_use() else {
        unreachable!();
    };
    fleet.deletion = Some(Step::LetGo(holders));
    fleet.leftovers = vec![Leftover {
        cluster_name: "bergen".into(),
        kind: "Backup".into(),
        name: "nightly".into(),
        ..Leftover::default()
    }];
    let waiting = FleetStatus::default();
    let last = status(&fleet, Some(1), Some(&waiting), true, at(0));
    assert_eq!(last.phase, Some(FleetPhase::TerminateSucceeded));
    assert_eq!(last.leftovers, fleet.leftovers);
    let ready = condition::find(&last.conditions, condition::READY).unwrap();
    assert!(
        ready.message.ends_with("Backup nightly (scheduled)"),
        "{}",
        ready.message
    );
    let without = FleetStatus {
        leftovers: Vec::new(),
        ..last.clone()
    };
    assert!(!says_the_same(Some(&without), &last));
}

#[test]
fn counts_columns_and_the_message_name_what_is_missing() {
    let mut fleet = validated(vec![
        judged("bergen", None),
        judged("hamar", Some("Unreachable")),
        judged("oslo", Some("ClusterNotFound")),
    ]);
    fleet.plugins = vec![backup(false)];
    let status = status(&fleet, Some(1), None, false, at(0));
    assert_eq!((status.ready_clusters, status.un_ready_clusters), (1, 2));
    let display = status.display.unwrap();
    assert_eq!(
        (display.clusters.as_str(), display.plugins.as_str()),
        ("1/3", "0/1")
    );
    assert_eq!(
        condition::find(&status.conditions, condition::READY)
            .unwrap()
            .message,
        "clusters not ready: hamar (Unreachable), oslo (ClusterNotFound); plugins not ready: backup (NoController)"
    );
}

#[test]
fn a_ready_member_has_three_fields_and_a_transition_keeps_its_time() {
    let fleet = validated(vec![
        judged("bergen", None),
        judged("hamar", Some("Unreachable")),
    ]);
    let first = status(&fleet, Some(1), None, false, at(0));
    assert_eq!(first.members[0].last_transition_time, None);
    assert_eq!(first.members[1].last_transition_time, Some(Time(at(0))));

    let worse = validated(vec![
        judged("bergen", Some("NotReady")),
        judged("hamar", Some("NotReady")),
    ]);
    let second = status(&worse, Some(1), Some(&first), false, at(60));
    assert_eq!(second.members[0].last_transition_time, Some(Time(at(60))));
    assert_eq!(
        second.members[1].last_transition_time,
        Some(Time(at(0))),
        "it was not ready before"
    );
}

#[test]
fn a_status_that_says_the_same_is_not_written_again() {
    let fleet = validated(vec![
        judged("bergen", None),
        judged("bergen", Some("DuplicateMember")),
        judged("hamar", Some("Unreachable")),
    ]);
    let first = status(&fleet, Some(1), None, false, at(0));
    let mut stored = first.clone();
    stored.plugins.push(PluginStatus {
        name: "backup".into(),
        ..PluginStatus::default()
    });
    let again = status(&fleet, Some(1), Some(&stored), false, at(60));
    assert!(says_the_same(Some(&stored), &again));

    let edited = status(&fleet, Some(2), Some(&stored), false, at(60));
    assert!(!says_the_same(Some(&stored), &edited));
    let healed = status(
        &validated(vec![judged("bergen", None)]),
        Some(1),
        Some(&stored),
        false,
        at(60),
    );
    assert!(!says_the_same(Some(&stored), &healed));
}
