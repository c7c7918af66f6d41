//! What was backed up comes back: everywhere, in part, under another name; and says what is in the
//! way when it cannot.

use anyhow::{Context, ensure};
use api_types::backup::Backup;
use api_types::cluster::AttachedCluster;
use api_types::common::{DeletionPolicy, Destination};
use api_types::external::velero;
use api_types::phase::{EntryPhase, Phase};
use api_types::restore::{Restore, RestoreDetail, RestorePolicy, RestoreSpec};
use e2e::specs::{cluster_ref, demo_backup, demo_backup_of};
use e2e::{FLEET, PATIENCE, Tenant, await_gone, await_object, examples};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testbed::{apply_yaml, wait_ok};

use crate::kubectl::kubectl;
use crate::restarts;
use crate::world::{ONE, SPARE, TWO, name_in, spare, stack, tenant, tenant_of, view};

/// An application of a test's own, so that others may look at theirs meanwhile.
pub(crate) struct App(pub(crate) &'static str);

impl App {
    fn manifest(&self) -> String {
        let name = self.0;
        format!(
            r#"
apiVersion: v1
kind: Namespace
metadata: {{name: {name}, labels: {{shop: {name}}}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings, namespace: {name}, labels: {{app: shop}}, annotations: {{note: "kept"}}}}
data: {{greeting: hello, "odd.key": "line one\nline two"}}
---
apiVersion: v1
kind: Secret
metadata: {{name: password, namespace: {name}}}
type: Opaque
data: {{word: c2VjcmV0}}
---
apiVersion: v1
kind: Pod
metadata: {{name: shop, namespace: {name}, labels: {{app: shop}}}}
spec:
  containers: [{{name: shop, image: "busybox:1.36", command: [sleep, "86400"]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {name}-reader}}
rules: [{{apiGroups: [""], resources: [pods], verbs: [get]}}]
"#
        )
    }

    pub(crate) async fn deploy(&self, members: &[&str]) {
        for member in members {
            let client = view(member).await.client;
            apply_yaml(&client, &self.manifest()).await.unwrap();
        }
    }

    /// Removes it, and waits until it is gone.
    pub(crate) async fn remove(&self, members: &[&str]) {
        for member in members {
            let client = view(member).await.client;
            let roles: Api<ClusterRole> = Api::all(client.clone());
            let role = format!("{}-reader", self.0);
            roles.delete(&role, &DeleteParams::default()).await.unwrap();
            // There is no kubelet that would end the Pod.
            let pods: Api<Pod> = Api::namespaced(client.clone(), self.0);
            let now = DeleteParams::default().grace_period(0);
            pods.delete("shop", &now).await.unwrap();
            let namespaces: Api<Namespace> = Api::all(client);
            namespaces
                .delete(self.0, &DeleteParams::default())
                .await
                .unwrap();
            await_gone(&namespaces, self.0, PATIENCE).await.unwrap();
        }
    }

    /// Every object of it, as it is in `namespace`.
    pub(crate) async fn objects(&self, member: &str, namespace: &str) -> Vec<Value> {
        let roles: Api<ClusterRole> = Api::all(view(member).await.client);
        let role = roles.get(&format!("{}-reader", self.0)).await.unwrap();
        let mut objects = self.objects_within(member, namespace).await;
        objects.push(same(&role));
        objects
    }

    /// The namespace, and every object in it.
    pub(crate) async fn objects_within(&self, member: &str, namespace: &str) -> Vec<Value> {
        let client = view(member).await.client;
        let own = |client| (Api::<ConfigMap>::namespaced(client, namespace), "settings");
        let (config_maps, settings) = own(client.clone());
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let namespaces: Api<Namespace> = Api::all(client);
        vec![
            same(&namespaces.get(namespace).await.unwrap()),
            same(&config_maps.get(settings).await.unwrap()),
            same(&secrets.get("password").await.unwrap()),
            same(&pods.get("shop").await.unwrap()),
        ]
    }

    /// A filter for what is in its namespace.
    pub(crate) fn backup(&self) -> api_types::backup::BackupSpec {
        let mut spec = demo_backup();
        spec.policy = serde_json::from_value(json!({
            "resourceFilter": { "includedNamespaces": [self.0], "includeClusterResources": true },
        }))
        .unwrap();
        spec
    }
}

/// An object without what a restore cannot but change: its identity and versions, who wrote which
/// field, the two labels that Velero marks restored objects with, and the Pod's status, which nobody
/// asked to restore.
fn same<K: serde::Serialize>(object: &K) -> Value {
    let mut value = serde_json::to_value(object).unwrap();
    let meta = value["metadata"].as_object_mut().unwrap();
    for field in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "managedFields",
        "generation",
    ] {
        meta.remove(field);
    }
    if let Some(labels) = meta.get_mut("labels").and_then(Value::as_object_mut) {
        labels.remove("velero.io/backup-name");
        labels.remove("velero.io/restore-name");
        if labels.is_empty() {
            meta.remove("labels");
        }
    }
    value.as_object_mut().unwrap().remove("status");
    value
}

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
async fn assert_restored(restore: &Restore, clusters: &[&str]) {
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
    let tenant = tenant_of("restore-whole", &[SPARE]).await;
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
        |restore: &Restore| entry(restore, SPARE).is_some_and(|entry| entry.phase.is_final());
    let restore = tenant.wait_restore("whole", "an end", done).await.unwrap();
    let entry = entry(&restore, SPARE).unwrap();
    assert_eq!(entry.phase, EntryPhase::Completed, "{entry:?}");
    assert!(schedules.get_opt("of-yesterday").await.unwrap().is_none());
    assert!(roles.get_opt("of-yesterday").await.unwrap().is_some());
    roles.delete("of-yesterday", &now).await.unwrap();
}

#[tokio::test]
async fn it_waits_for_its_backup_and_goes_on_by_itself() {
    let tenant = tenant("restore-waits").await;
    tenant
        .restore("early", into("later", &[ONE]))
        .await
        .unwrap();
    let waiting = with_reason(&tenant, "early", ONE, "BackupNotFound").await;
    assert_eq!(entry(&waiting, ONE).unwrap().phase, EntryPhase::Pending);
    assert!(objects_of(&waiting, ONE).await.is_empty());
    tenant.restore("whole", of("later")).await.unwrap();
    let ready = |restore: &Restore| {
        let status = serde_json::to_value(restore).unwrap();
        let ready = status["status"]["conditions"].as_array().cloned();
        ready.is_some_and(|list| list.iter().any(|c| c["reason"] == "BackupNotFound"))
    };
    tenant
        .wait_restore("whole", "a reason", ready)
        .await
        .unwrap();

    tenant.back_up("later", demo_backup()).await.unwrap();
    let restore = in_phase(&tenant, "early", Phase::Completed).await;
    assert_restored(&restore, &[ONE]).await;
    let restore = in_phase(&tenant, "whole", Phase::Completed).await;
    assert_restored(&restore, &[ONE, TWO]).await;
}

#[tokio::test]
async fn each_obstacle_is_named_where_it_is() {
    let tenant = tenant_of("restore-obstacles", &[ONE, TWO]).await;
    tenant
        .back_up("of-one", demo_backup_of(&[ONE]))
        .await
        .unwrap();
    tenant.wait_phase("of-one", Phase::Completed).await.unwrap();

    // Not covered by the Backup; not in the fleet.
    tenant
        .restore("too-much", into("of-one", &[ONE, TWO, "nowhere"]))
        .await
        .unwrap();
    with_reason(&tenant, "too-much", TWO, "BackupNotFound").await;
    let restore = with_reason(&tenant, "too-much", "nowhere", "ClusterNotInFleet").await;
    assert_eq!(restore.status.unwrap().restore_details.len(), 3);
    let what = "an end in the first cluster";
    let done = |restore: &Restore| {
        entry(restore, ONE).is_some_and(|entry| entry.phase == EntryPhase::Completed)
    };
    tenant.wait_restore("too-much", what, done).await.unwrap();

    // What can never work.
    let mut spec = of("of-one");
    spec.policy = Some(policy(json!({ "resourceFilter": {
        "includedClusterScopedResources": ["*"],
        "includedNamespaceScopedResources": ["pods"],
    } })));
    tenant.restore("never", spec).await.unwrap();
    let restore = in_phase(&tenant, "never", Phase::FailedValidation).await;
    assert!(objects_of(&restore, ONE).await.is_empty());

    // Not begun in time.
    let mut spec = of("absent");
    spec.destination = into("absent", &[ONE]).destination;
    spec.start_deadline = "2s".into();
    tenant.restore("late", spec).await.unwrap();
    let restore = in_phase(&tenant, "late", Phase::Failed).await;
    assert_eq!(reason(&restore, ONE), "StartDeadlineExceeded");
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

#[tokio::test]
async fn deleting_removes_the_velero_restores_and_nothing_that_they_restored() {
    let tenant = tenant("restore-delete").await;
    tenant.back_up("all", demo_backup()).await.unwrap();
    tenant.wait_phase("all", Phase::Completed).await.unwrap();
    for name in ["one", "two"] {
        tenant.restore(name, of("all")).await.unwrap();
    }
    let one = in_phase(&tenant, "one", Phase::Completed).await;
    let two = in_phase(&tenant, "two", Phase::Completed).await;

    tenant.delete_restore("one").await.unwrap();
    tenant.wait_restore_gone("one").await.unwrap();
    for member in [ONE, TWO] {
        assert!(objects_of(&one, member).await.is_empty());
        assert_eq!(objects_of(&two, member).await.len(), 1);
        let pods: Api<Pod> = Api::namespaced(view(member).await.client, "kurator-backup");
        assert!(pods.get_opt("busybox").await.unwrap().is_some());
    }

    // Also when the Backup is gone.
    tenant.delete_backup("all").await.unwrap();
    tenant.wait_backup_gone("all").await.unwrap();
    tenant.delete_restore("two").await.unwrap();
    tenant.wait_restore_gone("two").await.unwrap();
    for member in [ONE, TWO] {
        assert!(objects_of(&two, member).await.is_empty());
    }
}

#[tokio::test]
async fn an_unreachable_member_holds_up_nobody_else_and_is_caught_up_with() {
    let stack = stack().await;
    let (two, relay) = stack.attach_with_relay(TWO).unwrap();
    let clusters = [stack.attach(ONE).unwrap(), two];
    let tenant = stack.tenant("restore-cut", &clusters).await.unwrap();
    tenant.back_up("all", demo_backup()).await.unwrap();
    tenant.wait_phase("all", Phase::Completed).await.unwrap();
    relay.cut();
    tenant.wait_cluster(TWO, false).await.unwrap();

    // One cluster does not hold up the other.
    tenant.restore("half", of("all")).await.unwrap();
    let half = with_reason(&tenant, "half", TWO, "Unreachable").await;
    let done = |restore: &Restore| {
        entry(restore, ONE).is_some_and(|entry| entry.phase == EntryPhase::Completed)
    };
    tenant
        .wait_restore("half", "the other cluster", done)
        .await
        .unwrap();
    assert_eq!(entry(&half, TWO).unwrap().phase, EntryPhase::Pending);
    relay.heal();
    let half = in_phase(&tenant, "half", Phase::Completed).await;
    assert_restored(&half, &[ONE, TWO]).await;

    relay.cut();
    tenant.wait_cluster(TWO, false).await.unwrap();
    tenant.delete_restore("half").await.unwrap();
    with_reason(&tenant, "half", TWO, "DeletionPending").await;
    wait_ok("an end in the other cluster", PATIENCE, async || {
        ensure!(objects_of(&half, ONE).await.is_empty(), "it is there");
        Ok(())
    })
    .await
    .unwrap();
    relay.heal();
    tenant.wait_restore_gone("half").await.unwrap();
    assert!(objects_of(&half, TWO).await.is_empty());
}

#[tokio::test]
async fn what_lies_in_a_cluster_that_is_gone_for_good_is_named_and_let_go() {
    let stack = stack().await;
    let (two, relay) = stack.attach_with_relay(TWO).unwrap();
    let clusters = [stack.attach(ONE).unwrap(), two];
    let tenant = stack.tenant("restore-gone", &clusters).await.unwrap();
    tenant.back_up("all", demo_backup()).await.unwrap();
    tenant.wait_phase("all", Phase::Completed).await.unwrap();
    tenant.restore("left", of("all")).await.unwrap();
    let restore = in_phase(&tenant, "left", Phase::Completed).await;
    relay.cut();
    tenant.wait_cluster(TWO, false).await.unwrap();
    tenant.delete_restore("left").await.unwrap();
    with_reason(&tenant, "left", TWO, "DeletionPending").await;

    let attached = tenant.api::<AttachedCluster>();
    let now = DeleteParams::default();
    attached.delete(TWO, &now).await.unwrap();
    let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    attached
        .patch(TWO, &PatchParams::default(), &free)
        .await
        .unwrap();
    tenant.wait_restore_gone("left").await.unwrap();
    let name = entry(&restore, TWO)
        .unwrap()
        .restore_name_in_cluster
        .clone()
        .unwrap();
    wait_ok("the event", PATIENCE, async || {
        let events = tenant.events("left").await?;
        let told = events.iter().any(|event| {
            event.reason.as_deref() == Some("ObjectsLeftBehind")
                && event.note.as_ref().is_some_and(|text| text.contains(&name))
        });
        ensure!(told, "{events:?}");
        Ok(())
    })
    .await
    .unwrap();
    assert!(objects_of(&restore, ONE).await.is_empty());
}

#[tokio::test]
async fn a_backup_that_is_read_is_deleted_only_after_the_restore_has_ended() {
    let spare = spare().await;
    let tenant = tenant_of("restore-reads", &[SPARE]).await;
    let mut spec = demo_backup();
    spec.deletion_policy = DeletionPolicy::Delete;
    tenant.back_up("read", spec).await.unwrap();
    let backup = tenant.wait_phase("read", Phase::Completed).await.unwrap();
    spare.velero().process().freeze().unwrap();
    tenant.restore("reader", of("read")).await.unwrap();
    let created = |restore: &Restore| {
        entry(restore, SPARE).is_some_and(|entry| entry.restore_status_in_cluster.is_some())
    };
    tenant
        .wait_restore("reader", "a Velero Restore", created)
        .await
        .unwrap();

    tenant.delete_backup("read").await.unwrap();
    let waits = |backup: &Backup| {
        e2e::entry(backup, SPARE)
            .and_then(|entry| entry.message.clone())
            .is_some_and(|message| message.contains("Restore reader"))
    };
    tenant
        .wait_backup("read", "a wait for its reader", waits)
        .await
        .unwrap();
    spare.velero().process().thaw().unwrap();
    in_phase(&tenant, "reader", Phase::Completed).await;
    tenant.wait_backup_gone("read").await.unwrap();
    let objects = spare.view.velero::<velero::Backup>();
    let name = name_in(&backup, SPARE);
    assert!(objects.get_opt(&name).await.unwrap().is_none());
}

#[tokio::test]
async fn a_velero_that_hangs_is_named_and_its_restore_ends_once_it_is_back() {
    let spare = spare().await;
    let tenant = tenant_of("restore-hangs", &[SPARE]).await;
    tenant.back_up("all", demo_backup()).await.unwrap();
    tenant.wait_phase("all", Phase::Completed).await.unwrap();
    spare.velero().process().freeze().unwrap();
    tenant.restore("hangs", of("all")).await.unwrap();
    with_reason(&tenant, "hangs", SPARE, "VeleroNotResponding").await;
    spare.velero().process().thaw().unwrap();
    let restore = in_phase(&tenant, "hangs", Phase::Completed).await;
    assert_restored(&restore, &[SPARE]).await;
}

#[tokio::test]
async fn a_restore_that_is_removed_on_the_member_has_failed() {
    let spare = spare().await;
    let tenant = tenant_of("restore-removed", &[SPARE]).await;
    tenant.back_up("all", demo_backup()).await.unwrap();
    tenant.wait_phase("all", Phase::Completed).await.unwrap();
    spare.velero().process().freeze().unwrap();
    tenant.restore("removed", of("all")).await.unwrap();
    let created = |restore: &Restore| {
        entry(restore, SPARE).is_some_and(|entry| entry.restore_status_in_cluster.is_some())
    };
    let restore = tenant
        .wait_restore("removed", "a Velero Restore", created)
        .await
        .unwrap();
    let name = entry(&restore, SPARE)
        .unwrap()
        .restore_name_in_cluster
        .clone()
        .unwrap();
    let objects = spare.view.velero::<velero::Restore>();
    let none = json!({ "metadata": { "finalizers": null } });
    objects
        .patch(&name, &PatchParams::default(), &Patch::Merge(none))
        .await
        .unwrap();
    objects
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    let restore = in_phase(&tenant, "removed", Phase::Failed).await;
    assert_eq!(reason(&restore, SPARE), "ObjectDisappeared");
}

#[tokio::test]
async fn backup_controller_may_be_killed_in_the_middle_of_a_restore() {
    let (hub, _turn) = restarts::hub().await;
    let spare = spare().await;
    let tenant = restarts::tenant(hub, "kill-restore").await;
    let victim = hub.backup_controller();
    tenant.back_up("all", demo_backup()).await.unwrap();
    tenant.wait_phase("all", Phase::Completed).await.unwrap();

    // Before anything is claimed.
    victim.kill().await.unwrap();
    tenant.restore("before", of("all")).await.unwrap();
    victim.start_again().await.unwrap();
    // As soon as its object is there.
    let created = tenant.restore("created", of("all")).await.unwrap();
    wait_created(&created, ONE).await;
    victim.restart().await.unwrap();
    for name in ["before", "created"] {
        let restore = in_phase(&tenant, name, Phase::Completed).await;
        assert_restored(&restore, &[ONE, SPARE]).await;
    }

    // While Velero works on it, and past its end.
    spare.velero().process().freeze().unwrap();
    let running = tenant.restore("running", of("all")).await.unwrap();
    let name = wait_created(&running, SPARE).await;
    victim.kill().await.unwrap();
    spare.velero().process().thaw().unwrap();
    let objects = spare.view.velero::<velero::Restore>();
    let done = |object: &velero::Restore| object.phase() == "Completed";
    await_object(&objects, &name, "Completed", PATIENCE, done)
        .await
        .unwrap();
    victim.start_again().await.unwrap();
    let restore = in_phase(&tenant, "running", Phase::Completed).await;
    assert_restored(&restore, &[ONE, SPARE]).await;
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
