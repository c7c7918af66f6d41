//! Several targets, of which one is lost: the others do not notice.

use api_types::condition;
use api_types::migrate::Migrate;
use api_types::phase::{EntryPhase, Phase};
use e2e::{Attached, Tenant};
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;
use testbed::Relay;

use super::{
    assert_made_once, begin, change, from, has_completed, in_phase, is_running, migrates,
    of_target, only, reason_of, tells, wait, wait_gone,
};
use crate::elsewhere::{location_of, wait_clean};
use crate::restore::Held;
use crate::world::{ONE, Spare, TWO, spare, stack, view};

const ALL: &str = "migrate-three";
const COPY: &str = "migrate-three-copy";
const BEGUN: &str = "migrate-begun";

/// The source is one of the three: there the application comes up beside itself.
#[tokio::test]
async fn of_three_targets_one_is_lost_and_comes_back_and_nobody_else_waits_for_it() {
    let spare = spare().await;
    let lost = spare.name;
    let (tenant, relay) = with_one_to_lose(&spare).await;
    let one = view(ONE).await.client;
    let original = Held::deploy(&one, ALL).await;
    let uid = original.uid().await;
    Held::deploy(&one, BEGUN).await;

    // Of this one the restore runs when its target is lost.
    let held = Held::deploy(&spare.view.client, BEGUN).await;
    held.hold().await;
    begin(&tenant, "begun", from(ONE, &[lost], only(BEGUN))).await;
    let runs = |seen: &Migrate| is_running(seen, lost);
    wait(&tenant, "begun", "a restore that runs", runs).await;
    relay.cut();
    tenant.wait_cluster(lost, false).await.unwrap();

    let mut policy = only(ALL);
    policy["namespaceMapping"] = json!({ ALL: COPY });
    let three = from(ONE, &[ONE, TWO, lost], policy.clone());
    begin(&tenant, "three", three).await;
    begin(&tenant, "late", from(ONE, &[TWO, lost], policy)).await;
    two_of_three_go_on(&tenant, lost).await;
    let late = past_the_deadline(&tenant, lost).await;

    held.release().await;
    relay.heal();
    let begun = in_phase(&tenant, "begun", Phase::Completed).await;
    assert_made_once(&begun, ONE, &[lost]).await;
    held.assert_restored().await;
    let three = in_phase(&tenant, "three", Phase::Completed).await;
    assert_made_once(&three, ONE, &[ONE, TWO, lost]).await;
    for member in [ONE, TWO, lost] {
        let client = view(member).await.client;
        Held::at(&client, COPY).assert_restored().await;
    }
    assert_eq!(original.uid().await, uid);

    // What has failed stays so, whoever is back.
    let after = migrates(&tenant).get("late").await.unwrap();
    assert_eq!(after.status, late.status);
    let restores = spare.view.restores_of(&late.uid().unwrap()).await;
    assert!(restores.unwrap().is_empty());
    // It may be asked about for a day; the others have let go of the location.
    wait_gone(&tenant, "late").await;
    wait_clean(&spare.view, &location_of(ONE).await).await;
}

/// A namespace with three members, of which one can be cut off.
async fn with_one_to_lose(spare: &Spare) -> (Tenant, Relay) {
    let stack = stack().await;
    let (lost, relay) = stack.attach_with_relay(spare.name).unwrap();
    let others = [ONE, TWO].map(|name| stack.attach(name).unwrap());
    let clusters: Vec<Attached> = others.into_iter().chain([lost]).collect();
    (stack.tenant(ALL, &clusters).await.unwrap(), relay)
}

async fn two_of_three_go_on(tenant: &Tenant, lost: &str) {
    let not_compared = format!("{lost}: it is not known whether");
    let only_lost = |told: &str| told.starts_with(&not_compared);
    tells(tenant, ("three", "NotCompared"), only_lost).await;
    let two = |seen: &Migrate| has_completed(seen, ONE) && has_completed(seen, TWO);
    let seen = wait(tenant, "three", "an end in two targets", two).await;
    assert_eq!(reason_of(&seen, lost), "Unreachable");
    assert_eq!(of_target(&seen, lost).unwrap().phase, EntryPhase::Pending);
    let status = seen.status.as_ref().unwrap();
    assert_eq!(status.phase, Some(Phase::RestoreInProgress));
    assert_eq!(status.step.as_deref(), Some("Restore"));
    assert_eq!(status.summary.as_ref().unwrap().display, "2/3");
    let ready = condition::find(&status.conditions, condition::SOURCE_READY);
    assert_eq!(ready.unwrap().reason, "BackupCompleted");
}

/// What has not begun by the deadline fails; what has is awaited for as long as it takes. Gives what
/// has failed.
async fn past_the_deadline(tenant: &Tenant, lost: &str) -> Migrate {
    let other = |seen: &Migrate| has_completed(seen, TWO);
    wait(tenant, "late", "an end in one target", other).await;
    for name in ["late", "begun"] {
        change(tenant, name, json!({ "deadline": "1s" })).await;
    }
    let failed = in_phase(tenant, "late", Phase::PartiallyFailed).await;
    let entry = of_target(&failed, lost).unwrap();
    assert_eq!(entry.phase, EntryPhase::Failed, "{entry:?}");
    assert_eq!(entry.reason.as_deref(), Some("DeadlineExceeded"));
    let told = |seen: &Migrate| {
        let status = seen.status.as_ref();
        status.is_some_and(|status| status.observed_generation == Some(2))
    };
    let seen = wait(tenant, "begun", "a look at the deadline", told).await;
    let status = seen.status.as_ref().unwrap();
    assert!(status.deadline_time.as_ref().unwrap().0 < Timestamp::now());
    assert_eq!(status.phase, Some(Phase::RestoreInProgress));
    assert_eq!(reason_of(&seen, lost), "Unreachable");
    failed
}
