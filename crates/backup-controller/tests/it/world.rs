//! A hub with a fleet, the fake of the proxy, and the controller's process.

use std::{collections::BTreeMap, path::Path, time::Duration};

use api_types::{backup::Backup, cluster::AttachedCluster, fleet::Fleet, key::ClusterKey};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use proxy_client::{
    cluster_ref,
    fake::{InventoryStream, Proxy, SubscribeStream},
    proto::{
        ClusterStatus, LinkState, cluster_event::Type, cluster_status, link_state,
        subscribe_frame::F,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use testbed::{Bed, Process, Program, install_crds, wait_ok};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(crate) const MEMBER: &str = "oslo";
const NAMESPACE: &str = "default";
/// Nothing here takes this long unless it is broken.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);
/// What the controller watches on members.
const WATCHED: usize = 5;

pub(crate) struct World {
    pub(crate) proxy: Proxy,
    client: Client,
    stream: SubscribeStream,
    /// The subscription of each type.
    subscriptions: BTreeMap<String, u32>,
    _inventory: InventoryStream,
    _controller: Process,
    _bed: Bed,
}

impl World {
    /// With one member.
    pub(crate) async fn start(name: &str) -> Self {
        Self::of(name, &[MEMBER]).await
    }

    /// Each member answers, serves Velero and has a location that can be used.
    pub(crate) async fn of(name: &str, members: &[&str]) -> Self {
        let bed = Bed::builder(name)
            .hub_without_controllers()
            .start()
            .await
            .unwrap();
        let client = bed.hub().client().unwrap();
        let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
        install_crds(&client, &crds).await.unwrap();
        for name in members {
            create::<AttachedCluster>(&client, name, json!({"kubeconfig": {"name": name}})).await;
        }
        let listed = |name: &&str| json!({"kind": "AttachedCluster", "name": name});
        let listed: Vec<Value> = members.iter().map(listed).collect();
        create::<Fleet>(&client, "north", json!({ "clusters": listed })).await;

        let proxy = Proxy::start();
        let controller = start(&bed, &proxy.endpoint().to_string()).await;
        let inventory = proxy.next_inventory().await;
        for name in members {
            let ready = ClusterStatus {
                cluster: Some(cluster_ref(&key(name))),
                member_uid: format!("kube-system-of-{name}"),
                state: cluster_status::State::Ready.into(),
                ..Default::default()
            };
            inventory.send(Type::Snapshot, ready).await;
        }
        inventory.send(Type::Synced, ClusterStatus::default()).await;
        let mut stream = proxy.next_subscribe().await;
        let mut subscriptions = BTreeMap::new();
        while subscriptions.len() < WATCHED {
            let add = stream.next_add().await;
            subscriptions.insert(add.gvr.unwrap().resource, add.sub_id);
        }
        let location = json!({
            "apiVersion": "velero.io/v1", "kind": "BackupStorageLocation",
            "metadata": {"name": "default", "namespace": "velero", "uid": "l", "resourceVersion": "1"},
            "spec": {"provider": "aws", "objectStorage": {"bucket": "backups"}},
            "status": {"phase": "Available"},
        });
        // It is read once more before anything is created.
        let id = ["backupstoragelocations", "velero", "default"].map(str::to_owned);
        proxy
            .fake
            .state()
            .objects
            .insert(id.into(), location.clone());
        for (resource, sub_id) in &subscriptions {
            let known = match resource.as_str() {
                "backupstoragelocations" => std::slice::from_ref(&location),
                _ => &[],
            };
            for member in members.iter().map(|name| key(name)) {
                let up = LinkState {
                    cluster: Some(cluster_ref(&member)),
                    state: link_state::State::Up.into(),
                    sub_id: *sub_id,
                    ..Default::default()
                };
                stream.send(F::Link(up)).await;
                stream.snapshot(*sub_id, &member, known).await;
            }
        }
        Self {
            proxy,
            client,
            stream,
            subscriptions,
            _inventory: inventory,
            _controller: controller,
            _bed: bed,
        }
    }

    /// What the watch of a member shows from now on.
    pub(crate) async fn tell(&self, member: &str, resource: &str, objects: &[Value]) {
        let sub_id = self.subscriptions[resource];
        self.stream.upsert(sub_id, &key(member), objects).await;
    }

    /// A one-time Backup of the fleet.
    pub(crate) async fn backup(&self, name: &str) -> Backup {
        create(
            &self.client,
            name,
            json!({"destination": {"fleet": "north"}}),
        )
        .await
    }

    /// Whether all Backups are as wanted; the error shows one that is not.
    pub(crate) async fn all(&self, wanted: impl Fn(&Backup) -> bool) -> anyhow::Result<()> {
        let backups: Api<Backup> = Api::namespaced(self.client.clone(), NAMESPACE);
        let backups = backups.list(&ListParams::default()).await?;
        let lacking: Vec<&Backup> = backups.iter().filter(|backup| !wanted(backup)).collect();
        let Some(first) = lacking.first() else {
            return Ok(());
        };
        let text = serde_json::to_string_pretty(first)?;
        anyhow::bail!("{} are not, the first: {text}", lacking.len())
    }

    /// Waits until a Backup is as wanted; the error shows it as it is.
    pub(crate) async fn until(&self, name: &str, wanted: impl Fn(&Backup) -> bool) -> Backup {
        let backups: Api<Backup> = Api::namespaced(self.client.clone(), NAMESPACE);
        wait_ok(name, DEADLINE, async || {
            let backup = backups.get(name).await?;
            let text = serde_json::to_string_pretty(&backup)?;
            anyhow::ensure!(wanted(&backup), "{text}");
            Ok(backup)
        })
        .await
        .unwrap()
    }
}

fn key(member: &str) -> ClusterKey {
    ClusterKey::attached(NAMESPACE, member)
}

async fn create<K>(client: &Client, name: &str, spec: Value) -> K
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    let object = json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()),
        "metadata": {"name": name}, "spec": spec,
    });
    let object: K = serde_json::from_value(object).unwrap();
    let api: Api<K> = Api::namespaced(client.clone(), NAMESPACE);
    api.create(&PostParams::default(), &object).await.unwrap()
}

async fn start(bed: &Bed, proxy: &str) -> Process {
    let address = format!("{}:{}", bed.address(), bed.next_port());
    let program = env!("CARGO_BIN_EXE_backup-controller");
    let log = bed.dir().join("backup-controller.log");
    let program = Program::new("backup-controller", program, log)
        .arg("--kubeconfig")
        .arg(bed.hub().kubeconfig_path())
        .args(["--proxy-endpoint", proxy])
        .args(["--http-address", &address])
        .args(["--log", "info,backup_controller=debug"]);
    let process = bed.spawn(program).unwrap();
    wait_ok("the controller", DEADLINE, async || {
        process.check()?;
        let mut stream = TcpStream::connect(&address).await?;
        let request = "GET /readyz HTTP/1.1\r\nHost: kurator\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::ensure!(answer.contains(" 200 "), "{answer}");
        Ok(())
    })
    .await
    .map_err(|error| process.explain(&error))
    .unwrap();
    process
}
