//! Object storage that stops to answer: what runs goes on when it is back, and what has not begun waits.

use api_types::backup::Backup;
use api_types::phase::{EntryPhase, Phase};
use e2e::specs::{demo_backup, demo_policy_in};
use e2e::{entry, is_phase, reason};
use testbed::Relay;

use crate::locations::{make_location, wait_location};
use crate::world::{Spare, assert_completed, assert_one_object, spare, stack, tenant_of};

/// Name of the location and of its bucket.
const SILENT: &str = "silent";

/// A location of a member whose storage can be cut off.
async fn behind_a_relay(spare: &Spare) -> Relay {
    let bed = stack().await.bed();
    let relay = bed.relay_to_s3().unwrap();
    bed.s3().unwrap().create_bucket(SILENT).unwrap();
    make_location(spare.name, SILENT, |spec| {
        SILENT.clone_into(&mut spec.object_storage.bucket);
        let url = format!("http://{}", relay.address());
        spec.config.insert("s3Url".into(), url);
    })
    .await;
    wait_location(spare.name, SILENT, "Available").await;
    relay
}

#[tokio::test]
async fn storage_that_stops_to_answer_holds_a_backup_until_it_is_back_midway_or_before() {
    let spare = spare().await;
    let tenant = tenant_of("silent-storage", &[spare.name]).await;
    let relay = behind_a_relay(&spare).await;
    let mut spec = demo_backup();
    spec.policy = Some(demo_policy_in(SILENT));

    relay.cut();
    tenant.back_up("midway", spec.clone()).await.unwrap();
    let stuck = |backup: &Backup| reason(backup, spare.name) == "NoProgress";
    let midway = tenant.wait_backup("midway", "NoProgress", stuck).await;
    assert!(is_phase(&midway.unwrap(), Phase::InProgress));
    relay.heal();
    let midway = tenant.wait_phase("midway", Phase::Completed).await.unwrap();
    assert_completed(&midway, &[spare.name]);

    relay.refuse();
    wait_location(spare.name, SILENT, "Unavailable").await;
    tenant.back_up("before", spec).await.unwrap();
    let waits = |backup: &Backup| reason(backup, spare.name) == "StorageLocationUnavailable";
    let before = tenant.wait_backup("before", "a wait for it", waits).await;
    let waiting = entry(&before.unwrap(), spare.name).unwrap().clone();
    assert_eq!(waiting.phase, EntryPhase::Pending);
    let said = waiting.message.unwrap();
    assert!(said.contains("connection refused"), "{said}");
    relay.heal();
    let before = tenant.wait_phase("before", Phase::Completed).await.unwrap();
    assert_completed(&before, &[spare.name]);
    assert_one_object(&before, spare.name).await;
}
