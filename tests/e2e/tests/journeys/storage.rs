//! The object storage of a fleet, set up on members whose Velero was installed beforehand. These tests
//! change the location `default`, so they have a bed of their own, and take turns with it.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use api_types::external::velero::{self, BackupStorageLocation};
use api_types::fleet::{Fleet, PluginClusterStatus, PluginStatus};
use api_types::labels;
use api_types::names::MemberId;
use api_types::phase::{Phase, PluginPhase};
use e2e::specs::demo_backup;
use e2e::{FLEET, MemberView, PATIENCE, Stack, Tenant, await_gone, await_object};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use testbed::{S3, wait_ok};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::kubectl::kubectl;
use crate::world::name_in;

const OSLO: &str = "oslo";
const BERGEN: &str = "bergen";
const TIMINGS: &str = r#"{"credentialsCheck": 1000, "deletionStalled": 3000, "locationAge": 2000}"#;

/// The members are not as they were: no location `default` is there.
struct Turn {
    stack: &'static Stack,
    _turn: MutexGuard<'static, ()>,
}

async fn turn() -> Turn {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    static TURN: Mutex<()> = Mutex::const_new(());
    let turn = TURN.lock().await;
    let start = || async {
        let stack = Stack::builder("storage")
            .velero_member(OSLO)
            .velero_member(BERGEN)
            .backup_timings(TIMINGS);
        stack.start().await.unwrap()
    };
    let stack = STACK.get_or_init(start).await;
    let turn = Turn { stack, _turn: turn };
    for member in [OSLO, BERGEN] {
        let locations = turn.locations(member);
        let gone = DeleteParams::default();
        if locations.get_opt("default").await.unwrap().is_some() {
            locations.delete("default", &gone).await.unwrap();
        }
        await_gone(&locations, "default", PATIENCE).await.unwrap();
    }
    turn
}

impl Turn {
    fn view(&self, member: &str) -> MemberView {
        MemberView::of(self.stack.member(member).unwrap()).unwrap()
    }

    fn locations(&self, member: &str) -> Api<BackupStorageLocation> {
        self.view(member).velero()
    }

    fn secrets(&self, member: &str) -> Api<Secret> {
        self.view(member).velero()
    }

    /// The id that objects made for a member carry.
    async fn id(&self, member: &str) -> MemberId {
        let namespaces: Api<Namespace> = Api::all(self.view(member).client);
        let identity = namespaces.get(labels::IDENTITY_NAMESPACE).await.unwrap();
        MemberId::from_uid(&identity.uid().unwrap())
    }

    /// A namespace of the hub with both clusters, and a bucket.
    async fn tenant(&self, name: &str) -> Tenant {
        let s3 = self.stack.bed().s3().unwrap();
        s3.create_bucket(name).unwrap();
        let tenant = self.stack.empty_tenant(name).await.unwrap();
        for member in [OSLO, BERGEN] {
            let cluster = self.stack.attach(member).unwrap();
            tenant.attach(&cluster).await.unwrap();
        }
        tenant
    }

    /// The storage of a fleet, in the bucket that has the tenant's name.
    fn location(&self, tenant: &Tenant, more: &Value) -> Value {
        let mut location = json!({
            "bucket": tenant.namespace(),
            "provider": "aws",
            "endpoint": self.stack.bed().s3().unwrap().endpoint(),
            "region": S3::REGION,
        });
        for (key, value) in more.as_object().unwrap() {
            location[key] = value.clone();
        }
        location
    }

    /// A location that somebody made by hand.
    async fn by_hand(&self, member: &str, name: &str, tenant: &Tenant, prefix: &str) {
        let spec = json!({
            "provider": "aws",
            "objectStorage": { "bucket": tenant.namespace(), "prefix": prefix },
            "credential": { "name": "cloud-credentials", "key": "cloud" },
            "config": {
                "s3Url": self.stack.bed().s3().unwrap().endpoint(),
                "region": S3::REGION,
                "s3ForcePathStyle": "true",
            },
        });
        let object = BackupStorageLocation::new(name, serde_json::from_value(spec).unwrap());
        let locations = self.locations(member);
        let made = locations.create(&PostParams::default(), &object).await;
        made.unwrap();
        let available = BackupStorageLocation::is_available;
        await_object(&locations, name, "Available", PATIENCE, available)
            .await
            .unwrap();
    }

    async fn location_on(
        &self,
        member: &str,
        what: &str,
        holds: impl FnMut(&BackupStorageLocation) -> bool,
    ) -> BackupStorageLocation {
        let locations = self.locations(member);
        await_object(&locations, "default", what, PATIENCE, holds)
            .await
            .unwrap()
    }
}

async fn write_credentials(tenant: &Tenant, data: Value) {
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": "s3" },
        "stringData": data,
    });
    let params = PatchParams::apply("e2e").force();
    let secrets: Api<Secret> = tenant.api();
    let patch = Patch::Apply(secret);
    secrets.patch("s3", &params, &patch).await.unwrap();
}

fn keys() -> Value {
    json!({ "access-key": S3::ACCESS_KEY, "secret-key": S3::SECRET_KEY })
}

fn credential(access: &str, secret: &str) -> String {
    format!("[default]\naws_access_key_id={access}\naws_secret_access_key={secret}\n")
}

async fn create_fleet(tenant: &Tenant, location: &Value) -> Fleet {
    let clusters: Vec<Value> = [OSLO, BERGEN]
        .iter()
        .map(|name| json!({ "kind": "AttachedCluster", "name": name }))
        .collect();
    let spec = json!({
        "clusters": clusters,
        "plugin": { "backup": { "storage": { "location": location, "secretName": "s3" } } },
    });
    let fleet = Fleet::new(FLEET, serde_json::from_value(spec).unwrap());
    let fleets: Api<Fleet> = tenant.api();
    fleets.create(&PostParams::default(), &fleet).await.unwrap()
}

async fn patch_fleet(tenant: &Tenant, spec: Value) {
    let fleets: Api<Fleet> = tenant.api();
    let patch = Patch::Merge(json!({ "spec": spec }));
    let params = PatchParams::default();
    fleets.patch(FLEET, &params, &patch).await.unwrap();
}

fn plugin(fleet: &Fleet) -> Option<&PluginStatus> {
    let mut entries = fleet.status.iter().flat_map(|status| &status.plugins);
    entries.find(|entry| entry.name == "backup")
}

fn cluster<'a>(fleet: &'a Fleet, name: &str) -> Option<&'a PluginClusterStatus> {
    let mut clusters = plugin(fleet)?.clusters.iter();
    clusters.find(|of| of.cluster_name == name)
}

fn reason<'a>(fleet: &'a Fleet, name: &str) -> &'a str {
    let reason = cluster(fleet, name).and_then(|of| of.reason.as_deref());
    reason.unwrap_or_default()
}

async fn wait_fleet(tenant: &Tenant, what: &str, holds: impl FnMut(&Fleet) -> bool) -> Fleet {
    let fleets: Api<Fleet> = tenant.api();
    await_object(&fleets, FLEET, what, PATIENCE, holds)
        .await
        .unwrap()
}

async fn wait_plugin_ready(tenant: &Tenant) -> Fleet {
    let ready = |fleet: &Fleet| {
        plugin(fleet).is_some_and(|entry| {
            entry.phase == PluginPhase::Ready
                && entry.observed_generation == fleet.metadata.generation
        })
    };
    wait_fleet(tenant, "a plugin that is ready", ready).await
}

/// Removes a Fleet, which gives up the members' locations.
async fn delete_fleet(tenant: &Tenant) {
    let fleets: Api<Fleet> = tenant.api();
    let gone = DeleteParams::default();
    fleets.delete(FLEET, &gone).await.unwrap();
    await_gone(&fleets, FLEET, PATIENCE).await.unwrap();
}

fn prefix(location: &BackupStorageLocation) -> &str {
    let prefix = location.spec.object_storage.prefix.as_deref();
    prefix.unwrap_or_default()
}

async fn member_credential(turn: &Turn, member: &str) -> String {
    let secrets = turn.secrets(member);
    let secret = secrets.get("quickstart-velero-s3").await.unwrap();
    assert!(secret.labels().contains_key(labels::OWNER_UID));
    String::from_utf8(secret.data.unwrap()["cloud"].0.clone()).unwrap()
}

async fn wait_event(tenant: &Tenant, reason: &str, words: &[&str]) {
    let what = format!("an event {reason} about {words:?}");
    wait_ok(&what, PATIENCE, async || {
        let events = tenant.events(FLEET).await?;
        let mut notes = events
            .iter()
            .filter(|event| event.reason.as_deref() == Some(reason))
            .filter_map(|event| event.note.as_deref());
        let told = notes.any(|note| words.iter().all(|word| note.contains(word)));
        ensure!(told, "there are {events:?}");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn each_cluster_stores_in_its_own_place_and_what_is_changed_there_is_put_back() {
    const NAME: &str = "storage-own";
    let turn = turn().await;
    let tenant = turn.tenant(NAME).await;
    let (s3, other) = (turn.stack.bed().s3().unwrap(), "storage-own-before");
    s3.create_bucket(other).unwrap();
    let before = turn.stack.empty_tenant(other).await.unwrap();
    turn.by_hand(BERGEN, "default", &before, "by-hand").await;
    write_credentials(&tenant, keys()).await;
    let location = json!({ "prefix": "production", "layout": "PerCluster" });
    let fleet = create_fleet(&tenant, &turn.location(&tenant, &location)).await;
    let ready = wait_plugin_ready(&tenant).await;

    let entry = plugin(&ready).unwrap();
    assert_eq!(entry.display.as_deref(), Some("2/2"));
    assert_eq!((entry.ready_clusters, entry.clusters_total), (2, 2));
    assert_eq!(entry.details["layout"], "PerCluster");
    let held = ready.finalizers().iter();
    assert_eq!(held.filter(|f| *f == "fleet.kurator.dev/backup").count(), 1);
    let expected = credential(S3::ACCESS_KEY, S3::SECRET_KEY);
    for member in [OSLO, BERGEN] {
        let place = format!("production/{NAME}/{member}");
        let of = cluster(&ready, member).unwrap();
        assert_eq!((of.phase, &of.reason), (PluginPhase::Ready, &None), "{of:?}");
        let details: BTreeMap<&str, &str> = of
            .details
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        let endpoint = s3.endpoint();
        let wanted = [
            ("bucket", NAME),
            ("endpoint", endpoint.as_str()),
            ("prefix", place.as_str()),
            ("storageLocation", "Available"),
        ];
        assert_eq!(details, wanted.into());
        let found = turn.locations(member).get("default").await.unwrap();
        assert_eq!(prefix(&found), place);
        assert_eq!(found.labels()[labels::OWNER_UID], fleet.uid().unwrap());
        assert_eq!(
            found.labels()[labels::MEMBER],
            turn.id(member).await.to_string()
        );
        let hub_object = &found.annotations()[labels::HUB_OBJECT];
        assert_eq!(hub_object, &format!("Fleet/{NAME}/{FLEET}"));
        assert_eq!(member_credential(&turn, member).await, expected);
    }
    wait_event(&tenant, "StorageLocationReplaced", &[BERGEN, other, "by-hand"]).await;
    let fleets = kubectl(turn.stack, &["get", "kfl", "-n", NAME]).await;
    let line: Vec<&str> = fleets.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(line[..4], [FLEET, "Ready", "2/2", "1/1"], "{fleets}");

    tenant.back_up("all", demo_backup()).await.unwrap();
    let backup = tenant.wait_phase("all", Phase::Completed).await.unwrap();
    for member in [OSLO, BERGEN] {
        let folder = format!("production/{NAME}/{member}/backups/");
        let run = format!("{folder}{}/velero-backup.json", name_in(&backup, member));
        let stored = s3.objects(NAME, &folder).unwrap();
        assert!(stored.contains(&run), "{stored:?}");
    }

    let drift = json!({ "spec": { "objectStorage": { "prefix": "moved" } } });
    turn.locations(OSLO)
        .patch("default", &PatchParams::default(), &Patch::Merge(drift))
        .await
        .unwrap();
    let place = format!("production/{NAME}/{OSLO}");
    let back = |found: &BackupStorageLocation| prefix(found) == place && found.is_available();
    turn.location_on(OSLO, "the place of before", back).await;
    wait_plugin_ready(&tenant).await;
    delete_fleet(&tenant).await;
}
