//! Gathers what is known about a Fleet's storage: from local stores, and the Secret of the hub. No call
//! to members.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api_types::condition::reason;
use api_types::external::velero::BackupStorageLocation;
use api_types::fleet::{BackupConfig, Fleet, PluginClusterStatus};
use api_types::key::{ClusterKey, ClusterKind};
use api_types::labels;
use api_types::names::MemberId;
use api_types::phase::FleetPhase;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};
use velero_kit::identity::Owner;
use velero_kit::problem::Problem;
use velero_kit::{NAMESPACE, borrowed, location};

use super::known::{Known, Member, Source, Written};
use super::mark::{self, Marks};
use super::memory;
use crate::context::Context;
use crate::operation::member::{self, Link};
use crate::operation::{Error, calls};

/// Gathers it.
pub async fn dereference(ctx: &Context, fleet: Arc<Fleet>) -> Result<Known, Error> {
    let owner = owner(&fleet);
    let config = asked(&fleet).cloned();
    let source = match &config {
        Some(config) => source(ctx, &owner.namespace, &config.storage.secret_name).await?,
        None => Ok(Source::default()),
    };
    let members = members(ctx, &fleet, &owner, config.as_ref());
    Ok(Known {
        written: written(ctx),
        hub: ctx.hub_uid.clone(),
        forced: fleet
            .annotations()
            .get(labels::FORCE_DELETE)
            .is_some_and(|value| value == "true"),
        fleet,
        owner,
        config,
        source,
        members,
    })
}

/// A Fleet as the owner of objects on members.
pub fn owner(fleet: &Fleet) -> Owner {
    Owner {
        kind: "Fleet",
        name_label: labels::FLEET_NAME,
        namespace: fleet.namespace().unwrap_or_default(),
        name: fleet.name_any(),
        uid: fleet.uid().unwrap_or_default(),
        fleet: fleet.name_any(),
    }
}

/// What is asked for. A Fleet that is being deleted keeps its storage as long as operations need it;
/// one that has given it up gets none any more.
fn asked(fleet: &Fleet) -> Option<&BackupConfig> {
    let config = fleet.spec.plugin.as_ref()?.backup.as_ref()?;
    if fleet.metadata.deletion_timestamp.is_none() {
        return Some(config);
    }
    let status = fleet.status.as_ref();
    let begun = status.is_none_or(|status| {
        let ending = [FleetPhase::Terminating, FleetPhase::TerminateFailed];
        let ends = status.phase.is_some_and(|phase| ending.contains(&phase));
        !ends || status.reason.as_deref() == Some(reason::IN_USE)
    });
    (super::is_held(fleet) && begun).then_some(config)
}

async fn source(
    ctx: &Context,
    namespace: &str,
    name: &str,
) -> Result<Result<Source, Problem>, Error> {
    let secrets: Api<Secret> = Api::namespaced(ctx.client.clone(), namespace);
    match secrets.get_opt(name).await {
        Ok(Some(secret)) => Ok(Ok(Source {
            version: format!(
                "{}/{}",
                secret.uid().unwrap_or_default(),
                secret.resource_version().unwrap_or_default()
            ),
            data: secret.data.unwrap_or_default(),
        })),
        Ok(None) => Ok(Err(Problem::new(
            reason::CREDENTIALS_NOT_FOUND,
            format!("there is no Secret {name} in namespace {namespace}: create it"),
        ))),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(Err(Problem::new(
            reason::ACCESS_DENIED,
            format!("backup-controller may not read Secret {name}: grant get on it"),
        ))),
        Err(error) => Err(error.into()),
    }
}

/// Clusters that are asked for, by the spec of the Fleet.
fn wanted(fleet: &Fleet, namespace: &str, config: &BackupConfig) -> BTreeMap<ClusterKey, bool> {
    let listed: BTreeSet<ClusterKey> = fleet
        .spec
        .clusters
        .iter()
        .filter_map(|entry| entry.fleet_member(namespace))
        .collect();
    if config.clusters.is_empty() {
        return listed.into_iter().map(|key| (key, true)).collect();
    }
    let mut wanted = BTreeMap::new();
    for entry in &config.clusters {
        let mut found = listed.iter().filter(|key| entry.selects(key)).peekable();
        if found.peek().is_none() {
            let kind = entry.kind().unwrap_or(ClusterKind::AttachedCluster);
            wanted.insert(ClusterKey::new(namespace, kind, &entry.name), false);
        }
        wanted.extend(found.map(|key| (key.clone(), true)));
    }
    wanted
}

fn members(
    ctx: &Context,
    fleet: &Fleet,
    owner: &Owner,
    config: Option<&BackupConfig>,
) -> Vec<Member> {
    let namespace = &owner.namespace;
    let wanted = config.map_or_else(BTreeMap::new, |config| wanted(fleet, namespace, config));
    let mut entries: BTreeMap<ClusterKey, PluginClusterStatus> = super::stored(fleet)
        .into_iter()
        .flat_map(|entry| &entry.clusters)
        .filter_map(|entry| {
            let kind = entry.cluster_kind.parse().ok()?;
            let key = ClusterKey::new(namespace, kind, &entry.cluster_name);
            Some((key, entry.clone()))
        })
        .collect();
    let marks = Marks {
        owner,
        hub: &ctx.hub_uid,
    };
    let marked = |key: &ClusterKey| default_of(ctx, key).is_some_and(|l| marks.are_on(&l.metadata));
    let held = ctx.locations.clusters().into_iter();
    let held = held.filter(|key| key.namespace == *namespace && marked(key));
    let busy: BTreeSet<ClusterKey> = calls::busy(ctx, owner).into_iter().collect();
    let mut keys: BTreeSet<ClusterKey> = wanted.keys().chain(entries.keys()).cloned().collect();
    keys.extend(held);
    // A write that nobody has seen the end of may leave something there.
    keys.extend(ctx.stores.begun(&owner.uid));
    keys.extend(busy.iter().cloned());
    keys.into_iter()
        .map(|key| {
            let asked = wanted.get(&key);
            let entry = entries.remove(&key);
            let (wanted, listed) = (asked.is_some(), asked == Some(&true));
            let is_busy = busy.contains(&key);
            let mut member = Member {
                wanted,
                listed,
                entry,
                ..look(ctx, marks, key)
            };
            if is_busy {
                member.memory.marks = memory::Marks::UnderWay;
            }
            member
        })
        .collect()
}

fn look(ctx: &Context, marks: Marks<'_>, key: ClusterKey) -> Member {
    let fleet = &marks.owner.uid;
    let link = member::link(ctx, &key);
    let locations = own_locations(ctx, &key);
    let mut store = ctx.stores.peek(fleet, &key);
    let mut survey = None;
    if let Link::Up { member_uid } = &link {
        let found = default_of(ctx, &key).filter(|found| marks.are_on(&found.metadata));
        (store, survey) = ctx.stores.with(fleet, &key, member_uid, |store| {
            let due = found.and_then(|found| {
                let place = location::storage(&found);
                store.survey.sight(&place, found.last_synced_time())
            });
            (store.clone(), due)
        });
    }
    Member {
        wanted: false,
        listed: false,
        hub: member::hub_object(ctx, &key),
        velero: member::served(ctx, &key),
        live: member::is_live(&ctx.locations.state(&key)),
        adopted: member::adopted(ctx, &key),
        memory: store,
        entry: None,
        link,
        locations,
        survey,
        key,
    }
}

fn default_of(ctx: &Context, key: &ClusterKey) -> Option<Arc<BackupStorageLocation>> {
    ctx.locations
        .get(key, NAMESPACE, labels::DEFAULT_STORAGE_LOCATION)
}

fn own_locations(ctx: &Context, key: &ClusterKey) -> Vec<Arc<BackupStorageLocation>> {
    let mut locations = ctx.locations.list(key);
    locations.retain(|found| !borrowed::is_borrowed(&found.name_any()));
    locations
}

/// Where clusters of this hub write beside what its Fleets have set up. Two locations of those are never
/// at one place, since namespace and name of the cluster are in its path.
fn written(ctx: &Context) -> Vec<Written> {
    let mut all = Vec::new();
    for key in ctx.locations.clusters() {
        let Link::Up { member_uid } = member::link(ctx, &key) else {
            continue;
        };
        for found in own_locations(ctx, &key) {
            let by_fleet = mark::is_of_hub(&found.metadata, &ctx.hub_uid);
            if by_fleet || found.is_read_only() {
                continue;
            }
            all.push(Written {
                by: key.clone(),
                member: MemberId::from_uid(&member_uid),
                place: location::storage(&found),
            });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use api_types::fleet::FleetStatus;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::super::fixtures::{at, known};
    use super::*;

    #[test]
    fn a_fleet_that_goes_keeps_its_storage_while_it_is_needed_and_never_gets_it_again() {
        let mut fleet = (*known(Vec::new()).fleet).clone();
        assert!(asked(&fleet).is_some());
        fleet.metadata.deletion_timestamp = Some(Time(at(1)));
        let held = |fleet: &mut Fleet, phase: FleetPhase, reason: &str| {
            fleet.status = Some(FleetStatus {
                phase: Some(phase),
                reason: Some(reason.to_owned()),
                ..FleetStatus::default()
            });
            asked(fleet).is_some()
        };
        fleet.metadata.finalizers = Some(vec![labels::FLEET_BACKUP_FINALIZER.to_owned()]);
        assert!(held(&mut fleet, FleetPhase::Ready, ""));
        assert!(held(&mut fleet, FleetPhase::Terminating, "InUse"));
        assert!(!held(&mut fleet, FleetPhase::Terminating, "Terminating"));
        assert!(!held(
            &mut fleet,
            FleetPhase::TerminateFailed,
            "DeletionBlocked"
        ));
        fleet.metadata.finalizers = Some(vec![labels::FLEET_FINALIZER.to_owned()]);
        for phase in [FleetPhase::Ready, FleetPhase::TerminateSucceeded] {
            assert!(!held(&mut fleet, phase, "Terminating"));
        }
    }

    #[test]
    fn the_clusters_of_the_plugin_are_members_of_the_fleet_or_are_said_not_to_be() {
        let fleet = |plugin: &[&str]| {
            let refs = |names: &[&str]| -> Vec<serde_json::Value> {
                let of =
                    |name: &&str| serde_json::json!({ "kind": "AttachedCluster", "name": name });
                names.iter().map(of).collect()
            };
            let mut fleet = (*known(Vec::new()).fleet).clone();
            let clusters = serde_json::Value::from(refs(&["oslo", "bergen"]));
            fleet.spec.clusters = serde_json::from_value(clusters).unwrap();
            let mut config = super::super::fixtures::config();
            let clusters = serde_json::Value::from(refs(plugin));
            config.clusters = serde_json::from_value(clusters).unwrap();
            let found = wanted(&fleet, "team-a", &config).into_iter();
            found
                .map(|(key, listed)| (key.name, listed))
                .collect::<Vec<(String, bool)>>()
        };
        let pair = |name: &str, listed| (name.to_owned(), listed);
        assert_eq!(fleet(&[]), [pair("bergen", true), pair("oslo", true)]);
        assert_eq!(
            fleet(&["oslo", "turku"]),
            [pair("oslo", true), pair("turku", false)]
        );
    }
}
