//! A bed for all tests, and a proxy, a namespace and a caller for each.

use std::{
    path::Path,
    sync::{Arc, Once},
    time::Duration,
};

use api_types::{cluster::AttachedCluster, key::ClusterKey};
use clap::Parser;
use cluster_proxy::{Proxy, args::Args, inventory::Registry, link::Link, metrics::Metrics};
use k8s_openapi::{
    api::core::v1::{Namespace, Secret},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use proxy_client::proto::{
    self, cluster_status::State, inventory_client::InventoryClient,
    member_access_client::MemberAccessClient, member_watch_client::MemberWatchClient,
};
use serde_json::{Value, json};
use testbed::{Bed, Member, Relay, install_crds, wait_ok};
use tokio::{sync::OnceCell, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, transport::Channel};
use tonic_types::{ErrorInfo, StatusExt};

/// Far more than anything takes that is expected to happen.
pub(crate) const SOON: Duration = Duration::from_mins(1);
pub(crate) const CALLER: &str = "tester";

const POLICY: &str = r#"
policies:
  - subjects: [tester]
    rules:
      - {resources: [configmaps], verbs: [get, list, watch, create, apply, patch, delete], namespaces: ["*"]}
      - {resources: [namespaces], verbs: [get, apply]}
      - {resources: [serviceaccounts], verbs: [apply, patch], namespaces: ["*"], metadataOnly: true}
      - {resources: [secrets], verbs: [get, list, watch, delete], namespaces: ["*"]}
      - {resources: [secrets], namespaces: [default], names: ["*-velero-s3"], secretData: write}
      - {group: stable.example.com, resources: [widgets, gadgets], verbs: [list, watch], namespaces: ["*"]}
      - {group: quiet.example.com, resources: [gadgets], verbs: [list], namespaces: ["*"]}
      - {group: apps, resources: [gadgets], verbs: [get], namespaces: ["*"]}
  - subjects: [other-tester]
    rules:
      - {resources: [configmaps], verbs: [watch], namespaces: [default]}
  - subjects: [prod-tester]
    clusters: {names: ["m*"], labelSelector: "env in (prod)"}
    rules:
      - {resources: [configmaps], verbs: [get, list, watch, create, apply, patch, delete], namespaces: [default]}
      - {resources: [namespaces], verbs: [apply]}
      - {resources: [secrets], namespaces: [default], names: ["*-velero-s3"], secretData: write}
"#;

/// The shared bed: a hub and two members.
pub(crate) async fn bed() -> &'static Bed {
    static BED: OnceCell<Bed> = OnceCell::const_new();
    BED.get_or_init(|| new_bed("cluster-proxy", &["m1", "m2"]))
        .await
}

/// A bed for tests that hurt its API servers.
pub(crate) async fn new_bed(name: &str, members: &[&str]) -> Bed {
    let mut builder = Bed::builder(name);
    for member in members {
        builder = builder.member(member);
    }
    let bed = builder.start().await.unwrap();
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
    install_crds(&bed.hub().client().unwrap(), &crds)
        .await
        .unwrap();
    bed
}

/// A proxy on a bed.
pub(crate) struct Rig {
    pub(crate) bed: &'static Bed,
    pub(crate) hub: Client,
    pub(crate) namespace: String,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) members: Arc<Registry>,
    pub(crate) channel: Channel,
    pub(crate) http: String,
    policy: tempfile::NamedTempFile,
    proxy: Running,
}

/// A proxy in this process, which ends when this goes.
pub(crate) struct Running {
    stop: CancellationToken,
    task: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Rig {
    pub(crate) async fn start(bed: &'static Bed, namespace: &str) -> Self {
        Self::start_with(bed, namespace, &["--allow-address", "127.0.0.0/8"]).await
    }

    pub(crate) async fn start_with(bed: &'static Bed, namespace: &str, flags: &[&str]) -> Self {
        static CRYPTO: Once = Once::new();
        CRYPTO.call_once(controller_kit::install_crypto_provider);
        let hub = bed.hub().client().unwrap();
        make_namespace(&hub, namespace).await;
        let policy = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(policy.path(), POLICY).unwrap();
        let stop = CancellationToken::new();
        let proxy = start(bed, policy.path(), "127.0.0.1:0", flags, &stop).await;
        let endpoint = format!("http://{}", proxy.address.unwrap());
        let http = proxy.http_address.to_string();
        let metrics = Arc::clone(&proxy.metrics);
        let members = Arc::clone(&proxy.members);
        let channel = Channel::from_shared(endpoint).unwrap().connect_lazy();
        Self {
            bed,
            hub,
            namespace: namespace.to_owned(),
            metrics,
            members,
            channel,
            http,
            policy,
            proxy: Running::of(proxy, stop),
        }
    }

    /// One more proxy, with the same policy and elsewhere.
    pub(crate) async fn another(&self, listen: &str, flags: &[&str]) -> Running {
        let stop = CancellationToken::new();
        let proxy = start(self.bed, self.policy.path(), listen, flags, &stop).await;
        Running::of(proxy, stop)
    }

    /// Replaces the policy, which the proxy notices within seconds.
    pub(crate) fn set_policy(&self, text: &str) {
        std::fs::write(self.policy.path(), text).unwrap();
    }

    /// Tells the proxy to end, and waits for it.
    pub(crate) async fn end(&mut self) -> anyhow::Result<()> {
        self.proxy.stop.cancel();
        self.proxy.task.take().unwrap().await?
    }

    pub(crate) fn access(&self) -> MemberAccessClient<Channel> {
        MemberAccessClient::new(self.channel.clone()).max_decoding_message_size(5 << 20)
    }

    pub(crate) fn watch(&self) -> MemberWatchClient<Channel> {
        MemberWatchClient::new(self.channel.clone()).max_decoding_message_size(5 << 20)
    }

    pub(crate) fn inventory(&self) -> InventoryClient<Channel> {
        InventoryClient::new(self.channel.clone())
    }

    /// The proxy's side of a member.
    pub(crate) fn link(&self, cluster: &str) -> Arc<Link> {
        let key = ClusterKey::attached(&self.namespace, cluster);
        self.members.link(&key).unwrap()
    }

    pub(crate) fn cluster(&self, name: &str) -> Option<proto::ClusterRef> {
        Some(proto::ClusterRef {
            namespace: self.namespace.clone(),
            kind: "AttachedCluster".into(),
            name: name.into(),
        })
    }

    pub(crate) fn target(&self, cluster: &str, name: &str) -> Option<proto::Target> {
        Some(proto::Target {
            cluster: self.cluster(cluster),
            gvr: gvr("", "v1", "configmaps"),
            namespace: "default".into(),
            name: name.into(),
        })
    }

    /// Makes a member known under its own name, through its shared relay.
    pub(crate) async fn attach(&self, member: &str) -> &'static Member {
        let found = self.bed.member(member).unwrap();
        self.attach_as(member, &found.relayed_kubeconfig()).await;
        self.until(member, State::Ready, SOON).await;
        found
    }

    /// The same through a relay of its own: cutting it touches nobody else.
    pub(crate) async fn attach_with_relay(&self, member: &str) -> (&'static Member, Relay) {
        let found = self.bed.member(member).unwrap();
        let relay = self.bed.relay_to(found).unwrap();
        let kubeconfig = found.relayed_kubeconfig();
        let kubeconfig = kubeconfig.replace(&found.relay().url(), &relay.url());
        self.attach_as(member, &kubeconfig).await;
        self.until(member, State::Ready, SOON).await;
        (found, relay)
    }

    /// Makes a cluster known by a kubeconfig.
    pub(crate) async fn attach_as(&self, name: &str, kubeconfig: &str) {
        self.put_secret(name, kubeconfig).await;
        self.put_cluster(name, "value").await;
    }

    pub(crate) async fn put_secret(&self, name: &str, kubeconfig: &str) {
        let secrets: Api<Secret> = Api::namespaced(self.hub.clone(), &self.namespace);
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "stringData": {"value": kubeconfig}});
        let manager = PatchParams::apply("tests").force();
        secrets
            .patch(name, &manager, &Patch::Apply(secret))
            .await
            .unwrap();
    }

    pub(crate) async fn delete_secret(&self, name: &str) {
        let secrets: Api<Secret> = Api::namespaced(self.hub.clone(), &self.namespace);
        secrets
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }

    pub(crate) async fn put_cluster(&self, name: &str, key: &str) {
        let clusters: Api<AttachedCluster> = Api::namespaced(self.hub.clone(), &self.namespace);
        let cluster = json!({
            "apiVersion": "cluster.kurator.dev/v1alpha1", "kind": "AttachedCluster",
            "metadata": {"name": name}, "spec": {"kubeconfig": {"name": name, "key": key}},
        });
        let manager = PatchParams::apply("tests").force();
        clusters
            .patch(name, &manager, &Patch::Apply(cluster))
            .await
            .unwrap();
    }

    pub(crate) async fn annotate(&self, name: &str, key: &str, value: Option<&str>) {
        self.set(name, &json!({"annotations": {key: value}})).await;
    }

    pub(crate) async fn label(&self, name: &str, key: &str, value: Option<&str>) {
        self.set(name, &json!({"labels": {key: value}})).await;
    }

    async fn set(&self, name: &str, metadata: &Value) {
        let clusters: Api<AttachedCluster> = Api::namespaced(self.hub.clone(), &self.namespace);
        let patch = Patch::Merge(json!({"metadata": metadata}));
        clusters
            .patch(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    pub(crate) async fn delete_cluster(&self, name: &str) {
        let clusters: Api<AttachedCluster> = Api::namespaced(self.hub.clone(), &self.namespace);
        clusters
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }

    pub(crate) async fn set_finalizers(&self, name: &str, finalizers: &[&str]) {
        self.set(name, &json!({"finalizers": finalizers})).await;
    }

    /// What the inventory says about a cluster.
    pub(crate) async fn status(&self, cluster: &str) -> Option<proto::ClusterStatus> {
        let select = proto::ClusterSet {
            clusters: self.cluster(cluster).into_iter().collect(),
            ..Default::default()
        };
        let select = proto::ListClustersRequest {
            select: Some(select),
        };
        let mut listed = self
            .inventory()
            .list_clusters(request(select))
            .await
            .unwrap()
            .into_inner();
        listed.message().await.unwrap()
    }

    /// Waits for a state.
    pub(crate) async fn until(
        &self,
        cluster: &str,
        state: State,
        deadline: Duration,
    ) -> proto::ClusterStatus {
        let what = format!("{cluster} to be {state:?}");
        wait_ok(&what, deadline, async || match self.status(cluster).await {
            Some(status) if status.state() == state => Ok(status),
            other => Err(anyhow::anyhow!("{other:?}")),
        })
        .await
        .unwrap()
    }

    /// Waits for a reason.
    pub(crate) async fn until_reason(&self, cluster: &str, reason: &str) -> proto::ClusterStatus {
        let what = format!("{cluster} to be {reason}");
        wait_ok(&what, SOON, async || match self.status(cluster).await {
            Some(status) if status.reason == reason => Ok(status),
            other => Err(anyhow::anyhow!("{other:?}")),
        })
        .await
        .unwrap()
    }

    pub(crate) async fn get(&self, cluster: &str, name: &str) -> Result<Value, Status> {
        let get = proto::GetRequest {
            target: self.target(cluster, name),
            projection: None,
            ..Default::default()
        };
        let object = self.access().get(request(get)).await?.into_inner();
        assert_eq!(object.name, name);
        Ok(serde_json::from_slice(&object.json).unwrap())
    }
}

impl Running {
    fn of(proxy: Proxy, stop: CancellationToken) -> Self {
        Self {
            stop,
            task: Some(tokio::spawn(proxy.serve())),
        }
    }
}

async fn start(
    bed: &Bed,
    policy: &Path,
    listen: &str,
    flags: &[&str],
    stop: &CancellationToken,
) -> Proxy {
    let kubeconfig = bed.hub().kubeconfig_path().to_str().unwrap();
    let mut args = vec!["cluster-proxy", "--listen", listen];
    args.extend(["--http-address", "127.0.0.1:0", "--kubeconfig", kubeconfig]);
    args.extend(["--policy", policy.to_str().unwrap()]);
    args.extend(flags);
    Proxy::start(Args::parse_from(args), stop.clone())
        .await
        .unwrap()
}

/// A request of the test's caller, with a deadline.
pub(crate) fn request<T>(message: T) -> Request<T> {
    request_as(CALLER, message)
}

pub(crate) fn request_as<T>(caller: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("x-kurator-caller", caller.parse().unwrap());
    request.set_timeout(Duration::from_secs(20));
    request
}

pub(crate) fn gvr(group: &str, version: &str, resource: &str) -> Option<proto::Gvr> {
    Some(proto::Gvr {
        group: group.into(),
        version: version.into(),
        resource: resource.into(),
    })
}

/// The definition of a type of objects in namespaces, version v1.
pub(crate) fn crd(group: &str, plural: &str, kind: &str) -> CustomResourceDefinition {
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object",
                    "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    });
    serde_json::from_value(crd).unwrap()
}

pub(crate) fn configmap(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": value},
        "metadata": {"name": name, "namespace": "default"}})
}

/// The error's own details; every error of the proxy has them.
pub(crate) fn info(status: &Status) -> ErrorInfo {
    status
        .get_details_error_info()
        .unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"))
}

pub(crate) async fn make_namespace(client: &Client, name: &str) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let namespace = serde_json::from_value(namespace).unwrap();
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
}

/// The proxy's own metrics, over plain HTTP.
pub(crate) async fn metrics(address: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}
