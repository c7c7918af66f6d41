//! What was backed up comes back: everywhere, in part, under another name; and says what is in the
//! way when it cannot.

mod app;
mod content;
mod deletion;
mod failed;
mod faults;
mod held;
mod manifests;
mod midway;
mod policy;
mod selector;
mod sources;
mod storage;
mod waiting;

use anyhow::Context;
use api_types::common::Destination;
use api_types::phase::{EntryPhase, Phase};
use api_types::restore::{Restore, RestoreDetail, RestorePolicy, RestoreSpec};
use e2e::specs::cluster_ref;
use e2e::{FLEET, PATIENCE, Tenant};
use kube::ResourceExt;
use serde_json::Value;
use testbed::wait_ok;

use crate::world::view;

pub(crate) use app::App;
pub(crate) use held::Held;

pub(crate) fn of(backup: &str) -> RestoreSpec {
    RestoreSpec {
        backup_name: backup.to_owned(),
        ..RestoreSpec::default()
    }
}

pub(crate) fn into(backup: &str, clusters: &[&str]) -> RestoreSpec {
    RestoreSpec {
        destination: Some(Destination {
            fleet: FLEET.to_owned(),
            clusters: clusters.iter().map(|name| cluster_ref(name)).collect(),
            cluster_selector: None,
        }),
        ..of(backup)
    }
}

pub(crate) fn policy(policy: Value) -> RestorePolicy {
    serde_json::from_value(policy).unwrap()
}

pub(crate) fn details(restore: &Restore) -> &[RestoreDetail] {
    let status = restore.status.as_ref();
    status.map_or(&[][..], |status| &status.restore_details)
}

pub(crate) fn entry<'a>(restore: &'a Restore, cluster: &str) -> Option<&'a RestoreDetail> {
    details(restore)
        .iter()
        .find(|entry| entry.cluster_name == cluster)
}

pub(crate) fn reason<'a>(restore: &'a Restore, cluster: &str) -> &'a str {
    entry(restore, cluster)
        .and_then(|entry| entry.reason.as_deref())
        .unwrap_or_default()
}

pub(crate) async fn in_phase(tenant: &Tenant, name: &str, phase: Phase) -> Restore {
    let what = format!("phase {}", phase.as_str());
    let is = |restore: &Restore| {
        let status = restore.status.as_ref();
        status.is_some_and(|status| status.phase == Some(phase))
    };
    tenant.wait_restore(name, &what, is).await.unwrap()
}

pub(crate) async fn with_reason(
    tenant: &Tenant,
    name: &str,
    cluster: &str,
    wanted: &str,
) -> Restore {
    let what = format!("{wanted} of {cluster}");
    let is = |restore: &Restore| reason(restore, cluster) == wanted;
    tenant.wait_restore(name, &what, is).await.unwrap()
}

/// Checks what a Restore says that completed in these clusters, and that each has one Velero Restore.
pub(crate) async fn assert_restored(restore: &Restore, clusters: &[&str]) {
    let names: Vec<&str> = details(restore)
        .iter()
        .map(|entry| entry.cluster_name.as_str())
        .collect();
    assert_eq!(names, clusters);
    for entry in details(restore) {
        assert_eq!(entry.phase, EntryPhase::Completed, "{entry:?}");
        assert_eq!(entry.reason, None, "{entry:?}");
        assert_eq!(
            entry.source_cluster_name.as_deref(),
            Some(entry.cluster_name.as_str())
        );
        assert!(entry.backup_time.is_some(), "{entry:?}");
        let found = objects_of(restore, &entry.cluster_name).await;
        let wanted = entry.restore_name_in_cluster.clone().unwrap();
        assert_eq!(found, [wanted], "in {}", entry.cluster_name);
    }
    let status = serde_json::to_value(restore.status.as_ref().unwrap()).unwrap();
    let all = clusters.len();
    assert_eq!(status["summary"]["display"], format!("{all}/{all}"));
    for condition in ["Ready", "Succeeded"] {
        let found = status["conditions"].as_array().unwrap();
        let found = found.iter().find(|found| found["type"] == condition);
        assert_eq!(found.unwrap()["status"], "True", "{status}");
    }
}

pub(crate) async fn objects_of(restore: &Restore, member: &str) -> Vec<String> {
    let found = view(member)
        .await
        .restores_of(&restore.uid().unwrap())
        .await;
    found.unwrap().iter().map(ResourceExt::name_any).collect()
}

/// Waits for the Velero Restore in a member; returns its name.
pub(crate) async fn wait_created(restore: &Restore, member: &str) -> String {
    wait_ok("a Velero Restore", PATIENCE, async || {
        let found = objects_of(restore, member).await;
        found.into_iter().next().context("there is none yet")
    })
    .await
    .unwrap()
}
