//! One Backup, two clusters, all well.

use api_types::backup::BackupSpec;
use api_types::cluster::AttachedCluster;
use api_types::external::velero;
use api_types::phase::Phase;
use e2e::specs::{demo_backup, labels};
use e2e::{FLEET, PATIENCE, Stack, examples};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use testbed::{apply_yaml, wait_ok};

use crate::kubectl::kubectl;
use crate::world::{ONE, TWO, assert_completed, assert_one_object, name_in, stack, tenant, view};

#[tokio::test]
async fn the_announcements_backup_completes_in_both_members_with_its_status_block() {
    let stack = stack().await;
    let tenant = stack.empty_tenant("default").await.unwrap();
    let secrets = examples::kubeconfig_secrets(|name| stack.member(name)).unwrap();
    apply_yaml(tenant.hub(), &secrets).await.unwrap();
    for example in [examples::CLUSTERS, examples::FLEET, examples::SELECT_LABELS] {
        kubectl(
            stack,
            &["apply", "-f", examples::path(example).to_str().unwrap()],
        )
        .await;
    }
    let object = "backups.backup.kurator.dev/select-labels";
    wait_succeeded(stack, object).await;

    let backup = tenant.backups().get("select-labels").await.unwrap();
    assert_completed(&backup, &[ONE, TWO]);
    for member in [ONE, TWO] {
        assert_eq!(
            name_in(&backup, member),
            format!("{member}-backup-default-select-labels")
        );
        assert_one_object(&backup, member).await;
    }
    let status = serde_json::to_value(&backup.status).unwrap();
    for entry in status["backupDetails"].as_array().unwrap() {
        assert_eq!(entry["clusterKind"], "AttachedCluster");
        let velero = &entry["backupStatusInCluster"];
        for time in ["startTimestamp", "completionTimestamp", "expiration"] {
            let time = velero[time].as_str().unwrap();
            time.parse::<jiff::Timestamp>().unwrap();
        }
        assert_eq!(velero["formatVersion"], "1.1.0");
        assert_eq!(velero["version"], 1);
        let items = &velero["progress"]["itemsBackedUp"];
        assert!(items.as_i64().unwrap() >= 1, "{velero}");
        assert_eq!(items, &velero["progress"]["totalItems"]);
    }
    what_kubectl_shows(stack).await;
    // What may still change in the spec takes nothing of the outcome away.
    let later = r#"{"spec": {"startDeadline": "2h"}}"#;
    kubectl(stack, &["patch", object, "--type=merge", "-p", later]).await;
    wait_succeeded(stack, object).await;
    let metrics = stack.backup_controller().metrics().await.unwrap();
    for metric in [
        r#"kurator_backup_cluster_outcomes_total{phase="Completed""#,
        r#"kurator_backup_objects{phase="Completed"}"#,
        r#"kurator_backup_last_success_timestamp_seconds{namespace="default",backup="select-labels"}"#,
    ] {
        assert!(
            metrics.lines().any(|line| line.starts_with(metric)),
            "{metrics}"
        );
    }

    wait_ok("the events", PATIENCE, async || {
        let reasons = tenant.event_reasons("select-labels").await?;
        anyhow::ensure!(
            reasons.iter().any(|reason| reason == "Completed"),
            "{reasons:?}"
        );
        Ok(())
    })
    .await
    .unwrap();
}

async fn wait_succeeded(stack: &Stack, object: &str) {
    let succeeded = "--for=condition=Succeeded";
    kubectl(stack, &["wait", succeeded, object, "--timeout=120s"]).await;
}

async fn what_kubectl_shows(stack: &Stack) {
    let backups = kubectl(stack, &["get", "kbk", "select-labels"]).await;
    assert_eq!(
        head(&backups),
        "NAME SCHEDULE PHASE CLUSTERS LAST-SUCCESS NEXT ERRORS AGE"
    );
    assert!(
        backups.contains(" Completed ") && backups.contains(" 2/2 "),
        "{backups}"
    );
    let clusters = kubectl(stack, &["get", "kac"]).await;
    assert_eq!(
        head(&clusters),
        "NAME READY MODE VERSION NODES LAST-SEEN AGE"
    );
    assert_eq!(clusters.matches(" true ").count(), 2, "{clusters}");
    let fleets = kubectl(stack, &["get", "kfl"]).await;
    assert_eq!(head(&fleets), "NAME PHASE CLUSTERS PLUGINS AGE");
    assert!(
        fleets.contains(" Ready ") && fleets.contains(" 2/2 "),
        "{fleets}"
    );
    let all = kubectl(stack, &["get", "kurator-dev"]).await;
    for name in [
        "kurator-member1",
        "kurator-member2",
        "quickstart",
        "select-labels",
    ] {
        assert!(all.contains(name), "{all}");
    }
}

fn head(table: &str) -> String {
    let line = table.lines().next().unwrap_or_default();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_policy_without_a_filter_backs_up_everything() {
    let tenant = tenant("no-filter").await;
    let mut spec = demo_backup();
    let policy = spec.policy.as_mut().unwrap();
    policy.resource_filter = None;
    policy.ttl = Some("24h".into());
    tenant.back_up("all", spec).await.unwrap();

    let backup = tenant.wait_phase("all", Phase::Completed).await.unwrap();
    assert_completed(&backup, &[ONE, TWO]);
    let items = backup.status.unwrap().summary.unwrap().items_done;
    assert!(items > 20, "only {items} items");
}

#[tokio::test]
async fn a_cluster_selector_chooses_by_the_labels_of_the_attached_clusters() {
    let tenant = tenant("by-label").await;
    let label = json!({ "metadata": { "labels": { "region": "eu" } } });
    let clusters = tenant.api::<AttachedCluster>();
    clusters
        .patch(TWO, &PatchParams::default(), &Patch::Merge(label))
        .await
        .unwrap();
    let mut spec = demo_backup();
    spec.destination.cluster_selector = Some(labels(&[("region", "eu")]));
    let made = tenant.back_up("eu", spec).await.unwrap();

    let backup = tenant.wait_phase("eu", Phase::Completed).await.unwrap();
    assert_completed(&backup, &[TWO]);
    let elsewhere = view(ONE)
        .await
        .backups_of(&made.uid().unwrap())
        .await
        .unwrap();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
}

#[tokio::test]
async fn every_filter_and_option_reaches_velero() {
    let tenant = tenant("options").await;
    let policy = json!({
        "ttl": "24h",
        "orderedResources": { "pods": "kurator-backup/busybox" },
        "hooks": { "resources": [{
            "name": "freeze",
            "includedNamespaces": ["kurator-other"],
            "pre": [{ "exec": { "command": ["/bin/true"], "onError": "Continue" } }],
        }] },
        "snapshotVolumes": false,
        "snapshotMoveData": false,
        "defaultVolumesToFsBackup": false,
        "csiSnapshotTimeout": "5m",
        "itemOperationTimeout": "2h",
        "uploaderConfig": { "parallelFilesUpload": 3 },
        "storageLocation": "default",
        "resourceFilter": {
            "includedNamespaces": ["kurator-backup"],
            "excludedNamespaces": ["kurator-other"],
            "includedResources": ["pods", "configmaps"],
            "excludedResources": ["secrets"],
            "includeClusterResources": false,
            "labelSelector": { "matchLabels": { "app": "busybox" } },
        },
    });
    let scoped = json!({
        "resourceFilter": {
            "includedClusterScopedResources": ["namespaces"],
            "excludedClusterScopedResources": ["storageclasses.storage.k8s.io"],
            "includedNamespaceScopedResources": ["configmaps"],
            "excludedNamespaceScopedResources": ["secrets"],
            "orLabelSelectors": [
                { "matchLabels": { "app": "busybox" } },
                { "matchExpressions": [{ "key": "tier", "operator": "Exists" }] },
            ],
        },
    });
    for (name, policy) in [("plain", policy), ("scoped", scoped)] {
        let spec = json!({ "destination": { "fleet": FLEET }, "policy": policy });
        let spec: BackupSpec = serde_json::from_value(spec).unwrap();
        tenant.back_up(name, spec).await.unwrap();
        let backup = tenant.wait_phase(name, Phase::Completed).await.unwrap();
        assert_completed(&backup, &[ONE, TWO]);

        let backups = view(ONE).await.velero::<velero::Backup>();
        let object = backups.get(&name_in(&backup, ONE)).await.unwrap();
        let got = serde_json::to_value(&object.spec).unwrap();
        let mut asked = policy.clone();
        let filter = asked["resourceFilter"].take();
        asked.as_object_mut().unwrap().remove("resourceFilter");
        for (field, value) in asked
            .as_object()
            .unwrap()
            .iter()
            .chain(filter.as_object().unwrap())
        {
            assert!(
                same(&got[field], value),
                "{name} {field}: asked {value}, got {}",
                got[field]
            );
        }
    }
}

/// Whether Velero has what was asked for: equal, but for how a duration is written.
pub(crate) fn same(got: &Value, asked: &Value) -> bool {
    match (got, asked) {
        (Value::String(got), Value::String(asked)) => {
            got == asked
                || got
                    .strip_prefix(asked.as_str())
                    .is_some_and(|rest| rest.starts_with('0'))
        }
        // Velero adds to what is excluded, and so do we.
        (Value::Array(got), Value::Array(asked)) => asked
            .iter()
            .all(|asked| got.iter().any(|got| same(got, asked))),
        (Value::Object(got), Value::Object(asked)) => asked
            .iter()
            .all(|(field, asked)| got.get(field).is_some_and(|got| same(got, asked))),
        _ => got == asked,
    }
}
