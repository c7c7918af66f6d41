//! The examples of schedules and restores that no other test applies: each as it is but for the
//! namespace and the fleet, which are the tenant's; what was lost comes back as it was.

use api_types::backup::Backup;
use api_types::cluster::AttachedCluster;
use api_types::phase::{EntryPhase, Phase};
use api_types::restore::Restore;
use e2e::{Attached, FLEET, PATIENCE, Tenant, await_gone, condition_reason, examples};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testbed::apply_yaml;

use super::app::same;
use super::{App, details, entry, in_phase};
use crate::elsewhere::waits_for_sync;
use crate::schedule::{answered, is_scheduled, patch, run_now};
use crate::world::{ONE, TWO, name_in, spare, stack, stored, view};

async fn apply(tenant: &Tenant, example: &str) {
    apply_text(tenant, &examples::read(example).unwrap()).await;
}

/// Applies an example in a tenant's namespace and to its fleet.
async fn apply_text(tenant: &Tenant, text: &str) {
    let text = text.replace(
        "namespace: default",
        &format!("namespace: {}", tenant.namespace()),
    );
    let text = text.replace("fleet: production", &format!("fleet: {FLEET}"));
    apply_yaml(tenant.hub(), &text).await.unwrap();
}

/// The demo application as it is in a namespace.
async fn demo(client: &Client, namespace: &str) -> [Value; 2] {
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    [
        same(&config_maps.get("busybox-settings").await.unwrap()),
        same(&pods.get("busybox").await.unwrap()),
    ]
}

/// The same objects in another namespace.
fn moved(objects: &[Value], to: &str) -> Vec<Value> {
    let moved = |object: &Value| {
        let mut object = object.clone();
        object["metadata"]["namespace"] = json!(to);
        object
    };
    objects.iter().map(moved).collect()
}

async fn remove(namespaces: &Api<Namespace>, name: &str) {
    let gone = DeleteParams::default();
    namespaces.delete(name, &gone).await.unwrap();
    await_gone(namespaces, name, PATIENCE).await.unwrap();
}

#[tokio::test]
async fn the_newest_run_of_a_schedule_comes_back_and_a_part_beside_the_original() {
    const DEMO: &str = "kurator-backup";
    const COPY: &str = "kurator-backup-copy";
    let stack = stack().await;
    let spare = spare().await;
    // Its demo application can be taken away.
    let two = Attached::new(TWO, &stack.attach(spare.name).unwrap().kubeconfig);
    let clusters = [stack.attach(ONE).unwrap(), two];
    let tenant = stack.tenant("manifests", &clusters).await.unwrap();
    apply(&tenant, examples::SCHEDULE).await;
    is_scheduled(&tenant, "schedule").await;
    // No run of the clock comes after the one that is asked for.
    patch(&tenant, "schedule", json!({ "spec": { "paused": true } })).await;
    let paused = |backup: &Backup| condition_reason(backup, "Ready") == "Paused";
    tenant
        .wait_backup("schedule", "Ready because Paused", paused)
        .await
        .unwrap();
    run_now(&tenant, "schedule", "now").await;
    let backup = answered(&tenant, "schedule", "now", &[TWO]).await;

    let client = spare.view.client.clone();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let before = demo(&client, DEMO).await;
    let namespace = same(&namespaces.get(DEMO).await.unwrap());
    let pods: Api<Pod> = Api::namespaced(client.clone(), DEMO);
    // There is no kubelet that would end the Pod.
    let now = DeleteParams::default().grace_period(0);
    pods.delete("busybox", &now).await.unwrap();
    remove(&namespaces, DEMO).await;
    apply(&tenant, "backup/restore-schedule.yaml").await;
    let restore = in_phase(&tenant, "schedule", Phase::Completed).await;
    assert_entries(&restore, &[(TWO, TWO)]);
    let found = entry(&restore, TWO).unwrap();
    assert_eq!(found.backup_name_in_cluster, Some(name_in(&backup, TWO)));
    assert_eq!(demo(&client, DEMO).await, before);
    assert_eq!(same(&namespaces.get(DEMO).await.unwrap()), namespace);

    // In the first cluster the application is there all the time. The example asks for its status.
    let client = view(ONE).await.client;
    let pods: Api<Pod> = Api::namespaced(client.clone(), DEMO);
    let lived = Patch::Merge(json!({ "status": { "message": "it has lived" } }));
    let params = PatchParams::default();
    pods.patch_status("busybox", &params, &lived).await.unwrap();
    apply(&tenant, examples::SELECT_LABELS).await;
    tenant
        .wait_phase("select-labels", Phase::Completed)
        .await
        .unwrap();
    apply(&tenant, "backup/restore-namespace-mapping.yaml").await;
    let restore = in_phase(&tenant, "beside-the-original", Phase::Completed).await;
    assert_entries(&restore, &[(ONE, ONE)]);
    let original = demo(&client, DEMO).await;
    let copied = demo(&client, COPY).await;
    assert_eq!(copied.to_vec(), moved(&original, COPY));
    let status = pods.get("busybox").await.unwrap().status;
    let beside: Api<Pod> = Api::namespaced(client.clone(), COPY);
    assert_eq!(beside.get("busybox").await.unwrap().status, status);

    beside.delete("busybox", &now).await.unwrap();
    remove(&Api::all(client), COPY).await;
    tenant.delete_backup("schedule").await.unwrap();
    tenant.wait_backup_gone("schedule").await.unwrap();
}

/// Checks what a Restore says that completed in these clusters, each with the backup of another.
fn assert_entries(restore: &Restore, clusters: &[(&str, &str)]) {
    let found: Vec<(&str, &str)> = details(restore)
        .iter()
        .map(|entry| {
            assert_eq!(entry.phase, EntryPhase::Completed, "{entry:?}");
            assert_eq!(entry.reason, None, "{entry:?}");
            let source = entry.source_cluster_name.as_deref().unwrap_or_default();
            (entry.cluster_name.as_str(), source)
        })
        .collect();
    assert_eq!(found, clusters);
}

#[tokio::test]
async fn the_shop_of_a_lost_member_comes_up_in_two_others() {
    const SHOP: [(App, &str); 2] = [(App("shop"), "shop-oslo"), (App("shop-db"), "shop-oslo-db")];
    let stack = stack().await;
    let spare = spare().await;
    let (oslo, relay) = stack.attach_with_relay(ONE).unwrap();
    let oslo = Attached::new("oslo", &oslo.kubeconfig);
    let bergen = Attached::new("bergen", &stack.attach(TWO).unwrap().kubeconfig);
    let turku = Attached::new("turku", &stack.attach(spare.name).unwrap().kubeconfig);
    let clusters = [oslo, bergen, turku];
    let tenant = stack.tenant("manifests-lost", &clusters).await.unwrap();
    // What the manifests expect to be there: the shop, in the one cluster that they select.
    let region = json!({ "metadata": { "labels": { "region": "eu" } } });
    tenant
        .api::<AttachedCluster>()
        .patch("oslo", &PatchParams::default(), &Patch::Merge(region))
        .await
        .unwrap();
    let rules = json!({
        "metadata": { "name": "skip-caches" },
        "data": { "policies.yaml": "version: v1\nvolumePolicies: []\n" },
    });
    let rules: ConfigMap = serde_json::from_value(rules).unwrap();
    tenant
        .api()
        .create(&PostParams::default(), &rules)
        .await
        .unwrap();
    let mut before = Vec::new();
    for (app, copy) in &SHOP {
        app.deploy(&[ONE]).await;
        // The first is the namespace itself, which has another name there.
        before.push(moved(&app.objects_within(ONE, app.0).await[1..], copy));
    }
    apply(&tenant, "api/backup-nightly.yaml").await;
    is_scheduled(&tenant, "nightly-shop").await;
    run_now(&tenant, "nightly-shop", "now").await;
    let backup = answered(&tenant, "nightly-shop", "now", &["oslo"]).await;
    relay.cut();
    tenant.wait_cluster("oslo", false).await.unwrap();

    // Its point in time is the announcement's day, and that may be before this one.
    let text = examples::read("api/restore-from-lost-member.yaml").unwrap();
    let point = e2e::entry(&backup, "oslo").unwrap();
    let point = point.backup_status_in_cluster.clone().unwrap();
    let point = point.completion_timestamp.unwrap().0;
    let line = text.lines().find(|line| line.contains("pointInTime:"));
    let text = text.replace(line.unwrap(), &format!("  pointInTime: \"{point}\""));
    apply_text(&tenant, &text).await;
    waits_for_sync(&tenant, "shop-from-oslo", "turku").await;
    spare.velero().look(&spare.view.client).await.unwrap();
    let restore = in_phase(&tenant, "shop-from-oslo", Phase::Completed).await;
    assert_entries(&restore, &[("bergen", "oslo"), ("turku", "oslo")]);
    for (cluster, member) in [("bergen", TWO), ("turku", spare.name)] {
        let found = entry(&restore, cluster).unwrap();
        let run = name_in(&backup, "oslo");
        assert_eq!(found.backup_name_in_cluster, Some(run));
        for ((app, copy), before) in SHOP.iter().zip(&before) {
            let after = app.objects_within(member, copy).await;
            assert_eq!(&after[1..], before, "{copy} in {member}");
        }
    }

    relay.heal();
    tenant.wait_cluster("oslo", true).await.unwrap();
    tenant.delete_backup("nightly-shop").await.unwrap();
    tenant.wait_backup_gone("nightly-shop").await.unwrap();
    let run = name_in(&backup, "oslo");
    assert!(stored(ONE, &run).await.is_empty(), "it goes with its data");
}
