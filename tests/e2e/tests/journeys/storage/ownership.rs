//! Whose the location of a member is, and what of others stays in it.

use api_types::external::velero::BackupStorageLocation;
use api_types::fleet::Fleet;
use api_types::labels;
use api_types::phase::PluginPhase;
use kube::ResourceExt;
use serde_json::json;

use super::bed::{
    BERGEN, OSLO, cluster, delete_fleet, prefix, reason, turn, wait_event, wait_fleet,
    wait_plugin_ready,
};

/// The other hub is one in name only: its mark is written by hand.
#[tokio::test]
async fn a_location_of_another_hub_s_fleet_of_the_same_name_is_left_alone() {
    const NAME: &str = "storage-two-hubs";
    const THERE: &str = "00000000-0000-4000-8000-000000000002";
    let turn = turn().await;
    let tenant = turn.tenant(NAME).await;
    let layout = json!({ "layout": "PerCluster" });
    let fleet = turn.set_up(&tenant, &layout).await;
    wait_plugin_ready(&tenant).await;
    let own = turn.locations(OSLO).get("default").await.unwrap();
    let hub = own.annotations()[labels::HUB_UID].clone();

    // One that was marked before hubs were told apart is this Fleet's by its uid.
    let unmarked = json!({ "metadata": { "annotations": { labels::HUB_UID: null } } });
    turn.change(OSLO, unmarked).await;
    let marked =
        |found: &BackupStorageLocation| found.annotations().get(labels::HUB_UID) == Some(&hub);
    turn.location_on(OSLO, "marked anew", marked).await;

    let theirs = json!({
        "metadata": {
            "annotations": { labels::HUB_UID: THERE },
            "labels": { labels::OWNER_UID: "of-their-fleet" },
        },
        "spec": { "objectStorage": { "prefix": "theirs" } },
    });
    turn.change(OSLO, theirs).await;
    let taken = |fleet: &Fleet| reason(fleet, OSLO) == "NameTaken";
    let seen = wait_fleet(&tenant, "NameTaken", taken).await;
    let of = cluster(&seen, OSLO).unwrap();
    assert_eq!(of.phase, PluginPhase::Failed);
    assert!(of.message.as_ref().unwrap().contains(THERE), "{of:?}");
    let ready =
        |fleet: &Fleet| cluster(fleet, BERGEN).is_some_and(|of| of.phase == PluginPhase::Ready);
    wait_fleet(&tenant, "bergen as ever", ready).await;

    delete_fleet(&tenant).await;
    let found = turn.locations(OSLO).get("default").await.unwrap();
    assert_eq!(prefix(&found), "theirs");
    assert_eq!(found.annotations()[labels::HUB_UID], THERE);
    assert_eq!(found.labels()[labels::OWNER_UID], "of-their-fleet");
    let found = turn.locations(BERGEN).get("default").await.unwrap();
    assert_ne!(found.labels().get(labels::OWNER_UID), fleet.uid().as_ref());
    assert!(!found.annotations().contains_key(labels::HUB_UID));
}

#[tokio::test]
async fn what_another_writer_has_set_of_the_store_is_removed_and_told() {
    const NAME: &str = "storage-leftovers";
    let turn = turn().await;
    let tenant = turn.tenant(NAME).await;
    turn.by_hand(OSLO, "default", &tenant, "by-hand").await;
    let left = json!({ "spec": {
        "backupSyncPeriod": "45s",
        "objectStorage": { "caCert": "QQ==" },
        "config": { "kmsKeyId": "theirs", "publicUrl": "https://s3.example.org" },
    } });
    turn.change(OSLO, left).await;
    let layout = json!({ "layout": "PerCluster" });
    turn.set_up(&tenant, &layout).await;
    wait_plugin_ready(&tenant).await;
    let found = turn.locations(OSLO).get("default").await.unwrap();
    assert_eq!(found.spec.object_storage.ca_cert, None);
    assert_eq!(found.spec.config.get("kmsKeyId"), None);
    let config = &found.spec.config;
    assert_eq!(config["publicUrl"], "https://s3.example.org");
    let words = [OSLO, "config.kmsKeyId", "objectStorage.caCert"];
    wait_event(&tenant, "StorageLocationCleared", &words).await;

    // And again when it comes back.
    let drift = json!({ "spec": { "config": { "kmsKeyId": "theirs" } } });
    turn.change(OSLO, drift).await;
    let gone = |found: &BackupStorageLocation| !found.spec.config.contains_key("kmsKeyId");
    turn.location_on(OSLO, "without the key", gone).await;
    wait_plugin_ready(&tenant).await;
}
