use super::super::fixtures::{at, first, keep, known, member, planned, settled};
use super::super::validate::Plan;
use super::*;
use crate::plugin::known::Member;

fn plan_of(member: Member) -> Plan {
    planned(&known(vec![member]))
}

fn shown(plan: &Plan, answer: Option<&Result<(), Problem>>) -> PluginClusterStatus {
    entry(first(plan), answer, at(5)).unwrap()
}

fn failed(reason: &'static str) -> Result<(), Problem> {
    Err(Problem::new(reason, "the member said no"))
}

#[test]
fn a_cluster_is_ready_once_velero_finds_the_location_usable() {
    let ready = shown(&plan_of(settled(member("oslo"), "Available")), None);
    assert_eq!(
        (ready.phase, &ready.reason, &ready.message),
        (PluginPhase::Ready, &None, &None)
    );
    let expected = [
        ("bucket", "fleet-backups"),
        ("endpoint", "https://s3.example.org"),
        ("prefix", "team-a/oslo"),
        ("storageLocation", "Available"),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(ready.details, expected.into());
}

#[test]
fn a_location_that_keeps_what_the_fleet_does_not_set_is_not_ready() {
    let mut known = known(vec![settled(member("oslo"), "Available")]);
    let config = known.config.as_mut().unwrap();
    config.storage.location.endpoint.clear();
    let shown = shown(&planned(&known), None);
    assert_eq!(shown.phase, PluginPhase::Installing);
    let message = shown.message.unwrap();
    assert!(message.contains("config.s3Url"), "{message}");
    assert!(keep(&planned(&known)).order.location.is_some());
}

#[test]
fn what_velero_says_of_the_location_is_quoted() {
    let bad = shown(&plan_of(settled(member("oslo"), "Unavailable")), None);
    assert_eq!(bad.phase, PluginPhase::Failed);
    assert_eq!(bad.reason.as_deref(), Some("StorageLocationUnavailable"));
    assert!(bad.message.unwrap().contains("Velero's words"));
    assert_eq!(bad.details["storageLocationMessage"], "Velero's words");
    let new = shown(&plan_of(settled(member("oslo"), "")), None);
    assert_eq!(new.phase, PluginPhase::Installing);
}

#[test]
fn a_call_that_failed_is_told_and_one_that_has_not_ended_is_not_a_failure() {
    let plan = plan_of(member("oslo"));
    let of = |answer: Option<&Result<(), Problem>>| {
        let entry = shown(&plan, answer);
        (entry.phase, entry.reason.unwrap())
    };
    let installing = (PluginPhase::Installing, "Installing".to_owned());
    assert_eq!(of(None), installing);
    assert_eq!(of(Some(&Ok(()))), installing);
    assert_eq!(
        of(Some(&failed(reason::UNREACHABLE))),
        (PluginPhase::Pending, "Unreachable".to_owned())
    );
    assert_eq!(
        of(Some(&failed(reason::NAME_TAKEN))),
        (PluginPhase::Failed, "NameTaken".to_owned())
    );
}

#[test]
fn what_works_and_cannot_be_renewed_only_warns() {
    let mut known = known(vec![settled(member("oslo"), "Available")]);
    known.source = Err(Problem::new(reason::CREDENTIALS_NOT_FOUND, "there is none"));
    let warned = shown(&planned(&known), None);
    assert_eq!(warned.phase, PluginPhase::Degraded);
    assert_eq!(warned.reason.as_deref(), Some("CredentialsNotFound"));
}

#[test]
fn the_time_of_a_phase_moves_with_the_phase_only_and_a_silent_member_keeps_its_details() {
    let mut oslo = settled(member("oslo"), "Available");
    let ready = shown(&plan_of(oslo.clone()), None);
    assert_eq!(ready.last_transition_time, Some(Time(at(5))));
    oslo.entry = Some(ready.clone());
    let later = entry(first(&plan_of(oslo.clone())), None, at(9)).unwrap();
    assert_eq!(later, ready);

    oslo.link = crate::operation::member::Link::Down {
        problem: Problem::new(reason::UNREACHABLE, "no answer"),
        since: None,
    };
    let silent = entry(first(&plan_of(oslo)), None, at(9)).unwrap();
    assert_eq!(silent.phase, PluginPhase::Pending);
    assert_eq!(silent.reason.as_deref(), Some("Unreachable"));
    assert_eq!(silent.details, ready.details);
    assert_eq!(silent.last_transition_time, Some(Time(at(9))));
}

#[test]
fn a_cluster_that_leaves_says_what_it_waits_for_and_goes() {
    let of = |leave: Leave, answer: Option<&Result<(), Problem>>| {
        let problem = leaving(&leave, answer, "oslo");
        problem.map(|problem| problem.reason)
    };
    assert_eq!(of(Leave::Gone, None), None);
    assert_eq!(of(Leave::LetGo("why".to_owned()), None), None);
    assert_eq!(of(Leave::Release, None), Some("Removing"));
    let failed = failed(reason::UNREACHABLE);
    assert_eq!(of(Leave::Release, Some(&failed)), Some("RemovalBlocked"));
    let waits = Leave::Waits(Problem::new(reason::UNREACHABLE, "no answer"));
    assert_eq!(of(waits, None), Some("RemovalBlocked"));
}
