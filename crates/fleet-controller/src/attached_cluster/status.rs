//! The whole status of an AttachedCluster from what is known. Pure.

use api_types::cluster::AttachedClusterStatus;
use api_types::condition::{CONNECTED, CREDENTIALS_VALID, Condition, ConditionStatus};
use controller_kit::condition::{Aspect, Conditions};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::health::{self, Health};
use super::validate::{Expiry, Facts, Validated};
use crate::text::whole_seconds;

/// The proxy holds the kubeconfig itself.
const MODE: &str = "Direct";

/// The status as it should be. Who compares it with the stored one decides when to write it.
pub fn status(
    validated: &Validated,
    generation: Option<i64>,
    old: Option<&AttachedClusterStatus>,
    now: Timestamp,
) -> AttachedClusterStatus {
    let kept = old.cloned().unwrap_or_default();
    let fleet = validated.fleet.clone();
    let Some(health) = &validated.health else {
        return AttachedClusterStatus { fleet, ..kept };
    };
    let Facts {
        version,
        uid,
        expiry,
        last_seen,
        nodes,
    } = validated.facts.clone();
    let time = |time: Timestamp| Time(whole_seconds(time));
    AttachedClusterStatus {
        observed_generation: generation,
        ready: health.ready == ConditionStatus::True,
        conditions: conditions(health, generation, kept.conditions, now),
        mode: Some(MODE.to_owned()),
        kubernetes_version: version.or(kept.kubernetes_version),
        nodes: nodes.or(kept.nodes),
        cluster_uid: uid.or(kept.cluster_uid),
        fleet,
        credential_expiration_time: match expiry {
            None => kept.credential_expiration_time,
            Some(Expiry::Never) => None,
            Some(Expiry::At(expiry)) => Some(time(expiry)),
        },
        last_seen_time: last_seen.map(time).or(kept.last_seen_time),
    }
}

fn conditions(
    health: &Health,
    generation: Option<i64>,
    mut list: Vec<Condition>,
    now: Timestamp,
) -> Vec<Condition> {
    let Health {
        ready,
        reason,
        message,
        connected,
        credentials,
        activity,
    } = health;
    let mut conditions = Conditions {
        list: &mut list,
        generation,
        now: whole_seconds(now),
    };
    conditions.ready(*ready, *activity, reason, message);
    conditions.set(&aspect(CONNECTED, connected));
    conditions.set(&aspect(CREDENTIALS_VALID, credentials));
    list
}

fn aspect<'a>(type_: &'a str, aspect: &'a health::Aspect) -> Aspect<'a> {
    Aspect {
        type_,
        status: aspect.status,
        reason: &aspect.reason,
        message: &aspect.message,
    }
}

#[cfg(test)]
mod tests {
    use api_types::condition::{self, reason};
    use api_types::key::ClusterKey;
    use proxy_client::{ClusterState, MemberState};

    use super::super::validate::Finalizer;
    use super::*;
    use crate::fixture::{NAMESPACE, at};

    fn validated(state: MemberState) -> Validated {
        let key = ClusterKey::attached(NAMESPACE, "bergen");
        Validated {
            health: Some(Health::of(&ClusterState::new(key.clone(), state), at(0))),
            key,
            facts: Facts {
                version: Some("v1.34.4".into()),
                uid: Some("uid-of-kube-system".into()),
                expiry: Some(Expiry::At(at(86_400))),
                last_seen: Some(at(0)),
                nodes: Some(3),
            },
            fleet: Some("north".into()),
            label: None,
            finalizer: Finalizer::Keep,
            held_by: Vec::new(),
            look_again: None,
        }
    }

    #[test]
    fn a_ready_member_shows_all_that_is_known_of_it() {
        let status = status(&validated(MemberState::Ready), Some(4), None, at(0));
        assert!(status.ready && condition::is_true(&status.conditions, condition::READY));
        assert!(condition::find(&status.conditions, condition::RECONCILING).is_none());
        assert!(
            condition::find(&status.conditions, condition::ACCESS_GRANTED).is_none(),
            "not known"
        );
        assert_eq!(status.observed_generation, Some(4));
        assert_eq!(status.mode.as_deref(), Some("Direct"));
        assert_eq!(
            (status.nodes, status.fleet.as_deref()),
            (Some(3), Some("north"))
        );
        assert_eq!(status.credential_expiration_time, Some(Time(at(86_400))));
    }

    #[test]
    fn what_a_lost_member_said_of_itself_stays() {
        let ready = status(&validated(MemberState::Ready), Some(1), None, at(0));
        let mut lost = validated(MemberState::Unreachable);
        lost.facts = Facts {
            last_seen: Some(at(55)),
            ..Facts::default()
        };
        let lost = status(&lost, Some(1), Some(&ready), at(60));
        assert!(!lost.ready);
        let unready = condition::find(&lost.conditions, condition::READY).unwrap();
        assert_eq!(unready.reason, reason::UNREACHABLE);
        assert_eq!(unready.last_transition_time, Time(at(60)));
        assert!(condition::is_true(&lost.conditions, condition::RECONCILING));
        assert_eq!(lost.last_seen_time, Some(Time(at(55))));
        assert_eq!(
            (lost.kubernetes_version, lost.nodes),
            (ready.kubernetes_version, ready.nodes)
        );
        assert_eq!(lost.cluster_uid, ready.cluster_uid);
    }

    #[test]
    fn while_the_proxy_starts_again_only_the_claim_changes() {
        let ready = status(&validated(MemberState::Ready), Some(1), None, at(0));
        let mut unknown = validated(MemberState::Ready);
        (unknown.health, unknown.fleet) = (None, None);
        let kept = status(&unknown, Some(1), Some(&ready), at(60));
        assert_eq!(
            kept,
            AttachedClusterStatus {
                fleet: None,
                ..ready
            }
        );
    }
}
