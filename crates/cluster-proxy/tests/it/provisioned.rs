//! Members of kind Cluster, whose type most hubs do not have.

use anyhow::ensure;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
};
use proxy_client::proto::{self, cluster_status::State};
use serde_json::{Value, json};
use testbed::{Access, wait_ok};
use tokio::sync::OnceCell;
use tonic::{Code, Status};

use crate::rig::{Rig, SOON, bed, gvr, info, new_bed, request};

/// As much of the type as is read.
fn definition() -> CustomResourceDefinition {
    let status = json!({"type": "object", "properties": {
        "phase": {"type": "string"}, "kubeconfigSecretRef": {"type": "string"}}});
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "clusters.cluster.kurator.dev"},
        "spec": {
            "group": "cluster.kurator.dev", "scope": "Namespaced",
            "names": {"plural": "clusters", "singular": "cluster", "kind": "Cluster"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object",
                    "properties": {"status": status}}}}],
        },
    });
    serde_json::from_value(crd).unwrap()
}

fn made(rig: &Rig) -> Option<proto::ClusterRef> {
    Some(proto::ClusterRef {
        namespace: rig.namespace.clone(),
        // As Kurator: no kind is Cluster.
        kind: String::new(),
        name: "m1".into(),
    })
}

async fn state(rig: &Rig) -> Option<proto::ClusterStatus> {
    let select = proto::ClusterSet {
        clusters: made(rig).into_iter().collect(),
        ..Default::default()
    };
    let list = proto::ListClustersRequest {
        select: Some(select),
    };
    let listed = rig.inventory().list_clusters(request(list)).await;
    listed.unwrap().into_inner().message().await.unwrap()
}

async fn until(rig: &Rig, what: &str, wanted: impl Fn(Option<&proto::ClusterStatus>) -> bool) {
    testbed::wait_for(what, SOON, async || {
        let state = state(rig).await;
        wanted(state.as_ref()).then_some(())
    })
    .await
    .unwrap();
}

async fn get(rig: &Rig) -> Result<proto::Object, Status> {
    let get = proto::GetRequest {
        target: Some(proto::Target {
            cluster: made(rig),
            gvr: gvr("", "v1", "namespaces"),
            namespace: String::new(),
            name: "kube-system".into(),
        }),
        ..Default::default()
    };
    Ok(rig.access().get(request(get)).await?.into_inner())
}

/// Brings the type to the hub, and a Cluster that is being made.
async fn make(rig: &Rig) -> (Api<DynamicObject>, DynamicObject) {
    let types: Api<CustomResourceDefinition> = Api::all(rig.hub.clone());
    types
        .create(&PostParams::default(), &definition())
        .await
        .unwrap();
    let kind = GroupVersionKind::gvk("cluster.kurator.dev", "v1alpha1", "Cluster");
    let resource = ApiResource::from_gvk(&kind);
    let clusters: Api<DynamicObject> =
        Api::namespaced_with(rig.hub.clone(), &rig.namespace, &resource);
    let object = DynamicObject::new("m1", &resource);
    testbed::wait_for("the type", SOON, async || {
        clusters.create(&PostParams::default(), &object).await.ok()
    })
    .await
    .unwrap();
    (clusters, object)
}

/// It has been made, and answers.
async fn finish(rig: &Rig, clusters: &Api<DynamicObject>, kubeconfig: &str) {
    rig.put_secret("made-kubeconfig", kubeconfig).await;
    let status = json!({"status": {"phase": "Ready", "kubeconfigSecretRef": "made-kubeconfig"}});
    let patch: Patch<Value> = Patch::Merge(status);
    clusters
        .patch_status("m1", &PatchParams::default(), &patch)
        .await
        .unwrap();
    until(rig, "a Cluster that answers", |state| {
        state.is_some_and(|state| state.state() == State::Ready)
    })
    .await;
}

/// All that the proxy reads of the hub; Clusters by a role of their own.
const READER: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: proxy}
rules:
- {apiGroups: [""], resources: [secrets, namespaces], verbs: [get, list, watch]}
- {apiGroups: [cluster.kurator.dev], resources: [attachedclusters], verbs: [get, list, watch]}
- {apiGroups: [apiextensions.k8s.io], resources: [customresourcedefinitions], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: proxy}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: proxy}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: nobody}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: clusters}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: clusters}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: nobody}]
"#;

/// Whether the proxy may read Clusters.
async fn allow(hub: &Client, verbs: &str) {
    let role = format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: clusters}}\n\
         rules: [{{apiGroups: [cluster.kurator.dev], resources: [clusters], verbs: [{verbs}]}}]\n"
    );
    testbed::apply_yaml(hub, &role).await.unwrap();
}

/// How often the hub, since it was started, has refused to list Clusters.
async fn refusals(hub: &Client) -> anyhow::Result<usize> {
    let request = http::Request::get("/metrics").body(Vec::new())?;
    let metrics = hub.request_text(request).await?;
    let of_clusters = |line: &&str| {
        line.starts_with("apiserver_request_total{")
            && line.contains("code=\"403\"")
            && line.contains("resource=\"clusters\"")
            && line.contains("verb=\"LIST\"")
    };
    let counts = metrics.lines().filter(of_clusters);
    let counts = counts.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
    Ok(counts.sum())
}

/// A bed of its own: its hub is restarted.
#[tokio::test(flavor = "multi_thread")]
async fn while_clusters_cannot_be_listed_those_that_are_known_stay() {
    static BED: OnceCell<testbed::Bed> = OnceCell::const_new();
    let bed = BED
        .get_or_init(|| new_bed("cluster-proxy-refused", &["m1", "m2"]))
        .await;
    let hub = bed.hub().client().unwrap();
    allow(&hub, "get, list, watch").await;
    testbed::apply_yaml(&hub, READER).await.unwrap();
    let kubeconfig = bed.dir().join("nobody.kubeconfig");
    let text = bed
        .hub()
        .kubeconfig_at(bed.hub().url(), Access::Unprivileged);
    std::fs::write(&kubeconfig, text).unwrap();
    let flags = ["--kubeconfig", kubeconfig.to_str().unwrap()];
    let flags = [&flags[..], &["--allow-address", "127.0.0.0/8"]].concat();
    let rig = Rig::start_with(bed, "refused", &flags).await;
    let (clusters, _) = make(&rig).await;
    let member = bed.member("m1").unwrap();
    finish(&rig, &clusters, &member.relayed_kubeconfig()).await;

    allow(&hub, "get").await;
    // Ends the watch.
    bed.hub().restart_apiserver().await.unwrap();
    // The answer to the one before the last was taken note of.
    wait_ok("refusals", SOON, async || {
        let refusals = refusals(&hub).await?;
        ensure!(refusals > 1, "{refusals}");
        Ok(())
    })
    .await
    .unwrap();
    get(&rig).await.unwrap();
    // The others are followed all the same.
    rig.attach("m2").await;
    rig.until("m2", State::Ready, SOON).await;
    assert_eq!(state(&rig).await.unwrap().state(), State::Ready);

    allow(&hub, "get, list, watch").await;
    clusters
        .delete("m1", &DeleteParams::default())
        .await
        .unwrap();
    until(&rig, "no Cluster", |state| state.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_a_member_where_the_hub_has_the_type_and_once_it_is_made() {
    let rig = Rig::start(bed().await, "made").await;
    // Without the type the others are followed, and their namesakes stay apart.
    let member = rig.attach("m1").await;
    let unknown = get(&rig).await.unwrap_err();
    assert_eq!(info(&unknown).reason, "CLUSTER_UNKNOWN");

    let types: Api<CustomResourceDefinition> = Api::all(rig.hub.clone());
    let (clusters, object) = make(&rig).await;
    until(&rig, "a Cluster that is being made", |state| {
        state.is_some_and(|state| state.state() == State::Misconfigured)
    })
    .await;

    finish(&rig, &clusters, &member.relayed_kubeconfig()).await;
    assert_eq!(get(&rig).await.unwrap().cluster.unwrap().kind, "Cluster");

    clusters
        .delete("m1", &DeleteParams::default())
        .await
        .unwrap();
    until(&rig, "no Cluster", |state| state.is_none()).await;
    let gone = get(&rig).await.unwrap_err();
    assert_eq!(
        (gone.code(), info(&gone).reason.as_str()),
        (Code::NotFound, "CLUSTER_UNKNOWN")
    );
    rig.until("m1", State::Ready, SOON).await;
    // With the type its objects go, and the proxy lives on without it.
    clusters
        .create(&PostParams::default(), &object)
        .await
        .unwrap();
    until(&rig, "one more Cluster", |state| state.is_some()).await;
    let name = "clusters.cluster.kurator.dev";
    types.delete(name, &DeleteParams::default()).await.unwrap();
    until(&rig, "no type", |state| state.is_none()).await;
    rig.until("m1", State::Ready, SOON).await;
}
