use api_types::condition::reason;

use super::*;
use crate::backup::fixtures::{down, location};
use crate::schedule::fixtures::{claimed, fresh, placed, schedule, validated, with_terms};

/// What is decided, in short.
fn short(next: &Next) -> String {
    match next {
        Next::Wait(problem) => format!("Wait {}", problem.reason),
        Next::Retry(problem) => format!("Retry {}", problem.reason),
        Next::Claim => "Claim".to_owned(),
        Next::Put => "Put".to_owned(),
        Next::Keep(_) => "Keep".to_owned(),
        Next::Hold => "Hold".to_owned(),
    }
}

fn planned(entry: &Entry) -> String {
    with_terms(&validated(), 10, None, |terms| short(&plan(entry, &terms)))
}

fn with(mut entry: Entry, edit: impl FnOnce(&mut Entry)) -> Entry {
    edit(&mut entry);
    entry
}

/// oslo with a Schedule that somebody has changed.
fn drifted(edit: impl FnOnce(&mut velero::Schedule)) -> Entry {
    let mut live = schedule();
    edit(&mut live);
    with(placed(), |entry| {
        entry.facts.schedules = vec![Arc::new(live)];
    })
}

#[test]
fn a_cluster_is_claimed_only_when_nothing_is_in_the_way() {
    let not_in_fleet = Problem::new(reason::CLUSTER_NOT_IN_FLEET, "");
    let table = vec![
        (fresh("oslo"), "Claim"),
        (
            with(fresh("oslo"), |e| e.problem = Some(not_in_fleet)),
            "Wait ClusterNotInFleet",
        ),
        (
            with(fresh("oslo"), |e| e.facts.hub = HubObject::Absent),
            "Wait ClusterNotFound",
        ),
        (
            with(fresh("oslo"), |e| e.facts.hub = HubObject::Terminating),
            "Wait ClusterNotFound",
        ),
        (
            with(fresh("oslo"), |e| e.facts.link = down("Unreachable", None)),
            "Wait Unreachable",
        ),
        (
            with(fresh("oslo"), |e| e.facts.velero = Served::No),
            "Wait VeleroNotInstalled",
        ),
        (
            with(fresh("oslo"), |e| e.facts.location = None),
            "Wait StorageLocationNotFound",
        ),
        (
            with(fresh("oslo"), |e| e.facts.location = Some(location(""))),
            "Wait StorageLocationUnavailable",
        ),
    ];
    for (entry, expected) in table {
        assert_eq!(planned(&entry), expected);
    }
}

#[test]
fn a_claimed_cluster_gets_its_schedule_and_keeps_it() {
    let table = vec![
        (claimed(), "Put"),
        (placed(), "Keep"),
        (
            with(placed(), |e| e.facts.link = down("Unreachable", None)),
            "Hold",
        ),
        (with(placed(), |e| e.facts.schedules_live = false), "Hold"),
        (
            with(placed(), |e| {
                e.facts.schedules_live = false;
                e.facts.velero = Served::No;
            }),
            "Wait VeleroNotInstalled",
        ),
        // Where it has one, a location that is gone for now is no reason to touch it.
        (with(placed(), |e| e.facts.location = None), "Keep"),
        (
            with(claimed(), |e| e.facts.location = None),
            "Wait StorageLocationNotFound",
        ),
        (
            with(placed(), |e| {
                let second = Arc::clone(&e.facts.schedules[0]);
                e.facts.schedules.push(second);
            }),
            "Put",
        ),
    ];
    for (number, (entry, expected)) in table.into_iter().enumerate() {
        assert_eq!(planned(&entry), expected, "case {number}");
    }
}

#[test]
fn a_member_that_is_another_one_is_claimed_anew() {
    let replaced = with(placed(), |e| {
        e.stored.member_uid = Some("the former cluster".to_owned());
    });
    assert_eq!(planned(&replaced), "Claim");
}

#[test]
fn what_somebody_changed_is_put_right() {
    let table = [
        planned(&drifted(|live| live.spec.schedule = "@daily".to_owned())),
        planned(&drifted(|live| live.spec.paused = true)),
        planned(&drifted(|live| {
            live.spec.template.ttl = Some("1h".to_owned());
        })),
        planned(&drifted(|live| live.metadata.annotations = None)),
    ];
    assert_eq!(table, ["Put", "Put", "Put", "Put"]);
}

#[test]
fn a_member_that_writes_our_fields_otherwise_is_not_written_to_for_ever() {
    let entry = drifted(|live| live.spec.template.ttl = Some("720h0m0s".to_owned()));
    assert_eq!(planned(&entry), "Put");
    let accepted = Accepted {
        wanted: schedule().spec,
        got: entry.facts.schedules[0].spec.clone(),
    };
    let settled = with(entry, |e| e.accepted = Some(accepted.clone()));
    assert_eq!(planned(&settled), "Keep");
    let again = with(
        drifted(|live| live.spec.template.ttl = Some("1h".to_owned())),
        |e| {
            e.accepted = Some(accepted);
        },
    );
    assert_eq!(planned(&again), "Put", "that is another change");
}

#[test]
fn a_missing_config_map_keeps_no_schedule_from_being_paused() {
    let missing = Problem::new(reason::CONFIG_MAP_NOT_FOUND, "");
    let mut spec = validated();
    let refers = |live: &mut velero::Schedule| {
        let carried = velero::ConfigMapReference::new("skip-caches-0123456789");
        live.spec.template.resource_policy = Some(carried);
    };
    let policy = BackupPolicy::default();
    let next = |spec: &Validated, entry: &Entry| {
        with_terms(spec, 10, Some(&missing), |terms| {
            let policy = Some(&policy);
            short(&plan(entry, &Terms { policy, ..terms }))
        })
    };
    assert_eq!(next(&spec, &claimed()), "Wait ConfigMapNotFound");
    assert_eq!(next(&spec, &drifted(refers)), "Keep");
    spec.paused = true;
    assert_eq!(next(&spec, &drifted(refers)), "Put");
    with_terms(&spec, 10, Some(&missing), |terms| {
        let policy = Some(&policy);
        let wanted = wanted(&drifted(refers), &Terms { policy, ..terms }).unwrap();
        let policy = wanted.spec.template.resource_policy.unwrap();
        assert_eq!(policy.name, "skip-caches-0123456789");
    });
}
