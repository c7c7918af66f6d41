//! What each entry of `spec.clusters` is worth.

use std::collections::BTreeSet;
use std::sync::Arc;

use api_types::cluster::AttachedCluster;
use api_types::common::ClusterRef;
use api_types::condition::{self, ConditionStatus, reason};
use api_types::key::ClusterKey;

use crate::attached_cluster::health::Health;
use crate::text::cut;

/// One entry of `spec.clusters` and what the hub has for it.
#[derive(Clone, Debug)]
pub struct Member {
    /// The entry.
    pub entry: ClusterRef,
    /// The cluster it means; `None` for a kind that is no cluster's.
    pub key: Option<ClusterKey>,
    /// What is known of it.
    pub object: Object,
    /// Another Fleet that has it.
    pub claimed_by: Option<String>,
}

/// The object of a member.
#[derive(Clone, Debug)]
pub enum Object {
    /// There is none.
    Absent,
    /// It exists and cannot be read; why.
    Unreadable(String),
    /// It exists.
    Present(Arc<AttachedCluster>),
    /// A cluster that is no object of ours: how it is, if cluster-proxy knows it.
    Foreign(Option<Box<Health>>),
}

/// Why a member is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// One word.
    pub reason: &'static str,
    /// Cluster, cause, next step.
    pub message: String,
}

/// One entry, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Name of the cluster.
    pub name: String,
    /// Kind of the cluster.
    pub kind: String,
    /// What is wrong; `None` when it is ready.
    pub problem: Option<Problem>,
}

/// Judges all entries, in their order.
pub fn judge(namespace: &str, members: &[Member]) -> Vec<Judged> {
    let mut seen = BTreeSet::new();
    members
        .iter()
        .map(|member| {
            let first = seen.insert(member.entry.name.as_str());
            Judged {
                name: member.entry.name.clone(),
                kind: member
                    .key
                    .as_ref()
                    .map_or(member.entry.kind.as_str(), |key| key.kind.as_str())
                    .to_owned(),
                problem: problem(namespace, member, first).map(|(reason, message)| Problem {
                    reason,
                    message: cut(&message),
                }),
            }
        })
        .collect()
}

fn problem(namespace: &str, member: &Member, first: bool) -> Option<(&'static str, String)> {
    let name = &member.entry.name;
    let Some(key) = &member.key else {
        let kind = &member.entry.kind;
        return Some((
            reason::NOT_READY,
            format!("{name}: {kind} is not a kind of cluster: write AttachedCluster"),
        ));
    };
    if !first {
        let message =
            format!("{name} is listed before: rename one of the two clusters, or take one out");
        return Some((reason::DUPLICATE_MEMBER, message));
    }
    let own = match &member.object {
        Object::Present(object) => not_ready(name, object),
        Object::Foreign(Some(health)) => (health.ready != ConditionStatus::True)
            .then(|| in_short(&health.reason, &health.message)),
        Object::Foreign(None) => {
            let message = format!(
                "cluster-proxy does not know a {} {namespace}/{name}: create it, or attach the cluster with its kubeconfig and list it as AttachedCluster",
                key.kind
            );
            return Some((reason::CLUSTER_NOT_FOUND, message));
        }
        Object::Absent => {
            let message = format!("there is no AttachedCluster {namespace}/{name}: create it");
            return Some((reason::CLUSTER_NOT_FOUND, message));
        }
        Object::Unreadable(why) => {
            let message = format!("AttachedCluster {namespace}/{name} cannot be read: {why}");
            return Some((reason::NOT_READY, message));
        }
    };
    if let Some(other) = &member.claimed_by {
        let message =
            format!("{name} belongs to Fleet {other}: take it out of one of the two Fleets");
        return Some((reason::CLAIMED_BY_OTHER_FLEET, message));
    }
    own
}

/// The problem that the AttachedCluster itself reports.
fn not_ready(name: &str, object: &AttachedCluster) -> Option<(&'static str, String)> {
    let status = object.status.as_ref();
    if status.is_some_and(|status| status.ready) {
        return None;
    }
    let ready = status.and_then(|status| condition::find(&status.conditions, condition::READY));
    let Some(ready) = ready else {
        return Some((
            reason::NOT_READY,
            format!("{name} has not been looked at yet"),
        ));
    };
    Some(in_short(&ready.reason, &ready.message))
}

/// Why a cluster is not ready, in the few words that entries have.
fn in_short(why: &str, message: &str) -> (&'static str, String) {
    match why {
        reason::UNREACHABLE => (reason::UNREACHABLE, message.to_owned()),
        reason::CREDENTIALS_INVALID => (reason::CREDENTIALS_INVALID, message.to_owned()),
        other => (reason::NOT_READY, format!("{other}: {message}")),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use api_types::key::ClusterKind;
    use proxy_client::{ClusterState, MemberState};

    use super::*;
    use crate::fixture::{NAMESPACE, at, attached, attached_status};

    fn member(kind: &str, name: &str) -> Member {
        let entry = ClusterRef {
            kind: kind.into(),
            name: name.into(),
            ..ClusterRef::default()
        };
        let key = entry.fleet_member(NAMESPACE);
        let foreign = key
            .as_ref()
            .is_some_and(|key| key.kind == ClusterKind::Cluster);
        Member {
            key,
            entry,
            object: if foreign {
                Object::Foreign(None)
            } else {
                Object::Absent
            },
            claimed_by: None,
        }
    }

    fn present(name: &str, ready: &str) -> Member {
        let mut object = attached(name);
        object.status = Some(attached_status(ready));
        Member {
            object: Object::Present(Arc::new(object)),
            ..member("AttachedCluster", name)
        }
    }

    fn reasons(members: &[Member]) -> Vec<Option<&'static str>> {
        let judged = judge(NAMESPACE, members);
        judged
            .into_iter()
            .map(|member| member.problem.map(|problem| problem.reason))
            .collect()
    }

    #[rstest]
    #[case("Connected", None)]
    #[case("Unreachable", Some("Unreachable"))]
    #[case("CredentialsInvalid", Some("CredentialsInvalid"))]
    #[case("SecretNotFound", Some("NotReady"))]
    #[case("ProxyNotResponding", Some("NotReady"))]
    #[case("Connecting", Some("NotReady"))]
    fn a_member_is_as_ready_as_its_object_says(
        #[case] ready: &str,
        #[case] expected: Option<&str>,
    ) {
        assert_eq!(reasons(&[present("bergen", ready)]), [expected]);
    }

    #[test]
    fn a_member_that_is_not_there_or_cannot_be_reached_is_named_with_the_next_step() {
        let unread = Member {
            object: Object::Unreadable("spec: wrong".into()),
            ..member("AttachedCluster", "hamar")
        };
        let members = [
            member("AttachedCluster", "bergen"),
            member("", "oslo"),
            member("Toaster", "moss"),
            unread,
        ];
        assert_eq!(
            reasons(&members),
            [
                Some("ClusterNotFound"),
                Some("ClusterNotFound"),
                Some("NotReady"),
                Some("NotReady")
            ]
        );
        let judged = judge(NAMESPACE, &members);
        assert_eq!(
            judged[1].kind, "Cluster",
            "an entry without kind is a Cluster"
        );
        let message = &judged[0].problem.as_ref().unwrap().message;
        assert_eq!(
            message,
            "there is no AttachedCluster oslo/bergen: create it"
        );
    }

    #[test]
    fn a_member_of_kind_cluster_is_as_ready_as_the_proxy_says() {
        let foreign = |state: Option<MemberState>| {
            let key = ClusterKey::new(NAMESPACE, ClusterKind::Cluster, "oslo");
            let health = state.map(|state| Health::of(&ClusterState::new(key, state), at(0)));
            let object = Object::Foreign(health.map(Box::new));
            let member = Member {
                object,
                ..member("", "oslo")
            };
            reasons(&[member])[0]
        };
        for good in [MemberState::Ready, MemberState::Degraded] {
            assert_eq!(foreign(Some(good)), None);
        }
        assert_eq!(foreign(None), Some("ClusterNotFound"));
        assert_eq!(foreign(Some(MemberState::Unreachable)), Some("Unreachable"));
        for other in [MemberState::Misconfigured, MemberState::Draining] {
            assert_eq!(foreign(Some(other)), Some("NotReady"));
        }
    }

    #[test]
    fn the_second_entry_of_a_name_is_the_duplicate_whatever_its_kind() {
        let members = [
            present("bergen", "Connected"),
            member("Cluster", "bergen"),
            present("bergen", "Connected"),
            present("hamar", "Connected"),
        ];
        assert_eq!(
            reasons(&members),
            [None, Some("DuplicateMember"), Some("DuplicateMember"), None]
        );
    }

    #[test]
    fn a_cluster_of_another_fleet_is_not_ready_here_though_it_answers() {
        let mut claimed = present("bergen", "Connected");
        claimed.claimed_by = Some("north".into());
        assert_eq!(reasons(&[claimed.clone()]), [Some("ClaimedByOtherFleet")]);
        let judged = judge(NAMESPACE, &[claimed]);
        assert!(
            judged[0]
                .problem
                .as_ref()
                .unwrap()
                .message
                .contains("Fleet north")
        );
    }
}
