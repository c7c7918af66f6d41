//! Backups by the clock: a Schedule in each member, its runs followed, changed and stopped from the
//! hub. Velero looks at its schedules when they change, and else once a minute: most runs here are
//! asked for.

mod broken;
mod cut;
mod due;
mod history;
mod left;
mod members;
mod runs;
mod upgraded;

use anyhow::ensure;
use api_types::backup::{Backup, BackupSpec};
use api_types::external::velero;
use api_types::labels;
use api_types::phase::{EntryPhase, Phase};
use e2e::specs::demo_backup;
use e2e::{PATIENCE, Tenant, condition_reason, entry, is_phase};
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use testbed::wait_ok;

use crate::world::view;

/// No run of it is ever due in a test.
pub(crate) const YEARLY: &str = "0 0 1 1 *";

pub(crate) fn scheduled(schedule: &str) -> BackupSpec {
    BackupSpec {
        schedule: schedule.to_owned(),
        ..demo_backup()
    }
}

/// Changes a Backup.
pub(crate) async fn patch(tenant: &Tenant, name: &str, body: Value) {
    let params = PatchParams::default();
    tenant
        .backups()
        .patch(name, &params, &Patch::Merge(body))
        .await
        .unwrap();
}

/// Asks for one run everywhere.
pub(crate) async fn run_now(tenant: &Tenant, name: &str, value: &str) {
    let annotation = json!({ "metadata": { "annotations": { labels::RUN_NOW: value } } });
    patch(tenant, name, annotation).await;
}

/// Waits until every cluster's newest run is one that was asked for by this value, and completed.
pub(crate) async fn answered(
    tenant: &Tenant,
    name: &str,
    value: &str,
    clusters: &[&str],
) -> Backup {
    let done = |backup: &Backup| {
        let Some(status) = &backup.status else {
            return false;
        };
        let Some(time) = status.last_run_now_time.as_ref() else {
            return false;
        };
        let suffix = time.0.strftime("-%Y%m%d%H%M%S").to_string();
        status.last_run_now.as_deref() == Some(value)
            && clusters.iter().all(|cluster| {
                entry(backup, cluster).is_some_and(|entry| {
                    let name = entry.backup_name_in_cluster.as_deref().unwrap_or_default();
                    // Of two that began in the same second, the other one may be shown as the newest.
                    let mut older = entry.runs.iter().filter(|run| run.name.ends_with(&suffix));
                    entry.phase == EntryPhase::Completed && name.ends_with(&suffix)
                        || older.any(|run| run.phase == "Completed")
                })
            })
    };
    let what = format!("completed runs for {value:?}");
    tenant.wait_backup(name, &what, done).await.unwrap()
}

/// The Schedules of a Backup in a member.
pub(crate) async fn schedules(backup: &Backup, member: &str) -> Vec<velero::Schedule> {
    let owned = format!("{}={}", labels::OWNER_UID, backup.uid().unwrap());
    let api = view(member).await.velero::<velero::Schedule>();
    let found = api.list(&ListParams::default().labels(&owned)).await;
    found.unwrap().items
}

/// Waits until the one Schedule in a member is as it should be.
pub(crate) async fn schedule_where(
    backup: &Backup,
    member: &str,
    what: &str,
    holds: impl Fn(&velero::Schedule) -> bool,
) -> velero::Schedule {
    let what = format!("a Schedule in {member} that is {what}");
    wait_ok(&what, PATIENCE, async || {
        let found = schedules(backup, member).await;
        let [one] = found.as_slice() else {
            anyhow::bail!("there are {}", found.len());
        };
        ensure!(holds(one), "it is {:?}", one.spec);
        Ok(one.clone())
    })
    .await
    .unwrap()
}

pub(crate) async fn no_schedule(backup: &Backup, member: &str) {
    wait_ok("an end of the Schedule", PATIENCE, async || {
        let found = schedules(backup, member).await;
        ensure!(found.is_empty(), "there are {}", found.len());
        Ok(())
    })
    .await
    .unwrap();
}

pub(crate) async fn run_names(backup: &Backup, member: &str) -> Vec<String> {
    let view = view(member).await;
    view.backup_names_of(&backup.uid().unwrap()).await.unwrap()
}

pub(crate) async fn is_scheduled(tenant: &Tenant, name: &str) -> Backup {
    let what = "Ready because Scheduled";
    let holds = |backup: &Backup| {
        is_phase(backup, Phase::Scheduled) && condition_reason(backup, "Ready") == "Scheduled"
    };
    tenant.wait_backup(name, what, holds).await.unwrap()
}
