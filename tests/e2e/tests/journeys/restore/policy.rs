//! Every field of a policy: it reaches Velero, and what it asks for happens.

use api_types::phase::Phase;
use api_types::restore::RestoreSpec;
use e2e::Tenant;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::{App, entry, in_phase, of, policy};
use crate::main_job::same;
use crate::points::greet;
use crate::world::{ONE, tenant_of, view};

#[tokio::test]
async fn every_field_of_a_policy_reaches_velero() {
    const APP: App = App("restore-options");
    let tenant = tenant_of("restore-options", &[ONE]).await;
    APP.deploy(&[ONE]).await;
    // Velero refuses a file without a rule. This one matches nothing.
    let rules = "version: v1\nresourceModifierRules:\n- conditions: {groupResource: jobs.batch}\n  \
                 patches: [{operation: add, path: /metadata/labels/seen, value: here}]\n";
    let rules = json!({ "metadata": { "name": "none" }, "data": { "rules.yaml": rules } });
    let rules: ConfigMap = serde_json::from_value(rules).unwrap();
    let rules = tenant.api().create(&PostParams::default(), &rules).await;
    rules.unwrap();
    tenant.back_up("all", APP.backup()).await.unwrap();
    tenant.wait_phase("all", Phase::Completed).await.unwrap();

    let plain = json!({
        "namespaceMapping": { APP.0: "restore-options-plain" },
        "preserveNodePorts": false,
        "existingResourcePolicy": "none",
        "restorePVs": false,
        "itemOperationTimeout": "2h",
        "hooks": { "resources": [{
            "name": "warm-up",
            "includedNamespaces": ["kurator-other"],
            "excludedNamespaces": ["kurator-third"],
            "includedResources": ["pods"],
            "labelSelector": { "matchLabels": { "app": "busybox" } },
            "postHooks": [
                { "exec": {
                    "container": "busybox",
                    "command": ["/bin/true", "--now"],
                    "onError": "Fail",
                    "execTimeout": "30s",
                    "waitTimeout": "5m",
                    "waitForReady": true,
                } },
                { "init": {
                    "initContainers": [{
                        "name": "first", "image": "busybox:1.36", "command": ["/bin/true"],
                    }],
                    "timeout": "10m",
                } },
            ],
        }] },
        "resourceFilter": {
            "includedNamespaces": [APP.0],
            "excludedNamespaces": ["kurator-other"],
            "includedResources": ["pods", "configmaps"],
            "excludedResources": ["secrets"],
            "includeClusterResources": false,
            "labelSelector": { "matchLabels": { "app": "shop" } },
        },
    });
    let scoped = json!({
        "namespaceMapping": { APP.0: "restore-options-scoped" },
        "preserveStatus": { "includedResources": ["pods"], "excludedResources": ["services"] },
        "preserveNodePorts": true,
        "existingResourcePolicy": "update",
        "restorePVs": true,
        "resourceModifier": { "kind": "ConfigMap", "name": "none" },
        "resourceFilter": {
            "includedClusterScopedResources": ["clusterroles.rbac.authorization.k8s.io"],
            "excludedClusterScopedResources": ["storageclasses.storage.k8s.io"],
            "includedNamespaceScopedResources": ["configmaps"],
            "excludedNamespaceScopedResources": ["secrets"],
            "orLabelSelectors": [
                { "matchLabels": { "app": "shop" } },
                { "matchExpressions": [{ "key": "tier", "operator": "Exists" }] },
            ],
        },
    });
    for (name, asked) in [("plain", plain), ("scoped", scoped)] {
        let mut spec = of("all");
        spec.policy = Some(policy(asked.clone()));
        let got = asked_of_velero(&tenant, name, spec).await;
        for (field, value) in in_velero_s_terms(asked).as_object().unwrap() {
            assert!(
                same(&got[field], value),
                "{name} {field}: asked {value}, got {}",
                got[field]
            );
        }
    }
}

/// Restores to the end, and returns the spec of the Velero Restore as the member has it, in full: a
/// field that its types do not know is not there any more.
async fn asked_of_velero(tenant: &Tenant, name: &str, spec: RestoreSpec) -> Value {
    tenant.restore(name, spec).await.unwrap();
    let restore = in_phase(tenant, name, Phase::Completed).await;
    let object = entry(&restore, ONE).unwrap();
    let object = object.restore_name_in_cluster.clone().unwrap();
    let kind = kube::core::GroupVersionKind::gvk("velero.io", "v1", "Restore");
    let kind = kube::core::ApiResource::from_gvk(&kind);
    let client = view(ONE).await.client;
    let restores: Api<kube::core::DynamicObject> =
        Api::namespaced_with(client, api_types::labels::VELERO_NAMESPACE, &kind);
    let mut found = restores.get(&object).await.unwrap();
    let spec = &mut found.data["spec"];
    if let Some(carried) = spec["resourceModifier"]["name"].as_str() {
        // The name ends with the content's hash.
        assert!(carried.starts_with("none-"), "{carried}");
        spec["resourceModifier"]["name"] = json!("none");
    }
    spec.take()
}

/// What a policy comes to in the fields of a Velero Restore (`api.md` 1.3).
fn in_velero_s_terms(mut policy: Value) -> Value {
    let mut filter = policy["resourceFilter"].take();
    let terms = policy.as_object_mut().unwrap();
    terms.remove("resourceFilter");
    if let Some(status) = terms.remove("preserveStatus") {
        terms.insert("restoreStatus".to_owned(), status);
    }
    if let Some(modifier) = terms.get_mut("resourceModifier") {
        modifier["kind"] = json!("configmap");
    }
    let filter = filter.as_object_mut().unwrap();
    for side in ["included", "excluded"] {
        let mut merged = Vec::new();
        for scope in ["ClusterScoped", "NamespaceScoped"] {
            let list = filter.remove(&format!("{side}{scope}Resources"));
            let list = list.unwrap_or(Value::Null);
            merged.extend(list.as_array().cloned().unwrap_or_default());
        }
        if !merged.is_empty() {
            filter.insert(format!("{side}Resources"), json!(merged));
        }
    }
    terms.append(filter);
    policy
}

/// What a Pod and a Service have beside what they were asked to be.
async fn marks(client: &Client, namespace: &str) -> (Value, Option<i32>) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let status = serde_json::to_value(pods.get("shop").await.unwrap().status);
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let service = services.get("shop").await.unwrap().spec.unwrap();
    let port = service.ports.unwrap()[0].node_port;
    (status.unwrap(), port)
}

#[tokio::test]
async fn a_status_a_node_port_and_a_changed_object_are_restored_only_where_it_is_asked_for() {
    const APP: App = App("restore-effects");
    const COPY: &str = "restore-effects-copy";
    let tenant = tenant_of("restore-effects", &[ONE]).await;
    APP.deploy(&[ONE]).await;
    let client = view(ONE).await.client;
    let pods: Api<Pod> = Api::namespaced(client.clone(), APP.0);
    let lived = json!({ "status": { "phase": "Running", "message": "it has lived" } });
    let params = PatchParams::default();
    pods.patch_status("shop", &params, &Patch::Merge(lived))
        .await
        .unwrap();
    tenant.back_up("all", APP.backup()).await.unwrap();
    tenant.wait_phase("all", Phase::Completed).await.unwrap();
    let before = APP.objects(ONE, APP.0).await;
    let (status, port) = marks(&client, APP.0).await;
    assert!(port.is_some() && status["message"] == "it has lived");

    // Beside the original, and so with another port.
    let restore = async |name: &str, asked: Value| {
        let mut spec = of("all");
        spec.policy = Some(policy(asked));
        tenant.restore(name, spec).await.unwrap();
        in_phase(&tenant, name, Phase::Completed).await;
    };
    let filter = json!({ "includedNamespaces": [APP.0] });
    let beside = json!({ "namespaceMapping": { APP.0: COPY }, "resourceFilter": filter });
    restore("beside", beside).await;
    let (copied, other) = marks(&client, COPY).await;
    assert_eq!(copied["message"], Value::Null, "{copied}");
    assert!(other.is_some() && other != port, "{other:?}");

    APP.remove(&[ONE]).await;
    let whole = json!({
        "preserveStatus": { "includedResources": ["pods"] },
        "preserveNodePorts": true,
    });
    restore("whole", whole).await;
    assert_eq!(APP.objects(ONE, APP.0).await, before);
    assert_eq!(marks(&client, APP.0).await, (status, port));

    // What is there is left alone, unless an update is asked for.
    greet(&client, &APP, "changed").await;
    let settings: Api<ConfigMap> = Api::namespaced(client.clone(), APP.0);
    let greeting =
        async || settings.get("settings").await.unwrap().data.unwrap()["greeting"].clone();
    restore("left-alone", json!({})).await;
    assert_eq!(greeting().await, "changed");
    restore("updated", json!({ "existingResourcePolicy": "update" })).await;
    assert_eq!(greeting().await, "hello");
}
