//! The object storage of a fleet, set up on members whose Velero was installed beforehand. These tests
//! change the location `default`, so they have a bed of their own, and take turns with it.

use std::collections::BTreeMap;

use anyhow::ensure;
use api_types::cluster::AttachedCluster;
use api_types::external::velero::{self, BackupStorageLocation};
use api_types::fleet::{Fleet, PluginClusterStatus, PluginStatus};
use api_types::labels;
use api_types::names::MemberId;
use api_types::phase::{Phase, PluginPhase};
use e2e::specs::demo_backup;
use e2e::{FLEET, MemberView, PATIENCE, Stack, Tenant, await_gone, await_object};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
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
    turn.remove_fleets().await;
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
    /// Those of the turn before.
    async fn remove_fleets(&self) {
        let hub = self.stack.bed().hub().client().unwrap();
        let all: Api<Fleet> = Api::all(hub.clone());
        for fleet in all.list(&ListParams::default()).await.unwrap() {
            let fleets: Api<Fleet> = Api::namespaced(hub.clone(), &fleet.namespace().unwrap());
            let gone = DeleteParams::default();
            fleets.delete(&fleet.name_any(), &gone).await.unwrap();
            await_gone(&fleets, &fleet.name_any(), PATIENCE)
                .await
                .unwrap();
        }
    }

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

async fn write_credentials(tenant: &Tenant, data: &Value) {
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

async fn patch_fleet(tenant: &Tenant, spec: &Value) {
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
    write_credentials(&tenant, &keys()).await;
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
        assert_eq!(
            (of.phase, &of.reason),
            (PluginPhase::Ready, &None),
            "{of:?}"
        );
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
    wait_event(
        &tenant,
        "StorageLocationReplaced",
        &[BERGEN, other, "by-hand"],
    )
    .await;
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
}

#[tokio::test]
async fn a_member_that_stores_at_the_root_of_the_bucket_makes_the_fleet_share_it() {
    const NAME: &str = "storage-shared";
    let turn = turn().await;
    let tenant = turn.tenant(NAME).await;
    turn.by_hand(OSLO, "default", &tenant, "").await;
    write_credentials(&tenant, &keys()).await;
    create_fleet(&tenant, &turn.location(&tenant, &json!({}))).await;
    let ready = wait_plugin_ready(&tenant).await;
    assert_eq!(plugin(&ready).unwrap().details["layout"], "Shared");
    for member in [OSLO, BERGEN] {
        let details = &cluster(&ready, member).unwrap().details;
        assert_eq!((&*details["bucket"], details.get("prefix")), (NAME, None));
        let found = turn.locations(member).get("default").await.unwrap();
        assert_eq!(prefix(&found), "");
    }
    tenant.back_up("all", demo_backup()).await.unwrap();
    let backup = tenant.wait_phase("all", Phase::Completed).await.unwrap();
    let stored = turn.stack.bed().s3().unwrap().objects(NAME, "backups/");
    let stored = stored.unwrap();
    for member in [OSLO, BERGEN] {
        let run = format!("backups/{}/velero-backup.json", name_in(&backup, member));
        assert!(stored.contains(&run), "{stored:?}");
    }

    // One bucket cannot hold both layouts: what is there goes on.
    set_layout(&tenant, &json!("PerCluster")).await;
    let refused = |fleet: &Fleet| {
        plugin(fleet).is_some_and(|entry| {
            entry.phase == PluginPhase::Degraded && entry.reason.as_deref() == Some("InvalidSpec")
        })
    };
    wait_fleet(&tenant, "a layout that is refused", refused).await;
    let found = turn.locations(OSLO).get("default").await.unwrap();
    assert_eq!(prefix(&found), "");
    set_layout(&tenant, &Value::Null).await;
    wait_plugin_ready(&tenant).await;
}

async fn set_layout(tenant: &Tenant, layout: &Value) {
    let storage = json!({ "location": { "layout": layout } });
    patch_fleet(
        tenant,
        &json!({ "plugin": { "backup": { "storage": storage } } }),
    )
    .await;
}

#[tokio::test]
async fn the_layout_waits_for_an_answer_of_every_member_unless_it_is_set() {
    const NAME: &str = "storage-layout";
    let turn = turn().await;
    turn.stack.bed().s3().unwrap().create_bucket(NAME).unwrap();
    let tenant = turn.stack.empty_tenant(NAME).await.unwrap();
    let (bergen, relay) = turn.stack.attach_with_relay(BERGEN).unwrap();
    relay.cut();
    tenant.attach(&bergen).await.unwrap();
    let oslo = turn.stack.attach(OSLO).unwrap();
    tenant.attach(&oslo).await.unwrap();
    write_credentials(&tenant, &keys()).await;
    create_fleet(&tenant, &turn.location(&tenant, &json!({}))).await;

    let waits = |fleet: &Fleet| {
        let said = cluster(fleet, OSLO).and_then(|of| of.message.as_deref());
        reason(fleet, OSLO) == "WaitingForCluster"
            && said.is_some_and(|said| said.contains(BERGEN))
            && reason(fleet, BERGEN) == "Unreachable"
    };
    let fleet = wait_fleet(&tenant, "a wait for bergen", waits).await;
    assert!(plugin(&fleet).unwrap().details.is_empty());
    let locations = turn.locations(OSLO);
    assert!(locations.get_opt("default").await.unwrap().is_none());

    set_layout(&tenant, &json!("PerCluster")).await;
    let set_up = |fleet: &Fleet| {
        cluster(fleet, OSLO).is_some_and(|of| of.phase == PluginPhase::Ready)
            && reason(fleet, BERGEN) == "Unreachable"
    };
    let fleet = wait_fleet(&tenant, "storage in oslo", set_up).await;
    assert_eq!(plugin(&fleet).unwrap().display.as_deref(), Some("1/2"));
    relay.heal();
    wait_plugin_ready(&tenant).await;
    let found = turn.locations(BERGEN).get("default").await.unwrap();
    assert_eq!(prefix(&found), format!("{NAME}/{BERGEN}"));
}

/// Stores something in a place as another member would that has lost its cluster.
async fn store_as(turn: &Turn, tenant: &Tenant, member: &str, place: &str) {
    const INTRUDER: &str = "intruder";
    turn.by_hand(member, INTRUDER, tenant, place).await;
    let backups: Api<velero::Backup> = turn.view(member).velero();
    let spec = json!({ "storageLocation": INTRUDER, "includedNamespaces": ["default"] });
    let name = format!("of-{}", tenant.namespace());
    let mut backup = velero::Backup::new(&name, serde_json::from_value(spec).unwrap());
    let label = (labels::MEMBER.to_owned(), turn.id(member).await.to_string());
    backup.metadata.labels = Some([label].into());
    let params = PostParams::default();
    backups.create(&params, &backup).await.unwrap();
    let completed = |backup: &velero::Backup| backup.phase() == "Completed";
    await_object(&backups, &name, "Completed", PATIENCE, completed)
        .await
        .unwrap();
    let locations = turn.locations(member);
    let gone = DeleteParams::default();
    locations.delete(INTRUDER, &gone).await.unwrap();
    await_gone(&locations, INTRUDER, PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_place_with_another_members_backups_is_read_only_until_it_is_adopted() {
    const NAME: &str = "storage-collision";
    let turn = turn().await;
    let tenant = turn.tenant(NAME).await;
    let place = format!("{NAME}/{OSLO}");
    store_as(&turn, &tenant, BERGEN, &place).await;
    write_credentials(&tenant, &keys()).await;
    let layout = json!({ "layout": "PerCluster" });
    create_fleet(&tenant, &turn.location(&tenant, &layout)).await;
    let there = |found: &BackupStorageLocation| found.is_available();
    turn.location_on(OSLO, "Available", there).await;
    // Velero looks into all locations when it starts, and else once a minute.
    let oslo = turn.stack.member(OSLO).unwrap();
    let velero = oslo.velero().unwrap();
    velero.restart(&oslo.client().unwrap()).await.unwrap();

    let collides = |fleet: &Fleet| reason(fleet, OSLO) == "StoreCollision";
    let fleet = wait_fleet(&tenant, "a collision", collides).await;
    let of = cluster(&fleet, OSLO).unwrap();
    let stranger = turn.id(BERGEN).await.to_string();
    let said = of.message.clone().unwrap();
    let advice = format!("kurator.dev/adopt-store: {stranger}");
    assert!(said.contains(&advice) && said.contains(&place), "{said}");
    assert_eq!(of.phase, PluginPhase::Failed);
    let closed = BackupStorageLocation::is_read_only;
    turn.location_on(OSLO, "read-only", closed).await;
    let others = |fleet: &Fleet| cluster(fleet, BERGEN).map(|of| of.phase);
    let ready = |fleet: &Fleet| others(fleet) == Some(PluginPhase::Ready);
    wait_fleet(&tenant, "bergen as ever", ready).await;
    tenant.back_up("all", demo_backup()).await.unwrap();
    tenant
        .wait_backup("all", "a wait for oslo", |backup| {
            e2e::reason(backup, OSLO) == "StorageLocationReadOnly"
        })
        .await
        .unwrap();

    let adopt = json!({ "metadata": { "annotations": { labels::ADOPT_STORE: stranger } } });
    let clusters: Api<AttachedCluster> = tenant.api();
    clusters
        .patch(OSLO, &PatchParams::default(), &Patch::Merge(adopt))
        .await
        .unwrap();
    wait_plugin_ready(&tenant).await;
    let found = turn.locations(OSLO).get("default").await.unwrap();
    assert!(!found.is_read_only());
    tenant.wait_phase("all", Phase::Completed).await.unwrap();
}

#[tokio::test]
async fn credentials_and_a_bucket_that_come_late_are_waited_for_and_a_new_key_reaches_the_members()
{
    const NAME: &str = "storage-late";
    let turn = turn().await;
    let tenant = turn.tenant(NAME).await;
    let bucket = "storage-late-bucket";
    let location = json!({ "layout": "PerCluster", "bucket": bucket });
    create_fleet(&tenant, &turn.location(&tenant, &location)).await;
    let both = |fleet: &Fleet, word: &str| {
        [OSLO, BERGEN]
            .iter()
            .all(|name| reason(fleet, name) == word)
    };
    let absent = |fleet: &Fleet| both(fleet, "CredentialsNotFound");
    wait_fleet(&tenant, "a wait for the Secret", absent).await;
    write_credentials(&tenant, &json!({ "access-key": S3::ACCESS_KEY })).await;
    let half = |fleet: &Fleet| both(fleet, "CredentialsIncomplete");
    let fleet = wait_fleet(&tenant, "a wait for the other key", half).await;
    let said = cluster(&fleet, OSLO).unwrap().message.clone().unwrap();
    assert!(said.contains("secret-key"), "{said}");
    let locations = turn.locations(OSLO);
    assert!(locations.get_opt("default").await.unwrap().is_none());

    write_credentials(&tenant, &keys()).await;
    let no_bucket = |fleet: &Fleet| both(fleet, "StorageLocationUnavailable");
    let fleet = wait_fleet(&tenant, "a wait for the bucket", no_bucket).await;
    let of = cluster(&fleet, BERGEN).unwrap();
    assert!(of.message.as_ref().unwrap().contains(BERGEN), "{of:?}");
    assert!(of.details["storageLocationMessage"].contains("NoSuchBucket"));
    turn.stack
        .bed()
        .s3()
        .unwrap()
        .create_bucket(bucket)
        .unwrap();
    wait_plugin_ready(&tenant).await;

    let with_token = json!({ "access-key": "a", "secret-key": "b", "session-token": "c" });
    write_credentials(&tenant, &with_token).await;
    let expected = format!("{}aws_session_token=c\n", credential("a", "b"));
    wait_ok("the new key", PATIENCE, async || {
        for member in [OSLO, BERGEN] {
            ensure!(
                member_credential(&turn, member).await == expected,
                "not yet in {member}"
            );
        }
        Ok(())
    })
    .await
    .unwrap();
    let fleet = serde_json::to_string(&wait_plugin_ready(&tenant).await).unwrap();
    for value in [S3::SECRET_KEY, "aws_session_token"] {
        assert!(!fleet.contains(value), "{fleet}");
    }
}

/// Checks that a location stays as it was, and that nobody has it any more.
async fn wait_released(turn: &Turn, member: &str, place: &str) {
    let free = |found: &BackupStorageLocation| !found.labels().contains_key(labels::OWNER_UID);
    let found = turn.location_on(member, "nobody's", free).await;
    assert!(!found.labels().contains_key(labels::MEMBER), "{found:?}");
    assert!(!found.annotations().contains_key(labels::HUB_OBJECT));
    assert_eq!(prefix(&found), place);
    assert!(found.is_available() && !found.is_read_only());
    let expected = credential(S3::ACCESS_KEY, S3::SECRET_KEY);
    assert_eq!(member_credential(turn, member).await, expected);
}

#[tokio::test]
async fn storage_that_is_given_up_stays_as_it_is_and_a_member_that_is_cut_off_holds_nothing_up() {
    const NAME: &str = "storage-given-up";
    let turn = turn().await;
    turn.stack.bed().s3().unwrap().create_bucket(NAME).unwrap();
    let tenant = turn.stack.empty_tenant(NAME).await.unwrap();
    let (oslo, relay) = turn.stack.attach_with_relay(OSLO).unwrap();
    tenant.attach(&oslo).await.unwrap();
    let bergen = turn.stack.attach(BERGEN).unwrap();
    tenant.attach(&bergen).await.unwrap();
    write_credentials(&tenant, &keys()).await;
    let location = turn.location(&tenant, &json!({ "layout": "PerCluster" }));
    create_fleet(&tenant, &location).await;
    let place = |member: &str| format!("{NAME}/{member}");

    // The plugin goes, and comes back.
    let plugin_of_before = wait_plugin_ready(&tenant).await.spec.plugin;
    patch_fleet(&tenant, &json!({ "plugin": null })).await;
    let gone = |fleet: &Fleet| {
        let finalizer = labels::FLEET_BACKUP_FINALIZER;
        plugin(fleet).is_none() && !fleet.finalizers().iter().any(|held| held == finalizer)
    };
    wait_fleet(&tenant, "no plugin", gone).await;
    for member in [OSLO, BERGEN] {
        wait_released(&turn, member, &place(member)).await;
    }
    wait_event(&tenant, "StorageLocationReleased", &[OSLO]).await;
    patch_fleet(&tenant, &json!({ "plugin": plugin_of_before })).await;
    wait_plugin_ready(&tenant).await;

    // A cluster leaves.
    tenant.change_fleet(&[OSLO]).await.unwrap();
    let left = |fleet: &Fleet| cluster(fleet, BERGEN).is_none();
    wait_fleet(&tenant, "a fleet without bergen", left).await;
    wait_released(&turn, BERGEN, &place(BERGEN)).await;
    let fleet = wait_plugin_ready(&tenant).await;
    assert_eq!(plugin(&fleet).unwrap().display.as_deref(), Some("1/1"));

    // The fleet goes while the other one is cut off.
    relay.cut();
    tenant.wait_cluster(OSLO, false).await.unwrap();
    delete_fleet(&tenant).await;
    wait_event(&tenant, "ObjectsLeftBehind", &[OSLO, "not reached"]).await;
    let found = turn.locations(OSLO).get("default").await.unwrap();
    assert_eq!(prefix(&found), place(OSLO));
}
