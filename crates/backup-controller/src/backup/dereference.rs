//! Gathers what a pass needs to know, from local stores: no write and no call to a member.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::backup::{Backup, BackupDetail};
use api_types::cluster::AttachedCluster;
use api_types::condition::reason;
use api_types::fleet::Fleet;
use api_types::key::{ClusterKey, ClusterKind};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use proxy_client::{Link as WatchLink, MemberState};
use velero_kit::NAMESPACE;
use velero_kit::identity::Owner;
use velero_kit::problem::Problem;

use super::plan::{Entry, Facts, HubObject, Link, Served};
use super::resolve::{self, HubLabels};
use super::validate::Validated;
use crate::context::Context;

/// The fleet that a Backup names, if it is there.
pub fn fleet(ctx: &Context, backup: &Backup) -> Option<Arc<Fleet>> {
    let key = ObjectRef::new(&backup.spec.destination.fleet)
        .within(&backup.namespace().unwrap_or_default());
    ctx.fleets.get(&key)
}

/// One entry a requested cluster. Once `startTime` is set the clusters are those of the status;
/// until then they follow the destination. An entry that has not begun needs its place in the
/// fleet in any case; one that has begun goes on whatever happens to the fleet.
pub fn entries(ctx: &Context, backup: &Backup, spec: &Validated, owner: &Owner) -> Vec<Entry> {
    let namespace = &owner.namespace;
    let status = backup.status.clone().unwrap_or_default();
    let stored: BTreeMap<ClusterKey, BackupDetail> = status
        .backup_details
        .into_iter()
        .filter_map(|detail| Some((key_of(namespace, &detail)?, detail)))
        .collect();
    let mut requested = requested(ctx, backup, spec);
    if status.start_time.is_some() {
        let destination = &backup.spec.destination;
        requested = resolve::frozen(&stored, requested, destination, spec.fleet_found, |key| {
            hub_object(ctx, key) != HubObject::Absent
        });
    }
    requested
        .into_iter()
        .map(|(key, problem)| Entry {
            stored: stored.get(&key).cloned().unwrap_or_else(|| fresh(&key)),
            problem,
            stuck: None,
            facts: facts(ctx, &key, &spec.location, &owner.uid),
            key,
        })
        .collect()
}

fn requested(ctx: &Context, backup: &Backup, spec: &Validated) -> resolve::Requested {
    let namespace = backup.namespace().unwrap_or_default();
    let fleet = fleet(ctx, backup);
    let hub: HubLabels = ctx
        .clusters
        .state()
        .into_iter()
        .filter(|cluster| cluster.namespace().as_deref() == Some(namespace.as_str()))
        .map(|cluster| (cluster.name_any(), cluster.labels().clone()))
        .collect();
    let mut requested = resolve::resolve(
        &namespace,
        &backup.spec.destination,
        spec.selector.as_ref(),
        fleet.as_deref(),
        &hub,
    );
    if let Some(fleet) = fleet.filter(|fleet| fleet.metadata.deletion_timestamp.is_some()) {
        let problem = Problem::new(
            reason::FLEET_NOT_FOUND,
            format!(
                "Fleet {} is being deleted: nothing new is started for it",
                fleet.name_any()
            ),
        );
        for value in requested.values_mut() {
            *value = Some(problem.clone());
        }
    }
    requested
}

/// The key of an entry, unless its kind is one that this version does not know.
pub fn key_of(namespace: &str, detail: &BackupDetail) -> Option<ClusterKey> {
    let kind = detail.cluster_kind.parse::<ClusterKind>().ok()?;
    Some(ClusterKey::new(namespace, kind, &detail.cluster_name))
}

fn fresh(key: &ClusterKey) -> BackupDetail {
    BackupDetail {
        cluster_name: key.name.clone(),
        cluster_kind: key.kind.to_string(),
        ..BackupDetail::default()
    }
}

/// What is known about one member now.
pub fn facts(ctx: &Context, key: &ClusterKey, location: &str, owner_uid: &str) -> Facts {
    let watch = ctx.backups.state(key);
    let served = match ctx.locations.state(key) {
        state if state.link == WatchLink::NotServed => Served::No,
        state if state.link == WatchLink::Refused => Served::Refused,
        state if state.synced => Served::Yes,
        _ => Served::Unknown,
    };
    let objects = ctx
        .backups
        .list(key)
        .into_iter()
        .filter(|object| velero_kit::identity::owner_uid(&object.metadata) == Some(owner_uid))
        .collect();
    Facts {
        hub: hub_object(ctx, key),
        link: link(ctx, key),
        velero: served,
        location: ctx.locations.get(key, NAMESPACE, location),
        objects_synced: watch.synced && watch.link == WatchLink::Up,
        objects,
    }
}

/// Whether anything was heard of a watch of a member: its objects, or why there are none.
pub fn has_answered(state: &proxy_client::WatchState) -> bool {
    state.synced || !matches!(state.link, WatchLink::Waiting | WatchLink::ProxyLost)
}

fn hub_object(ctx: &Context, key: &ClusterKey) -> HubObject {
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

/// How the member is reached, by the proxy's inventory.
pub fn link(ctx: &Context, key: &ClusterKey) -> Link {
    if key.kind != ClusterKind::AttachedCluster {
        return down(
            format!("{key} cannot be reached: this version works with AttachedClusters only"),
            reason::UNREACHABLE,
        );
    }
    let Some(state) = ctx.inventory.get(key) else {
        let message = if ctx.inventory.synced() {
            format!(
                "cluster-proxy does not know {} (yet): look at `kubectl get kac {}`",
                key.name, key.name
            )
        } else {
            "cluster-proxy does not answer: check that it runs".to_owned()
        };
        return down(message, reason::UNREACHABLE);
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
                        "{} cannot be reached ({detail}): look at `kubectl get kac {}`",
                        key.name, key.name
                    ),
                ),
                since: state.since,
            }
        }
    }
}

fn down(message: String, reason: &'static str) -> Link {
    Link::Down {
        problem: Problem::new(reason, message),
        since: None,
    }
}
