//! Runs: by the clock, asked for, failing, missed.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use api_types::backup::Backup;
use api_types::external::velero;
use api_types::labels;
use api_types::phase::{EntryPhase, Phase};
use e2e::{PATIENCE, Tenant, condition_reason, entry, examples, is_phase, reason};
use kube::ResourceExt;
use kube::api::PostParams;
use serde_json::json;
use testbed::{apply_yaml, wait_ok};

use super::{
    YEARLY, answered, is_scheduled, patch, run_names, run_now, schedule_where, scheduled, schedules,
};
use crate::kubectl::kubectl;
use crate::restarts;
use crate::world::{ONE, TWO, name_in, spare, stack, stored, tenant, tenant_of, view};

#[tokio::test]
async fn the_example_is_scheduled_as_kurator_names_it_and_retained_when_it_goes() {
    let tenant = tenant("schedule-example").await;
    let example = examples::read("backup/backup-schedule.yaml").unwrap();
    let example = example.replace("namespace: default", "namespace: schedule-example");
    apply_yaml(tenant.hub(), &example).await.unwrap();
    let backup = is_scheduled(&tenant, "schedule").await;
    let status = backup.status.as_ref().unwrap();
    assert_eq!(status.backup_details.len(), 1);
    assert_eq!(reason(&backup, TWO), "WaitingForFirstRun");
    let next = status.next_run_time.as_ref().unwrap().0;
    assert_eq!(next.as_second() % 300, 0, "every five minutes: {next}");
    let schedule = schedule_where(&backup, TWO, "there", |_| true).await;
    assert_eq!(
        schedule.name_any(),
        format!("{TWO}-backup-schedule-example-schedule")
    );
    assert_eq!(schedule.spec.schedule, "CRON_TZ=UTC */5 * * * *");
    assert_eq!(schedule.spec.template.ttl.as_deref(), Some("720h"));
    assert!(schedules(&backup, ONE).await.is_empty());

    run_now(&tenant, "schedule", "first").await;
    let backup = answered(&tenant, "schedule", "first", &[TWO]).await;
    let status = backup.status.as_ref().unwrap();
    assert!(status.last_success_time.is_some() && status.expiration_time.is_some());
    let next = status.next_run_time.as_ref().unwrap().0.to_string();
    let table = ["get", "kbk", "schedule", "-n", tenant.namespace()];
    let table = kubectl(stack().await, &table).await;
    for shown in ["*/5 * * * *", "Scheduled", "1/1", &next] {
        assert!(table.contains(shown), "{shown} is not in\n{table}");
    }

    let name = entry(&backup, TWO)
        .unwrap()
        .backup_name_in_cluster
        .clone()
        .unwrap();
    tenant.delete_backup("schedule").await.unwrap();
    tenant.wait_backup_gone("schedule").await.unwrap();
    assert!(schedules(&backup, TWO).await.is_empty());
    assert_eq!(run_names(&backup, TWO).await, std::slice::from_ref(&name));
    assert!(!stored(TWO, &name).await.is_empty());
}

#[tokio::test]
async fn runs_start_by_the_clock_and_what_is_edited_reaches_the_members() {
    let tenant = tenant("schedule-clock").await;
    tenant
        .back_up("often", scheduled("@every 1s"))
        .await
        .unwrap();
    let backup = is_scheduled(&tenant, "often").await;
    for member in [ONE, TWO] {
        let seen = |schedule: &velero::Schedule| schedule.phase() == "Enabled";
        schedule_where(&backup, member, "seen by Velero", seen).await;
    }
    // An edit makes Velero look, and a run is due.
    let edit = json!({ "spec": { "policy": { "ttl": "36h" } } });
    patch(&tenant, "often", edit).await;
    for member in [ONE, TWO] {
        let schedule = schedules(&backup, member).await.remove(0).name_any();
        let what = format!("a run with the new ttl in {member}");
        wait_ok(&what, PATIENCE, async || {
            let view = view(member).await;
            let found = view.backups_of(&backup.uid().unwrap()).await?;
            let edited = |run: &&velero::Backup| run.spec.ttl.as_deref() == Some("36h0m0s");
            let run = found.iter().find(edited).context("there is none yet")?;
            ensure!(run.labels()[labels::VELERO_SCHEDULE_NAME] == schedule);
            Ok(())
        })
        .await
        .unwrap();
    }
    let completed = |backup: &Backup| {
        let status = backup.status.as_ref();
        status.is_some_and(|status| status.last_success_time.is_some())
    };
    tenant
        .wait_backup("often", "a run that completed in each cluster", completed)
        .await
        .unwrap();

    // Another time makes it anew, so that nothing is due.
    let before = schedules(&backup, ONE).await.remove(0);
    let count = run_names(&backup, ONE).await.len();
    let yearly = json!({ "spec": { "schedule": YEARLY, "timeZone": "Europe/Berlin" } });
    patch(&tenant, "often", yearly).await;
    let text = format!("CRON_TZ=Europe/Berlin {YEARLY}");
    let after = schedule_where(&backup, ONE, "yearly", |s| s.spec.schedule == text).await;
    assert_ne!(after.uid(), before.uid());
    let berlin = |backup: &Backup| {
        let next = backup.status.as_ref().and_then(|s| s.next_run_time.clone());
        next.is_some_and(|next| next.0.to_string().ends_with("-12-31T23:00:00Z"))
    };
    tenant
        .wait_backup("often", "a next run at New Year in Berlin", berlin)
        .await
        .unwrap();
    assert!(run_names(&backup, ONE).await.len() <= count + 1);
    tenant.delete_backup("often").await.unwrap();
    tenant.wait_backup_gone("often").await.unwrap();
}

#[tokio::test]
async fn each_value_starts_one_run_whatever_is_killed() {
    let (hub, _turn) = restarts::hub().await;
    let spare = spare().await;
    let tenant = restarts::tenant(hub, "schedule-run-now", &spare).await;
    let members = [ONE, spare.name];
    tenant.back_up("asked", scheduled(YEARLY)).await.unwrap();
    is_scheduled(&tenant, "asked").await;

    // Killed before, during and after.
    run_now(&tenant, "asked", "one").await;
    hub.backup_controller().restart().await.unwrap();
    answered(&tenant, "asked", "one", &members).await;
    hub.backup_controller().kill().await.unwrap();
    run_now(&tenant, "asked", "two").await;
    hub.backup_controller().start_again().await.unwrap();
    let backup = answered(&tenant, "asked", "two", &members).await;
    hub.backup_controller().restart().await.unwrap();
    run_now(&tenant, "asked", "three").await;
    let last = answered(&tenant, "asked", "three", &members).await;
    for member in members {
        let found: BTreeSet<String> = run_names(&backup, member).await.into_iter().collect();
        assert_eq!(found.len(), 3, "{found:?}");
        let shown = entry(&last, member).unwrap();
        assert_eq!(shown.runs.len(), 2, "{shown:?}");
        let listed: BTreeSet<String> = shown.runs.iter().map(|run| run.name.clone()).collect();
        assert!(listed.is_subset(&found), "{listed:?}");
    }
    a_run_that_is_deleted_stays_deleted(&tenant, &last).await;
    tenant.delete_backup("asked").await.unwrap();
    tenant.wait_backup_gone("asked").await.unwrap();
    drop(spare);
}

/// Its value was acted on only just now, and a newer run hides it.
async fn a_run_that_is_deleted_stays_deleted(tenant: &Tenant, backup: &Backup) {
    let view = view(ONE).await;
    let schedule = schedules(backup, ONE).await.remove(0);
    let asked = name_in(backup, ONE);
    let newer = format!("{}-by-hand", schedule.name_any());
    let mut by_hand = velero::Backup::new(&newer, schedule.spec.template.clone());
    let of_runs = by_hand.spec.metadata.take().unwrap().labels;
    by_hand.metadata.labels = Some(of_runs);
    let runs = view.velero::<velero::Backup>();
    runs.create(&PostParams::default(), &by_hand).await.unwrap();
    let shown = |backup: &Backup| {
        entry(backup, ONE).is_some_and(|entry| {
            entry.phase == EntryPhase::Completed
                && entry.backup_name_in_cluster.as_ref() == Some(&newer)
        })
    };
    tenant
        .wait_backup("asked", "the newer run", shown)
        .await
        .unwrap();

    // By Velero itself, which takes it from the bucket too.
    let spec = velero::DeleteBackupRequestSpec {
        backup_name: asked.clone(),
    };
    let request = velero::DeleteBackupRequest::new("by-hand", spec);
    let requests = view.velero::<velero::DeleteBackupRequest>();
    requests
        .create(&PostParams::default(), &request)
        .await
        .unwrap();
    wait_ok("an end of that run", PATIENCE, async || {
        ensure!(!run_names(backup, ONE).await.contains(&asked));
        Ok(())
    })
    .await
    .unwrap();
    // By the time that this one is seen, so is the deletion.
    run_now(tenant, "asked", "four").await;
    let backup = answered(tenant, "asked", "four", &[ONE]).await;
    let found = run_names(&backup, ONE).await;
    assert!(!found.contains(&asked), "{found:?}");
    let entry = entry(&backup, ONE).unwrap();
    let acted = backup.status.as_ref().unwrap().last_run_now_time.clone();
    assert_eq!(entry.last_run_now_time, acted);
}

#[tokio::test]
async fn a_run_that_fails_shows_until_one_completes() {
    let tenant = tenant_of("schedule-failing", &[ONE]).await;
    let mut spec = scheduled(YEARLY);
    let nowhere = json!({ "resourceFilter": { "includedNamespaces": ["there-is-no-such"] } });
    spec.policy = Some(serde_json::from_value(nowhere).unwrap());
    tenant.back_up("fails", spec).await.unwrap();
    is_scheduled(&tenant, "fails").await;
    run_now(&tenant, "fails", "first").await;
    let failing = |backup: &Backup| {
        reason(backup, ONE) == "RunFailed" && condition_reason(backup, "Ready") == "RunsFailing"
    };
    let backup = tenant
        .wait_backup("fails", "RunsFailing", failing)
        .await
        .unwrap();
    let shown = entry(&backup, ONE).unwrap();
    assert_eq!(shown.phase, EntryPhase::PartiallyFailed);
    assert_eq!(shown.consecutive_failures, Some(1));
    assert!(is_phase(&backup, Phase::Scheduled), "it goes on");

    let mended = json!({ "spec": { "policy": { "resourceFilter": { "includedNamespaces": ["default"] } } } });
    patch(&tenant, "fails", mended).await;
    schedule_where(&backup, ONE, "mended", |live| {
        live.spec.template.included_namespaces == ["default"]
    })
    .await;
    run_now(&tenant, "fails", "second").await;
    answered(&tenant, "fails", "second", &[ONE]).await;
    is_scheduled(&tenant, "fails").await;
    let expected = ["Scheduled", "RunNow", "RunFailed", "RunCompleted"];
    wait_ok("the events", PATIENCE, async || -> Result<()> {
        let told = tenant.event_reasons("fails").await.context("no events")?;
        for reason in expected {
            ensure!(
                told.iter().any(|one| one == reason),
                "no {reason} in {told:?}"
            );
        }
        Ok(())
    })
    .await
    .unwrap();
    tenant.delete_backup("fails").await.unwrap();
    tenant.wait_backup_gone("fails").await.unwrap();
}

#[tokio::test]
async fn a_due_run_that_does_not_appear_is_told_until_it_does() {
    let spare = spare().await;
    let tenant = tenant_of("schedule-missed", &[spare.name]).await;
    tenant.back_up("missed", scheduled(YEARLY)).await.unwrap();
    is_scheduled(&tenant, "missed").await;
    spare.velero().process().freeze().unwrap();
    patch(
        &tenant,
        "missed",
        json!({ "spec": { "schedule": "@every 1s" } }),
    )
    .await;
    let missed = |backup: &Backup| {
        condition_reason(backup, "Ready") == "RunMissed"
            && reason(backup, spare.name) == "VeleroNotResponding"
    };
    let backup = tenant
        .wait_backup("missed", "RunMissed", missed)
        .await
        .unwrap();
    assert!(is_phase(&backup, Phase::Scheduled), "it goes on");

    spare.velero().process().thaw().unwrap();
    let ran = |backup: &Backup| {
        entry(backup, spare.name).is_some_and(|entry| entry.last_success_time.is_some())
            && condition_reason(backup, "Ready") == "Scheduled"
    };
    tenant.wait_backup("missed", "a run", ran).await.unwrap();
    tenant.delete_backup("missed").await.unwrap();
    tenant.wait_backup_gone("missed").await.unwrap();
}
