//! What the tests back up and restore, and how it is compared.

use e2e::specs::demo_backup;
use e2e::{PATIENCE, await_gone};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Service,
};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use testbed::apply_yaml;

use crate::world::view;

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
apiVersion: v1
kind: Service
metadata: {{name: shop, namespace: {name}}}
spec: {{type: NodePort, selector: {{app: shop}}, ports: [{{name: http, port: 80}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: shop, namespace: {name}}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: shop-workers}}}}
  template:
    metadata: {{labels: {{app: shop-workers}}}}
    spec: {{containers: [{{name: shop, image: "busybox:1.36"}}]}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {{name: {name}-data}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: ""
  hostPath: {{path: /nowhere}}
  claimRef: {{apiVersion: v1, kind: PersistentVolumeClaim, name: data, namespace: {name}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data, namespace: {name}}}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: ""
  volumeName: {name}-data
  resources: {{requests: {{storage: 1Gi}}}}
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
            let volumes: Api<PersistentVolume> = Api::all(client.clone());
            remove_held(&volumes, &format!("{}-data", self.0)).await;
            let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), self.0);
            remove_held(&claims, "data").await;
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
        let client = view(member).await.client;
        let roles: Api<ClusterRole> = Api::all(client.clone());
        let role = roles.get(&format!("{}-reader", self.0)).await.unwrap();
        let volumes: Api<PersistentVolume> = Api::all(client);
        let volume = volumes.get(&format!("{}-data", self.0)).await.unwrap();
        let mut objects = self.objects_within(member, namespace).await;
        objects.extend([same(&role), same(&volume)]);
        objects
    }

    /// The namespace, and every object in it.
    pub(crate) async fn objects_within(&self, member: &str, namespace: &str) -> Vec<Value> {
        let client = view(member).await.client;
        let own = |client| (Api::<ConfigMap>::namespaced(client, namespace), "settings");
        let (config_maps, settings) = own(client.clone());
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let services: Api<Service> = Api::namespaced(client.clone(), namespace);
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
        let namespaces: Api<Namespace> = Api::all(client);
        vec![
            same(&namespaces.get(namespace).await.unwrap()),
            same(&config_maps.get(settings).await.unwrap()),
            same(&secrets.get("password").await.unwrap()),
            same(&pods.get("shop").await.unwrap()),
            same(&services.get("shop").await.unwrap()),
            same(&deployments.get("shop").await.unwrap()),
            same(&claims.get("data").await.unwrap()),
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

/// Removes what a finalizer of Kubernetes protects; there is no controller here that would take it
/// away.
async fn remove_held<K>(api: &Api<K>, name: &str)
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
    K: serde::Serialize + Send + 'static,
{
    api.delete(name, &DeleteParams::default()).await.unwrap();
    let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    api.patch(name, &PatchParams::default(), &free)
        .await
        .unwrap();
    await_gone(api, name, PATIENCE).await.unwrap();
}

/// An object without what a restore cannot but change: its identity and versions, who wrote which
/// field, the labels and the annotation that Velero marks restored objects with, a Service's address
/// in the cluster, and what is restored only where somebody asks for it: node ports, and the status.
pub(super) fn same<K: serde::Serialize>(object: &K) -> Value {
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
    if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
        let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten() {
            port.as_object_mut().unwrap().remove("nodePort");
        }
    }
    value
}
