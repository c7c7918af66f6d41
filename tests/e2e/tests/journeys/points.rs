//! A chosen point in time of a scheduled Backup: in its own cluster, in another one, and once its
//! cluster does not answer any more.

use api_types::backup::Backup;
use api_types::common::UserTime;
use api_types::external::velero::{self, BackupStorageLocation};
use api_types::labels;
use api_types::phase::{EntryPhase, Phase};
use api_types::restore::{Restore, RestoreSpec};
use e2e::specs::cluster_ref;
use e2e::{PATIENCE, Tenant, await_gone};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use testbed::wait_for;

use crate::elsewhere::{from, location_of, waits_for_sync};
use crate::locations::{make_location, wait_location};
use crate::restore::{App, entry, in_phase, into, policy, with_reason};
use crate::world::{ONE, TWO, name_in, spare, stack, tenant_of, view};

const APP: App = App("points");

/// Name and start of a run.
pub(crate) type Chosen = (String, Timestamp);

/// Makes a run of a Backup now, and waits for its end in a cluster.
pub(crate) async fn run(tenant: &Tenant, (name, cluster): (&str, &str), value: &str) -> Chosen {
    let annotation = json!({ "metadata": { "annotations": { labels::RUN_NOW: value } } });
    tenant
        .backups()
        .patch(name, &PatchParams::default(), &Patch::Merge(annotation))
        .await
        .unwrap();
    let done = |backup: &Backup| {
        let status = backup.status.as_ref();
        status.is_some_and(|status| status.last_run_now.as_deref() == Some(value))
            && e2e::entry(backup, cluster).is_some_and(|entry| {
                let time = status.and_then(|status| status.last_run_now_time.as_ref());
                let suffix = time.map(|time| time.0.strftime("-%Y%m%d%H%M%S").to_string());
                let name = entry.backup_name_in_cluster.as_deref().unwrap_or_default();
                entry.phase == EntryPhase::Completed
                    && suffix.is_some_and(|suffix| name.ends_with(&suffix))
            })
    };
    let backup = tenant.wait_backup(name, "a run", done).await.unwrap();
    let velero = e2e::entry(&backup, cluster).unwrap();
    let velero = velero.backup_status_in_cluster.clone().unwrap();
    let started = velero.start_timestamp.unwrap().0;
    // Velero's times have no fractions: what starts within this second started at the same time.
    wait_for("the next second", PATIENCE, async || {
        (Timestamp::now().as_second() > started.as_second()).then_some(())
    })
    .await
    .unwrap();
    (name_in(&backup, cluster), started)
}

/// Changes what the settings of an application say.
pub(crate) async fn greet(client: &Client, app: &App, word: &str) {
    let settings: Api<ConfigMap> = Api::namespaced(client.clone(), app.0);
    let data = json!({ "data": { "greeting": word } });
    settings
        .patch("settings", &PatchParams::default(), &Patch::Merge(data))
        .await
        .unwrap();
}

/// What is restored: the settings, into a namespace of the Restore's own.
pub(crate) fn as_copy_of(
    app: &App,
    mut spec: RestoreSpec,
    copy: &str,
    not_after: Option<Timestamp>,
) -> RestoreSpec {
    spec.point_in_time = not_after.map(|time| UserTime(time.to_string()));
    spec.policy = Some(policy(json!({
        "namespaceMapping": { app.0: copy },
        "resourceFilter": {
            "includedNamespaces": [app.0],
            "includedNamespaceScopedResources": ["configmaps"],
        },
    })));
    spec
}

fn as_copy(spec: RestoreSpec, copy: &str, not_after: Option<Timestamp>) -> RestoreSpec {
    as_copy_of(&APP, spec, copy, not_after)
}

/// Checks that a Restore named the run of this cluster that it chose, and brought back what was in it.
pub(crate) async fn assert_chosen_of(
    source: &str,
    restore: &Restore,
    (member, client): (&str, &Client),
    copy: &str,
    (run, word): (&Chosen, &str),
) {
    let found = entry(restore, member).unwrap();
    assert_eq!(found.backup_name_in_cluster.as_ref(), Some(&run.0));
    assert_eq!(found.backup_time.as_ref().map(|time| time.0), Some(run.1));
    assert_eq!(found.source_cluster_name.as_deref(), Some(source));
    let settings: Api<ConfigMap> = Api::namespaced(client.clone(), copy);
    let data = settings.get("settings").await.unwrap().data.unwrap();
    assert_eq!(data["greeting"], word, "in {copy}");
}

async fn assert_chosen(
    restore: &Restore,
    target: (&str, &Client),
    copy: &str,
    chosen: (&Chosen, &str),
) {
    assert_chosen_of(ONE, restore, target, copy, chosen).await;
}

#[tokio::test]
async fn a_chosen_point_in_time_is_restored_be_its_cluster_there_or_not() {
    let stack = stack().await;
    let spare = spare().await;
    let (one, relay) = stack.attach_with_relay(ONE).unwrap();
    let clusters = [one, stack.attach(spare.name).unwrap()];
    let tenant = stack.tenant("points", &clusters).await.unwrap();
    APP.deploy(&[ONE]).await;
    let client = stack.member(ONE).unwrap().client().unwrap();
    let mut spec = APP.backup();
    "0 0 1 1 *".clone_into(&mut spec.schedule);
    spec.destination.clusters = vec![cluster_ref(ONE)];
    tenant.back_up("points", spec).await.unwrap();

    // Before there is a run; it goes on with the first one.
    let early = as_copy(into("points", &[ONE]), "points-early", None);
    tenant.restore("early", early).await.unwrap();
    with_reason(&tenant, "early", ONE, "NoCompletedBackup").await;
    let first = run(&tenant, ("points", ONE), "first").await;
    let early = in_phase(&tenant, "early", Phase::Completed).await;
    assert_chosen(&early, (ONE, &client), "points-early", (&first, "hello")).await;
    greet(&client, &APP, "changed").await;
    let second = run(&tenant, ("points", ONE), "second").await;

    // Its own cluster, and another one: the newest, and the one before.
    let other = &spare.view.client;
    let own = as_copy(into("points", &[ONE]), "points-own", Some(first.1));
    tenant.restore("own", own).await.unwrap();
    let newest = as_copy(from(ONE, "points", &[spare.name]), "points-newest", None);
    tenant.restore("newest", newest).await.unwrap();
    let earlier = from(ONE, "points", &[spare.name]);
    let earlier = as_copy(earlier, "points-earlier", Some(first.1));
    tenant.restore("earlier", earlier).await.unwrap();
    let own = in_phase(&tenant, "own", Phase::Completed).await;
    assert_chosen(&own, (ONE, &client), "points-own", (&first, "hello")).await;
    let newest = in_phase(&tenant, "newest", Phase::Completed).await;
    assert_chosen(
        &newest,
        (spare.name, other),
        "points-newest",
        (&second, "changed"),
    )
    .await;
    let earlier = in_phase(&tenant, "earlier", Phase::Completed).await;
    assert_chosen(
        &earlier,
        (spare.name, other),
        "points-earlier",
        (&first, "hello"),
    )
    .await;
    let before = as_copy(from(ONE, "points", &[spare.name]), "points-never", {
        Some(first.1 - jiff::Span::new().seconds(1))
    });
    tenant.restore("before", before).await.unwrap();
    with_reason(&tenant, "before", spare.name, "NoCompletedBackup").await;
    tenant.delete_restore("before").await.unwrap();
    tenant.wait_restore_gone("before").await.unwrap();

    // Its cluster does not answer: the target's own sync tells which runs there are.
    let locations: Api<BackupStorageLocation> = spare.view.velero();
    let location = location_of(ONE).await;
    await_gone(&locations, &location, PATIENCE).await.unwrap();
    relay.cut();
    tenant.wait_cluster(ONE, false).await.unwrap();
    let dead = as_copy(
        from(ONE, "points", &[spare.name]),
        "points-dead",
        Some(first.1),
    );
    tenant.restore("dead", dead).await.unwrap();
    waits_for_sync(&tenant, "dead", spare.name).await;
    spare.velero().look(&spare.view.client).await.unwrap();
    let dead = in_phase(&tenant, "dead", Phase::Completed).await;
    assert_chosen(&dead, (spare.name, other), "points-dead", (&first, "hello")).await;
}

#[tokio::test]
async fn a_run_of_before_the_location_was_changed_is_restored_from_where_it_lies() {
    const APP: App = App("moved");
    let tenant = tenant_of("moved", &[ONE, TWO]).await;
    APP.deploy(&[ONE]).await;
    make_location(ONE, "moved", |spec| {
        spec.object_storage.prefix = Some("moved".to_owned());
    })
    .await;
    wait_location(ONE, "moved", "Available").await;
    let mut spec = APP.backup();
    "0 0 1 1 *".clone_into(&mut spec.schedule);
    spec.destination.clusters = vec![cluster_ref(ONE)];
    tenant.back_up("moved", spec).await.unwrap();
    let first = run(&tenant, ("moved", ONE), "first").await;

    let one = view(ONE).await;
    greet(&one.client, &APP, "changed").await;
    let elsewhere = json!({ "spec": { "policy": { "storageLocation": "moved" } } });
    tenant
        .backups()
        .patch("moved", &PatchParams::default(), &Patch::Merge(elsewhere))
        .await
        .unwrap();
    let second = run(&tenant, ("moved", ONE), "second").await;
    let runs: Api<velero::Backup> = one.velero();
    for ((name, _), location) in [(&first, "default"), (&second, "moved")] {
        let run = runs.get(name).await.unwrap();
        assert_eq!(run.spec.storage_location.as_deref(), Some(location));
    }

    let two = view(TWO).await;
    for (name, not_after, chosen) in [
        ("moved-earlier", Some(first.1), (&first, "hello")),
        ("moved-newest", None, (&second, "changed")),
    ] {
        let spec = as_copy_of(&APP, from(ONE, "moved", &[TWO]), name, not_after);
        tenant.restore(name, spec).await.unwrap();
        let restore = in_phase(&tenant, name, Phase::Completed).await;
        assert_chosen_of(ONE, &restore, (TWO, &two.client), name, chosen).await;
    }
}
