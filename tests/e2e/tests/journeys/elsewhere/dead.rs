//! A member that is gone for good.

use api_types::backup::Backup;
use api_types::cluster::AttachedCluster;
use api_types::external::velero;
use api_types::labels;
use api_types::phase::Phase;
use e2e::{PATIENCE, await_gone};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::{assert_restored_from, backed_up, from, location_of, only, wait_clean, waits_for_sync};
use crate::points::{as_copy_of, assert_chosen_of, greet, run};
use crate::restore::{App, in_phase, policy};
use crate::world::{TWO, left_behind, spare, tenant_of, view};

#[tokio::test]
async fn a_cluster_that_is_destroyed_comes_up_in_another_one_and_starts_nothing_there() {
    const APP: App = App("elsewhere-dead");
    let spare = spare().await;
    let dead = spare.name;
    let tenant = tenant_of("elsewhere-dead", &[dead, TWO]).await;
    APP.deploy(&[dead]).await;
    let schedules: Api<velero::Schedule> = spare.view.velero();
    let mut schedule = velero::Schedule::new("of-the-dead", velero::ScheduleSpec::default());
    "0 3 1 1 *".clone_into(&mut schedule.spec.schedule);
    schedules
        .create(&PostParams::default(), &schedule)
        .await
        .unwrap();
    let mut whole = APP.backup();
    whole.policy = None;
    let backup = backed_up(&tenant, "whole", only(dead, whole)).await;
    let before = APP.objects_within(dead, APP.0).await;
    let gone = DeleteParams::default();
    schedules.delete("of-the-dead", &gone).await.unwrap();
    let mut nightly = only(dead, APP.backup());
    "0 0 1 1 *".clone_into(&mut nightly.schedule);
    tenant.back_up("nightly", nightly).await.unwrap();
    let first = run(&tenant, ("nightly", dead), "first").await;
    greet(&spare.view.client, &APP, "the last word").await;
    let last = run(&tenant, ("nightly", dead), "last").await;

    // Its processes, its place in the fleet and its object on the hub.
    spare.velero().kill().await.unwrap();
    spare.member().control_plane().stop().await.unwrap();
    tenant.change_fleet(&[TWO]).await.unwrap();
    let attached: Api<AttachedCluster> = tenant.api();
    // It holds a Schedule that nobody can take from it.
    let forced = json!({ "metadata": { "annotations": { labels::FORCE_DELETE: "true" } } });
    let (params, forced) = (PatchParams::default(), Patch::Merge(forced));
    attached.patch(dead, &params, &forced).await.unwrap();
    attached.delete(dead, &gone).await.unwrap();
    await_gone(&attached, dead, PATIENCE).await.unwrap();

    let mut spec = from(dead, "whole", &[TWO]);
    spec.policy = Some(policy(json!({
        "resourceFilter": { "includedNamespaces": [APP.0, "velero"] },
    })));
    tenant.restore("again", spec).await.unwrap();
    let of_nightly =
        |copy: &str, not_after| as_copy_of(&APP, from(dead, "nightly", &[TWO]), copy, not_after);
    let newest = of_nightly("elsewhere-dead-newest", None);
    tenant.restore("newest", newest).await.unwrap();
    let earlier = of_nightly("elsewhere-dead-earlier", Some(first.1));
    tenant.restore("earlier", earlier).await.unwrap();
    waits_for_sync(&tenant, "again", TWO).await;
    let restore = in_phase(&tenant, "again", Phase::Completed).await;
    assert_restored_from(&restore, TWO, dead, &backup).await;
    assert_eq!(APP.objects_within(TWO, APP.0).await, before);

    let two = view(TWO).await;
    let newest = in_phase(&tenant, "newest", Phase::Completed).await;
    let (target, chosen) = ((TWO, &two.client), (&last, "the last word"));
    assert_chosen_of(dead, &newest, target, "elsewhere-dead-newest", chosen).await;
    let earlier = in_phase(&tenant, "earlier", Phase::Completed).await;
    let chosen = (&first, "hello");
    assert_chosen_of(dead, &earlier, target, "elsewhere-dead-earlier", chosen).await;

    let schedules: Api<velero::Schedule> = two.velero();
    assert!(schedules.get_opt("of-the-dead").await.unwrap().is_none());
    wait_clean(&two, &location_of(dead).await).await;
    let of_spare = ListParams::default().labels(&format!("{}={dead}", labels::CLUSTER));
    assert_none(&two.velero::<velero::Backup>(), &of_spare).await;
    assert_none(&two.velero::<velero::Restore>(), &of_spare).await;

    assert!(!spare.member().control_plane().etcd().is_running());
    // Its Schedule cannot be taken from it: that is said, until somebody gives it up.
    tenant.delete_backup("nightly").await.unwrap();
    let says = |backup: &Backup| {
        let mut entries = backup.status.iter().flat_map(|s| &s.backup_details);
        entries.any(|entry| {
            let message = entry.message.as_deref().unwrap_or_default();
            message.contains(labels::FORCE_DELETE)
        })
    };
    let what = "a deletion that waits for the dead";
    tenant.wait_backup("nightly", what, says).await.unwrap();
    let backups = tenant.backups();
    backups.patch("nightly", &params, &forced).await.unwrap();
    tenant.wait_backup_gone("nightly").await.unwrap();
    left_behind(&tenant, "nightly").await;
}

async fn assert_none<K>(api: &Api<K>, select: &ListParams)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let found = api.list(select).await.unwrap().items;
    let found: Vec<String> = found.iter().map(ResourceExt::name_any).collect();
    assert!(found.is_empty(), "there are {found:?}");
}
