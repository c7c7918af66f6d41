//! A schedule that has run for long.

use std::fs;
use std::path::Path;

use anyhow::ensure;
use api_types::backup::BackupSpec;
use e2e::{PATIENCE, entry};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use testbed::wait_ok;

use super::{YEARLY, answered, is_scheduled, run_names, run_now, scheduled};
use crate::world::{spare, stack, tenant_of};

const RUNS: usize = 200;
const KEPT: i32 = 5;

/// Stores `count` more backups beside a real one, each a day older than the one before, as if they
/// had been made long ago. Returns their names, the newest first.
fn age(folder: &Path, run: &str, count: usize) -> Vec<String> {
    let files: Vec<_> = fs::read_dir(folder.join(run)).unwrap().flatten().collect();
    let record = fs::read_to_string(folder.join(run).join("velero-backup.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    let began: Timestamp = record["status"]["startTimestamp"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let base = run.rsplit_once('-').unwrap().0;
    let older = |days: i64| {
        let then = began - SignedDuration::from_hours(24 * days);
        let name = format!("{base}{}", then.strftime("-%Y%m%d%H%M%S"));
        let target = folder.join(&name);
        fs::create_dir(&target).unwrap();
        for file in &files {
            let named = file.file_name().into_string().unwrap().replace(run, &name);
            fs::copy(file.path(), target.join(named)).unwrap();
        }
        let mut record = record.clone();
        record["metadata"]["name"] = json!(name);
        for time in ["startTimestamp", "completionTimestamp"] {
            record["status"][time] = json!(then.to_string());
        }
        fs::write(target.join("velero-backup.json"), record.to_string()).unwrap();
        name
    };
    (1..=i64::try_from(count).unwrap()).map(older).collect()
}

#[tokio::test]
async fn of_two_hundred_runs_the_status_shows_the_newest_and_none_goes_with_the_schedule() {
    let spare = spare().await;
    let tenant = tenant_of("schedule-history", &[spare.name]).await;
    let spec = BackupSpec {
        history_limit: KEPT,
        ..scheduled(YEARLY)
    };
    tenant.back_up("long", spec).await.unwrap();
    is_scheduled(&tenant, "long").await;
    run_now(&tenant, "long", "newest").await;
    let backup = answered(&tenant, "long", "newest", &[spare.name]).await;
    let newest = entry(&backup, spare.name)
        .unwrap()
        .backup_name_in_cluster
        .clone()
        .unwrap();

    let (data, velero) = (stack().await.bed().s3().unwrap().data(), spare.velero());
    let folder = data
        .join(velero.bucket())
        .join(velero.prefix())
        .join("backups");
    let older = age(&folder, &newest, RUNS - 1);
    // Velero looks into its bucket when it starts.
    velero.restart(&spare.view.client).await.unwrap();
    wait_ok("all runs in the member", PATIENCE, async || {
        let found = run_names(&backup, spare.name).await.len();
        ensure!(found == RUNS, "there are {found}");
        Ok(())
    })
    .await
    .unwrap();

    let kept = usize::try_from(KEPT).unwrap();
    let shows = |backup: &api_types::backup::Backup| {
        entry(backup, spare.name).is_some_and(|entry| {
            let listed: Vec<&str> = entry.runs.iter().map(|run| run.name.as_str()).collect();
            entry.backup_name_in_cluster.as_ref() == Some(&newest) && listed == older[..kept - 1]
        })
    };
    tenant
        .wait_backup("long", "its newest runs", shows)
        .await
        .unwrap();

    tenant.delete_backup("long").await.unwrap();
    tenant.wait_backup_gone("long").await.unwrap();
    assert_eq!(run_names(&backup, spare.name).await.len(), RUNS);
    // Others have this member next: Velero drops what its bucket does not hold.
    for name in older.iter().chain([&newest]) {
        fs::remove_dir_all(folder.join(name)).unwrap();
    }
}
