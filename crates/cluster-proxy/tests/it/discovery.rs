//! What a member serves, as the inventory says it: right soon after it changes, and asked for seldom.

use std::time::Instant;

use bytes::Bytes;
use futures::future::join_all;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use proxy_client::proto::{self, cluster_status::State};
use serde_json::json;
use testbed::wait_ok;
use tonic::{Code, Status};

use crate::{
    fake::{Fake, Reply},
    rig::{Rig, SOON, bed, crd, gvr, info, request},
};

const GROUP: &str = "quiet.example.com";

async fn list_gadgets(rig: &Rig) -> Result<(), Status> {
    let list = proto::ListRequest {
        cluster: rig.cluster("m1"),
        gvr: gvr(GROUP, "v1", "gadgets"),
        namespace: "default".into(),
        ..Default::default()
    };
    let mut chunks = rig.access().list(request(list)).await?.into_inner();
    while !chunks.message().await?.is_none_or(|chunk| chunk.last) {}
    Ok(())
}

async fn serves(rig: &Rig, group: &str) -> bool {
    let status = rig.status("m1").await.unwrap();
    status.served_groups.iter().any(|served| served == group)
}

/// No watch is open here: only the calls can tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_finds_a_type_come_or_gone_corrects_the_inventory() {
    let rig = Rig::start(bed().await, "quiet").await;
    let member = rig.attach("m1").await;
    let absent = list_gadgets(&rig).await.unwrap_err();
    assert_eq!(info(&absent).reason, "GVR_NOT_SERVED");
    assert!(serves(&rig, "apps").await && !serves(&rig, GROUP).await);

    let crds: Api<CustomResourceDefinition> = Api::all(member.client().unwrap());
    let gadgets = crd(GROUP, "gadgets", "Gadget");
    crds.create(&PostParams::default(), &gadgets).await.unwrap();
    wait_ok("the group to come", SOON, async || {
        list_gadgets(&rig).await?;
        anyhow::ensure!(serves(&rig, GROUP).await, "not in the inventory");
        Ok(())
    })
    .await
    .unwrap();

    let name = format!("gadgets.{GROUP}");
    crds.delete(&name, &DeleteParams::default()).await.unwrap();
    wait_ok("the group to go", SOON, async || {
        let listed = list_gadgets(&rig).await;
        anyhow::ensure!(listed.is_err(), "it can still be listed");
        anyhow::ensure!(!serves(&rig, GROUP).await, "it is still in the inventory");
        Ok(())
    })
    .await
    .unwrap();
}

/// The API server answers for its own groups in another way than for those of others.
#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_one_of_the_servers_own_groups_lacks_is_not_served() {
    let rig = Rig::start(bed().await, "lacking").await;
    rig.attach("m1").await;
    let get = proto::GetRequest {
        target: Some(proto::Target {
            gvr: gvr("apps", "v1", "gadgets"),
            ..rig.target("m1", "x").unwrap()
        }),
        projection: None,
        ..Default::default()
    };
    let absent = rig.access().get(request(get)).await.unwrap_err();
    assert_eq!(
        (absent.code(), info(&absent).reason.as_str()),
        (Code::NotFound, "GVR_NOT_SERVED")
    );
    let object = rig.get("m1", "no-such-object").await.unwrap_err();
    assert_eq!(info(&object).reason, "NOT_FOUND");
}

/// A real member's discovery does not stay wrong for long.
#[tokio::test(flavor = "multi_thread")]
async fn discovery_that_contradicts_calls_is_asked_at_most_every_10_s() {
    let rig = Rig::start(bed().await, "contradiction").await;
    let fake = Fake::start().await;
    let resource = json!({"resource": "configmaps", "responseKind": {"kind": "ConfigMap"},
        "scope": "Namespaced", "verbs": ["get"]});
    let core = json!({"metadata": {}, "versions": [{"version": "v1", "resources": [resource]}]});
    let groups = json!({"kind": "APIGroupDiscoveryList", "items": [core]});
    fake.reply("/api", Reply::Json(200, groups));
    let path = "/api/v1/namespaces/default/configmaps/x";
    let plain = Bytes::from_static(b"404 page not found");
    fake.reply(path, Reply::Raw(404, ("content-type", "text/plain"), plain));
    let started = Instant::now();
    rig.attach_as("m1", &fake.kubeconfig).await;
    rig.until("m1", State::Ready, SOON).await;

    let asked = || fake.seen("/apis").len();
    let first = asked();
    let round = async || {
        for answer in join_all((0..8).map(|_| rig.get("m1", "x"))).await {
            assert_eq!(info(&answer.unwrap_err()).reason, "GVR_NOT_SERVED");
        }
    };
    wait_ok("discovery", SOON, async || {
        round().await;
        anyhow::ensure!(asked() > first, "not asked again");
        Ok(())
    })
    .await
    .unwrap();
    for _ in 0..25 {
        round().await;
    }
    // Besides, each new connection begins with it.
    let most = fake.accepted() + usize::try_from(started.elapsed().as_secs() / 10).unwrap();
    assert!(asked() <= most, "{} of {most}", asked());
}

/// Members before 1.26 do not know aggregated discovery.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_members_groups_are_known_without_being_asked_for() {
    let rig = Rig::start(bed().await, "old").await;
    let fake = Fake::start().await;
    let velero = json!({"name": "velero.io", "versions": [{"version": "v1"}]});
    let backups = json!({"name": "backups", "kind": "Backup", "namespaced": true});
    for (path, answer) in [
        ("/api", json!({"kind": "APIVersions", "versions": ["v1"]})),
        ("/apis", json!({"kind": "APIGroupList", "groups": [velero]})),
        (
            "/api/v1",
            json!({"kind": "APIResourceList", "resources": []}),
        ),
        (
            "/apis/velero.io/v1",
            json!({"kind": "APIResourceList", "resources": [backups]}),
        ),
    ] {
        fake.reply(path, Reply::Json(200, answer));
    }
    rig.attach_as("m1", &fake.kubeconfig).await;
    wait_ok("its groups", SOON, async || {
        let status = rig.status("m1").await;
        let groups = status.map(|status| status.served_groups);
        anyhow::ensure!(groups == Some(vec!["velero.io".into()]), "{groups:?}");
        Ok(())
    })
    .await
    .unwrap();
}
