//! A member that is cut off while a restore waits or is under way there, and a Velero that ends in the
//! middle of it.

use api_types::external::velero::{self, BackupStorageLocation};
use api_types::phase::{EntryPhase, Phase};
use api_types::restore::Restore;
use e2e::{PATIENCE, Tenant, await_gone, await_object};
use kube::api::Api;

use super::Held;
use super::{App, assert_restored, entry, in_phase, of, with_reason};
use crate::elsewhere::{from, location_of, waits_for_sync};
use crate::world::{ONE, Spare, spare, stack};

/// Waits until Velero works on a restore, which the namespace that it goes into holds up there.
async fn under_way(tenant: &Tenant, name: &str, spare: &Spare) -> String {
    tenant.restore(name, of("held")).await.unwrap();
    let runs = |restore: &Restore| {
        let found = entry(restore, spare.name);
        found.is_some_and(|found| {
            let velero = found.restore_status_in_cluster.as_ref();
            velero.is_some_and(|status| status.phase.as_deref() == Some("InProgress"))
        })
    };
    let what = "a restore under way";
    let seen = tenant.wait_restore(name, what, runs).await.unwrap();
    let found = entry(&seen, spare.name).unwrap();
    found.restore_name_in_cluster.clone().unwrap()
}

#[tokio::test]
async fn a_restore_under_way_outlives_a_cut_and_fails_with_its_velero() {
    let spare = spare().await;
    let stack = stack().await;
    let (cluster, relay) = stack.attach_with_relay(spare.name).unwrap();
    let tenant = stack.tenant("restore-midway", &[cluster]).await.unwrap();
    let held = Held::deploy(&spare.view.client, "restore-midway").await;
    tenant.back_up("held", held.backup()).await.unwrap();
    tenant.wait_phase("held", Phase::Completed).await.unwrap();

    held.hold().await;
    let object = under_way(&tenant, "cut", &spare).await;
    relay.cut();
    let cut = with_reason(&tenant, "cut", spare.name, "Unreachable").await;
    let known = entry(&cut, spare.name).unwrap();
    assert_eq!(
        known.phase,
        EntryPhase::InProgress,
        "its last state is kept"
    );
    assert!(known.unreachable_since.is_some());
    // Velero ends its work behind the cut.
    held.release().await;
    let objects = spare.view.velero::<velero::Restore>();
    let done = |object: &velero::Restore| object.phase() == "Completed";
    await_object(&objects, &object, "Completed", PATIENCE, done)
        .await
        .unwrap();
    let cut = tenant.restores().get("cut").await.unwrap();
    let phase = cut.status.and_then(|status| status.phase);
    assert_eq!(phase, Some(Phase::InProgress), "nobody can know yet");
    relay.heal();
    let restore = in_phase(&tenant, "cut", Phase::Completed).await;
    assert_restored(&restore, &[spare.name]).await;
    held.assert_restored().await;

    held.hold().await;
    under_way(&tenant, "restarted", &spare).await;
    spare.velero().restart(&spare.view.client).await.unwrap();
    let restore = in_phase(&tenant, "restarted", Phase::Failed).await;
    let failed = entry(&restore, spare.name).unwrap();
    assert_eq!(failed.reason.as_deref(), Some("VeleroRestarted"));
    let said = failed.message.as_deref().unwrap();
    assert!(said.contains("make it anew"), "{said}");
    held.release().await;
    held.wait_gone().await;
    // Which is all that it takes.
    tenant.restore("again", of("held")).await.unwrap();
    let restore = in_phase(&tenant, "again", Phase::Completed).await;
    assert_restored(&restore, &[spare.name]).await;
    held.assert_restored().await;
    held.remove().await;
}

#[tokio::test]
async fn a_target_that_is_cut_off_while_it_waits_for_the_sync_goes_on_when_it_is_back() {
    const APP: App = App("restore-cut-target");
    let spare = spare().await;
    let stack = stack().await;
    let (one, source) = stack.attach_with_relay(ONE).unwrap();
    let (cluster, target) = stack.attach_with_relay(spare.name).unwrap();
    let tenant = stack.tenant(APP.0, &[one, cluster]).await.unwrap();
    APP.deploy(&[ONE]).await;
    let mut spec = APP.backup();
    spec.destination.clusters = vec![e2e::specs::cluster_ref(ONE)];
    tenant.back_up("all", spec).await.unwrap();
    tenant.wait_phase("all", Phase::Completed).await.unwrap();
    let before = APP.objects(ONE, APP.0).await;
    // What another test has read there is not synced already.
    let locations: Api<BackupStorageLocation> = spare.view.velero();
    let location = location_of(ONE).await;
    await_gone(&locations, &location, PATIENCE).await.unwrap();

    source.cut();
    tenant.wait_cluster(ONE, false).await.unwrap();
    let restore = from(ONE, "all", &[spare.name]);
    tenant.restore("cut", restore).await.unwrap();
    if waits_for_sync(&tenant, "cut", spare.name).await {
        target.cut();
        let cut = with_reason(&tenant, "cut", spare.name, "Unreachable").await;
        let waits = entry(&cut, spare.name).unwrap();
        assert_eq!(waits.phase, EntryPhase::Pending);
        assert_eq!(waits.backup_name_in_cluster, None);
    }
    spare.velero().look(&spare.view.client).await.unwrap();
    target.heal();
    let restore = in_phase(&tenant, "cut", Phase::Completed).await;
    let found = entry(&restore, spare.name).unwrap();
    assert_eq!(found.source_cluster_name.as_deref(), Some(ONE));
    assert_eq!(APP.objects(spare.name, APP.0).await, before);
}
