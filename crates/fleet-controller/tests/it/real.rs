//! With the real cluster-proxy and real members.

use api_types::cluster::AttachedCluster;
use api_types::condition;
use api_types::fleet::Fleet;
use clap::Parser;
use cluster_proxy::Proxy;
use k8s_openapi::api::core::v1::{Namespace, Node, Secret};
use kube::Api;
use kube::api::PostParams;
use proxy_client::Members;
use serde_json::json;
use testbed::{Bed, Member, wait_for};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::script::Script;
use crate::space::{Space, label, listed, ready_reason};
use crate::world::{Controller, DEADLINE, prepare};

struct Real {
    bed: Bed,
    proxy: String,
    // The proxy serves from it, whatever the runtime of the test that started it.
    _runtime: Runtime,
    _controller: Controller,
}

async fn real() -> &'static Real {
    static REAL: OnceCell<Real> = OnceCell::const_new();
    REAL.get_or_init(start).await
}

async fn start() -> Real {
    let bed = Bed::builder("fleet-real")
        .member("bergen")
        .member("hamar")
        .start()
        .await
        .unwrap();
    prepare(&bed).await;
    let kubeconfig = bed.hub().kubeconfig_path().to_str().unwrap();
    let args = cluster_proxy::args::Args::parse_from([
        "cluster-proxy",
        "--listen",
        "127.0.0.1:0",
        "--http-address",
        "127.0.0.1:0",
        "--allow-address",
        "127.0.0.0/8",
        "--kubeconfig",
        kubeconfig,
    ]);
    let runtime = Runtime::new().unwrap();
    let proxy = runtime
        .spawn(Proxy::start(args, CancellationToken::new()))
        .await
        .unwrap()
        .unwrap();
    let endpoint = format!("http://{}", proxy.address.unwrap());
    runtime.spawn(proxy.serve());
    let controller = Controller::start(&bed, &endpoint, r#"{"detailPace": 500}"#).await;
    Real {
        bed,
        proxy: endpoint,
        _runtime: runtime,
        _controller: controller,
    }
}

impl Real {
    async fn space(&self, namespace: &str) -> Space {
        let client = self.bed.hub().client().unwrap();
        Space::make(client, namespace, Script::default()).await
    }

    async fn attach(&self, space: &Space, name: &str) -> &Member {
        let member = self.bed.member(name).unwrap();
        let secret: Secret = serde_json::from_value(json!({
            "metadata": {"name": name}, "stringData": {"value": member.relayed_kubeconfig()},
        }))
        .unwrap();
        space
            .api()
            .create(&PostParams::default(), &secret)
            .await
            .unwrap();
        space.attach(name).await;
        member
    }
}

#[tokio::test]
async fn real_members_are_shown_lost_and_found_again() {
    let real = real().await;
    let space = real.space("lost-and-found").await;
    let bergen = real.attach(&space, "bergen").await;
    let hamar = real.attach(&space, "hamar").await;
    space.fleet("north", &["bergen", "hamar"]).await;
    space.until_fleet_is("north", "Ready").await;

    let member = bergen.client().unwrap();
    let identity = Api::<Namespace>::all(member.clone())
        .get("kube-system")
        .await
        .unwrap();
    let cluster: AttachedCluster = space.get("bergen").await;
    let status = cluster.status.unwrap();
    assert_eq!(status.cluster_uid, identity.metadata.uid);
    assert_eq!(status.kubernetes_version.as_deref(), Some("v1.34.4"));
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "node-1"}})).unwrap();
    Api::<Node>::all(member)
        .create(&PostParams::default(), &node)
        .await
        .unwrap();
    let counted = |cluster: &AttachedCluster| {
        cluster
            .status
            .as_ref()
            .is_some_and(|status| status.nodes == Some(1))
    };
    space.until("bergen", counted).await;

    hamar.relay().cut();
    let lost = space.until_ready_is("hamar", "Unreachable").await;
    let conditions = lost.status.unwrap().conditions;
    assert!(!condition::is_true(&conditions, condition::CONNECTED));
    let fleet = space.until_fleet_is("north", "MembersNotReady").await;
    let status = fleet.status.unwrap();
    assert_eq!((status.ready_clusters, status.un_ready_clusters), (1, 1));
    assert_eq!(status.members[1].reason.as_deref(), Some("Unreachable"));
    let other: AttachedCluster = space.get("bergen").await;
    assert_eq!(
        ready_reason(&other),
        "Connected",
        "the other one is not disturbed"
    );

    hamar.relay().heal();
    space.until_ready_is("hamar", "Connected").await;
    space.until_fleet_is("north", "Ready").await;
}

#[tokio::test]
async fn a_missing_secret_is_named_and_its_arrival_is_noticed() {
    let real = real().await;
    let space = real.space("secret").await;
    space.attach("bergen").await;
    space.until_ready_is("bergen", "SecretNotFound").await;
    let kubeconfig = real.bed.member("bergen").unwrap().relayed_kubeconfig();
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": "bergen"}, "stringData": {"value": kubeconfig},
    }))
    .unwrap();
    space
        .api()
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
    space.until_ready_is("bergen", "Connected").await;
}

/// The proxy goes on asking the member; the hub is not written to.
#[tokio::test]
async fn probes_of_a_real_member_write_nothing() {
    let real = real().await;
    let space = real.space("quiet").await;
    real.attach(&space, "bergen").await;
    space.fleet("north", &["bergen"]).await;
    space.until_fleet_is("north", "Ready").await;
    let complete = |cluster: &AttachedCluster| {
        let status = cluster.status.as_ref();
        status.is_some_and(|status| status.nodes.is_some() && status.fleet.is_some())
    };
    let before = space
        .until("bergen", complete)
        .await
        .metadata
        .resource_version;
    let fleet_before = space.get::<Fleet>("north").await.metadata.resource_version;

    let members = Members::connect(&real.proxy.parse().unwrap(), "fleet-controller").unwrap();
    let inventory = members.inventory();
    let key = space.key("bergen");
    let mut answers = std::collections::BTreeSet::new();
    wait_for("three answers of the member", DEADLINE, async || {
        answers.extend(inventory.probe(&key).await.ok()?.last_ok);
        (answers.len() >= 3).then_some(())
    })
    .await
    .unwrap();
    let after: AttachedCluster = space.get("bergen").await;
    // Another test may add a node to the same member; that alone is news.
    let touched = after
        .status
        .as_ref()
        .is_some_and(|status| status.nodes == Some(1));
    assert!(
        after.metadata.resource_version == before || touched,
        "written: {after:?}"
    );
    let fleet_after = space.get::<Fleet>("north").await.metadata.resource_version;
    assert_eq!(fleet_after, fleet_before);
}

#[tokio::test]
async fn everything_goes_in_the_wrong_order_too() {
    let real = real().await;
    let space = real.space("gone").await;
    real.attach(&space, "bergen").await;
    space
        .create::<Fleet>("north", json!({"clusters": listed(&["bergen"])}))
        .await;
    space.until_fleet_is("north", "Ready").await;
    space
        .until("bergen", |cluster: &AttachedCluster| {
            label(cluster) == Some("north")
        })
        .await;
    space.delete::<Secret>("bergen").await;
    space.delete::<AttachedCluster>("bergen").await;
    space.delete::<Fleet>("north").await;
    space.until_gone::<Fleet>("north").await;
    space.until_gone::<AttachedCluster>("bergen").await;
}
