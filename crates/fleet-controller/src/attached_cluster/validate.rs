//! What the facts about an AttachedCluster mean: its health, who has it, who holds it.

use api_types::condition::{self, reason};
use api_types::key::ClusterKey;
use api_types::{labels, names};
use jiff::Timestamp;
use kube::ResourceExt;
use proxy_client::{ClusterState, MemberState};

use super::dereference::{Dereferenced, Sighting};
use super::health::{self, Health};
use crate::timings::Timings;

/// What is to become of an AttachedCluster.
#[derive(Clone, Debug)]
pub struct Validated {
    /// Its key.
    pub key: ClusterKey,
    /// How it is; `None` while the status deserves belief as it is.
    pub health: Option<Health>,
    /// What the member last said about itself.
    pub facts: Facts,
    /// The Fleet that has it.
    pub fleet: Option<String>,
    /// The value that the label of its Fleet should have.
    pub label: Option<String>,
    /// What should become of our finalizer.
    pub finalizer: Finalizer,
    /// Who keeps it from being deleted, while it is being deleted.
    pub held_by: Vec<String>,
    /// When time alone changes the answer.
    pub look_again: Option<Timestamp>,
}

/// What a member says about itself. What is absent is not known, or not known any better.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Version of its API server.
    pub version: Option<String>,
    /// uid of its `kube-system`.
    pub uid: Option<String>,
    /// When our credentials expire, if ever.
    pub expiry: Option<Expiry>,
    /// When it last answered.
    pub last_seen: Option<Timestamp>,
    /// How many nodes it has.
    pub nodes: Option<i32>,
}

/// When credentials expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// They say nothing about it.
    Never,
    /// Then.
    At(Timestamp),
}

/// What should become of the finalizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finalizer {
    /// It stays as it is.
    Keep,
    /// It is added.
    Add,
    /// It is removed, and the object goes.
    Remove,
}

/// Decides all of it.
pub fn validate(known: &Dereferenced, now: Timestamp, timings: &Timings) -> Validated {
    let object = &known.object;
    let deleting = object.metadata.deletion_timestamp.is_some();
    let held_by = if deleting { held_by(known) } else { Vec::new() };
    let ours = |finalizer: &String| finalizer == labels::CLUSTER_FINALIZER;
    let present = object.finalizers().iter().any(ours);
    let finalizer = match (deleting, present) {
        (false, false) if !known.fleets.is_empty() => Finalizer::Add,
        (true, true) if held_by.is_empty() || is_forced(known) => Finalizer::Remove,
        _ => Finalizer::Keep,
    };
    let claimer = known.fleets.iter().find(|listing| listing.claims);
    let label = claimer.filter(|listing| !listing.letting_go);
    let grace_ends = grace_ends(known, timings).filter(|ends| *ends > now);
    Validated {
        key: known.key.clone(),
        health: health(known, grace_ends.is_some(), &held_by, now),
        facts: facts(known, now),
        fleet: claimer.map(|listing| listing.fleet.clone()),
        label: label.map(|listing| names::label_value(&listing.fleet)),
        finalizer,
        held_by,
        look_again: grace_ends.or_else(|| warning_due(known).filter(|due| *due > now)),
    }
}

fn held_by(known: &Dereferenced) -> Vec<String> {
    let fleets = known
        .fleets
        .iter()
        .map(|listing| format!("Fleet {}", listing.fleet));
    fleets.chain(known.holders.iter().cloned()).collect()
}

/// Whether a person has asked to give up on what cannot be awaited.
pub fn is_forced(known: &Dereferenced) -> bool {
    let asked = known.object.annotations().get(labels::FORCE_DELETE);
    asked.is_some_and(|value| value == "true")
}

fn health(
    known: &Dereferenced,
    in_grace: bool,
    held_by: &[String],
    now: Timestamp,
) -> Option<Health> {
    if in_grace && held_by.is_empty() && is_settled(known) {
        return None;
    }
    let health = match &known.sighting {
        Sighting::Silent { since } if !in_grace => Health::proxy_silent(*since),
        Sighting::Silent { .. } | Sighting::Unlisted { .. } => Health::connecting(&known.key),
        Sighting::Seen(state) => Health::of(state, now),
    };
    Some(match held_by {
        [] => health,
        holders => health.in_use(&known.key, holders),
    })
}

/// Until when the proxy's knowing nothing says nothing: one that was started again begins with
/// every member `Connecting`, and one that is silent may be starting.
fn grace_ends(known: &Dereferenced, timings: &Timings) -> Option<Timestamp> {
    let since = match &known.sighting {
        Sighting::Silent { since } => *since,
        Sighting::Unlisted { answering } => *answering,
        Sighting::Seen(state) if state.state == MemberState::Connecting => state.since?,
        Sighting::Seen(_) => return None,
    };
    since.checked_add(timings.proxy_grace).ok()
}

/// Whether the status says something about the member that may be believed for a while.
fn is_settled(known: &Dereferenced) -> bool {
    let hollow = [
        "",
        reason::CONNECTING,
        reason::PROXY_NOT_RESPONDING,
        reason::IN_USE,
    ];
    let conditions = known
        .object
        .status
        .as_ref()
        .map(|status| &status.conditions);
    let ready = conditions.and_then(|conditions| condition::find(conditions, condition::READY));
    ready.is_some_and(|ready| !hollow.contains(&ready.reason.as_str()))
}

fn warning_due(known: &Dereferenced) -> Option<Timestamp> {
    match &known.sighting {
        Sighting::Seen(state) => state.credential_expiry.and_then(health::warned_from),
        _ => None,
    }
}

fn facts(known: &Dereferenced, now: Timestamp) -> Facts {
    let Sighting::Seen(state) = &known.sighting else {
        return Facts::default();
    };
    let ClusterState {
        member_uid,
        kubernetes_version,
        credential_expiry,
        last_ok,
        ..
    } = &**state;
    let answers = matches!(
        state.state,
        MemberState::Ready | MemberState::Degraded | MemberState::Draining
    );
    Facts {
        version: kubernetes_version.clone(),
        uid: member_uid.clone(),
        expiry: answers.then(|| credential_expiry.map_or(Expiry::Never, Expiry::At)),
        // The proxy tells of a member that stopped answering within seconds; of one that goes on
        // answering it says nothing.
        last_seen: if answers { Some(now) } else { *last_ok },
        nodes: known.nodes,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use api_types::cluster::AttachedCluster;
    use api_types::condition::ConditionStatus;

    use super::super::dereference::Listing;
    use super::*;
    use crate::fixture::{NAMESPACE, at, attached, attached_status, deleted};

    fn known(sighting: Sighting) -> Dereferenced {
        Dereferenced {
            key: ClusterKey::attached(NAMESPACE, "bergen"),
            object: Arc::new(attached("bergen")),
            sighting,
            nodes: Some(3),
            fleets: Vec::new(),
            holders: Vec::new(),
        }
    }

    fn seen(state: MemberState) -> Sighting {
        let mut seen = ClusterState::new(ClusterKey::attached(NAMESPACE, "bergen"), state);
        seen.since = Some(at(0));
        Sighting::Seen(Arc::new(seen))
    }

    fn with(mut known: Dereferenced, change: impl FnOnce(&mut AttachedCluster)) -> Dereferenced {
        change(Arc::make_mut(&mut known.object));
        known
    }

    fn listed(
        mut known: Dereferenced,
        fleet: &str,
        claims: bool,
        letting_go: bool,
    ) -> Dereferenced {
        known.fleets.push(Listing {
            fleet: fleet.into(),
            claims,
            letting_go,
        });
        known
    }

    fn reason(known: &Dereferenced, now: i64) -> Option<String> {
        let validated = validate(known, at(now), &Timings::default());
        validated.health.map(|health| health.reason.into_owned())
    }

    fn held(object: &mut AttachedCluster) {
        object.metadata.finalizers = Some(vec![labels::CLUSTER_FINALIZER.into()]);
    }

    #[test]
    fn a_restart_of_the_proxy_changes_nothing_until_the_grace_is_over() {
        let silent = Sighting::Silent { since: at(0) };
        let unlisted = Sighting::Unlisted { answering: at(0) };
        for (sighting, after) in [
            (silent, reason::PROXY_NOT_RESPONDING),
            (unlisted, reason::CONNECTING),
            (seen(MemberState::Connecting), reason::CONNECTING),
        ] {
            let fresh = known(sighting.clone());
            assert_eq!(
                reason(&fresh, 29).as_deref(),
                Some(reason::CONNECTING),
                "{sighting:?}"
            );
            let known = with(fresh, |object| {
                object.status = Some(attached_status(reason::CONNECTED));
            });
            assert_eq!(reason(&known, 29), None, "{sighting:?}");
            let validated = validate(&known, at(29), &Timings::default());
            assert_eq!(validated.look_again, Some(at(30)), "{sighting:?}");
            assert_eq!(reason(&known, 30).as_deref(), Some(after), "{sighting:?}");
        }
        let known = with(known(seen(MemberState::Unreachable)), |object| {
            object.status = Some(attached_status(reason::CONNECTED));
        });
        assert_eq!(
            reason(&known, 0).as_deref(),
            Some(reason::UNREACHABLE),
            "the proxy knows"
        );
    }

    #[test]
    fn a_proxy_that_answers_again_is_not_called_silent_any_more() {
        let known = with(known(seen(MemberState::Connecting)), |object| {
            object.status = Some(attached_status(reason::PROXY_NOT_RESPONDING));
        });
        assert_eq!(reason(&known, 1).as_deref(), Some(reason::CONNECTING));
    }

    #[test]
    fn the_finalizer_comes_with_the_first_fleet_and_stays_while_the_object_lives() {
        let finalizer =
            |known: &Dereferenced| validate(known, at(0), &Timings::default()).finalizer;
        let free = known(seen(MemberState::Ready));
        assert_eq!(finalizer(&free), Finalizer::Keep);
        assert_eq!(
            finalizer(&listed(free.clone(), "north", true, false)),
            Finalizer::Add
        );
        assert_eq!(finalizer(&with(free.clone(), held)), Finalizer::Keep);
        let deleted_unheld = with(listed(free, "north", true, false), |object| {
            deleted(&mut object.metadata);
        });
        assert_eq!(
            finalizer(&deleted_unheld),
            Finalizer::Keep,
            "the server refuses new ones now"
        );
    }

    #[test]
    fn a_deleted_cluster_waits_for_fleets_and_operations_and_says_so() {
        let deleted = with(known(seen(MemberState::Ready)), |object| {
            held(object);
            deleted(&mut object.metadata);
        });
        let mut used = listed(deleted.clone(), "north", true, true);
        used.holders.push("Backup nightly (scheduled)".into());
        let validated = validate(&used, at(0), &Timings::default());
        assert_eq!(
            validated.finalizer,
            Finalizer::Keep,
            "also for a Fleet that is letting go"
        );
        let health = validated.health.unwrap();
        assert_eq!(
            (&*health.reason, health.ready),
            (reason::IN_USE, ConditionStatus::False)
        );
        assert_eq!(health.connected.status, ConditionStatus::True);
        assert!(
            health
                .message
                .contains("Fleet north, Backup nightly (scheduled)"),
            "{}",
            health.message
        );

        assert_eq!(
            validate(&deleted, at(0), &Timings::default()).finalizer,
            Finalizer::Remove
        );
        let forced = with(used, |object| {
            object
                .annotations_mut()
                .insert(labels::FORCE_DELETE.into(), "true".into());
        });
        assert_eq!(
            validate(&forced, at(0), &Timings::default()).finalizer,
            Finalizer::Remove
        );
    }

    #[test]
    fn the_label_is_the_claimers_until_it_lets_go() {
        let label = |known: &Dereferenced| {
            let validated = validate(known, at(0), &Timings::default());
            (validated.fleet, validated.label)
        };
        let (north, south) = (Some("north".to_owned()), Some("south".to_owned()));
        let both = listed(
            listed(known(seen(MemberState::Ready)), "south", false, false),
            "north",
            true,
            false,
        );
        assert_eq!(label(&both), (north.clone(), north.clone()));
        let leaving = listed(known(seen(MemberState::Ready)), "north", true, true);
        assert_eq!(label(&leaving), (north, None));
        let after = listed(known(seen(MemberState::Ready)), "south", true, false);
        assert_eq!(label(&after), (south.clone(), south));
    }

    #[test]
    fn last_contact_is_exact_for_a_member_that_does_not_answer() {
        let mut lost = ClusterState::new(
            ClusterKey::attached(NAMESPACE, "bergen"),
            MemberState::Unreachable,
        );
        lost.last_ok = Some(at(-40));
        let known_lost = known(Sighting::Seen(Arc::new(lost)));
        let facts = |known: &Dereferenced| validate(known, at(5), &Timings::default()).facts;
        assert_eq!(facts(&known_lost).last_seen, Some(at(-40)));
        assert_eq!(
            facts(&known_lost).expiry,
            None,
            "what was known of the credentials stays"
        );
        assert_eq!(
            facts(&known(seen(MemberState::Ready))).last_seen,
            Some(at(5))
        );
        assert_eq!(
            facts(&known(seen(MemberState::Ready))).expiry,
            Some(Expiry::Never)
        );
        assert_eq!(
            facts(&known(Sighting::Silent { since: at(0) })),
            Facts::default()
        );
    }
}
