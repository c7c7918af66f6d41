//! What is restored, and what is not.

use anyhow::ensure;
use api_types::external::velero;
use api_types::phase::{EntryPhase, Phase};
use api_types::restore::Restore;
use e2e::specs::demo_backup;
use e2e::{PATIENCE, await_gone, examples};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;
use testbed::{apply_yaml, wait_ok};

use super::{App, assert_restored, entry, in_phase, into, objects_of, of, policy, with_reason};
use crate::kubectl::kubectl;
use crate::world::{ONE, TWO, spare, stack, tenant, tenant_of, view};

#[tokio::test]
async fn the_announcements_restore_brings_the_application_back_as_it_was() {
    const APP: App = App("restore-minimal");
    let stack = stack().await;
    let tenant = tenant("restore-minimal").await;
    APP.deploy(&[ONE, TWO]).await;
    tenant.back_up("select-labels", APP.backup()).await.unwrap();
    tenant
        .wait_phase("select-labels", Phase::Completed)
        .await
        .unwrap();
    let mut before = Vec::new();
    for member in [ONE, TWO] {
        before.push(APP.objects(member, APP.0).await);
    }
    APP.remove(&[ONE, TWO]).await;

    // The example as it is, in another namespace.
    let example = examples::read(examples::RESTORE_MINIMAL).unwrap();
    let example = example.replace("namespace: default", "namespace: restore-minimal");
    apply_yaml(tenant.hub(), &example).await.unwrap();
    kubectl(
        stack,
        &[
            "wait",
            "-n",
            "restore-minimal",
            "--for=condition=Succeeded",
            "restores.backup.kurator.dev/minimal",
            "--timeout=120s",
        ],
    )
    .await;
    let restore = tenant.restores().get("minimal").await.unwrap();
    assert_restored(&restore, &[ONE, TWO]).await;
    for (member, before) in [ONE, TWO].into_iter().zip(before) {
        assert_eq!(APP.objects(member, APP.0).await, before, "in {member}");
        let entry = entry(&restore, member).unwrap();
        let name = format!("{member}-restore-restore-minimal-minimal");
        assert_eq!(
            entry.restore_name_in_cluster.as_deref(),
            Some(name.as_str())
        );
        let velero = serde_json::to_value(&entry.restore_status_in_cluster).unwrap();
        for time in ["startTimestamp", "completionTimestamp"] {
            velero[time]
                .as_str()
                .unwrap()
                .parse::<jiff::Timestamp>()
                .unwrap();
        }
        let items = &velero["progress"]["itemsRestored"];
        assert!(items.as_i64().unwrap() >= 4, "{velero}");
        assert_eq!(items, &velero["progress"]["totalItems"]);
    }
    let table = kubectl(stack, &["get", "krs", "-n", "restore-minimal"]).await;
    assert!(
        table.contains(" select-labels ") && table.contains(" 2/2 "),
        "{table}"
    );
    wait_ok("the events", PATIENCE, async || {
        let reasons = tenant.event_reasons("minimal").await?;
        for wanted in ["BackupSelected", "Completed"] {
            ensure!(reasons.iter().any(|reason| reason == wanted), "{reasons:?}");
        }
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_part_goes_into_another_namespace_of_one_cluster_only() {
    const APP: App = App("restore-mapped");
    let copy = "restore-mapped-copy";
    let tenant = tenant("restore-mapped").await;
    APP.deploy(&[ONE, TWO]).await;
    tenant.back_up("all", APP.backup()).await.unwrap();
    tenant.wait_phase("all", Phase::Completed).await.unwrap();

    let mut spec = into("all", &[TWO]);
    spec.policy = Some(policy(json!({
        "namespaceMapping": { APP.0: copy },
        "resourceFilter": {
            "includedNamespaces": [APP.0],
            "includedNamespaceScopedResources": ["configmaps"],
        },
        "preserveNodePorts": true,
        "existingResourcePolicy": "update",
        "itemOperationTimeout": "1h",
        "preserveStatus": { "includedResources": ["pods"] },
    })));
    tenant.restore("part", spec).await.unwrap();
    let restore = in_phase(&tenant, "part", Phase::Completed).await;
    assert_restored(&restore, &[TWO]).await;
    assert!(objects_of(&restore, ONE).await.is_empty());

    let client = view(TWO).await.client;
    let copied: Api<ConfigMap> = Api::namespaced(client.clone(), copy);
    let data = copied.get("settings").await.unwrap().data.unwrap();
    assert_eq!(data["greeting"], "hello");
    let secrets: Api<Secret> = Api::namespaced(client.clone(), copy);
    assert!(secrets.get_opt("password").await.unwrap().is_none());

    let found = view(TWO).await.restores_of(&restore.uid().unwrap()).await;
    let asked = serde_json::to_value(&found.unwrap()[0].spec).unwrap();
    assert_eq!(asked["includedResources"], json!(["configmaps"]));
    assert_eq!(asked["preserveNodePorts"], true);
    assert_eq!(asked["existingResourcePolicy"], "update");
    assert_eq!(asked["restoreStatus"]["includedResources"], json!(["pods"]));
    let excluded = asked["excludedResources"].as_array().unwrap();
    assert!(excluded.contains(&json!("schedules.velero.io")), "{asked}");
    assert_eq!(asked["excludedNamespaces"], json!(["velero"]));
    assert_eq!(asked.get("includeClusterResources"), None);
}

#[tokio::test]
async fn a_whole_cluster_s_backup_brings_everything_back_but_velero_s_own_objects() {
    let spare = spare().await;
    let tenant = tenant_of("restore-whole", &[spare.name]).await;
    let schedules = spare.view.velero::<velero::Schedule>();
    let mut schedule = velero::Schedule::new("of-yesterday", velero::ScheduleSpec::default());
    "0 3 1 1 *".clone_into(&mut schedule.spec.schedule);
    schedules
        .create(&PostParams::default(), &schedule)
        .await
        .unwrap();
    let roles: Api<ClusterRole> = Api::all(spare.view.client.clone());
    let role = json!({ "metadata": { "name": "of-yesterday" }, "rules": [] });
    let role: ClusterRole = serde_json::from_value(role).unwrap();
    roles.create(&PostParams::default(), &role).await.unwrap();
    let mut spec = demo_backup();
    // Without it, Velero takes only what belongs to something in a namespace.
    let all = json!({ "resourceFilter": { "includeClusterResources": true } });
    spec.policy = Some(serde_json::from_value(all).unwrap());
    tenant.back_up("whole", spec).await.unwrap();
    tenant.wait_phase("whole", Phase::Completed).await.unwrap();
    let now = DeleteParams::default();
    schedules.delete("of-yesterday", &now).await.unwrap();
    roles.delete("of-yesterday", &now).await.unwrap();

    tenant.restore("whole", of("whole")).await.unwrap();
    let done =
        |restore: &Restore| entry(restore, spare.name).is_some_and(|entry| entry.phase.is_final());
    let restore = tenant.wait_restore("whole", "an end", done).await.unwrap();
    let entry = entry(&restore, spare.name).unwrap();
    assert_eq!(entry.phase, EntryPhase::Completed, "{entry:?}");
    assert!(schedules.get_opt("of-yesterday").await.unwrap().is_none());
    assert!(roles.get_opt("of-yesterday").await.unwrap().is_some());
    roles.delete("of-yesterday", &now).await.unwrap();
}

#[tokio::test]
async fn a_config_map_is_awaited_and_carried_and_changes_what_is_restored() {
    const APP: App = App("restore-modified");
    let tenant = tenant_of("restore-modified", &[ONE]).await;
    APP.deploy(&[ONE]).await;
    tenant.back_up("all", APP.backup()).await.unwrap();
    tenant.wait_phase("all", Phase::Completed).await.unwrap();
    APP.remove(&[ONE]).await;

    let mut spec = of("all");
    spec.policy = Some(policy(
        json!({ "resourceModifier": { "kind": "ConfigMap", "name": "louder" } }),
    ));
    tenant.restore("modified", spec).await.unwrap();
    with_reason(&tenant, "modified", ONE, "ConfigMapNotFound").await;
    let rules = r#"version: v1
resourceModifierRules:
- conditions:
    groupResource: configmaps
    resourceNameRegex: "^settings$"
  patches:
  - operation: replace
    path: "/data/greeting"
    value: "HELLO"
"#;
    let source = json!({ "metadata": { "name": "louder" }, "data": { "rules.yaml": rules } });
    let source: ConfigMap = serde_json::from_value(source).unwrap();
    tenant
        .api::<ConfigMap>()
        .create(&PostParams::default(), &source)
        .await
        .unwrap();
    let restore = in_phase(&tenant, "modified", Phase::Completed).await;
    assert_restored(&restore, &[ONE]).await;
    let view = view(ONE).await;
    let own: Api<ConfigMap> = Api::namespaced(view.client.clone(), APP.0);
    let data = own.get("settings").await.unwrap().data.unwrap();
    assert_eq!(data["greeting"], "HELLO");
    let carried = view.restores_of(&restore.uid().unwrap()).await.unwrap();
    let name = carried[0].spec.resource_modifier.clone().unwrap().name;
    assert!(name.starts_with("louder-"), "{name}");
    let in_velero: Api<ConfigMap> = view.velero();
    await_gone(&in_velero, &name, PATIENCE).await.unwrap();
}
