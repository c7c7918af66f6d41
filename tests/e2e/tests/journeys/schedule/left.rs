//! What a cluster has stored by a schedule outlives the cluster.

use api_types::backup::{Backup, FormerCluster};
use api_types::cluster::AttachedCluster;
use api_types::external::velero::{self, BackupStorageLocation};
use api_types::phase::Phase;
use e2e::{Attached, PATIENCE, await_gone, entry};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams};

use super::{YEARLY, is_scheduled, no_schedule, schedules};
use crate::elsewhere::{from, waits_for_sync};
use crate::locations::one_place;
use crate::points::{as_copy_of, assert_chosen_of, greet, run};
use crate::restore::{App, in_phase};
use crate::world::{ONE, left_behind, spare, stack, tenant_of, view};

fn former(backup: &Backup) -> &[FormerCluster] {
    let status = backup.status.as_ref();
    status.map_or(&[], |status| &status.former_clusters)
}

#[tokio::test]
async fn a_cluster_that_is_built_anew_gets_what_the_former_one_stored() {
    const APP: App = App("schedule-anew");
    const OSLO: &str = "oslo";
    let stack = stack().await;
    let spare = spare().await;
    let bearing_its_name =
        |member: &str| Attached::new(OSLO, &stack.attach(member).unwrap().kubeconfig);
    let clusters = [bearing_its_name(ONE)];
    let tenant = stack.tenant("schedule-anew", &clusters).await.unwrap();
    one_place("anew", &[ONE, spare.name]).await;
    APP.deploy(&[ONE, spare.name]).await;
    greet(&spare.view.client, &APP, "of the new one").await;
    let mut spec = APP.backup();
    YEARLY.clone_into(&mut spec.schedule);
    let policy = spec.policy.get_or_insert_default();
    policy.storage_location = Some("anew".to_owned());
    tenant.back_up("nightly", spec).await.unwrap();
    let backup = is_scheduled(&tenant, "nightly").await;
    let before = run(&tenant, ("nightly", OSLO), "before").await;
    let uid = entry(&backup, OSLO).unwrap().member_uid.clone();

    tenant
        .write_kubeconfig(&bearing_its_name(spare.name))
        .await
        .unwrap();
    let anew = |backup: &Backup| {
        let now = entry(backup, OSLO).and_then(|entry| entry.member_uid.clone());
        let [former] = former(backup) else {
            return false;
        };
        former.replaced && former.member_uid == uid && now.is_some() && now != uid
    };
    let shown = tenant.wait_backup("nightly", "the former one", anew).await;
    let shown = shown.unwrap();
    let remembered = &former(&shown)[0];
    assert!(remembered.expiration_time.is_some() && remembered.storage.is_some());
    is_scheduled(&tenant, "nightly").await;
    let after = run(&tenant, ("nightly", OSLO), "after").await;

    // The newest of all is the new cluster's own; what was before it is the former one's.
    let restore =
        |copy: &str, not_after| as_copy_of(&APP, from(OSLO, "nightly", &[OSLO]), copy, not_after);
    let own = restore("schedule-anew-own", None);
    tenant.restore("own", own).await.unwrap();
    let old = restore("schedule-anew-old", Some(before.1));
    tenant.restore("old", old).await.unwrap();
    let target = (OSLO, &spare.view.client);
    let own = in_phase(&tenant, "own", Phase::Completed).await;
    let chosen = (&after, "of the new one");
    assert_chosen_of(OSLO, &own, target, "schedule-anew-own", chosen).await;
    spare.velero().look(&spare.view.client).await.unwrap();
    let old = in_phase(&tenant, "old", Phase::Completed).await;
    let chosen = (&before, "hello");
    assert_chosen_of(OSLO, &old, target, "schedule-anew-old", chosen).await;

    // Nobody can reach the former one's Schedule: it holds nothing up, and is named.
    tenant.delete_backup("nightly").await.unwrap();
    tenant.wait_backup_gone("nightly").await.unwrap();
    assert!(schedules(&backup, spare.name).await.is_empty());
    let left = schedules(&backup, ONE).await;
    let note = left_behind(&tenant, "nightly").await;
    assert!(note.contains(&left[0].name_any()), "{note}");
    let gone = DeleteParams::default();
    let of_one: Api<velero::Schedule> = view(ONE).await.velero();
    of_one.delete(&left[0].name_any(), &gone).await.unwrap();
    for member in [ONE, spare.name] {
        let locations: Api<BackupStorageLocation> = view(member).await.velero();
        locations.delete("anew", &gone).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_cluster_stored_that_has_left_for_good_is_restored_elsewhere() {
    const APP: App = App("schedule-left");
    let spare = spare().await;
    let tenant = tenant_of("schedule-left", &[ONE, spare.name]).await;
    APP.deploy(&[ONE, spare.name]).await;
    greet(&view(ONE).await.client, &APP, "goodbye").await;
    let mut spec = APP.backup();
    YEARLY.clone_into(&mut spec.schedule);
    tenant.back_up("left", spec).await.unwrap();
    let backup = is_scheduled(&tenant, "left").await;
    let stored = run(&tenant, ("left", ONE), "the last").await;

    // In good order: nobody is in its way.
    tenant.change_fleet(&[spare.name]).await.unwrap();
    let attached: Api<AttachedCluster> = tenant.api();
    attached
        .delete(ONE, &DeleteParams::default())
        .await
        .unwrap();
    await_gone(&attached, ONE, PATIENCE).await.unwrap();
    no_schedule(&backup, ONE).await;
    let shown = tenant.backups().get("left").await.unwrap();
    let [remembered] = former(&shown) else {
        panic!("{:?}", shown.status);
    };
    assert!(remembered.released, "{remembered:?}");

    let restore = as_copy_of(
        &APP,
        from(ONE, "left", &[spare.name]),
        "schedule-left-copy",
        None,
    );
    tenant.restore("again", restore).await.unwrap();
    waits_for_sync(&tenant, "again", spare.name).await;
    spare.velero().look(&spare.view.client).await.unwrap();
    let restore = in_phase(&tenant, "again", Phase::Completed).await;
    let target = (spare.name, &spare.view.client);
    let chosen = (&stored, "goodbye");
    assert_chosen_of(ONE, &restore, target, "schedule-left-copy", chosen).await;

    // Nothing is left to do there, and so nobody has to be asked.
    tenant.delete_backup("left").await.unwrap();
    tenant.wait_backup_gone("left").await.unwrap();
}
