//! Which events a change of status is worth.

use std::collections::BTreeSet;

use api_types::condition::{self, Condition, reason};
use api_types::fleet::{FleetStatus, MemberStatus};
use controller_kit::event::{Event, Severity};

/// Names in one event; a fleet of a thousand clusters is one event all the same.
const NAMES: usize = 20;

/// What is to be told.
#[derive(Debug, Default)]
pub struct Events {
    /// About the Fleet.
    pub own: Vec<Event>,
    /// About single clusters; limited by whoever publishes them.
    pub of_clusters: Vec<Event>,
}

/// The events of this transition.
pub fn events(old: Option<&FleetStatus>, new: &FleetStatus) -> Events {
    let mut events = Events::default();
    let names = |status: &FleetStatus| -> BTreeSet<String> {
        status
            .members
            .iter()
            .map(|member| member.cluster_name.clone())
            .collect()
    };
    let (before, after) = (old.map(names).unwrap_or_default(), names(new));
    let joined: Vec<&String> = after.difference(&before).collect();
    let gone: Vec<&String> = before.difference(&after).collect();
    for (reason, verb, clusters) in [
        ("MemberJoined", "joined", joined),
        ("MemberLeft", "left", gone),
    ] {
        if !clusters.is_empty() {
            let note = format!("{} {verb} the fleet", some(&clusters));
            events.own.push(event(Severity::Normal, reason, note));
        }
    }
    events.own.extend(ready_turned(old, new));
    for member in &new.members {
        events.of_clusters.extend(refused(old, member));
    }
    events
}

/// The event of a new reason of `Ready`.
fn ready_turned(old: Option<&FleetStatus>, new: &FleetStatus) -> Option<Event> {
    let is = condition::find(&new.conditions, condition::READY)?;
    let was = old.and_then(|old| condition::find(&old.conditions, condition::READY));
    let told = |ready: &Condition| (ready.reason.clone(), step(ready).to_owned());
    if was.map(told) == Some(told(is)) {
        return None;
    }
    let was_terminating = was.is_some_and(|was| is_terminating(&was.reason));
    let (severity, reason) = match is.reason.as_str() {
        reason::READY => (Severity::Normal, "Ready"),
        reason::MEMBERS_NOT_READY => (Severity::Warning, "MembersNotReady"),
        reason::PLUGIN_FAILED => (Severity::Warning, "PluginFailed"),
        reason::DELETION_BLOCKED => (Severity::Warning, "DeletionBlocked"),
        other if is_terminating(other) && was_terminating => (Severity::Normal, "TeardownStep"),
        other if is_terminating(other) => (Severity::Normal, "Terminating"),
        _ => return None,
    };
    Some(event(severity, reason, is.message.clone()))
}

fn is_terminating(reason: &str) -> bool {
    [
        reason::TERMINATING,
        reason::IN_USE,
        reason::DELETION_BLOCKED,
    ]
    .contains(&reason)
}

/// What a teardown waits for, without the names: those that go one by one are not told each.
fn step(ready: &Condition) -> &str {
    if !is_terminating(&ready.reason) {
        return "";
    }
    ready.message.split(':').next().unwrap_or_default()
}

/// A member that this Fleet cannot have.
fn refused(old: Option<&FleetStatus>, member: &MemberStatus) -> Option<Event> {
    let told = [reason::DUPLICATE_MEMBER, reason::CLAIMED_BY_OTHER_FLEET];
    let reason = told
        .into_iter()
        .find(|told| member.reason.as_deref() == Some(*told))?;
    let known = old.iter().flat_map(|old| &old.members).any(|old| {
        (&old.cluster_name, &old.cluster_kind, &old.reason)
            == (&member.cluster_name, &member.cluster_kind, &member.reason)
    });
    let note = member.message.clone().unwrap_or_default();
    (!known).then(|| event(Severity::Warning, reason, note))
}

fn some(names: &[&String]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMES).map(|name| name.as_str()).collect();
    match names.len().saturating_sub(NAMES) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn event(severity: Severity, reason: &'static str, note: String) -> Event {
    Event {
        severity,
        reason,
        action: "Reconcile",
        note,
        related: None,
    }
}

#[cfg(test)]
mod tests {
    use api_types::condition::ConditionStatus;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::fixture::at;

    fn status(ready: &str, message: &str, members: &[(&str, Option<&str>)]) -> FleetStatus {
        let members = members.iter().map(|(name, reason)| MemberStatus {
            cluster_name: (*name).to_owned(),
            ready: reason.is_none(),
            reason: reason.map(ToOwned::to_owned),
            ..MemberStatus::default()
        });
        FleetStatus {
            conditions: vec![Condition {
                type_: condition::READY.into(),
                status: ConditionStatus::from(ready == "Ready"),
                last_transition_time: Time(at(0)),
                reason: ready.into(),
                message: message.into(),
                observed_generation: None,
                severity: String::new(),
            }],
            members: members.collect(),
            ..FleetStatus::default()
        }
    }

    fn told(old: Option<&FleetStatus>, new: &FleetStatus) -> Vec<&'static str> {
        let Events { own, of_clusters } = events(old, new);
        own.into_iter()
            .chain(of_clusters)
            .map(|event| event.reason)
            .collect()
    }

    #[test]
    fn members_that_come_and_go_are_told_together() {
        let two = status("Ready", "", &[("bergen", None), ("hamar", None)]);
        assert_eq!(told(None, &two), ["MemberJoined", "Ready"]);
        assert_eq!(
            events(None, &two).own[0].note,
            "bergen, hamar joined the fleet"
        );
        let one = status("Ready", "", &[("hamar", None)]);
        assert_eq!(told(Some(&two), &one), ["MemberLeft"]);
        assert_eq!(told(Some(&one), &one), [""; 0]);
    }

    #[test]
    fn a_member_of_another_fleet_is_told_once() {
        let plain = status("Ready", "", &[("bergen", None)]);
        let claimed = status(
            "MembersNotReady",
            "",
            &[("bergen", Some("ClaimedByOtherFleet"))],
        );
        assert_eq!(
            told(Some(&plain), &claimed),
            ["MembersNotReady", "ClaimedByOtherFleet"]
        );
        assert_eq!(told(Some(&claimed), &claimed), [""; 0]);
    }

    #[test]
    fn each_step_of_a_teardown_is_told_and_not_each_name() {
        let ready = status("Ready", "", &[]);
        let two = status("InUse", "deletion waits for these: a, b", &[]);
        let one = status("InUse", "deletion waits for these: b", &[]);
        let leaving = status("Terminating", "the clusters leave the fleet: bergen", &[]);
        assert_eq!(told(Some(&ready), &two), ["Terminating"]);
        assert_eq!(told(Some(&two), &one), [""; 0]);
        assert_eq!(told(Some(&one), &leaving), ["TeardownStep"]);
        let blocked = status(
            "DeletionBlocked",
            "the clusters leave the fleet: bergen",
            &[],
        );
        assert_eq!(told(Some(&leaving), &blocked), ["DeletionBlocked"]);
    }
}
