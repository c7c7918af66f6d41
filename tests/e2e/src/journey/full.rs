//! What comes after the Backup: the application is lost and comes back, as it was last and as it was
//! at a point in time; and it moves to another cluster.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api_types::backup::{Backup, BackupDetail};
use api_types::labels;
use api_types::migrate::Migrate;
use api_types::phase::EntryPhase;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;
use testbed::{apply_yaml, wait_for};

use super::{Shop, apply};
use crate::await_object::await_gone;
use crate::cluster::MemberView;
use crate::examples;
use crate::screen::Screen;
use crate::tenant::PATIENCE;

/// What `tests/examples/application/busybox.yaml` holds.
const NAMESPACE: &str = "kurator-backup";
const POD: &str = "busybox";
const SETTINGS: &str = "busybox-settings";
/// The cluster that the example of a Migrate takes from, and the one that it goes to.
const SOURCE: &str = "kurator-member1";
const TARGET: &str = "kurator-member2";
/// The cluster and the name of the example of a schedule.
const SCHEDULED: &str = "kurator-member2";
const SCHEDULE: &str = "schedule";

/// Deletes the application in every member, restores it and shows that it is back; then backs it up
/// by a schedule, and restores what it was at the first of two runs; last it moves it from one member
/// to the other.
pub async fn run_full(screen: &mut Screen, shop: &Shop) -> Result<()> {
    for member in &shop.members {
        lose(screen, member).await?;
    }
    let applied = apply(screen, shop.tenant.hub(), examples::RESTORE_MINIMAL).await?;
    shop.follow(screen, &shop.tenant.restores(), applied)
        .await?;
    for member in &shop.members {
        show(screen, member).await?;
    }
    point_in_time(screen, shop).await?;
    migrate(screen, shop).await
}

/// What one member has comes up in the other, which has lost its own.
async fn migrate(screen: &mut Screen, shop: &Shop) -> Result<()> {
    const GREETING: &str = "from another cluster";
    greet(screen, shop.member(SOURCE)?, GREETING).await?;
    let target = shop.member(TARGET)?;
    remove(screen, target).await?;
    let applied = apply(screen, shop.tenant.hub(), examples::MIGRATE).await?;
    let migrates: Api<Migrate> = shop.tenant.api();
    shop.follow(screen, &migrates, applied).await?;
    let greeting = show(screen, target).await?;
    ensure!(
        greeting == GREETING,
        "the greeting is {greeting:?}, which is not that of {SOURCE}"
    );
    Ok(())
}

async fn point_in_time(screen: &mut Screen, shop: &Shop) -> Result<()> {
    let member = shop.member(SCHEDULED)?;
    apply(screen, shop.tenant.hub(), examples::SCHEDULE).await?;
    let first = run_now(screen, shop, "before the change").await?;
    let began = first
        .backup_status_in_cluster
        .and_then(|status| status.start_timestamp)
        .context("the first run has no start")?;
    greet(screen, member, "changed").await?;
    // Velero writes whole seconds: runs of one second could not be told apart.
    let next = began.0.checked_add(Duration::from_secs(1))?;
    let passed = async || (Timestamp::now() >= next).then_some(());
    wait_for("the next second", PATIENCE, passed).await?;
    run_now(screen, shop, "after the change").await?;
    lose(screen, member).await?;

    let text = format!(
        "apiVersion: backup.kurator.dev/v1alpha1\nkind: Restore\n\
         metadata: {{name: point-in-time, namespace: default}}\n\
         spec: {{backupName: {SCHEDULE}, pointInTime: \"{}\"}}",
        began.0
    );
    screen.step("kubectl apply -f - <<EOF");
    screen.text(&format!("{text}\nEOF"));
    let applied = apply_yaml(shop.tenant.hub(), &text).await?;
    shop.follow(screen, &shop.tenant.restores(), applied)
        .await?;
    let greeting = show(screen, member).await?;
    ensure!(
        greeting == "hello",
        "the greeting is {greeting:?}, which is not of the first run"
    );
    Ok(())
}

/// Asks for one run of the schedule, and waits until it has completed.
async fn run_now(screen: &Screen, shop: &Shop, value: &str) -> Result<BackupDetail> {
    screen.step(&format!(
        "kubectl annotate kbk {SCHEDULE} {}={value:?} --overwrite",
        labels::RUN_NOW
    ));
    let annotation = json!({ "metadata": { "annotations": { labels::RUN_NOW: value } } });
    let backups = shop.tenant.backups();
    let params = PatchParams::default();
    backups
        .patch(SCHEDULE, &params, &Patch::Merge(annotation))
        .await?;
    let what = format!("a completed run for {value:?}");
    let done = |backup: &Backup| answer(backup, value).is_some();
    let backup = shop.tenant.wait_backup(SCHEDULE, &what, done).await?;
    let run = answer(&backup, value).context("the run is gone")?;
    let name = run.backup_name_in_cluster.as_deref().unwrap_or_default();
    screen.step(&format!("run {name} has completed"));
    Ok(run)
}

/// The entry, if its newest run is the one that was asked for by this value, and it completed.
fn answer(backup: &Backup, value: &str) -> Option<BackupDetail> {
    let status = backup.status.as_ref()?;
    let asked = status.last_run_now_time.as_ref()?.0;
    let suffix = asked.strftime("-%Y%m%d%H%M%S").to_string();
    let mut entries = status.backup_details.iter();
    let answers = |entry: &&BackupDetail| {
        let name = entry.backup_name_in_cluster.as_deref();
        entry.phase == EntryPhase::Completed && name.is_some_and(|name| name.ends_with(&suffix))
    };
    let is_asked = status.last_run_now.as_deref() == Some(value);
    entries.find(answers).filter(|_| is_asked).cloned()
}

/// Changes the application in a member.
async fn greet(screen: &Screen, member: &MemberView, greeting: &str) -> Result<()> {
    screen.step(&format!(
        "setting the greeting in {} to {greeting:?}",
        member.name
    ));
    let settings: Api<ConfigMap> = Api::namespaced(member.client.clone(), NAMESPACE);
    let patch = Patch::Merge(json!({ "data": { "greeting": greeting } }));
    let params = PatchParams::default();
    settings.patch(SETTINGS, &params, &patch).await?;
    Ok(())
}

/// Deletes the application in a member.
async fn lose(screen: &Screen, member: &MemberView) -> Result<()> {
    screen.step(&format!(
        "deleting namespace {NAMESPACE} in {}, with all that is in it",
        member.name
    ));
    end_pod(member).await?;
    let namespaces: Api<Namespace> = Api::all(member.client.clone());
    namespaces
        .delete(NAMESPACE, &DeleteParams::default())
        .await?;
    await_gone(&namespaces, NAMESPACE, PATIENCE).await
}

/// Deletes what the application consists of in a member, and leaves the namespace.
async fn remove(screen: &Screen, member: &MemberView) -> Result<()> {
    screen.step(&format!(
        "deleting Pod {POD} and ConfigMap {SETTINGS} in {}",
        member.name
    ));
    end_pod(member).await?;
    let settings: Api<ConfigMap> = Api::namespaced(member.client.clone(), NAMESPACE);
    settings.delete(SETTINGS, &DeleteParams::default()).await?;
    Ok(())
}

/// There is no kubelet that would end it.
async fn end_pod(member: &MemberView) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(member.client.clone(), NAMESPACE);
    let now = DeleteParams::default().grace_period(0);
    pods.delete(POD, &now).await?;
    Ok(())
}

/// Says what is in a member now, and gives back the greeting. An error unless the whole application
/// is there.
async fn show(screen: &Screen, member: &MemberView) -> Result<String> {
    let client = || member.client.clone();
    let missing = |what| format!("{what} did not come back to {}", member.name);
    let pod = Api::<Pod>::namespaced(client(), NAMESPACE).get(POD).await;
    let pod = pod.with_context(|| missing(POD))?;
    let settings = Api::<ConfigMap>::namespaced(client(), NAMESPACE);
    let settings = settings.get(SETTINGS).await;
    let settings = settings.with_context(|| missing(SETTINGS))?;
    let greeting = settings
        .data
        .and_then(|data| data.get("greeting").cloned())
        .with_context(|| missing("the greeting"))?;
    screen.step(&format!(
        "{} has Pod {} and ConfigMap {SETTINGS} with greeting {greeting:?}",
        member.name,
        pod.name_any()
    ));
    Ok(greeting)
}
