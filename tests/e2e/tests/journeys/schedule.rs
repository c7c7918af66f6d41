//! Backups by the clock: a Schedule in each member, its runs followed, changed and stopped from the
//! hub. Velero looks at its schedules when they change, and else once a minute: most runs here are
//! asked for.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use api_types::backup::{Backup, BackupSpec};
use api_types::common::DeletionPolicy;
use api_types::external::velero;
use api_types::labels;
use api_types::phase::{EntryPhase, Phase};
use e2e::specs::demo_backup;
use e2e::{PATIENCE, Tenant, await_gone, condition_reason, entry, examples, is_phase, reason};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use testbed::{apply_yaml, wait_ok};

use crate::kubectl::kubectl;
use crate::restarts;
use crate::world::{
    ONE, SPARE, TWO, spare, stack, stored, tenant, tenant_of, view, wait_nothing_left,
};

/// No run of it is ever due in a test.
const YEARLY: &str = "0 0 1 1 *";

fn scheduled(schedule: &str) -> BackupSpec {
    BackupSpec {
        schedule: schedule.to_owned(),
        ..demo_backup()
    }
}

/// Changes a Backup.
async fn patch(tenant: &Tenant, name: &str, body: Value) {
    let params = PatchParams::default();
    tenant
        .backups()
        .patch(name, &params, &Patch::Merge(body))
        .await
        .unwrap();
}

/// Asks for one run everywhere.
async fn run_now(tenant: &Tenant, name: &str, value: &str) {
    let annotation = json!({ "metadata": { "annotations": { labels::RUN_NOW: value } } });
    patch(tenant, name, annotation).await;
}

/// Waits until every cluster's newest run is one that was asked for by this value, and completed.
async fn answered(tenant: &Tenant, name: &str, value: &str, clusters: &[&str]) -> Backup {
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
                    entry.phase == EntryPhase::Completed && name.ends_with(&suffix)
                })
            })
    };
    let what = format!("completed runs for {value:?}");
    tenant.wait_backup(name, &what, done).await.unwrap()
}

/// The Schedules of a Backup in a member.
async fn schedules(backup: &Backup, member: &str) -> Vec<velero::Schedule> {
    let owned = format!("{}={}", labels::OWNER_UID, backup.uid().unwrap());
    let api = view(member).await.velero::<velero::Schedule>();
    let found = api.list(&ListParams::default().labels(&owned)).await;
    found.unwrap().items
}

/// Waits until the one Schedule in a member is as it should be.
async fn schedule_where(
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

async fn no_schedule(backup: &Backup, member: &str) {
    wait_ok("an end of the Schedule", PATIENCE, async || {
        let found = schedules(backup, member).await;
        ensure!(found.is_empty(), "there are {}", found.len());
        Ok(())
    })
    .await
    .unwrap();
}

async fn runs(backup: &Backup, member: &str) -> Vec<String> {
    let view = view(member).await;
    view.backup_names_of(&backup.uid().unwrap()).await.unwrap()
}

async fn is_scheduled(tenant: &Tenant, name: &str) -> Backup {
    let what = "Ready because Scheduled";
    let holds = |backup: &Backup| {
        is_phase(backup, Phase::Scheduled) && condition_reason(backup, "Ready") == "Scheduled"
    };
    tenant.wait_backup(name, what, holds).await.unwrap()
}

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

    let name = e2e::entry(&backup, TWO)
        .unwrap()
        .backup_name_in_cluster
        .clone()
        .unwrap();
    tenant.delete_backup("schedule").await.unwrap();
    tenant.wait_backup_gone("schedule").await.unwrap();
    assert!(schedules(&backup, TWO).await.is_empty());
    assert_eq!(runs(&backup, TWO).await, std::slice::from_ref(&name));
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
    let count = runs(&backup, ONE).await.len();
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
    assert!(runs(&backup, ONE).await.len() <= count + 1);
    tenant.delete_backup("often").await.unwrap();
    tenant.wait_backup_gone("often").await.unwrap();
}

#[tokio::test]
async fn what_somebody_changes_in_a_member_is_put_right() {
    let tenant = tenant_of("schedule-drift", &[ONE]).await;
    tenant.back_up("drift", scheduled(YEARLY)).await.unwrap();
    let backup = is_scheduled(&tenant, "drift").await;
    let wanted = schedule_where(&backup, ONE, "there", |_| true).await;
    let api = view(ONE).await.velero::<velero::Schedule>();
    let name = wanted.name_any();
    let edits = [
        json!({ "spec": { "template": { "ttl": "1h" } } }),
        json!({ "spec": { "template": { "excludedNamespaces": ["default"] } } }),
        json!({ "spec": { "schedule": "0 * * * *" } }),
        json!({ "spec": { "paused": true } }),
        json!({ "metadata": { "annotations": { labels::HUB_OBJECT: null } } }),
        json!({ "metadata": { "labels": { labels::OWNER_UID: null } } }),
    ];
    for edit in edits {
        let params = PatchParams::default();
        let edited = api
            .patch(&name, &params, &Patch::Merge(&edit))
            .await
            .unwrap();
        let version = edited.resource_version();
        let right = |live: &velero::Schedule| {
            live.spec == wanted.spec
                && live.resource_version() != version
                && live.labels() == wanted.labels()
                && live.annotations() == wanted.annotations()
        };
        let repaired = schedule_where(&backup, ONE, "as before", right).await;
        assert_eq!(repaired.name_any(), name, "{edit}");
    }
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    schedule_where(&backup, ONE, "there again", |live| {
        live.uid() != wanted.uid()
    })
    .await;
    is_scheduled(&tenant, "drift").await;
    tenant.delete_backup("drift").await.unwrap();
    tenant.wait_backup_gone("drift").await.unwrap();
}

#[tokio::test]
async fn every_option_of_the_policy_reaches_the_member_as_it_is_written() {
    let tenant = tenant_of("schedule-options", &[ONE]).await;
    let config_map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "skip-caches", "namespace": tenant.namespace() },
        "data": { "policies.yaml": "version: v1\nvolumePolicies: []\n" },
    });
    apply_yaml(tenant.hub(), &config_map.to_string())
        .await
        .unwrap();
    let example = examples::read("api/backup-nightly.yaml").unwrap();
    let example: Backup = serde_saphyr::from_str(&example).unwrap();
    let policy = serde_json::to_value(&example.spec.policy).unwrap();
    let mut spec = scheduled(YEARLY);
    spec.policy = example.spec.policy;
    tenant.back_up("options", spec).await.unwrap();
    let backup = is_scheduled(&tenant, "options").await;
    let live = schedule_where(&backup, ONE, "there", |_| true).await;
    let template = serde_json::to_value(&live.spec.template).unwrap();
    for (field, value) in policy.as_object().unwrap() {
        match field.as_str() {
            "resourceFilter" => {
                for (field, value) in value.as_object().unwrap() {
                    assert_eq!(&template[field], value, "{field}");
                }
            }
            "resourcePolicy" => {
                let carried = template[field]["name"].as_str().unwrap();
                assert!(carried.starts_with("skip-caches-"), "{carried}");
                let copies: Api<ConfigMap> = view(ONE).await.velero();
                copies.get(carried).await.unwrap();
            }
            _ => assert_eq!(&template[field], value, "{field}"),
        }
    }
    tenant.delete_backup("options").await.unwrap();
    tenant.wait_backup_gone("options").await.unwrap();
    let copies: Api<ConfigMap> = view(ONE).await.velero();
    let carried = template["resourcePolicy"]["name"].as_str().unwrap();
    await_gone(&copies, carried, PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_pause_reaches_the_members_and_its_end_starts_no_run() {
    let tenant = tenant_of("schedule-pause", &[ONE]).await;
    tenant.back_up("paused", scheduled(YEARLY)).await.unwrap();
    let backup = is_scheduled(&tenant, "paused").await;
    let before = schedule_where(&backup, ONE, "running", |live| !live.spec.paused).await;
    patch(&tenant, "paused", json!({ "spec": { "paused": true } })).await;
    let paused = |backup: &Backup| {
        is_phase(backup, Phase::Paused) && condition_reason(backup, "Ready") == "Paused"
    };
    let shown = tenant
        .wait_backup("paused", "Ready because Paused", paused)
        .await
        .unwrap();
    assert_eq!(shown.status.as_ref().unwrap().next_run_time, None);
    schedule_where(&backup, ONE, "paused", |live| live.spec.paused).await;
    // A run can be asked for all the same.
    run_now(&tenant, "paused", "while paused").await;
    answered(&tenant, "paused", "while paused", &[ONE]).await;

    patch(&tenant, "paused", json!({ "spec": { "paused": false } })).await;
    is_scheduled(&tenant, "paused").await;
    let after = schedule_where(&backup, ONE, "running", |live| !live.spec.paused).await;
    assert_ne!(before.uid(), after.uid(), "made anew");
    assert_eq!(runs(&backup, ONE).await.len(), 1);
    tenant.delete_backup("paused").await.unwrap();
    tenant.wait_backup_gone("paused").await.unwrap();
}

#[tokio::test]
async fn each_value_starts_one_run_whatever_is_killed() {
    let (hub, _turn) = restarts::hub().await;
    let spare = spare().await;
    let tenant = restarts::tenant(hub, "schedule-run-now").await;
    let members = [ONE, SPARE];
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
        let found: BTreeSet<String> = runs(&backup, member).await.into_iter().collect();
        assert_eq!(found.len(), 3, "{found:?}");
        let shown = entry(&last, member).unwrap();
        assert_eq!(shown.runs.len(), 2, "{shown:?}");
        let listed: BTreeSet<String> = shown.runs.iter().map(|run| run.name.clone()).collect();
        assert!(listed.is_subset(&found), "{listed:?}");
    }
    tenant.delete_backup("asked").await.unwrap();
    tenant.wait_backup_gone("asked").await.unwrap();
    drop(spare);
}

#[tokio::test]
async fn a_cluster_that_leaves_loses_its_schedule_and_all_goes_where_it_was() {
    let tenant = tenant("schedule-leave").await;
    let mut spec = scheduled(YEARLY);
    spec.deletion_policy = DeletionPolicy::Delete;
    tenant.back_up("moves", spec).await.unwrap();
    is_scheduled(&tenant, "moves").await;
    run_now(&tenant, "moves", "one").await;
    let backup = answered(&tenant, "moves", "one", &[ONE, TWO]).await;
    let run = runs(&backup, TWO).await;

    tenant.change_fleet(&[ONE]).await.unwrap();
    no_schedule(&backup, TWO).await;
    let left = |backup: &Backup| {
        let status = backup.status.as_ref();
        status.is_some_and(|status| {
            let former: Vec<&str> = status
                .former_clusters
                .iter()
                .map(|cluster| cluster.cluster_name.as_str())
                .collect();
            former == [TWO] && status.backup_details.len() == 1
        })
    };
    tenant
        .wait_backup("moves", "a former cluster", left)
        .await
        .unwrap();
    assert_eq!(runs(&backup, TWO).await, run, "what was stored stays");

    tenant.change_fleet(&[ONE, TWO]).await.unwrap();
    let back = |backup: &Backup| {
        let status = backup.status.as_ref().unwrap();
        status.former_clusters.is_empty()
            && entry(backup, TWO).is_some_and(|entry| entry.phase == EntryPhase::Completed)
            && condition_reason(backup, "Ready") == "Scheduled"
    };
    tenant
        .wait_backup("moves", "its run in the entry again", back)
        .await
        .unwrap();
    schedule_where(&backup, TWO, "there again", |_| true).await;

    tenant.change_fleet(&[ONE]).await.unwrap();
    no_schedule(&backup, TWO).await;
    tenant
        .wait_backup("moves", "a former cluster", left)
        .await
        .unwrap();
    tenant.delete_backup("moves").await.unwrap();
    tenant.wait_backup_gone("moves").await.unwrap();
    for member in [ONE, TWO] {
        assert!(schedules(&backup, member).await.is_empty());
        wait_nothing_left(&view(member).await, &backup.uid().unwrap())
            .await
            .unwrap();
    }
    assert_eq!(stored(TWO, &run[0]).await, Vec::<String>::new());
}

#[tokio::test]
async fn an_unreachable_member_delays_nobody_and_is_stopped_when_it_is_back() {
    let stack = stack().await;
    let (two, relay) = stack.attach_with_relay(TWO).unwrap();
    let clusters = [stack.attach(ONE).unwrap(), two];
    let tenant = stack.tenant("schedule-cut", &clusters).await.unwrap();
    tenant.back_up("cut", scheduled(YEARLY)).await.unwrap();
    let backup = is_scheduled(&tenant, "cut").await;

    relay.cut();
    let unreachable = |backup: &Backup| {
        reason(backup, TWO) == "Unreachable"
            && condition_reason(backup, "Ready") == "ClustersUnreachable"
    };
    let shown = tenant
        .wait_backup("cut", "Unreachable in one entry", unreachable)
        .await
        .unwrap();
    assert!(is_phase(&shown, Phase::Scheduled));
    run_now(&tenant, "cut", "in the other").await;
    answered(&tenant, "cut", "in the other", &[ONE]).await;
    relay.heal();
    answered(&tenant, "cut", "in the other", &[ONE, TWO]).await;
    is_scheduled(&tenant, "cut").await;

    relay.cut();
    tenant.delete_backup("cut").await.unwrap();
    let waits = |backup: &Backup| {
        is_phase(backup, Phase::Deleting)
            && ["DeletionPending", "Unreachable"].contains(&reason(backup, TWO))
    };
    tenant
        .wait_backup("cut", "a deletion that waits", waits)
        .await
        .unwrap();
    no_schedule(&backup, ONE).await;
    assert_eq!(schedules(&backup, TWO).await.len(), 1);
    relay.heal();
    tenant.wait_backup_gone("cut").await.unwrap();
    assert!(schedules(&backup, TWO).await.is_empty());
    for member in [ONE, TWO] {
        assert_eq!(runs(&backup, member).await.len(), 1, "retained in {member}");
    }
}

#[tokio::test]
async fn a_wrong_schedule_touches_no_member_and_can_be_mended() {
    let tenant = tenant_of("schedule-wrong", &[ONE]).await;
    tenant
        .back_up("wrong", scheduled("61 * * * *"))
        .await
        .unwrap();
    let refused = |backup: &Backup| condition_reason(backup, "Ready") == "ScheduleRejected";
    let backup = tenant
        .wait_backup("wrong", "ScheduleRejected", refused)
        .await
        .unwrap();
    assert!(is_phase(&backup, Phase::FailedValidation));
    let ready = &backup.status.as_ref().unwrap().conditions;
    let text = serde_json::to_string(ready).unwrap();
    assert!(text.contains("not between 0 and 59"), "{text}");
    assert!(schedules(&backup, ONE).await.is_empty());

    patch(&tenant, "wrong", json!({ "spec": { "schedule": YEARLY } })).await;
    is_scheduled(&tenant, "wrong").await;
    schedule_where(&backup, ONE, "there", |_| true).await;
    tenant.delete_backup("wrong").await.unwrap();
    tenant.wait_backup_gone("wrong").await.unwrap();
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
    let tenant = tenant_of("schedule-missed", &[SPARE]).await;
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
            && reason(backup, SPARE) == "VeleroNotResponding"
    };
    let backup = tenant
        .wait_backup("missed", "RunMissed", missed)
        .await
        .unwrap();
    assert!(is_phase(&backup, Phase::Scheduled), "it goes on");

    spare.velero().process().thaw().unwrap();
    let ran = |backup: &Backup| {
        entry(backup, SPARE).is_some_and(|entry| entry.last_success_time.is_some())
            && condition_reason(backup, "Ready") == "Scheduled"
    };
    tenant.wait_backup("missed", "a run", ran).await.unwrap();
    tenant.delete_backup("missed").await.unwrap();
    tenant.wait_backup_gone("missed").await.unwrap();
}
