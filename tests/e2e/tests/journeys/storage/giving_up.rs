//! Storage that a fleet does not want any more.

use api_types::external::velero::BackupStorageLocation;
use api_types::fleet::Fleet;
use api_types::labels;
use e2e::FLEET;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams};
use serde_json::json;
use testbed::S3;

use super::bed::{
    BERGEN, OSLO, Turn, cluster, credential, force_away, keys, member_credential, patch_fleet,
    plugin, prefix, reason, turn, wait_event, wait_fleet, wait_plugin_ready, write_credentials,
};

/// Checks that a location stays as it was, and that nobody has it any more.
async fn wait_released(turn: &Turn, member: &str, place: &str) {
    let free = |found: &BackupStorageLocation| !found.labels().contains_key(labels::OWNER_UID);
    let found = turn.location_on(member, "nobody's", free).await;
    assert!(!found.labels().contains_key(labels::MEMBER), "{found:?}");
    assert!(!found.annotations().contains_key(labels::HUB_OBJECT));
    assert_eq!(prefix(&found), place);
    assert!(found.is_available() && !found.is_read_only());
    let expected = credential(S3::ACCESS_KEY, S3::SECRET_KEY);
    assert_eq!(member_credential(turn, member).await, expected);
}

#[tokio::test]
async fn storage_that_is_given_up_stays_as_it_is_and_a_member_that_is_cut_off_is_waited_for() {
    const NAME: &str = "storage-given-up";
    let turn = turn().await;
    let tenant = turn.empty_tenant(NAME).await;
    let relay = turn.attach_with_relay(&tenant, OSLO).await;
    turn.attach(&tenant, BERGEN).await;
    let layout = json!({ "layout": "PerCluster" });
    turn.set_up(&tenant, &layout).await;
    let place = |member: &str| format!("{NAME}/{member}");

    // The plugin goes, and comes back.
    let plugin_of_before = wait_plugin_ready(&tenant).await.spec.plugin;
    patch_fleet(&tenant, &json!({ "plugin": null })).await;
    let gone = |fleet: &Fleet| {
        let finalizer = labels::FLEET_BACKUP_FINALIZER;
        plugin(fleet).is_none() && !fleet.finalizers().iter().any(|held| held == finalizer)
    };
    wait_fleet(&tenant, "no plugin", gone).await;
    for member in [OSLO, BERGEN] {
        wait_released(&turn, member, &place(member)).await;
    }
    wait_event(&tenant, "StorageLocationReleased", &[OSLO]).await;
    patch_fleet(&tenant, &json!({ "plugin": plugin_of_before })).await;
    wait_plugin_ready(&tenant).await;

    // A cluster leaves.
    tenant.change_fleet(&[OSLO]).await.unwrap();
    let left = |fleet: &Fleet| cluster(fleet, BERGEN).is_none();
    wait_fleet(&tenant, "a fleet without bergen", left).await;
    wait_released(&turn, BERGEN, &place(BERGEN)).await;
    let fleet = wait_plugin_ready(&tenant).await;
    assert_eq!(plugin(&fleet).unwrap().display.as_deref(), Some("1/1"));

    // The fleet shall go while the other one is cut off.
    relay.cut();
    tenant.wait_cluster(OSLO, false).await.unwrap();
    let fleets: Api<Fleet> = tenant.api();
    let params = DeleteParams::default();
    fleets.delete(FLEET, &params).await.unwrap();
    let blocked = |fleet: &Fleet| reason(fleet, OSLO) == "RemovalBlocked";
    wait_fleet(&tenant, "storage that cannot be given up", blocked).await;
    force_away(&fleets, FLEET).await;
    wait_event(&tenant, "ObjectsLeftBehind", &[OSLO, "by force"]).await;
    let found = turn.locations(OSLO).get("default").await.unwrap();
    assert_eq!(prefix(&found), place(OSLO));
}

#[tokio::test]
async fn a_set_up_that_is_slow_is_undone_before_the_finalizer_goes() {
    const NAME: &str = "storage-slow";
    let turn = turn().await;
    let tenant = turn.empty_tenant(NAME).await;
    let relay = turn.attach_with_relay(&tenant, OSLO).await;
    write_credentials(&tenant, &keys()).await;
    tenant.create_fleet(&[OSLO]).await.unwrap();
    tenant.wait_fleet_ready().await.unwrap();

    // The call is sent, and is answered only when nothing is asked for any more.
    relay.cut();
    let location = turn.location(&tenant, &json!({ "layout": "PerCluster" }));
    let storage = json!({ "storage": { "location": location, "secretName": "s3" } });
    patch_fleet(&tenant, &json!({ "plugin": { "backup": storage } })).await;
    let begun = |fleet: &Fleet| reason(fleet, OSLO) == "Installing";
    wait_fleet(&tenant, "a call that is under way", begun).await;
    patch_fleet(&tenant, &json!({ "plugin": null })).await;
    let is_held = |fleet: &Fleet| {
        let mut held = fleet.finalizers().iter();
        held.any(|held| held == labels::FLEET_BACKUP_FINALIZER)
    };
    let going = |fleet: &Fleet| {
        !is_held(fleet) || ["Removing", "RemovalBlocked"].contains(&reason(fleet, OSLO))
    };
    let fleet = wait_fleet(&tenant, "the storage going", going).await;
    assert!(is_held(&fleet), "let go while a write was under way");
    relay.heal();
    wait_fleet(&tenant, "nothing left", |fleet| !is_held(fleet)).await;
    if let Some(left) = turn.locations(OSLO).get_opt("default").await.unwrap() {
        assert!(!left.labels().contains_key(labels::OWNER_UID), "{left:?}");
    }
}
