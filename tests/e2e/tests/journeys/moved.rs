//! A Fleet's storage is given another prefix: what was stored at the one before is restored from there,
//! and deleted only where somebody can see it go. The location `default` is changed, so this has a bed
//! of its own.

use anyhow::ensure;
use api_types::backup::Backup;
use api_types::common::StoragePlace;
use api_types::external::velero::{self, BackupStorageLocation};
use api_types::fleet::Fleet;
use api_types::names::location_name;
use api_types::phase::Phase;
use api_types::restore::RestoreSpec;
use e2e::specs::cluster_ref;
use e2e::{FLEET, MemberView, PATIENCE, Stack, Tenant, await_gone, await_object, entry};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testbed::{S3, apply_yaml, wait_ok};

use crate::elsewhere::from;
use crate::points::{Chosen, as_copy_of, assert_chosen_of, greet, run};
use crate::restore::{App, in_phase, into};
use crate::world::name_in;

const NAME: &str = "moved-storage";
const APP: App = App("moved-shop");
const OSLO: &str = "oslo";
const BERGEN: &str = "bergen";
const TIMINGS: &str = r#"{"locationAge": 2000}"#;

/// Where oslo stores with this prefix of the Fleet.
fn place(prefix: &str) -> String {
    format!("{prefix}/{NAME}/{OSLO}")
}

fn view(stack: &Stack, member: &str) -> MemberView {
    MemberView::of(stack.member(member).unwrap()).unwrap()
}

async fn make_velero_look(stack: &Stack, member: &str) {
    let member = stack.member(member).unwrap();
    let velero = member.velero().unwrap();
    velero.look(&member.client().unwrap()).await.unwrap();
}

/// A fleet of both clusters whose storage is set up.
async fn fleet(stack: &Stack) -> Tenant {
    let s3 = stack.bed().s3().unwrap();
    s3.create_bucket(NAME).unwrap();
    let tenant = stack.empty_tenant(NAME).await.unwrap();
    for member in [OSLO, BERGEN] {
        tenant.attach(&stack.attach(member).unwrap()).await.unwrap();
    }
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": "s3" },
        "stringData": { "access-key": S3::ACCESS_KEY, "secret-key": S3::SECRET_KEY },
    });
    let secrets: Api<Secret> = tenant.api();
    let params = PatchParams::apply("e2e").force();
    let made = secrets.patch("s3", &params, &Patch::Apply(secret)).await;
    made.unwrap();
    let clusters = [OSLO, BERGEN].map(|name| json!({ "kind": "AttachedCluster", "name": name }));
    let location = json!({
        "bucket": NAME,
        "prefix": "first",
        "layout": "PerCluster",
        "provider": "aws",
        "endpoint": s3.endpoint(),
        "region": S3::REGION,
    });
    let spec = json!({
        "clusters": clusters,
        "plugin": { "backup": { "storage": { "location": location, "secretName": "s3" } } },
    });
    let fleet = Fleet::new(FLEET, serde_json::from_value(spec).unwrap());
    let fleets: Api<Fleet> = tenant.api();
    fleets.create(&PostParams::default(), &fleet).await.unwrap();
    stores_at(stack, "first").await;
    tenant
}

/// Waits until both members store below this prefix.
async fn stores_at(stack: &Stack, prefix: &str) {
    for member in [OSLO, BERGEN] {
        let locations: Api<BackupStorageLocation> = view(stack, member).velero();
        let wanted = format!("{prefix}/{NAME}/{member}");
        let there = |found: &BackupStorageLocation| {
            let at = found.spec.object_storage.prefix.as_deref();
            at == Some(&wanted) && found.is_available()
        };
        let what = format!("a location at {wanted}");
        await_object(&locations, "default", &what, PATIENCE, there)
            .await
            .unwrap();
    }
}

async fn move_to(stack: &Stack, tenant: &Tenant, prefix: &str) {
    let storage = json!({ "location": { "prefix": prefix } });
    let spec = json!({ "spec": { "plugin": { "backup": { "storage": storage } } } });
    let fleets: Api<Fleet> = tenant.api();
    let params = PatchParams::default();
    let patched = fleets.patch(FLEET, &params, &Patch::Merge(spec)).await;
    patched.unwrap();
    stores_at(stack, prefix).await;
}

async fn edit(tenant: &Tenant, backup: &str, spec: Value) {
    let patch = Patch::Merge(json!({ "spec": spec }));
    let backups = tenant.backups();
    let patched = backups.patch(backup, &PatchParams::default(), &patch).await;
    patched.unwrap();
}

fn prefix(place: Option<&StoragePlace>) -> &str {
    place.map_or("", |place| place.prefix.as_str())
}

fn former_places(backup: &Backup) -> Vec<&str> {
    let former = backup.status.iter().flat_map(|of| &of.former_clusters);
    former.map(|of| prefix(of.storage.as_ref())).collect()
}

/// What is restored, where, and what is to come of it.
struct Case<'a> {
    name: &'static str,
    spec: RestoreSpec,
    not_after: Option<Timestamp>,
    target: &'static str,
    chosen: (&'a Chosen, &'static str),
}

#[tokio::test]
async fn what_was_stored_before_the_storage_moved_is_restored_and_deleted_where_it_lies() {
    let stack = Stack::builder("moved")
        .velero_member(OSLO)
        .velero_member(BERGEN)
        .backup_timings(TIMINGS);
    let stack = stack.start().await.unwrap();
    let tenant = fleet(&stack).await;
    let client = view(&stack, OSLO).client;
    let manifest = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {0}}}\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings, namespace: {0}}}\n\
         data: {{greeting: hello}}\n",
        APP.0
    );
    apply_yaml(&client, &manifest).await.unwrap();
    let mut once = APP.backup();
    once.destination.clusters = vec![cluster_ref(OSLO)];
    let mut nightly = once.clone();
    "0 0 1 1 *".clone_into(&mut nightly.schedule);
    tenant.back_up("nightly", nightly).await.unwrap();
    let first = run(&tenant, ("nightly", OSLO), "first").await;
    tenant.back_up("once", once).await.unwrap();
    let once = tenant.wait_phase("once", Phase::Completed).await.unwrap();
    let begun = entry(&once, OSLO).unwrap().backup_status_in_cluster.clone();
    let begun = begun.unwrap().start_timestamp.unwrap().0;
    let once: Chosen = (name_in(&once, OSLO), begun);
    greet(&client, &APP, "changed").await;

    move_to(&stack, &tenant, "second").await;
    let noted = |backup: &Backup| {
        let now = entry(backup, OSLO).and_then(|entry| entry.storage.as_ref());
        prefix(now) == place("second") && former_places(backup) == [place("first")]
    };
    let what = "the place of before";
    let shown = tenant.wait_backup("nightly", what, noted).await.unwrap();
    let former = &shown.status.unwrap().former_clusters[0];
    assert!(former.released && former.expiration_time.is_some());
    let second = run(&tenant, ("nightly", OSLO), "second").await;

    let earlier = Some(first.1);
    let case = |name, spec, not_after, target, chosen| Case {
        name,
        spec,
        not_after,
        target,
        chosen,
    };
    let (hello, changed) = ((&first, "hello"), (&second, "changed"));
    let own = |backup| into(backup, &[OSLO]);
    let other = |backup| from(OSLO, backup, &[BERGEN]);
    let cases = [
        case("own-newest", own("nightly"), None, OSLO, changed),
        case("own-earlier", own("nightly"), earlier, OSLO, hello),
        case("own-once", own("once"), None, OSLO, (&once, "hello")),
        case("other-newest", other("nightly"), None, BERGEN, changed),
        case("other-earlier", other("nightly"), earlier, BERGEN, hello),
        case("other-once", other("once"), None, BERGEN, (&once, "hello")),
    ];
    for case in &cases {
        let spec = as_copy_of(&APP, case.spec.clone(), case.name, case.not_after);
        tenant.restore(case.name, spec).await.unwrap();
    }
    let locations: Api<BackupStorageLocation> = view(&stack, OSLO).velero();
    let endpoint = stack.bed().s3().unwrap().endpoint();
    let borrowed = location_name(&endpoint, NAME, &place("first"));
    let there = |_: &BackupStorageLocation| true;
    await_object(&locations, &borrowed, "there", PATIENCE, there)
        .await
        .unwrap();
    for member in [OSLO, BERGEN, OSLO] {
        make_velero_look(&stack, member).await;
    }
    for case in &cases {
        let restore = in_phase(&tenant, case.name, Phase::Completed).await;
        let target = view(&stack, case.target).client;
        let target = (case.target, &target);
        assert_chosen_of(OSLO, &restore, target, case.name, case.chosen).await;
    }

    // Nothing of it stays in the cluster, and nothing is forgotten.
    await_gone(&locations, &borrowed, PATIENCE).await.unwrap();
    let runs: Api<velero::Backup> = view(&stack, OSLO).velero();
    await_gone(&runs, &first.0, PATIENCE).await.unwrap();
    let shown = tenant.backups().get("nightly").await.unwrap();
    assert_eq!(former_places(&shown), [place("first")]);
    delete_with_data(&stack, &tenant, (&first.0, &second.0)).await;
}

/// Deletes the Backup with all runs: that of the place before goes once a location shows it.
async fn delete_with_data(stack: &Stack, tenant: &Tenant, (first, second): (&str, &str)) {
    let s3 = stack.bed().s3().unwrap();
    let stored = |prefix: &str, run: &str| {
        let folder = format!("{}/backups/{run}/", place(prefix));
        s3.objects(NAME, &folder).unwrap().len()
    };
    edit(tenant, "nightly", json!({ "deletionPolicy": "Delete" })).await;
    tenant.delete_backup("nightly").await.unwrap();
    let waits = |backup: &Backup| {
        let entry = entry(backup, OSLO);
        let said = entry.and_then(|entry| entry.message.as_deref());
        said.is_some_and(|said| said.contains(&place("first")))
    };
    tenant
        .wait_backup("nightly", "a wait for the place of before", waits)
        .await
        .unwrap();
    assert!(stored("first", first) > 0);
    // A Velero that is restarted in the middle of a deletion leaves it undone for minutes.
    wait_ok("an end of the second run", PATIENCE, async || {
        let left = stored("second", second);
        ensure!(left == 0, "there are {left} objects");
        Ok(())
    })
    .await
    .unwrap();
    let backups: Api<velero::Backup> = view(stack, OSLO).velero();
    await_gone(&backups, second, PATIENCE).await.unwrap();

    let locations: Api<BackupStorageLocation> = view(stack, OSLO).velero();
    let mut spec = locations.get("default").await.unwrap().spec;
    spec.default = None;
    spec.object_storage.prefix = Some(place("first"));
    let archive = BackupStorageLocation::new("archive", spec);
    let made = locations.create(&PostParams::default(), &archive).await;
    made.unwrap();
    let available = BackupStorageLocation::is_available;
    await_object(&locations, "archive", "Available", PATIENCE, available)
        .await
        .unwrap();
    for _ in 0..2 {
        make_velero_look(stack, OSLO).await;
    }
    tenant.wait_backup_gone("nightly").await.unwrap();
    assert_eq!((stored("first", first), stored("second", second)), (0, 0));
}
