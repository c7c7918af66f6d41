//! A source that is lost, that is backed up only in part, or that is not there yet.

use api_types::common::DeletionPolicy;
use api_types::condition::{self, ConditionStatus};
use api_types::external::velero::BackupStorageLocation;
use api_types::migrate::Migrate;
use api_types::phase::{EntryPhase, Phase};
use e2e::{PATIENCE, await_gone};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::{
    assert_made_once, assert_nothing_made, assert_nothing_restored, begin, cancel, from, frozen,
    has_completed, in_phase, migrates, of_source, of_target, only, ready_reason, reason_of,
    source_ready, stored_name, wait, wait_gone, with_spare,
};
use crate::elsewhere::{location_of, wait_clean};
use crate::locations::wait_location;
use crate::restore::Held;
use crate::world::{BARE, ONE, TWO, spare, stack, stored, tenant_of, view};

#[tokio::test]
async fn targets_finish_without_a_source_that_is_lost_after_its_backup() {
    const NAME: &str = "migrate-lost";
    let stack = stack().await;
    let spare = spare().await;
    let (one, relay) = stack.attach_with_relay(ONE).unwrap();
    let clusters = [one, stack.attach(spare.name).unwrap()];
    let tenant = stack.tenant(NAME, &clusters).await.unwrap();
    Held::deploy(&view(ONE).await.client, NAME).await;

    // Nothing can be read in the target: its Velero finds no new location usable.
    let location = location_of(ONE).await;
    let locations: Api<BackupStorageLocation> = spare.view.velero();
    await_gone(&locations, &location, PATIENCE).await.unwrap();
    spare.velero().process().freeze().unwrap();
    begin(&tenant, "lost", from(ONE, &[spare.name], only(NAME))).await;
    let transfer = |seen: &Migrate| {
        let status = seen.status.as_ref();
        status.is_some_and(|status| status.step.as_deref() == Some("Transfer"))
    };
    let seen = wait(&tenant, "lost", "a source that is ready", transfer).await;
    assert!(source_ready(&seen));
    relay.cut();
    tenant.wait_cluster(ONE, false).await.unwrap();
    spare.velero().process().thaw().unwrap();
    wait_location(spare.name, &location, "Available").await;
    // Velero looks into all locations when it starts, and else once a minute.
    spare.velero().restart(&spare.view.client).await.unwrap();

    let migrate = in_phase(&tenant, "lost", Phase::Completed).await;
    assert_made_once(&migrate, ONE, &[spare.name]).await;
    Held::at(&spare.view.client, NAME).assert_restored().await;
    wait_clean(&spare.view, &location).await;
}

#[tokio::test]
async fn a_source_whose_backup_fails_takes_its_targets_along() {
    const NAME: &str = "migrate-failed";
    let (spare, tenant) = with_spare(NAME).await;
    Held::deploy(&spare.view.client, NAME).await;
    let spec = from(spare.name, &[ONE], only(NAME));
    let name = frozen(&spare, &tenant, "failed", &spec).await;
    spare.velero().restart(&spare.view.client).await.unwrap();
    let failed = in_phase(&tenant, &name, Phase::Failed).await;
    assert_eq!(ready_reason(&failed), "SourceBackupFailed");
    assert!(!source_ready(&failed));
    let entry = of_source(&failed);
    assert_eq!(entry.phase, EntryPhase::Failed);
    assert_eq!(
        entry.reason.as_deref(),
        Some("VeleroRestarted"),
        "{entry:?}"
    );
    assert_eq!(reason_of(&failed, ONE), "SourceBackupFailed");
    assert_nothing_restored(&failed, &[ONE]).await;
    wait_gone(&tenant, &name).await;
}

#[tokio::test]
async fn what_is_backed_up_only_in_part_is_restored_where_that_is_asked_for() {
    const NAME: &str = "migrate-partial";
    let tenant = tenant_of(NAME, &[ONE, TWO]).await;
    Held::deploy(&view(ONE).await.client, NAME).await;
    let spec = |partial_failure: &str| {
        let namespaces = [NAME, "there-is-no-such"];
        let policy = json!({
            "resourceFilter": { "includedNamespaces": namespaces },
            "namespaceMapping": { NAME: "migrate-partial-copy" },
            "partialFailure": partial_failure,
        });
        let mut spec = from(ONE, &[TWO], policy);
        spec.deletion_policy = DeletionPolicy::Delete;
        spec
    };
    begin(&tenant, "stop", spec("Stop")).await;
    begin(&tenant, "continue", spec("Continue")).await;

    let stopped = in_phase(&tenant, "stop", Phase::Failed).await;
    assert_eq!(ready_reason(&stopped), "SourceBackupFailed");
    assert!(!source_ready(&stopped));
    assert_eq!(of_source(&stopped).phase, EntryPhase::PartiallyFailed);
    let entry = of_target(&stopped, TWO).unwrap();
    assert_eq!(entry.phase, EntryPhase::Failed);
    let why = entry.reason.as_deref();
    assert_eq!(why, Some("SourceBackupPartiallyFailed"), "{entry:?}");
    let said = entry.message.as_deref().unwrap();
    assert!(said.contains("partialFailure: Continue"), "{said}");
    assert_nothing_restored(&stopped, &[TWO]).await;

    let went_on = in_phase(&tenant, "continue", Phase::PartiallyFailed).await;
    let status = went_on.status.as_ref().unwrap();
    let ready = condition::find(&status.conditions, condition::SOURCE_READY).unwrap();
    assert_eq!(ready.status, ConditionStatus::True);
    assert_eq!(ready.reason, "BackupPartiallyFailed");
    assert_made_once(&went_on, ONE, &[TWO]).await;
    assert_eq!(reason_of(&went_on, TWO), "SourceBackupPartiallyFailed");
    let two = view(TWO).await.client;
    Held::at(&two, "migrate-partial-copy")
        .assert_restored()
        .await;

    for migrate in [&stopped, &went_on] {
        let name = stored_name(migrate);
        assert!(!stored(ONE, &name).await.is_empty());
        wait_gone(&tenant, &migrate.name_any()).await;
        assert_nothing_made(migrate, &[ONE, TWO]).await;
        assert_eq!(stored(ONE, &name).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_source_that_is_not_ready_is_waited_for_until_the_deadline() {
    const NAME: &str = "migrate-early";
    let stack = stack().await;
    let tenant = tenant_of(NAME, &[BARE, TWO]).await;
    Held::deploy(&view(ONE).await.client, NAME).await;
    let spec = || from(ONE, &[TWO], only(NAME));
    let mut late = spec();
    late.deadline = "2s".into();
    begin(&tenant, "early", spec()).await;
    begin(&tenant, "gone", spec()).await;
    begin(&tenant, "late", late).await;
    begin(&tenant, "bare", from(BARE, &[TWO], only(NAME))).await;

    let waits = |seen: &Migrate| reason_of(seen, TWO) == "SourceNotReady";
    for (name, why) in [
        ("early", "ClusterNotInFleet"),
        ("gone", "ClusterNotInFleet"),
        ("bare", "VeleroNotInstalled"),
    ] {
        let of_source = |seen: &Migrate| of_source(seen).reason.as_deref() == Some(why);
        let seen = wait(&tenant, name, why, |seen| waits(seen) && of_source(seen)).await;
        assert_eq!(seen.status.as_ref().unwrap().phase, Some(Phase::Pending));
        assert_eq!(ready_reason(&seen), "SourceNotReady");
        assert!(!source_ready(&seen));
    }
    let late = in_phase(&tenant, "late", Phase::Failed).await;
    assert_eq!(ready_reason(&late), "DeadlineExceeded");
    assert_eq!(reason_of(&late, TWO), "DeadlineExceeded");
    assert_eq!(of_source(&late).reason.as_deref(), Some("DeadlineExceeded"));
    // Cancelled and deleted before anything has begun.
    cancel(&tenant, "bare").await;
    let bare = in_phase(&tenant, "bare", Phase::Failed).await;
    assert_eq!(ready_reason(&bare), "Cancelled");
    assert_eq!(reason_of(&bare, TWO), "Cancelled");
    let gone = migrates(&tenant).get("gone").await.unwrap();
    wait_gone(&tenant, "gone").await;

    let one = stack.attach(ONE).unwrap();
    tenant.attach(&one).await.unwrap();
    tenant.change_fleet(&[BARE, ONE, TWO]).await.unwrap();
    let early = in_phase(&tenant, "early", Phase::Completed).await;
    assert_made_once(&early, ONE, &[TWO]).await;
    assert!(has_completed(&early, TWO));
    Held::at(&view(TWO).await.client, NAME)
        .assert_restored()
        .await;
    for migrate in [&late, &bare, &gone] {
        assert_nothing_made(migrate, &[ONE, TWO]).await;
    }
}
