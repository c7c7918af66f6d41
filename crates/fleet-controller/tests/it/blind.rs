//! What needs a Fleet or a cluster holds it, also where the watches do not show it. Each test has a
//! hub of its own.

use anyhow::bail;
use api_types::backup::Backup;
use api_types::cluster::AttachedCluster;
use api_types::fleet::Fleet;
use api_types::migrate::Migrate;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use testbed::{Access, Bed, apply_yaml, wait_ok};

use crate::script::Proxy;
use crate::space::{Space, fleet_message, ready_reason};
use crate::world::{Controller, DEADLINE, World, prepare};

/// All that the controller needs, but no watch of Backups.
const NO_WATCH: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: no-watch-of-backups}
rules:
- {apiGroups: [fleet.kurator.dev, cluster.kurator.dev], resources: ["*"], verbs: ["*"]}
- {apiGroups: [backup.kurator.dev], resources: [restores, migrates], verbs: ["*"]}
- {apiGroups: [backup.kurator.dev], resources: [backups], verbs: [get, list]}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: ["*"]}
- {apiGroups: ["", events.k8s.io], resources: [events], verbs: ["*"]}
- {apiGroups: [apiextensions.k8s.io], resources: ["*"], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: no-watch-of-backups}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: no-watch-of-backups}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: nobody}]
"#;

/// A hub whose controller must not watch Backups, and on it a namespace with two Fleets.
async fn blind(name: &str) -> (Bed, Proxy, Controller, Space) {
    let bed = Bed::builder(name)
        .hub_without_controllers()
        .start()
        .await
        .unwrap();
    prepare(&bed).await;
    let hub = bed.hub();
    apply_yaml(&hub.client().unwrap(), NO_WATCH).await.unwrap();
    let kubeconfig = bed.dir().join("nobody.kubeconfig");
    let text = hub.kubeconfig_at(hub.url(), Access::Unprivileged);
    std::fs::write(&kubeconfig, text).unwrap();
    let proxy = Proxy::start();
    let timings = r#"{"lookAgain": 200}"#;
    let controller = Controller::start_as(&bed, &kubeconfig, &proxy.endpoint(), timings).await;
    let space = Space::make(hub.client().unwrap(), "oslo", proxy.script.clone()).await;
    space.settle("bergen", "north").await;
    space.settle("hamar", "south").await;
    (bed, proxy, controller, space)
}

#[tokio::test]
async fn a_backup_that_the_watch_does_not_show_holds_its_fleet_and_its_clusters() {
    let (_bed, _proxy, _controller, space) = blind("fleet-blind").await;
    space
        .create::<Backup>("nightly", json!({"destination": {"fleet": "north"}}))
        .await;
    let entry = json!({"clusterName": "hamar", "clusterKind": "AttachedCluster"});
    let status = |phase: &str| json!({"phase": phase, "backupDetails": [entry]});
    space
        .merge_status::<Backup>("nightly", status("InProgress"))
        .await;

    space.delete::<Fleet>("north").await;
    let fleet = space.until_fleet_is("north", "InUse").await;
    let message = fleet_message(&fleet);
    assert!(message.contains("Backup nightly (InProgress)"), "{message}");

    space
        .merge::<Fleet>("south", json!({"spec": {"clusters": []}}))
        .await;
    space.until_fleet_is("south", "NoClusters").await;
    space.delete::<AttachedCluster>("hamar").await;
    let named = |cluster: &AttachedCluster| {
        let conditions = cluster.status.iter().flat_map(|status| &status.conditions);
        let mut messages = conditions.map(|condition| &condition.message);
        ready_reason(cluster) == "InUse"
            && messages.any(|message| message.contains("Backup nightly (InProgress)"))
    };
    space.until("hamar", named).await;

    space
        .merge_status::<Backup>("nightly", status("Completed"))
        .await;
    space.until_gone::<Fleet>("north").await;
    space.until_gone::<AttachedCluster>("hamar").await;
}

#[tokio::test]
async fn a_forced_fleet_names_also_what_the_watch_does_not_show() {
    let (_bed, _proxy, _controller, space) = blind("fleet-blind-forced").await;
    let both = json!(["fleet.kurator.dev", "example.com/audit"]);
    space
        .merge::<Fleet>("north", json!({"metadata": {"finalizers": both}}))
        .await;
    space
        .create::<Backup>("nightly", json!({"destination": {"fleet": "north"}}))
        .await;
    let entry = json!({"clusterName": "bergen", "clusterKind": "AttachedCluster"});
    let status = json!({"phase": "InProgress", "backupDetails": [entry]});
    space.merge_status::<Backup>("nightly", status).await;
    let force = json!({"kurator.dev/force-delete": "true"});
    space
        .merge::<Fleet>("north", json!({"metadata": {"annotations": force}}))
        .await;

    space.delete::<Fleet>("north").await;
    let freed = space
        .until("north", |fleet: &Fleet| {
            fleet.metadata.finalizers.as_deref() == Some(&["example.com/audit".to_owned()])
        })
        .await;
    let left = freed.status.unwrap().leftovers;
    let left: Vec<(&str, &str)> = left
        .iter()
        .map(|left| (left.cluster_name.as_str(), left.name.as_str()))
        .collect();
    assert_eq!(left, [("bergen", "nightly")]);
    space
        .merge::<Fleet>("north", json!({"metadata": {"finalizers": null}}))
        .await;
    space.until_gone::<Fleet>("north").await;
}

#[tokio::test]
async fn the_end_of_a_backup_that_cannot_be_read_is_noticed() {
    let bed = Bed::builder("fleet-odd")
        .hub_without_controllers()
        .start()
        .await
        .unwrap();
    prepare(&bed).await;
    let client = bed.hub().client().unwrap();
    let kinds: Api<CustomResourceDefinition> = Api::all(client.clone());
    // As a newer version may define it.
    let anything = json!([{
        "op": "replace",
        "path": "/spec/versions/0/schema/openAPIV3Schema",
        "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }]);
    let anything = Patch::<()>::Json(serde_json::from_value(anything).unwrap());
    let (kind, params) = ("backups.backup.kurator.dev", PatchParams::default());
    kinds.patch(kind, &params, &anything).await.unwrap();
    let proxy = Proxy::start();
    let space = Space::make(client.clone(), "oslo", proxy.script.clone()).await;
    let odd = "{apiVersion: backup.kurator.dev/v1alpha1, kind: Backup, \
               metadata: {name: odd, namespace: oslo}, spec: {schedule: {every: day}}}";
    wait_ok("a Backup that cannot be read", DEADLINE, async || {
        apply_yaml(&client, odd).await
    })
    .await
    .unwrap();
    // A new schema ends all watches of a kind. Only what a watch has shown, its end can be seen of at
    // once; so the controller starts after all that.
    let timings = r#"{"lookAgain": 600000}"#;
    let _controller = Controller::start(&bed, &proxy.endpoint(), timings).await;
    space.settle("bergen", "north").await;

    space.delete::<Fleet>("north").await;
    let fleet = space.until_fleet_is("north", "InUse").await;
    let message = fleet_message(&fleet);
    assert!(message.contains("Backup odd (cannot be read)"), "{message}");
    space.delete::<Backup>("odd").await;
    space.until_gone::<Fleet>("north").await;
}

/// Nothing holds a Fleet or a cluster for the sake of a kind that the hub does not have any more.
#[tokio::test]
async fn with_a_kind_its_objects_went_and_hold_nothing() {
    let world = World::start("fleet-kinds", "{}").await;
    let space = world.space("oslo").await;
    space.settle("bergen", "north").await;
    let client = world.bed.hub().client().unwrap();
    let kinds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let kind = "migrates.backup.kurator.dev";
    kinds.delete(kind, &DeleteParams::default()).await.unwrap();
    let migrates: Api<Migrate> = Api::namespaced(client, "oslo");
    wait_ok("a hub without Migrates", DEADLINE, async || match migrates
        .list(&ListParams::default())
        .await
    {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => bail!("{other:?}"),
    })
    .await
    .unwrap();

    space.delete::<Fleet>("north").await;
    space.until_gone::<Fleet>("north").await;
    space.delete::<AttachedCluster>("bergen").await;
    space.until_gone::<AttachedCluster>("bergen").await;
}
