//! What runs in one cluster comes up in others, by one object; and whatever happens on the way is told,
//! done once, and cleaned up.

mod again;
mod blocked;
mod cancel;
mod chosen;
mod deletion;
mod example;
mod refused;
mod restarts;
mod source;
mod targets;

use anyhow::{Result, ensure};
use api_types::backup::BackupDetail;
use api_types::common::Destination;
use api_types::condition::{self, ConditionStatus};
use api_types::labels;
use api_types::migrate::{Migrate, MigrateSpec};
use api_types::phase::{EntryPhase, Phase};
use api_types::restore::RestoreDetail;
use e2e::specs::cluster_ref;
use e2e::{FLEET, PATIENCE, Tenant, await_gone, await_object};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testbed::wait_ok;

use crate::restore::Held;
use crate::world::{ONE, Spare, spare, tenant_of, view};

/// A target that is never ready.
const NOWHERE: &str = "nowhere";

fn migrates(tenant: &Tenant) -> Api<Migrate> {
    tenant.api()
}

/// A member that is there to be broken, and a namespace with a fleet of the first one and of that.
async fn with_spare(namespace: &str) -> (Spare, Tenant) {
    let spare = spare().await;
    let tenant = tenant_of(namespace, &[ONE, spare.name]).await;
    (spare, tenant)
}

/// The same, and what can be migrated is in both members, in a namespace of this name.
async fn held_in_both(name: &'static str) -> (Spare, Tenant) {
    let (spare, tenant) = with_spare(name).await;
    for client in [&view(ONE).await.client, &spare.view.client] {
        Held::deploy(client, name).await;
    }
    (spare, tenant)
}

/// From one cluster into others.
pub(crate) fn from(source: &str, targets: &[&str], policy: Value) -> MigrateSpec {
    let destination = |clusters: &[&str]| Destination {
        fleet: FLEET.to_owned(),
        clusters: clusters.iter().map(|name| cluster_ref(name)).collect(),
        cluster_selector: None,
    };
    MigrateSpec {
        source_cluster: destination(&[source]),
        target_cluster: destination(targets),
        policy: Some(serde_json::from_value(policy).unwrap()),
        ..MigrateSpec::default()
    }
}

/// A policy for one namespace.
pub(crate) fn only(namespace: &str) -> Value {
    json!({ "resourceFilter": { "includedNamespaces": [namespace] } })
}

pub(crate) async fn begin(tenant: &Tenant, name: &str, spec: MigrateSpec) -> Migrate {
    let object = Migrate::new(name, spec);
    let api = migrates(tenant);
    api.create(&PostParams::default(), &object).await.unwrap()
}

async fn change(tenant: &Tenant, name: &str, spec: Value) {
    let patch = Patch::Merge(json!({ "spec": spec }));
    let changed = migrates(tenant)
        .patch(name, &PatchParams::default(), &patch)
        .await;
    changed.unwrap();
}

pub(crate) async fn cancel(tenant: &Tenant, name: &str) {
    change(tenant, name, json!({ "cancel": true })).await;
}

async fn delete(tenant: &Tenant, name: &str) {
    let api = migrates(tenant);
    api.delete(name, &DeleteParams::default()).await.unwrap();
}

/// Deletes it and waits until it is gone.
pub(crate) async fn wait_gone(tenant: &Tenant, name: &str) {
    delete(tenant, name).await;
    let gone = await_gone(&migrates(tenant), name, PATIENCE).await;
    gone.unwrap();
}

pub(crate) async fn wait(
    tenant: &Tenant,
    name: &str,
    what: &str,
    holds: impl FnMut(&Migrate) -> bool,
) -> Migrate {
    let found = await_object(&migrates(tenant), name, what, PATIENCE, holds).await;
    found.unwrap()
}

/// Waits for an event of a reason about a Migrate whose note is so.
pub(crate) async fn tells(
    tenant: &Tenant,
    (migrate, reason): (&str, &str),
    is_so: impl Fn(&str) -> bool,
) {
    wait_ok("what an event tells", PATIENCE, async || {
        let events = tenant.events(migrate).await?;
        let mut events = events.iter();
        let event = events.find(|event| event.reason.as_deref() == Some(reason));
        let told = event.and_then(|event| event.note.as_deref());
        ensure!(told.is_some_and(&is_so), "{told:?}");
        Ok(())
    })
    .await
    .unwrap();
}

fn is_phase(migrate: &Migrate, phase: Phase) -> bool {
    let status = migrate.status.as_ref();
    status.is_some_and(|status| status.phase == Some(phase))
}

pub(crate) async fn in_phase(tenant: &Tenant, name: &str, phase: Phase) -> Migrate {
    let what = format!("phase {}", phase.as_str());
    wait(tenant, name, &what, |seen| is_phase(seen, phase)).await
}

/// The entry of the source; an empty one before there is any.
pub(crate) fn of_source(migrate: &Migrate) -> BackupDetail {
    let status = migrate.status.clone().unwrap_or_default();
    status.source_cluster_status.unwrap_or_default()
}

fn of_target<'a>(migrate: &'a Migrate, cluster: &str) -> Option<&'a RestoreDetail> {
    let mut targets = migrate.status.as_ref()?.target_cluster_status.iter();
    targets.find(|target| target.cluster_name == cluster)
}

/// The reason in the entry of a target; empty when there is none.
fn reason_of<'a>(migrate: &'a Migrate, cluster: &str) -> &'a str {
    let entry = of_target(migrate, cluster);
    let reason = entry.and_then(|entry| entry.reason.as_deref());
    reason.unwrap_or_default()
}

fn has_completed(migrate: &Migrate, cluster: &str) -> bool {
    of_target(migrate, cluster).is_some_and(|entry| entry.phase == EntryPhase::Completed)
}

/// Whether Velero was seen to work on the restore in a target.
fn is_running(migrate: &Migrate, cluster: &str) -> bool {
    let status = of_target(migrate, cluster);
    let status = status.and_then(|entry| entry.restore_status_in_cluster.as_ref());
    status.is_some_and(|status| status.phase.as_deref() == Some("InProgress"))
}

fn conditions(migrate: &Migrate) -> &[condition::Condition] {
    let status = migrate.status.as_ref();
    status.map_or(&[], |status| &status.conditions)
}

fn source_ready(migrate: &Migrate) -> bool {
    let found = condition::find(conditions(migrate), condition::SOURCE_READY);
    found.is_some_and(|found| found.status == ConditionStatus::True)
}

/// The reason of `Ready`; empty when there is none.
fn ready_reason(migrate: &Migrate) -> &str {
    let found = condition::find(conditions(migrate), condition::READY);
    found.map_or("", |found| &found.reason)
}

/// The name of the Velero Backup.
fn stored_name(migrate: &Migrate) -> String {
    of_source(migrate).backup_name_in_cluster.unwrap()
}

/// Checks that there is one Velero Backup in the source and one Velero Restore in each of these
/// targets, those that the entries name, and that all of these targets have completed.
pub(crate) async fn assert_made_once(migrate: &Migrate, source: &str, targets: &[&str]) {
    let found = backups_of(migrate, source).await;
    assert_eq!(found, [stored_name(migrate)], "in {source}");
    for target in targets {
        let entry = of_target(migrate, target).unwrap();
        assert_eq!(entry.phase, EntryPhase::Completed, "{entry:?}");
        let named = entry.restore_name_in_cluster.clone().unwrap();
        assert_eq!(restores_of(migrate, target).await, [named], "in {target}");
    }
}

/// Without the copies of what another member has made.
async fn backups_of(migrate: &Migrate, member: &str) -> Vec<String> {
    let view = view(member).await;
    let mut found = view.backups_of(&migrate.uid().unwrap()).await.unwrap();
    found.retain(|found| {
        found
            .labels()
            .get(labels::CLUSTER)
            .is_some_and(|of| of == member)
    });
    found.iter().map(ResourceExt::name_any).collect()
}

async fn restores_of(migrate: &Migrate, member: &str) -> Vec<String> {
    let view = view(member).await;
    let found = view.restores_of(&migrate.uid().unwrap()).await.unwrap();
    found.iter().map(ResourceExt::name_any).collect()
}

async fn assert_nothing_restored(migrate: &Migrate, members: &[&str]) {
    for member in members {
        let found = restores_of(migrate, member).await;
        assert!(found.is_empty(), "{found:?} in {member}");
    }
}

/// Checks that there is nothing of a Migrate in these members.
async fn assert_nothing_made(migrate: &Migrate, members: &[&str]) {
    assert_nothing_restored(migrate, members).await;
    for member in members {
        let found = backups_of(migrate, member).await;
        assert!(found.is_empty(), "{found:?} in {member}");
    }
}

/// Begins a Migrate from a member that is there to be broken, and freezes Velero there in the middle
/// of the backup. Velero may win that race: then it is tried with another name. Gives the name.
pub(crate) async fn frozen(
    spare: &Spare,
    tenant: &Tenant,
    name: &str,
    spec: &MigrateSpec,
) -> String {
    let attempt = async |number: u32| -> Result<String> {
        let name = format!("{name}-{number}");
        let made = begin(tenant, &name, spec.clone()).await;
        spare.freeze_while_backing_up(&made.uid().unwrap()).await?;
        Ok(name)
    };
    for number in 0..5 {
        match attempt(number).await {
            Ok(name) => return name,
            Err(_) => spare.velero().process().thaw().unwrap(),
        }
    }
    panic!("Velero was faster five times")
}
