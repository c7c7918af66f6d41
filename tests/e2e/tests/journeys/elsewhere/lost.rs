//! A Backup that the hub has lost: what it has stored says itself whose it is.

use api_types::external::velero::{self, BackupStorageLocation};
use api_types::labels;
use api_types::phase::Phase;
use e2e::specs::cluster_ref;
use e2e::{FLEET, PATIENCE, Tenant, await_gone, await_object};
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use super::{from, location_of, wait_clean, waits_for_sync};
use crate::points::{Chosen, as_copy_of, assert_chosen_of, greet, run};
use crate::restore::{App, in_phase, into, with_reason};
use crate::world::{ONE, spare, tenant_of, view};

#[tokio::test]
async fn the_runs_of_a_backup_that_the_hub_has_lost_are_restored_elsewhere() {
    const APP: App = App("elsewhere-lost");
    let spare = spare().await;
    let tenant = tenant_of("elsewhere-lost", &[ONE, spare.name]).await;
    APP.deploy(&[ONE]).await;
    let mut spec = APP.backup();
    "0 0 1 1 *".clone_into(&mut spec.schedule);
    spec.destination.clusters = vec![cluster_ref(ONE)];
    tenant.back_up("nightly", spec).await.unwrap();
    let first = run(&tenant, ("nightly", ONE), "first").await;
    greet(&view(ONE).await.client, &APP, "changed").await;
    let second = run(&tenant, ("nightly", ONE), "second").await;
    let old = backed_up_by_v050(&tenant, &APP).await;
    // Its data stays: that is the default.
    tenant.delete_backup("nightly").await.unwrap();
    tenant.wait_backup_gone("nightly").await.unwrap();

    let locations: Api<BackupStorageLocation> = spare.view.velero();
    let location = location_of(ONE).await;
    await_gone(&locations, &location, PATIENCE).await.unwrap();
    let of = |backup: &str, copy: &str, not_after| {
        as_copy_of(&APP, from(ONE, backup, &[spare.name]), copy, not_after)
    };
    let newest = of("nightly", "elsewhere-lost-newest", None);
    tenant.restore("newest", newest).await.unwrap();
    let earlier = of("nightly", "elsewhere-lost-earlier", Some(first.1));
    tenant.restore("earlier", earlier).await.unwrap();
    let of_v050 = of("old", "elsewhere-lost-old", None);
    tenant.restore("old", of_v050).await.unwrap();
    // One that never was, and one that does not say whose runs it wants.
    let never = of("never-was", "elsewhere-lost-never", None);
    tenant.restore("never", never).await.unwrap();
    let own = into("nightly", &[ONE]);
    tenant.restore("own", own).await.unwrap();
    waits_for_sync(&tenant, "newest", spare.name).await;
    spare.velero().look(&spare.view.client).await.unwrap();

    let target = (spare.name, &spare.view.client);
    let newest = in_phase(&tenant, "newest", Phase::Completed).await;
    let chosen = (&second, "changed");
    assert_chosen_of(ONE, &newest, target, "elsewhere-lost-newest", chosen).await;
    let earlier = in_phase(&tenant, "earlier", Phase::Completed).await;
    let chosen = (&first, "hello");
    assert_chosen_of(ONE, &earlier, target, "elsewhere-lost-earlier", chosen).await;
    let of_v050 = in_phase(&tenant, "old", Phase::Completed).await;
    let chosen = (&old, "changed");
    assert_chosen_of(ONE, &of_v050, target, "elsewhere-lost-old", chosen).await;
    with_reason(&tenant, "never", spare.name, "BackupNotFound").await;
    with_reason(&tenant, "own", ONE, "BackupNotFound").await;
    for name in ["never", "own"] {
        tenant.delete_restore(name).await.unwrap();
        tenant.wait_restore_gone(name).await.unwrap();
    }
    wait_clean(&spare.view, &location).await;
}

/// A Velero Backup of an application as Kurator v0.5.0 made it, for a Backup `old`.
async fn backed_up_by_v050(tenant: &Tenant, app: &App) -> Chosen {
    let name = format!("{ONE}-backup-{}-old", tenant.namespace());
    let made = json!({
        "metadata": { "name": name, "labels": {
            labels::BACKUP_NAME: "old", labels::FLEET_NAME: FLEET, labels::PLUGIN: "backup",
        } },
        "spec": { "includedNamespaces": [app.0] },
    });
    let api: Api<velero::Backup> = view(ONE).await.velero();
    let made = serde_json::from_value(made).unwrap();
    api.create(&PostParams::default(), &made).await.unwrap();
    let done = |found: &velero::Backup| found.phase() == "Completed";
    let done = await_object(&api, &name, "Completed", PATIENCE, done).await;
    (name, done.unwrap().start_timestamp().unwrap())
}
