//! Members of kind Cluster, whose type most hubs do not have.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
};
use proxy_client::proto::{self, cluster_status::State};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::rig::{Rig, SOON, bed, gvr, info, request};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_a_member_where_the_hub_has_the_type_and_once_it_is_made() {
    let rig = Rig::start(bed().await, "made").await;
    // Without the type the others are followed, and their namesakes stay apart.
    let member = rig.attach("m1").await;
    let unknown = get(&rig).await.unwrap_err();
    assert_eq!(info(&unknown).reason, "CLUSTER_UNKNOWN");

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
    until(&rig, "a Cluster that is being made", |state| {
        state.is_some_and(|state| state.state() == State::Misconfigured)
    })
    .await;

    rig.put_secret("made-kubeconfig", &member.relayed_kubeconfig())
        .await;
    let status = json!({"status": {"phase": "Ready", "kubeconfigSecretRef": "made-kubeconfig"}});
    let patch: Patch<Value> = Patch::Merge(status);
    clusters
        .patch_status("m1", &PatchParams::default(), &patch)
        .await
        .unwrap();
    until(&rig, "a Cluster that answers", |state| {
        state.is_some_and(|state| state.state() == State::Ready)
    })
    .await;
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
