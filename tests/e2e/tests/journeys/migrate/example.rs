//! The announcement's example, and what it leaves behind.

use std::future::ready;

use anyhow::ensure;
use api_types::condition::{self, ConditionStatus};
use api_types::external::velero::{self, BackupStorageLocation};
use api_types::fleet::{Fleet, FleetSpec};
use api_types::labels;
use api_types::migrate::Migrate;
use api_types::phase::{EntryPhase, Phase};
use e2e::specs::cluster_ref;
use e2e::{PATIENCE, Tenant, examples};
use futures::{StreamExt, TryStreamExt, pin_mut};
use kube::ResourceExt;
use kube::api::{Api, ListParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;
use testbed::{apply_yaml, wait_ok};
use tokio::time::timeout;

use super::{assert_made_once, begin, from, in_phase, wait_gone};
use crate::elsewhere::{location_of, uses, wait_unused};
use crate::kubectl::kubectl;
use crate::restore::App;
use crate::world::{ONE, TWO, stack, tenant_of, view};

/// Checks what a Migrate says that completed from the first of the two into the second.
fn assert_migrated(migrate: &Migrate) {
    let status = migrate.status.as_ref().unwrap();
    assert_eq!(status.phase, Some(Phase::Completed), "{status:?}");
    for held in [condition::SOURCE_READY, "Ready", "Succeeded"] {
        let found = condition::find(&status.conditions, held).unwrap();
        assert_eq!(found.status, ConditionStatus::True, "{found:?}");
    }
    let name = |cluster: &str| {
        let namespace = migrate.namespace().unwrap();
        format!("{cluster}-migrate-{namespace}-{}", migrate.name_any())
    };
    let source = status.source_cluster_status.as_ref().unwrap();
    assert_eq!(source.cluster_name, ONE);
    assert_eq!(source.cluster_kind, "AttachedCluster");
    assert_eq!(source.phase, EntryPhase::Completed);
    assert_eq!(source.backup_name_in_cluster, Some(name(ONE)));
    let velero = source.backup_status_in_cluster.as_ref().unwrap();
    assert_eq!(velero.phase.as_deref(), Some("Completed"), "{velero:?}");
    let [target] = status.target_cluster_status.as_slice() else {
        panic!("{status:?}");
    };
    assert_eq!(target.cluster_name, TWO);
    assert_eq!(target.cluster_kind, "AttachedCluster");
    assert_eq!(target.phase, EntryPhase::Completed);
    assert_eq!(target.restore_name_in_cluster, Some(name(TWO)));
    assert_eq!(target.backup_name_in_cluster, Some(name(ONE)));
    let velero = target.restore_status_in_cluster.as_ref().unwrap();
    assert_eq!(velero.phase.as_deref(), Some("Completed"), "{velero:?}");
    assert!(status.start_time.is_some() && status.completion_time.is_some());
}

#[tokio::test]
async fn the_announcements_migrate_completes_with_its_status_block() {
    let stack = stack().await;
    let tenant = stack.empty_tenant("default").await.unwrap();
    let secrets = examples::kubeconfig_secrets(|name| stack.member(name)).unwrap();
    apply_yaml(tenant.hub(), &secrets).await.unwrap();
    for example in [examples::CLUSTERS, examples::FLEET, examples::MIGRATE] {
        let path = examples::path(example);
        kubectl(stack, &["apply", "-f", path.to_str().unwrap()]).await;
    }
    let wait = ["wait", "--for=condition=sourceReady", "kmg/select-labels"];
    kubectl(stack, &[&wait[..], &["--timeout=5m"]].concat()).await;
    let wait = ["wait", "--for=condition=Succeeded", "kmg/select-labels"];
    kubectl(stack, &[&wait[..], &["--timeout=5m"]].concat()).await;
    let migrate = in_phase(&tenant, "select-labels", Phase::Completed).await;
    assert_migrated(&migrate);
    let shown = kubectl(stack, &["get", "kmg", "select-labels"]).await;
    for word in [ONE, "1/1", "Completed", "Done", "100%"] {
        assert!(shown.contains(word), "{word} is not in {shown}");
    }
}

/// Waits for these events.
async fn tell(tenant: &Tenant, name: &str, reasons: &[&str]) {
    wait_ok("the events", PATIENCE, async || {
        let told = tenant.event_reasons(name).await?;
        let is_told = |reason: &&str| told.iter().any(|told| told == reason);
        ensure!(reasons.iter().all(is_told), "there are {told:?}");
        Ok(())
    })
    .await
    .unwrap();
}

/// The targets may be of another fleet than the source.
const OTHER: &str = "other";

async fn other_fleet(tenant: &Tenant, member: &str) {
    let attached = stack().await.attach(member).unwrap();
    tenant.attach(&attached).await.unwrap();
    let spec = FleetSpec {
        clusters: vec![cluster_ref(member)],
        plugin: None,
    };
    let fleets: Api<Fleet> = tenant.api();
    let fleet = Fleet::new(OTHER, spec);
    fleets.create(&PostParams::default(), &fleet).await.unwrap();
}

/// Checks that a Migrate is no Backup and no Restore of the hub.
async fn assert_only_migrated(tenant: &Tenant) {
    let all = ListParams::default();
    let backups = tenant.backups().list(&all).await.unwrap().items;
    assert!(backups.is_empty(), "{backups:?}");
    let restores = tenant.restores().list(&all).await.unwrap().items;
    assert!(restores.is_empty(), "{restores:?}");
}

/// Waits until the metrics count a Migrate that has completed; there may be others.
async fn measured() {
    let controller = stack().await.migrate_controller();
    wait_ok("the metrics", PATIENCE, async || {
        let metrics = controller.metrics().await?;
        for metric in [
            r#"kurator_migrate_objects{phase="Completed"} "#,
            r#"kurator_migrate_phase_changes_total{phase="Completed"} "#,
            r#"kurator_migrate_cluster_outcomes_total{phase="Completed",reason=""} "#,
        ] {
            let mut counts = metrics.lines().filter_map(|line| line.strip_prefix(metric));
            let counted = counts.any(|count| count != "0");
            ensure!(counted, "{metric} counts nothing in {metrics}");
        }
        Ok(())
    })
    .await
    .unwrap();
}

/// Waits until an operation has used a location since this version of the locations, be it now or not.
async fn wait_used(locations: &Api<BackupStorageLocation>, since: &str, name: &str, uid: &str) {
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    let changes = locations.watch(&params, since).await.unwrap();
    let used = changes.try_filter(|change| {
        let used = match change {
            WatchEvent::Added(seen) | WatchEvent::Modified(seen) => {
                uses(seen).iter().any(|used| used == uid)
            }
            _ => false,
        };
        ready(used)
    });
    pin_mut!(used);
    let found = timeout(PATIENCE, used.next()).await.unwrap();
    found.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_migrated_comes_up_in_the_target_and_nothing_stays_that_only_served_that() {
    const APP: App = App("migrate-app");
    let tenant = tenant_of("migrate-app", &[ONE]).await;
    other_fleet(&tenant, TWO).await;
    APP.deploy(&[ONE]).await;
    let before = APP.objects(ONE, APP.0).await;
    let filter = APP.backup().policy.unwrap().resource_filter;
    let mut spec = from(ONE, &[TWO], json!({ "resourceFilter": filter }));
    OTHER.clone_into(&mut spec.target_cluster.fleet);
    let target = view(TWO).await;
    let locations: Api<BackupStorageLocation> = target.velero();
    let before_all = locations.list(&ListParams::default()).await.unwrap();
    let before_all = before_all.metadata.resource_version.unwrap();
    let made = begin(&tenant, "all", spec).await;
    let (name, uid) = (location_of(ONE).await, made.uid().unwrap());
    wait_used(&locations, &before_all, &name, &uid).await;
    let migrate = in_phase(&tenant, "all", Phase::Completed).await;
    assert_migrated(&migrate);
    assert_made_once(&migrate, ONE, &[TWO]).await;
    assert_eq!(APP.objects(TWO, APP.0).await, before);
    let restores = target.restores_of(&uid).await.unwrap();
    assert_eq!(restores[0].labels()[labels::FLEET_NAME], OTHER);
    tell(&tenant, "all", &["SourceReady", "Completed"]).await;
    assert_only_migrated(&tenant).await;
    measured().await;
    // Others may read from the same location.
    wait_unused(&locations, &name, &uid).await;

    wait_gone(&tenant, "all").await;
    let restores = target.restores_of(&uid).await.unwrap();
    assert!(restores.is_empty(), "{restores:?}");
    // The backup stays until its ttl.
    let name = format!("{ONE}-migrate-{}-all", tenant.namespace());
    let backups: Api<velero::Backup> = view(ONE).await.velero();
    backups.get(&name).await.unwrap();
}
