//! What is due by the clock: nothing that was missed starts by what we change, and every way to write
//! a schedule is one that Velero reads.

use anyhow::ensure;
use api_types::backup::{Backup, BackupSpec};
use api_types::external::velero;
use api_types::phase::Phase;
use e2e::{PATIENCE, condition_reason, is_phase};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use testbed::wait_ok;

use super::{YEARLY, is_scheduled, patch, run_names, schedule_where, scheduled};
use crate::world::{ONE, tenant_of, view};

/// Once a day, at a time that is half a day away: the test does not run into it.
fn daily() -> String {
    let noon = Timestamp::now() + SignedDuration::from_hours(12);
    format!("0 {} * * *", noon.to_zoned(TimeZone::UTC).hour())
}

/// As if the last run of the one Schedule had been the day before yesterday, so that one was missed.
/// Velero looks at a Schedule when its spec changes, and else once a minute.
async fn miss_a_run(backup: &Backup, what: &str) -> velero::Schedule {
    let found = schedule_where(backup, ONE, what, |live| live.phase() == "Enabled").await;
    let then = Timestamp::now() - SignedDuration::from_hours(48);
    let last = json!({ "status": { "lastBackup": then.to_string() } });
    let schedules: Api<velero::Schedule> = view(ONE).await.velero();
    let (params, last) = (PatchParams::default(), Patch::Merge(last));
    let patched = schedules.patch(&found.name_any(), &params, &last).await;
    let patched = patched.unwrap();
    assert!(patched.last_backup().is_some(), "{patched:?}");
    patched
}

/// Waits until Velero has looked at all that was changed before: it takes one Schedule at a time, in
/// the order in which they changed.
async fn velero_has_looked(name: &str) {
    let schedules: Api<velero::Schedule> = view(ONE).await.velero();
    let spec = velero::ScheduleSpec {
        schedule: YEARLY.to_owned(),
        ..velero::ScheduleSpec::default()
    };
    let last = velero::Schedule::new(name, spec);
    let made = schedules.create(&PostParams::default(), &last).await;
    made.unwrap();
    wait_ok("a look of Velero", PATIENCE, async || {
        let found = schedules.get(name).await?;
        ensure!(found.phase() == "Enabled", "it is {:?}", found.phase());
        Ok(())
    })
    .await
    .unwrap();
    let gone = DeleteParams::default();
    schedules.delete(name, &gone).await.unwrap();
}

#[tokio::test]
async fn a_run_that_was_missed_starts_neither_in_a_pause_nor_at_its_end_nor_by_another_time() {
    let tenant = tenant_of("schedule-due", &[ONE]).await;
    tenant.back_up("due", scheduled(&daily())).await.unwrap();
    let backup = is_scheduled(&tenant, "due").await;
    let nothing_ran = async |name: &str| {
        velero_has_looked(name).await;
        let found = run_names(&backup, ONE).await;
        assert!(found.is_empty(), "{name}: {found:?}");
    };
    let before = schedule_where(&backup, ONE, "seen by Velero", |live| {
        live.phase() == "Enabled"
    })
    .await;

    // In a pause: it is due, and Velero looks at it.
    patch(&tenant, "due", json!({ "spec": { "paused": true } })).await;
    let paused = |backup: &Backup| {
        is_phase(backup, Phase::Paused) && condition_reason(backup, "Ready") == "Paused"
    };
    let what = "Ready because Paused";
    tenant.wait_backup("due", what, paused).await.unwrap();
    schedule_where(&backup, ONE, "paused", |live| live.spec.paused).await;
    let missed = miss_a_run(&backup, "paused").await;
    assert_eq!(missed.uid(), before.uid(), "it was not made anew");
    let edit = json!({ "spec": { "policy": { "ttl": "36h" } } });
    patch(&tenant, "due", edit).await;
    schedule_where(&backup, ONE, "edited", |live| {
        live.spec.template.ttl.as_deref() == Some("36h")
    })
    .await;
    nothing_ran("due-in-the-pause").await;

    // At its end.
    patch(&tenant, "due", json!({ "spec": { "paused": false } })).await;
    is_scheduled(&tenant, "due").await;
    let running = |live: &velero::Schedule| !live.spec.paused && live.phase() == "Enabled";
    let after = schedule_where(&backup, ONE, "running", running).await;
    assert_ne!(after.uid(), before.uid());
    nothing_ran("due-after-the-pause").await;

    // By another time, of which one was missed.
    patch(&tenant, "due", json!({ "spec": { "schedule": YEARLY } })).await;
    let yearly = format!("CRON_TZ=UTC {YEARLY}");
    let is_yearly = |live: &velero::Schedule| live.spec.schedule == yearly;
    schedule_where(&backup, ONE, "yearly", is_yearly).await;
    miss_a_run(&backup, "yearly and seen by Velero").await;
    patch(&tenant, "due", json!({ "spec": { "schedule": daily() } })).await;
    let again = |live: &velero::Schedule| !is_yearly(live) && live.phase() == "Enabled";
    schedule_where(&backup, ONE, "daily again", again).await;
    nothing_ran("due-at-another-time").await;
    tenant.delete_backup("due").await.unwrap();
    tenant.wait_backup_gone("due").await.unwrap();
}

#[tokio::test]
async fn velero_reads_every_way_to_write_a_schedule() {
    let tenant = tenant_of("schedule-words", &[ONE]).await;
    let words = [
        "@yearly",
        "@annually",
        "@monthly",
        "@weekly",
        "@daily",
        "@midnight",
        "@hourly",
        "@every 6h",
        "*/30 8-18 * jan-jun mon,FRI",
    ];
    for (place, word) in words.iter().enumerate() {
        let spec = BackupSpec {
            time_zone: (place % 2 == 0 && !word.starts_with("@every"))
                .then(|| "Asia/Tokyo".to_owned()),
            ..scheduled(word)
        };
        tenant
            .back_up(&format!("word-{place}"), spec)
            .await
            .unwrap();
    }
    for (place, word) in words.iter().enumerate() {
        let name = format!("word-{place}");
        let backup = is_scheduled(&tenant, &name).await;
        let what = format!("{word} and enabled");
        let enabled = |live: &velero::Schedule| {
            live.phase() == "Enabled" && live.spec.schedule.ends_with(word)
        };
        schedule_where(&backup, ONE, &what, enabled).await;
        let next = &backup.status.as_ref().unwrap().next_run_time;
        assert!(next.is_some(), "{word}");
        tenant.delete_backup(&name).await.unwrap();
    }
    for place in 0..words.len() {
        let name = format!("word-{place}");
        tenant.wait_backup_gone(&name).await.unwrap();
    }
}
