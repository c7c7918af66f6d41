//! A bed of two members whose location `default` is changed, and what tests do with it.

use anyhow::ensure;
use api_types::external::velero::BackupStorageLocation;
use api_types::fleet::{Fleet, PluginClusterStatus, PluginStatus};
use api_types::labels;
use api_types::names::MemberId;
use api_types::phase::PluginPhase;
use e2e::{FLEET, MemberView, PATIENCE, Stack, Tenant, await_gone, await_object};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use testbed::{Relay, S3, wait_ok};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::world;

pub(super) const OSLO: &str = "oslo";
pub(super) const BERGEN: &str = "bergen";
pub(super) const TIMINGS: &str =
    r#"{"credentialsCheck": 1000, "deletionStalled": 3000, "locationAge": 2000}"#;

/// The members are not as they were: no location `default` is there.
pub(super) struct Turn {
    pub(super) stack: &'static Stack,
    _turn: MutexGuard<'static, ()>,
}

pub(super) async fn turn() -> Turn {
    const NAMES: [&str; 2] = ["storage1", "storage2"];
    static STACKS: [OnceCell<Stack>; 2] = [const { OnceCell::const_new() }; 2];
    static TURNS: [Mutex<()>; 2] = [const { Mutex::const_new(()) }; 2];
    let (which, turn) = world::turn(&TURNS).await;
    let start = || async {
        let stack = Stack::builder(NAMES[which])
            .velero_member(OSLO)
            .velero_member(BERGEN)
            .backup_timings(TIMINGS);
        stack.start().await.unwrap()
    };
    let stack = STACKS[which].get_or_init(start).await;
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
    /// Those of the turn before, whose clusters may be out of reach.
    pub(super) async fn remove_fleets(&self) {
        let hub = self.stack.bed().hub().client().unwrap();
        let all: Api<Fleet> = Api::all(hub.clone());
        for fleet in all.list(&ListParams::default()).await.unwrap() {
            let fleets: Api<Fleet> = Api::namespaced(hub.clone(), &fleet.namespace().unwrap());
            let gone = DeleteParams::default();
            fleets.delete(&fleet.name_any(), &gone).await.unwrap();
            force_away(&fleets, &fleet.name_any()).await;
        }
    }

    pub(super) fn view(&self, member: &str) -> MemberView {
        MemberView::of(self.stack.member(member).unwrap()).unwrap()
    }

    pub(super) fn locations(&self, member: &str) -> Api<BackupStorageLocation> {
        self.view(member).velero()
    }

    pub(super) fn secrets(&self, member: &str) -> Api<Secret> {
        self.view(member).velero()
    }

    /// The id that objects made for a member carry.
    pub(super) async fn id(&self, member: &str) -> MemberId {
        let namespaces: Api<Namespace> = Api::all(self.view(member).client);
        let identity = namespaces.get(labels::IDENTITY_NAMESPACE).await.unwrap();
        MemberId::from_uid(&identity.uid().unwrap())
    }

    /// A namespace of the hub with both clusters, and a bucket.
    pub(super) async fn tenant(&self, name: &str) -> Tenant {
        let tenant = self.empty_tenant(name).await;
        for member in [OSLO, BERGEN] {
            self.attach(&tenant, member).await;
        }
        tenant
    }

    /// A namespace of the hub without clusters, and a bucket.
    pub(super) async fn empty_tenant(&self, name: &str) -> Tenant {
        let s3 = self.stack.bed().s3().unwrap();
        s3.create_bucket(name).unwrap();
        self.stack.empty_tenant(name).await.unwrap()
    }

    pub(super) async fn attach(&self, tenant: &Tenant, member: &str) {
        let cluster = self.stack.attach(member).unwrap();
        tenant.attach(&cluster).await.unwrap();
    }

    /// The same, so that it can be cut off.
    pub(super) async fn attach_with_relay(&self, tenant: &Tenant, member: &str) -> Relay {
        let (cluster, relay) = self.stack.attach_with_relay(member).unwrap();
        tenant.attach(&cluster).await.unwrap();
        relay
    }

    /// Its keys, and a fleet of both clusters that stores in the tenant's bucket.
    pub(super) async fn set_up(&self, tenant: &Tenant, location: &Value) -> Fleet {
        write_credentials(tenant, &keys()).await;
        create_fleet(tenant, &self.location(tenant, location)).await
    }

    /// The storage of a fleet, in the bucket that has the tenant's name.
    pub(super) fn location(&self, tenant: &Tenant, more: &Value) -> Value {
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
    pub(super) async fn by_hand(&self, member: &str, name: &str, tenant: &Tenant, prefix: &str) {
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

    /// Changes a member's location, as a person there would.
    pub(super) async fn change(&self, member: &str, change: Value) {
        let params = PatchParams::default();
        let change = Patch::Merge(change);
        let locations = self.locations(member);
        let changed = locations.patch("default", &params, &change);
        changed.await.unwrap();
    }

    /// Makes Velero look into its locations now.
    pub(super) async fn make_velero_look(&self, member: &str) {
        let member = self.stack.member(member).unwrap();
        let velero = member.velero().unwrap();
        velero.look(&member.client().unwrap()).await.unwrap();
    }

    pub(super) async fn location_on(
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

pub(super) async fn write_credentials(tenant: &Tenant, data: &Value) {
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

pub(super) fn keys() -> Value {
    json!({ "access-key": S3::ACCESS_KEY, "secret-key": S3::SECRET_KEY })
}

pub(super) fn credential(access: &str, secret: &str) -> String {
    format!("[default]\naws_access_key_id={access}\naws_secret_access_key={secret}\n")
}

pub(super) async fn create_fleet(tenant: &Tenant, location: &Value) -> Fleet {
    create_fleet_of(&[OSLO, BERGEN], tenant, location).await
}

pub(super) async fn create_fleet_of(names: &[&str], tenant: &Tenant, location: &Value) -> Fleet {
    let clusters: Vec<Value> = names
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

pub(super) async fn patch_fleet(tenant: &Tenant, spec: &Value) {
    let fleets: Api<Fleet> = tenant.api();
    let patch = Patch::Merge(json!({ "spec": spec }));
    let params = PatchParams::default();
    fleets.patch(FLEET, &params, &patch).await.unwrap();
}

pub(super) fn plugin(fleet: &Fleet) -> Option<&PluginStatus> {
    let mut entries = fleet.status.iter().flat_map(|status| &status.plugins);
    entries.find(|entry| entry.name == "backup")
}

pub(super) fn cluster<'a>(fleet: &'a Fleet, name: &str) -> Option<&'a PluginClusterStatus> {
    let mut clusters = plugin(fleet)?.clusters.iter();
    clusters.find(|of| of.cluster_name == name)
}

pub(super) fn reason<'a>(fleet: &'a Fleet, name: &str) -> &'a str {
    let reason = cluster(fleet, name).and_then(|of| of.reason.as_deref());
    reason.unwrap_or_default()
}

pub(super) async fn wait_fleet(
    tenant: &Tenant,
    what: &str,
    holds: impl FnMut(&Fleet) -> bool,
) -> Fleet {
    let fleets: Api<Fleet> = tenant.api();
    await_object(&fleets, FLEET, what, PATIENCE, holds)
        .await
        .unwrap()
}

pub(super) async fn wait_plugin_ready(tenant: &Tenant) -> Fleet {
    let ready = |fleet: &Fleet| {
        plugin(fleet).is_some_and(|entry| {
            entry.phase == PluginPhase::Ready
                && entry.observed_generation == fleet.metadata.generation
        })
    };
    wait_fleet(tenant, "a plugin that is ready", ready).await
}

/// Removes a Fleet, which gives up the members' locations.
pub(super) async fn delete_fleet(tenant: &Tenant) {
    let fleets: Api<Fleet> = tenant.api();
    let gone = DeleteParams::default();
    fleets.delete(FLEET, &gone).await.unwrap();
    await_gone(&fleets, FLEET, PATIENCE).await.unwrap();
}

/// Gives up on what the deletion of a Fleet waits for, and waits until it is gone.
pub(super) async fn force_away(fleets: &Api<Fleet>, name: &str) {
    match world::force(fleets, name).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        forced => drop(forced.unwrap()),
    }
    await_gone(fleets, name, PATIENCE).await.unwrap();
}

pub(super) fn prefix(location: &BackupStorageLocation) -> &str {
    let prefix = location.spec.object_storage.prefix.as_deref();
    prefix.unwrap_or_default()
}

pub(super) async fn member_credential(turn: &Turn, member: &str) -> String {
    let secrets = turn.secrets(member);
    let secret = secrets.get("quickstart-velero-s3").await.unwrap();
    assert!(secret.labels().contains_key(labels::OWNER_UID));
    String::from_utf8(secret.data.unwrap()["cloud"].0.clone()).unwrap()
}

pub(super) async fn wait_event(tenant: &Tenant, reason: &str, words: &[&str]) {
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
