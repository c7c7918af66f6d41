//! What one cluster has backed up comes up in another one, be the first one alive, cut off or gone for
//! good; and nothing that was needed for it stays.

mod dead;
mod given;
mod lost;

use anyhow::{Context, ensure};
use api_types::backup::{Backup, BackupSpec};
use api_types::external::velero::{self, BackupStorageLocation};
use api_types::labels;
use api_types::names;
use api_types::phase::{EntryPhase, Phase};
use api_types::restore::{Restore, RestoreSpec, SourceCluster};
use e2e::specs::{cluster_ref, demo_policy_in};
use e2e::{MemberView, PATIENCE, Tenant, await_gone, await_object};
use futures::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use testbed::{apply_yaml, wait_ok};

use crate::locations::one_place;
use crate::points::as_copy_of;
use crate::restarts;
use crate::restore::{App, entry, in_phase, into, objects_of, policy, reason, wait_created};
use crate::world::{ONE, TWO, name_in, spare, stack, stored, tenant_of, view};

/// The backup of `source` into `targets`.
pub(crate) fn from(source: &str, backup: &str, targets: &[&str]) -> RestoreSpec {
    RestoreSpec {
        source_cluster: Some(SourceCluster {
            kind: String::new(),
            name: source.to_owned(),
        }),
        ..into(backup, targets)
    }
}

/// A Backup of one cluster only.
fn only(cluster: &str, mut spec: BackupSpec) -> BackupSpec {
    spec.destination.clusters = vec![cluster_ref(cluster)];
    spec
}

async fn backed_up(tenant: &Tenant, name: &str, spec: BackupSpec) -> Backup {
    tenant.back_up(name, spec).await.unwrap();
    tenant.wait_phase(name, Phase::Completed).await.unwrap()
}

/// Name of the location for reading what a member stores.
pub(crate) async fn location_of(member: &str) -> String {
    let bed = stack().await.bed();
    let velero = bed.member(member).unwrap().velero().unwrap();
    let endpoint = bed.s3().unwrap().endpoint();
    names::location_name(&endpoint, velero.bucket(), velero.prefix())
}

/// Who uses a location, by the uid of the operation.
pub(crate) fn uses(location: &BackupStorageLocation) -> Vec<String> {
    let keys = location.annotations().keys();
    keys.filter_map(|key| key.strip_prefix(labels::LOCATION_USE_PREFIX))
        .map(str::to_owned)
        .collect()
}

/// Waits until an operation uses a location no more.
pub(crate) async fn wait_unused(locations: &Api<BackupStorageLocation>, name: &str, uid: &str) {
    wait_ok("an end of the use", PATIENCE, async || {
        let location = locations.get_opt(name).await?;
        let left = location.as_ref().map(uses).unwrap_or_default();
        ensure!(!left.iter().any(|left| left == uid), "there are {left:?}");
        Ok(())
    })
    .await
    .unwrap();
}

/// Waits until a Restore waits for Velero's sync: it looks once a minute, perhaps just now.
pub(crate) async fn waits_for_sync(tenant: &Tenant, name: &str, target: &str) -> bool {
    let waits = |restore: &Restore| reason(restore, target) == "BackupNotSynced";
    let seen = |restore: &Restore| {
        waits(restore) || entry(restore, target).is_some_and(|entry| entry.phase.is_final())
    };
    let restore = tenant.wait_restore(name, "a wait for a sync", seen).await;
    waits(&restore.unwrap())
}

/// Checks what a Restore says that completed in one cluster with the backup of another.
async fn assert_restored_from(restore: &Restore, target: &str, source: &str, backup: &Backup) {
    let found = entry(restore, target).unwrap();
    assert_eq!(found.phase, EntryPhase::Completed, "{found:?}");
    assert_eq!(found.reason, None, "{found:?}");
    assert_eq!(found.source_cluster_name.as_deref(), Some(source));
    let name = name_in(backup, source);
    assert_eq!(found.backup_name_in_cluster, Some(name));
    let status = e2e::entry(backup, source).unwrap();
    let begun = status.backup_status_in_cluster.clone().unwrap();
    assert_eq!(found.backup_time, begun.start_timestamp);
    assert_eq!(
        objects_of(restore, target).await,
        [found.restore_name_in_cluster.clone().unwrap()]
    );
}

/// Waits until neither the location nor any copy in it is left on a member.
pub(crate) async fn wait_clean(view: &MemberView, location: &str) {
    let locations: Api<BackupStorageLocation> = view.velero();
    await_gone(&locations, location, PATIENCE).await.unwrap();
    let copies: Api<velero::Backup> = view.velero();
    wait_ok("an end of the copies", PATIENCE, async || {
        let mut left = Vec::new();
        for label in [labels::VELERO_STORAGE_LOCATION, labels::COPIED_INTO] {
            let label = format!("{label}={location}");
            let found = copies.list(&ListParams::default().labels(&label)).await?;
            left.extend(found.iter().map(ResourceExt::name_any));
        }
        ensure!(left.is_empty(), "there are {left:?}");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn two_restores_of_one_backup_share_its_location_which_goes_with_the_last() {
    const APP: App = App("elsewhere-shared");
    const PIN: &str = "use.kurator.dev/of-another-hub";
    let spare = spare().await;
    let tenant = tenant_of("elsewhere-shared", &[ONE, spare.name]).await;
    APP.deploy(&[ONE]).await;
    let backup = backed_up(&tenant, "all", only(ONE, APP.backup())).await;
    let before = APP.objects(ONE, APP.0).await;

    // A location that another hub uses, so that Velero need not be awake to find it usable.
    let name = location_of(ONE).await;
    let locations: Api<BackupStorageLocation> = spare.view.velero();
    await_gone(&locations, &name, PATIENCE).await.unwrap();
    let mut pinned = locations.get("default").await.unwrap().spec;
    pinned.object_storage.prefix = Some(ONE.to_owned());
    (pinned.default, pinned.access_mode) = (None, Some("ReadOnly".to_owned()));
    let mut pinned = BackupStorageLocation::new(&name, pinned);
    let pin = (PIN.to_owned(), "hub/Restore/ns/name".to_owned());
    pinned.metadata.annotations = Some([pin].into());
    let made = locations.create(&PostParams::default(), &pinned).await;
    let made = made.unwrap();
    let available = BackupStorageLocation::is_available;
    await_object(&locations, &name, "Available", PATIENCE, available)
        .await
        .unwrap();
    spare.velero().process().freeze().unwrap();

    let first = from(ONE, "all", &[spare.name]);
    let mut second = from(ONE, "all", &[spare.name]);
    second.policy = Some(policy(json!({
        "namespaceMapping": { APP.0: "elsewhere-shared-copy" },
        "resourceFilter": { "includedNamespaceScopedResources": ["configmaps"] },
    })));
    let first = tenant.restore("first", first).await.unwrap();
    let second = tenant.restore("second", second).await.unwrap();
    for restore in [&first, &second] {
        wait_created(restore, spare.name).await;
    }
    let shared = locations.get(&name).await.unwrap();
    assert_eq!(shared.metadata.uid, made.metadata.uid);
    let by = [first.uid().unwrap(), second.uid().unwrap()];
    for uid in &by {
        assert!(uses(&shared).contains(uid), "{:?}", shared.annotations());
    }
    // A sync of Velero's that began before must not take the copy for one that left the bucket.
    let backups: Api<velero::Backup> = spare.view.velero();
    let copy = backups.get(&name_in(&backup, ONE)).await.unwrap();
    assert_eq!(copy.labels().get(labels::COPIED_INTO), Some(&name));
    assert_eq!(copy.labels().get(labels::VELERO_STORAGE_LOCATION), None);
    spare.velero().process().thaw().unwrap();

    let first = in_phase(&tenant, "first", Phase::Completed).await;
    let second = in_phase(&tenant, "second", Phase::Completed).await;
    for restore in [&first, &second] {
        assert_restored_from(restore, spare.name, ONE, &backup).await;
    }
    assert_eq!(APP.objects(spare.name, APP.0).await, before);
    let copied: Api<ConfigMap> =
        Api::namespaced(spare.view.client.clone(), "elsewhere-shared-copy");
    assert!(copied.get_opt("settings").await.unwrap().is_some());

    // Ours end, the other hub's keeps it.
    let ours_ended = |found: &BackupStorageLocation| uses(found) == ["of-another-hub"];
    await_object(
        &locations,
        &name,
        "an end of our uses",
        PATIENCE,
        ours_ended,
    )
    .await
    .unwrap();
    let unpinned = json!({ "metadata": { "annotations": { PIN: null } } });
    locations
        .patch(&name, &PatchParams::default(), &Patch::Merge(unpinned))
        .await
        .unwrap();
    wait_clean(&spare.view, &name).await;
    for name in ["first", "second"] {
        tenant.delete_restore(name).await.unwrap();
        tenant.wait_restore_gone(name).await.unwrap();
    }
    assert!(objects_of(&first, spare.name).await.is_empty());
    // What was read stays with its owner.
    let run = name_in(&backup, ONE);
    assert!(!stored(ONE, &run).await.is_empty());
    let own: Api<velero::Backup> = view(ONE).await.velero();
    assert!(own.get_opt(&run).await.unwrap().is_some());
}

#[tokio::test]
async fn a_source_that_does_not_answer_is_waited_for_and_its_return_is_noticed() {
    const APP: App = App("elsewhere-cut");
    let stack = stack().await;
    let (one, relay) = stack.attach_with_relay(ONE).unwrap();
    let clusters = [one, stack.attach(TWO).unwrap()];
    let tenant = stack.tenant("elsewhere-cut", &clusters).await.unwrap();
    APP.deploy(&[ONE]).await;
    let backup = backed_up(&tenant, "all", only(ONE, APP.backup())).await;
    relay.cut();
    tenant.wait_cluster(ONE, false).await.unwrap();
    let restore = tenant
        .restore("cut", from(ONE, "all", &[TWO]))
        .await
        .unwrap();
    if waits_for_sync(&tenant, "cut", TWO).await {
        let locations: Api<BackupStorageLocation> = view(TWO).await.velero();
        let location = locations.get(&location_of(ONE).await).await.unwrap();
        assert!(location.is_read_only() && uses(&location).contains(&restore.uid().unwrap()));
    }
    relay.heal();
    let restore = in_phase(&tenant, "cut", Phase::Completed).await;
    assert_restored_from(&restore, TWO, ONE, &backup).await;
}

/// Marks backups of one cluster as having volumes, the first two by records such as a node agent leaves and
/// the third by what Velero itself counts. Only Velero's sync brings such records along.
async fn give_volumes(member: &MemberView, [by_file, moved, snapshots]: &[String; 3]) {
    let records = format!(
        "
apiVersion: velero.io/v1
kind: PodVolumeBackup
metadata: {{name: {by_file}, namespace: velero, labels: {{velero.io/backup-name: {by_file}}}}}
spec: {{backupStorageLocation: default, node: none, pod: {{}}, repoIdentifier: none, volume: data}}
status: {{phase: Completed}}
---
apiVersion: velero.io/v2alpha1
kind: DataUpload
metadata: {{name: {moved}, namespace: velero, labels: {{velero.io/backup-name: {moved}}}}}
spec:
  {{backupStorageLocation: default, operationTimeout: 1m, snapshotType: CSI, sourceNamespace: none, sourcePVC: data}}
status: {{phase: Completed}}
"
    );
    apply_yaml(&member.client, &records).await.unwrap();
    let attempted = json!({ "status": { "csiVolumeSnapshotsAttempted": 1 } });
    let backups: Api<velero::Backup> = member.velero();
    backups
        .patch(snapshots, &PatchParams::default(), &Patch::Merge(attempted))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_has_volumes_is_left_to_velero_s_own_sync() {
    const APP: App = App("elsewhere-volume");
    const NAMES: [&str; 3] = ["by-file", "moved", "snapshots"];
    let spare = spare().await;
    let tenant = tenant_of("elsewhere-volume", &[ONE, spare.name]).await;
    APP.deploy(&[ONE]).await;
    let spec = || only(ONE, APP.backup());
    let backups = NAMES.map(|name| backed_up(&tenant, name, spec()));
    let backups = join_all(backups).await;
    let runs = [0, 1, 2].map(|which| name_in(&backups[which], ONE));
    give_volumes(&view(ONE).await, &runs).await;

    for name in NAMES {
        let copy = format!("elsewhere-volume-{name}");
        let spec = as_copy_of(&APP, from(ONE, name, &[spare.name]), &copy, None);
        tenant.restore(name, spec).await.unwrap();
    }
    for name in NAMES {
        waits_for_sync(&tenant, name, spare.name).await;
    }
    spare.velero().look(&spare.view.client).await.unwrap();
    let copies: Api<velero::Backup> = spare.view.velero();
    for ((name, run), backup) in NAMES.iter().zip(&runs).zip(&backups) {
        let copy = await_object(&copies, run, "there", PATIENCE, |_| true).await;
        let by = copy.unwrap().managed_fields().to_vec();
        let ours = |by: &ManagedFieldsEntry| by.manager.as_deref() == Some(labels::BACKUP_MANAGER);
        assert!(!by.iter().any(ours), "{name}: {by:?}");
        let restore = in_phase(&tenant, name, Phase::Completed).await;
        assert_restored_from(&restore, spare.name, ONE, backup).await;
    }
}

#[tokio::test]
async fn members_of_one_shared_location_read_each_other_s_backups_in_it() {
    const APP: App = App("elsewhere-root");
    let stack = stack().await;
    let tenant = tenant_of("elsewhere-root", &[ONE, TWO]).await;
    one_place("shared", &[ONE, TWO]).await;
    APP.deploy(&[ONE]).await;
    let mut spec = only(ONE, APP.backup());
    spec.policy = Some(api_types::backup::BackupPolicy {
        resource_filter: spec.policy.and_then(|policy| policy.resource_filter),
        ..demo_policy_in("shared")
    });
    let backup = backed_up(&tenant, "all", spec).await;
    tenant
        .restore("root", from(ONE, "all", &[TWO]))
        .await
        .unwrap();
    let restore = in_phase(&tenant, "root", Phase::Completed).await;
    assert_restored_from(&restore, TWO, ONE, &backup).await;
    let two = view(TWO).await;
    let copies: Api<velero::Backup> = two.velero();
    let copy = copies.get(&name_in(&backup, ONE)).await.unwrap();
    assert_eq!(copy.spec.storage_location.as_deref(), Some("shared"));
    let locations: Api<BackupStorageLocation> = two.velero();
    let borrowed = names::location_name(&stack.bed().s3().unwrap().endpoint(), "shared", "");
    assert!(locations.get_opt(&borrowed).await.unwrap().is_none());
}

#[tokio::test]
async fn backup_controller_may_be_killed_in_the_middle_of_a_restore_elsewhere() {
    const APP: App = App("elsewhere-kill");
    let (hub, _turn) = restarts::hub().await;
    let spare = spare().await;
    let tenant = restarts::tenant(hub, "elsewhere-kill", &spare).await;
    let victim = hub.backup_controller();
    APP.deploy(&[ONE]).await;
    let backup = backed_up(&tenant, "all", only(ONE, APP.backup())).await;
    let name = location_of(ONE).await;
    let locations: Api<BackupStorageLocation> = spare.view.velero();

    // As soon as the location is there, and as soon as the Velero Restore is.
    let located = tenant
        .restore("located", from(ONE, "all", &[spare.name]))
        .await
        .unwrap();
    let uid = located.uid().unwrap();
    wait_ok("a location", PATIENCE, async || {
        let found = locations
            .get_opt(&name)
            .await?
            .context("there is none yet")?;
        ensure!(uses(&found).contains(&uid), "it is not used yet");
        Ok(())
    })
    .await
    .unwrap();
    victim.restart().await.unwrap();
    let created = tenant
        .restore("created", from(ONE, "all", &[spare.name]))
        .await
        .unwrap();
    wait_created(&created, spare.name).await;
    victim.restart().await.unwrap();
    for name in ["located", "created"] {
        let restore = in_phase(&tenant, name, Phase::Completed).await;
        assert_restored_from(&restore, spare.name, ONE, &backup).await;
    }
    // The end of a use that nobody saw to is made up for.
    wait_ok("an end of the uses", PATIENCE, async || {
        let left = locations.get_opt(&name).await?;
        let left = left.as_ref().map(uses).unwrap_or_default();
        ensure!(left.is_empty(), "there are {left:?}");
        Ok(())
    })
    .await
    .unwrap();
}
