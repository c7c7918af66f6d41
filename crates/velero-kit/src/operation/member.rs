//! What is known about one member, from local stores: no call to it.

use std::collections::BTreeSet;

use crate::problem::Problem;
use api_types::cluster::AttachedCluster;
use api_types::condition::reason;
use api_types::key::{ClusterKey, ClusterKind};
use api_types::labels;
use api_types::names::MemberId;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use proxy_client::{Link as WatchLink, MemberState};

use super::context::{Context, Process};

/// A cluster's object on the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HubObject {
    Absent,
    Terminating,
    Present,
}

/// A member's state in the proxy's inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// It answers; the uid of its kube-system namespace.
    Up { member_uid: String },
    /// Calls cannot be made, since when and why.
    Down {
        problem: Problem,
        since: Option<Timestamp>,
    },
}

/// Whether velero.io is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    Unknown,
    /// We may not look.
    Refused,
    No,
    Yes,
}

/// Why nothing may begin on a member, by its object on the hub.
pub fn no_cluster(key: &ClusterKey, hub: HubObject) -> Option<Problem> {
    let (kind, name) = (key.kind, &key.name);
    let message = match hub {
        HubObject::Present => return None,
        HubObject::Absent => format!("there is no {kind} {name}: create it"),
        HubObject::Terminating => {
            format!("{kind} {name} is being deleted: nothing new is started there")
        }
    };
    Some(Problem::new(reason::CLUSTER_NOT_FOUND, message))
}

/// Why Velero's objects in a member that answers cannot be seen.
pub fn no_velero(key: &ClusterKey, velero: Served) -> Option<Problem> {
    let name = &key.name;
    let (reason, message) = match velero {
        Served::Yes => return None,
        Served::Unknown => (
            reason::WAITING_FOR_CLUSTERS,
            format!("waiting for a first look at Velero in {name}"),
        ),
        Served::Refused => (
            reason::ACCESS_DENIED,
            format!(
                "Velero's objects in {name} must not be read: grant get, list and watch on \
                 velero.io in namespace velero"
            ),
        ),
        Served::No => (
            reason::VELERO_NOT_INSTALLED,
            format!("{name} does not serve velero.io: install Velero there"),
        ),
    };
    Some(Problem::new(reason, message))
}

/// The first thing about a member that keeps anything from beginning there.
pub fn obstacle(key: &ClusterKey, hub: HubObject, link: &Link, velero: Served) -> Option<Problem> {
    let silent = || match link {
        Link::Up { .. } => None,
        Link::Down { problem, .. } => Some(problem.clone()),
    };
    no_cluster(key, hub)
        .or_else(silent)
        .or_else(|| no_velero(key, velero))
}

/// What an entry fails with that has not begun in time.
pub fn too_late(cause: Option<&str>) -> Problem {
    let cause = cause.map_or_else(String::new, |cause| format!("; last: {cause}"));
    Problem::new(
        reason::START_DEADLINE_EXCEEDED,
        format!("did not begin before spec.startDeadline was over{cause}"),
    )
}

/// Whether the member serves Velero's API, as the watch of its locations says.
pub fn served(ctx: &Context<impl Process>, key: &ClusterKey) -> Served {
    match ctx.locations.state(key) {
        state if state.link == WatchLink::NotServed => Served::No,
        state if state.link == WatchLink::Refused => Served::Refused,
        state if state.synced => Served::Yes,
        _ => Served::Unknown,
    }
}

/// The same for one kind of Velero's objects, whose own watch may be refused although others are not.
pub fn served_by(velero: Served, own: WatchLink) -> Served {
    match own {
        WatchLink::NotServed => Served::No,
        WatchLink::Refused => Served::Refused,
        _ => velero,
    }
}

/// Whether anything was heard of a watch of a member: its objects, or why there are none.
pub fn has_answered(state: &proxy_client::WatchState) -> bool {
    state.synced || !matches!(state.link, WatchLink::Waiting | WatchLink::ProxyLost)
}

/// Whether a watch of a member shows all there is now.
pub fn is_live(state: &proxy_client::WatchState) -> bool {
    state.synced && state.link == WatchLink::Up
}

/// The cluster's object on the hub.
pub fn hub_object(ctx: &Context<impl Process>, key: &ClusterKey) -> HubObject {
    if key.kind != ClusterKind::AttachedCluster {
        // Members of other kinds are not followed on the hub; their link says what is wrong.
        return HubObject::Present;
    }
    let object = ctx
        .clusters
        .get(&ObjectRef::<AttachedCluster>::new(&key.name).within(&key.namespace));
    match object {
        None => HubObject::Absent,
        Some(object) if object.metadata.deletion_timestamp.is_some() => HubObject::Terminating,
        Some(_) => HubObject::Present,
    }
}

/// The members whose stores a cluster takes over: what they have stored counts as its own.
pub fn adopted(ctx: &Context<impl Process>, key: &ClusterKey) -> BTreeSet<MemberId> {
    if key.kind != ClusterKind::AttachedCluster {
        return BTreeSet::new();
    }
    let object = ObjectRef::<AttachedCluster>::new(&key.name).within(&key.namespace);
    let cluster = ctx.clusters.get(&object);
    let text = cluster.and_then(|cluster| cluster.annotations().get(labels::ADOPT_STORE).cloned());
    ids(&text.unwrap_or_default())
}

/// Ids of members, separated by commas.
fn ids(text: &str) -> BTreeSet<MemberId> {
    let ids = text.split(',').map(str::trim);
    ids.filter_map(MemberId::parse).collect()
}

/// How the member is reached, by the proxy's inventory.
pub fn link(ctx: &Context<impl Process>, key: &ClusterKey) -> Link {
    if let Some(since) = silent_proxy(ctx) {
        return proxy_silent(since);
    }
    let look = look_at(key);
    let Some(state) = ctx.inventory.get(key) else {
        return if ctx.inventory.synced() {
            let message = format!(
                "cluster-proxy does not know {} (yet): look at `{look}`",
                key.name
            );
            down(message, reason::UNREACHABLE)
        } else {
            let message = "cluster-proxy has not answered yet: check that it runs".to_owned();
            down(message, reason::PROXY_NOT_RESPONDING)
        };
    };
    match (state.state, &state.member_uid) {
        (MemberState::Ready | MemberState::Degraded | MemberState::Draining, Some(uid)) => {
            Link::Up {
                member_uid: uid.clone(),
            }
        }
        (other, _) => {
            let reason = match other {
                MemberState::CredentialsInvalid | MemberState::Misconfigured => {
                    reason::CREDENTIALS_INVALID
                }
                _ => reason::UNREACHABLE,
            };
            let detail = match (state.reason.as_str(), state.message.as_str()) {
                (reason, "") => reason.to_owned(),
                (reason, message) => format!("{reason}: {message}"),
            };
            Link::Down {
                problem: Problem::new(
                    reason,
                    format!(
                        "{} cannot be reached ({detail}): look at `{look}`",
                        key.name
                    ),
                ),
                since: state.since,
            }
        }
    }
}

/// Where a person finds out more.
fn look_at(key: &ClusterKey) -> String {
    let kind = match key.kind {
        ClusterKind::AttachedCluster => "kac",
        ClusterKind::Cluster => "clusters.cluster.kurator.dev",
    };
    format!("kubectl get {kind} {}", key.name)
}

/// Since when cluster-proxy has been silent for so long that its last states say nothing any more.
fn silent_proxy(ctx: &Context<impl Process>) -> Option<Timestamp> {
    // Its return is seen here first.
    let lost = ctx.inventory.lost().is_some();
    lost.then(|| ctx.contact.silent_since(ctx.timings.proxy_grace))?
}

/// The link to any member while cluster-proxy is silent.
pub fn proxy_silent(since: Timestamp) -> Link {
    Link::Down {
        problem: Problem::new(
            reason::PROXY_NOT_RESPONDING,
            format!("cluster-proxy has not answered since {since}: check that it runs"),
        ),
        since: Some(since),
    }
}

fn down(message: String, reason: &'static str) -> Link {
    Link::Down {
        problem: Problem::new(reason, message),
        since: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adoption_names_one_id_or_several() {
        let (one, two) = ("0123456789abcdef", "fedcba9876543210");
        let of =
            |text: &str| -> Vec<String> { ids(text).iter().map(ToString::to_string).collect() };
        assert_eq!(of(one), [one]);
        assert_eq!(of(&format!("{two}, {one},")), [one, two]);
        assert_eq!(of("everything"), [""; 0]);
    }

    #[test]
    fn a_watch_that_is_refused_is_told_although_another_one_of_the_member_is_served() {
        let table = [
            (WatchLink::Up, Served::Yes, Served::Yes),
            (WatchLink::Waiting, Served::Unknown, Served::Unknown),
            (WatchLink::ProxyLost, Served::Yes, Served::Yes),
            (WatchLink::Refused, Served::Yes, Served::Refused),
            (WatchLink::NotServed, Served::Yes, Served::No),
        ];
        for (link, locations, expected) in table {
            assert_eq!(served_by(locations, link), expected, "{link:?}");
        }
    }
}
