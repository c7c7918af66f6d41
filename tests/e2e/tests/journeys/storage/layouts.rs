//! Where each cluster of a fleet stores, and that it stays so.

use std::collections::BTreeMap;

use api_types::external::velero::BackupStorageLocation;
use api_types::fleet::Fleet;
use api_types::labels;
use api_types::phase::{Phase, PluginPhase};
use e2e::specs::demo_backup;
use e2e::{FLEET, Tenant};
use kube::ResourceExt;
use serde_json::{Value, json};
use testbed::S3;

use super::bed::{
    BERGEN, OSLO, cluster, credential, member_credential, patch_fleet, plugin, prefix, reason,
    turn, wait_event, wait_fleet, wait_plugin_ready,
};
use crate::kubectl::kubectl;
use crate::world::name_in;

#[tokio::test]
async fn each_cluster_stores_in_its_own_place_and_what_is_changed_there_is_put_back() {
    const NAME: &str = "storage-own";
    let turn = turn().await;
    let tenant = turn.tenant(NAME).await;
    let (s3, other) = (turn.stack.bed().s3().unwrap(), "storage-own-before");
    s3.create_bucket(other).unwrap();
    let before = turn.stack.empty_tenant(other).await.unwrap();
    turn.by_hand(BERGEN, "default", &before, "by-hand").await;
    let location = json!({ "prefix": "production", "layout": "PerCluster" });
    let fleet = turn.set_up(&tenant, &location).await;
    let ready = wait_plugin_ready(&tenant).await;

    let entry = plugin(&ready).unwrap();
    assert_eq!(entry.display.as_deref(), Some("2/2"));
    assert_eq!((entry.ready_clusters, entry.clusters_total), (2, 2));
    assert_eq!(entry.details["layout"], "PerCluster");
    let held = ready.finalizers().iter();
    assert_eq!(held.filter(|f| *f == "fleet.kurator.dev/backup").count(), 1);
    let expected = credential(S3::ACCESS_KEY, S3::SECRET_KEY);
    for member in [OSLO, BERGEN] {
        let place = format!("production/{NAME}/{member}");
        let of = cluster(&ready, member).unwrap();
        assert_eq!(
            (of.phase, &of.reason),
            (PluginPhase::Ready, &None),
            "{of:?}"
        );
        let details: BTreeMap<&str, &str> = of
            .details
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        let endpoint = s3.endpoint();
        let wanted = [
            ("bucket", NAME),
            ("endpoint", endpoint.as_str()),
            ("prefix", place.as_str()),
            ("storageLocation", "Available"),
        ];
        assert_eq!(details, wanted.into());
        let found = turn.locations(member).get("default").await.unwrap();
        assert_eq!(prefix(&found), place);
        assert_eq!(found.labels()[labels::OWNER_UID], fleet.uid().unwrap());
        assert_eq!(
            found.labels()[labels::MEMBER],
            turn.id(member).await.to_string()
        );
        let hub_object = &found.annotations()[labels::HUB_OBJECT];
        assert_eq!(hub_object, &format!("Fleet/{NAME}/{FLEET}"));
        assert_eq!(member_credential(&turn, member).await, expected);
    }
    wait_event(
        &tenant,
        "StorageLocationReplaced",
        &[BERGEN, other, "by-hand"],
    )
    .await;
    let fleets = kubectl(turn.stack, &["get", "kfl", "-n", NAME]).await;
    let line: Vec<&str> = fleets.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(line[..4], [FLEET, "Ready", "2/2", "1/1"], "{fleets}");

    tenant.back_up("all", demo_backup()).await.unwrap();
    let backup = tenant.wait_phase("all", Phase::Completed).await.unwrap();
    for member in [OSLO, BERGEN] {
        let folder = format!("production/{NAME}/{member}/backups/");
        let run = format!("{folder}{}/velero-backup.json", name_in(&backup, member));
        let stored = s3.objects(NAME, &folder).unwrap();
        assert!(stored.contains(&run), "{stored:?}");
    }

    let drift = json!({ "spec": { "objectStorage": { "prefix": "moved" } } });
    turn.change(OSLO, drift).await;
    let place = format!("production/{NAME}/{OSLO}");
    let back = |found: &BackupStorageLocation| prefix(found) == place && found.is_available();
    turn.location_on(OSLO, "the place of before", back).await;
    wait_plugin_ready(&tenant).await;
}

#[tokio::test]
async fn a_member_that_stores_at_the_root_of_the_bucket_makes_the_fleet_share_it() {
    const NAME: &str = "storage-shared";
    let turn = turn().await;
    let tenant = turn.tenant(NAME).await;
    turn.by_hand(OSLO, "default", &tenant, "").await;
    turn.set_up(&tenant, &json!({})).await;
    let ready = wait_plugin_ready(&tenant).await;
    assert_eq!(plugin(&ready).unwrap().details["layout"], "Shared");
    for member in [OSLO, BERGEN] {
        let details = &cluster(&ready, member).unwrap().details;
        assert_eq!((&*details["bucket"], details.get("prefix")), (NAME, None));
        let found = turn.locations(member).get("default").await.unwrap();
        assert_eq!(prefix(&found), "");
    }
    tenant.back_up("all", demo_backup()).await.unwrap();
    let backup = tenant.wait_phase("all", Phase::Completed).await.unwrap();
    let stored = turn.stack.bed().s3().unwrap().objects(NAME, "backups/");
    let stored = stored.unwrap();
    for member in [OSLO, BERGEN] {
        let run = format!("backups/{}/velero-backup.json", name_in(&backup, member));
        assert!(stored.contains(&run), "{stored:?}");
    }

    // One bucket cannot hold both layouts: what is there goes on.
    set_layout(&tenant, &json!("PerCluster")).await;
    let refused = |fleet: &Fleet| {
        plugin(fleet).is_some_and(|entry| {
            entry.phase == PluginPhase::Degraded && entry.reason.as_deref() == Some("InvalidSpec")
        })
    };
    wait_fleet(&tenant, "a layout that is refused", refused).await;
    let found = turn.locations(OSLO).get("default").await.unwrap();
    assert_eq!(prefix(&found), "");
    set_layout(&tenant, &Value::Null).await;
    wait_plugin_ready(&tenant).await;
}

async fn set_layout(tenant: &Tenant, layout: &Value) {
    let storage = json!({ "location": { "layout": layout } });
    patch_fleet(
        tenant,
        &json!({ "plugin": { "backup": { "storage": storage } } }),
    )
    .await;
}

#[tokio::test]
async fn the_layout_waits_for_an_answer_of_every_member_unless_it_is_set() {
    const NAME: &str = "storage-layout";
    let turn = turn().await;
    let tenant = turn.empty_tenant(NAME).await;
    let (bergen, relay) = turn.stack.attach_with_relay(BERGEN).unwrap();
    relay.cut();
    tenant.attach(&bergen).await.unwrap();
    turn.attach(&tenant, OSLO).await;
    turn.set_up(&tenant, &json!({})).await;

    let waits = |fleet: &Fleet| {
        let said = cluster(fleet, OSLO).and_then(|of| of.message.as_deref());
        reason(fleet, OSLO) == "WaitingForCluster"
            && said.is_some_and(|said| said.contains(BERGEN))
            && reason(fleet, BERGEN) == "Unreachable"
    };
    let fleet = wait_fleet(&tenant, "a wait for bergen", waits).await;
    assert!(plugin(&fleet).unwrap().details.is_empty());
    let locations = turn.locations(OSLO);
    assert!(locations.get_opt("default").await.unwrap().is_none());

    set_layout(&tenant, &json!("PerCluster")).await;
    let set_up = |fleet: &Fleet| {
        cluster(fleet, OSLO).is_some_and(|of| of.phase == PluginPhase::Ready)
            && reason(fleet, BERGEN) == "Unreachable"
    };
    let fleet = wait_fleet(&tenant, "storage in oslo", set_up).await;
    assert_eq!(plugin(&fleet).unwrap().display.as_deref(), Some("1/2"));
    relay.heal();
    wait_plugin_ready(&tenant).await;
    let found = turn.locations(BERGEN).get("default").await.unwrap();
    assert_eq!(prefix(&found), format!("{NAME}/{BERGEN}"));
}
