//! What members have, and keep, of a schedule.

use api_types::backup::Backup;
use api_types::common::DeletionPolicy;
use api_types::external::velero;
use api_types::labels;
use api_types::phase::{EntryPhase, Phase};
use e2e::{PATIENCE, await_gone, condition_reason, entry, examples, is_phase, reason};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use testbed::apply_yaml;

use super::{
    YEARLY, answered, is_scheduled, no_schedule, patch, run_names, run_now, schedule_where,
    scheduled, schedules,
};
use crate::world::{ONE, TWO, stack, stored, tenant, tenant_of, view, wait_nothing_left};

#[tokio::test]
async fn what_somebody_changes_in_a_member_is_put_right() {
    let tenant = tenant_of("schedule-drift", &[ONE]).await;
    tenant.back_up("drift", scheduled(YEARLY)).await.unwrap();
    let backup = is_scheduled(&tenant, "drift").await;
    let wanted = schedule_where(&backup, ONE, "there", |_| true).await;
    let api = view(ONE).await.velero::<velero::Schedule>();
    let name = wanted.name_any();
    let edits = [
        json!({ "spec": { "template": { "ttl": "1h" } } }),
        json!({ "spec": { "template": { "excludedNamespaces": ["default"] } } }),
        json!({ "spec": { "schedule": "0 * * * *" } }),
        json!({ "spec": { "paused": true } }),
        json!({ "metadata": { "annotations": { labels::HUB_OBJECT: null } } }),
        json!({ "metadata": { "labels": { labels::OWNER_UID: null } } }),
    ];
    for edit in edits {
        let params = PatchParams::default();
        let edited = api
            .patch(&name, &params, &Patch::Merge(&edit))
            .await
            .unwrap();
        let version = edited.resource_version();
        let right = |live: &velero::Schedule| {
            live.spec == wanted.spec
                && live.resource_version() != version
                && live.labels() == wanted.labels()
                && live.annotations() == wanted.annotations()
        };
        let repaired = schedule_where(&backup, ONE, "as before", right).await;
        assert_eq!(repaired.name_any(), name, "{edit}");
    }
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    schedule_where(&backup, ONE, "there again", |live| {
        live.uid() != wanted.uid()
    })
    .await;
    is_scheduled(&tenant, "drift").await;
    tenant.delete_backup("drift").await.unwrap();
    tenant.wait_backup_gone("drift").await.unwrap();
}

#[tokio::test]
async fn every_option_of_the_policy_reaches_the_member_as_it_is_written() {
    let tenant = tenant_of("schedule-options", &[ONE]).await;
    let config_map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "skip-caches", "namespace": tenant.namespace() },
        "data": { "policies.yaml": "version: v1\nvolumePolicies: []\n" },
    });
    apply_yaml(tenant.hub(), &config_map.to_string())
        .await
        .unwrap();
    let example = examples::read("api/backup-nightly.yaml").unwrap();
    let example: Backup = serde_saphyr::from_str(&example).unwrap();
    let policy = serde_json::to_value(&example.spec.policy).unwrap();
    let mut spec = scheduled(YEARLY);
    spec.policy = example.spec.policy;
    tenant.back_up("options", spec).await.unwrap();
    let backup = is_scheduled(&tenant, "options").await;
    let live = schedule_where(&backup, ONE, "there", |_| true).await;
    let template = serde_json::to_value(&live.spec.template).unwrap();
    for (field, value) in policy.as_object().unwrap() {
        match field.as_str() {
            "resourceFilter" => {
                for (field, value) in value.as_object().unwrap() {
                    assert_eq!(&template[field], value, "{field}");
                }
            }
            "resourcePolicy" => {
                let carried = template[field]["name"].as_str().unwrap();
                assert!(carried.starts_with("skip-caches-"), "{carried}");
                let copies: Api<ConfigMap> = view(ONE).await.velero();
                copies.get(carried).await.unwrap();
            }
            _ => assert_eq!(&template[field], value, "{field}"),
        }
    }
    tenant.delete_backup("options").await.unwrap();
    tenant.wait_backup_gone("options").await.unwrap();
    let copies: Api<ConfigMap> = view(ONE).await.velero();
    let carried = template["resourcePolicy"]["name"].as_str().unwrap();
    await_gone(&copies, carried, PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_pause_reaches_the_members_and_its_end_starts_no_run() {
    let tenant = tenant_of("schedule-pause", &[ONE]).await;
    tenant.back_up("paused", scheduled(YEARLY)).await.unwrap();
    let backup = is_scheduled(&tenant, "paused").await;
    let before = schedule_where(&backup, ONE, "running", |live| !live.spec.paused).await;
    patch(&tenant, "paused", json!({ "spec": { "paused": true } })).await;
    let paused = |backup: &Backup| {
        is_phase(backup, Phase::Paused) && condition_reason(backup, "Ready") == "Paused"
    };
    let shown = tenant
        .wait_backup("paused", "Ready because Paused", paused)
        .await
        .unwrap();
    assert_eq!(shown.status.as_ref().unwrap().next_run_time, None);
    schedule_where(&backup, ONE, "paused", |live| live.spec.paused).await;
    // A run can be asked for all the same.
    run_now(&tenant, "paused", "while paused").await;
    answered(&tenant, "paused", "while paused", &[ONE]).await;

    patch(&tenant, "paused", json!({ "spec": { "paused": false } })).await;
    is_scheduled(&tenant, "paused").await;
    let after = schedule_where(&backup, ONE, "running", |live| !live.spec.paused).await;
    assert_ne!(before.uid(), after.uid(), "made anew");
    assert_eq!(run_names(&backup, ONE).await.len(), 1);
    tenant.delete_backup("paused").await.unwrap();
    tenant.wait_backup_gone("paused").await.unwrap();
}

#[tokio::test]
async fn a_cluster_that_leaves_loses_its_schedule_and_all_goes_where_it_was() {
    let tenant = tenant("schedule-leave").await;
    let mut spec = scheduled(YEARLY);
    spec.deletion_policy = DeletionPolicy::Delete;
    tenant.back_up("moves", spec).await.unwrap();
    is_scheduled(&tenant, "moves").await;
    run_now(&tenant, "moves", "one").await;
    let backup = answered(&tenant, "moves", "one", &[ONE, TWO]).await;
    let run = run_names(&backup, TWO).await;

    tenant.change_fleet(&[ONE]).await.unwrap();
    no_schedule(&backup, TWO).await;
    let left = |backup: &Backup| {
        let status = backup.status.as_ref();
        status.is_some_and(|status| {
            let former: Vec<&str> = status
                .former_clusters
                .iter()
                .map(|cluster| cluster.cluster_name.as_str())
                .collect();
            former == [TWO] && status.backup_details.len() == 1
        })
    };
    tenant
        .wait_backup("moves", "a former cluster", left)
        .await
        .unwrap();
    assert_eq!(run_names(&backup, TWO).await, run, "what was stored stays");

    tenant.change_fleet(&[ONE, TWO]).await.unwrap();
    let back = |backup: &Backup| {
        let status = backup.status.as_ref().unwrap();
        status.former_clusters.is_empty()
            && entry(backup, TWO).is_some_and(|entry| entry.phase == EntryPhase::Completed)
            && condition_reason(backup, "Ready") == "Scheduled"
    };
    tenant
        .wait_backup("moves", "its run in the entry again", back)
        .await
        .unwrap();
    schedule_where(&backup, TWO, "there again", |_| true).await;

    tenant.change_fleet(&[ONE]).await.unwrap();
    no_schedule(&backup, TWO).await;
    tenant
        .wait_backup("moves", "a former cluster", left)
        .await
        .unwrap();
    tenant.delete_backup("moves").await.unwrap();
    tenant.wait_backup_gone("moves").await.unwrap();
    for member in [ONE, TWO] {
        assert!(schedules(&backup, member).await.is_empty());
        wait_nothing_left(&view(member).await, &backup.uid().unwrap())
            .await
            .unwrap();
    }
    assert_eq!(stored(TWO, &run[0]).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_carried_policy_stays_where_another_hub_s_schedule_reads_it() {
    let tenant = tenant("schedule-shares").await;
    let text = format!(
        "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: skip-shared, namespace: {}}}, \
         data: {{policies.yaml: 'version: v1'}}}}",
        tenant.namespace()
    );
    apply_yaml(tenant.hub(), &text).await.unwrap();
    let mut spec = serde_json::to_value(scheduled(YEARLY)).unwrap();
    spec["policy"]["resourcePolicy"] = json!({ "kind": "configmap", "name": "skip-shared" });
    let spec = serde_json::from_value(spec).unwrap();
    tenant.back_up("shares", spec).await.unwrap();
    let backup = is_scheduled(&tenant, "shares").await;
    let ours = schedule_where(&backup, ONE, "there", |_| true).await;
    let copy = ours.spec.template.resource_policy.clone().unwrap().name;
    let other = velero::Schedule::new("of-another-hub", ours.spec);
    let others = view(ONE).await.velero::<velero::Schedule>();
    let created = others.create(&PostParams::default(), &other).await;
    created.unwrap();

    tenant.delete_backup("shares").await.unwrap();
    tenant.wait_backup_gone("shares").await.unwrap();
    let copies = view(ONE).await.velero::<ConfigMap>();
    assert!(copies.get_opt(&copy).await.unwrap().is_some());
    let elsewhere = view(TWO).await.velero::<ConfigMap>();
    assert!(elsewhere.get_opt(&copy).await.unwrap().is_none());

    let now = DeleteParams::default();
    others.delete("of-another-hub", &now).await.unwrap();
    copies.delete(&copy, &now).await.unwrap();
}

#[tokio::test]
async fn an_unreachable_member_delays_nobody_and_is_stopped_when_it_is_back() {
    let stack = stack().await;
    let (two, relay) = stack.attach_with_relay(TWO).unwrap();
    let clusters = [stack.attach(ONE).unwrap(), two];
    let tenant = stack.tenant("schedule-cut", &clusters).await.unwrap();
    tenant.back_up("cut", scheduled(YEARLY)).await.unwrap();
    let backup = is_scheduled(&tenant, "cut").await;

    relay.cut();
    let unreachable = |backup: &Backup| {
        reason(backup, TWO) == "Unreachable"
            && condition_reason(backup, "Ready") == "ClustersUnreachable"
    };
    let shown = tenant
        .wait_backup("cut", "Unreachable in one entry", unreachable)
        .await
        .unwrap();
    assert!(is_phase(&shown, Phase::Scheduled));
    run_now(&tenant, "cut", "in the other").await;
    answered(&tenant, "cut", "in the other", &[ONE]).await;
    relay.heal();
    answered(&tenant, "cut", "in the other", &[ONE, TWO]).await;
    is_scheduled(&tenant, "cut").await;

    relay.cut();
    tenant.delete_backup("cut").await.unwrap();
    let waits = |backup: &Backup| {
        is_phase(backup, Phase::Deleting)
            && ["DeletionPending", "Unreachable"].contains(&reason(backup, TWO))
    };
    tenant
        .wait_backup("cut", "a deletion that waits", waits)
        .await
        .unwrap();
    no_schedule(&backup, ONE).await;
    assert_eq!(schedules(&backup, TWO).await.len(), 1);
    relay.heal();
    tenant.wait_backup_gone("cut").await.unwrap();
    assert!(schedules(&backup, TWO).await.is_empty());
    for member in [ONE, TWO] {
        assert_eq!(
            run_names(&backup, member).await.len(),
            1,
            "retained in {member}"
        );
    }
}

#[tokio::test]
async fn a_wrong_schedule_touches_no_member_and_can_be_mended() {
    let tenant = tenant_of("schedule-wrong", &[ONE]).await;
    tenant
        .back_up("wrong", scheduled("61 * * * *"))
        .await
        .unwrap();
    let refused = |backup: &Backup| condition_reason(backup, "Ready") == "ScheduleRejected";
    let backup = tenant
        .wait_backup("wrong", "ScheduleRejected", refused)
        .await
        .unwrap();
    assert!(is_phase(&backup, Phase::FailedValidation));
    assert_eq!(reason(&backup, ONE), "ScheduleRejected");
    let ready = &backup.status.as_ref().unwrap().conditions;
    let text = serde_json::to_string(ready).unwrap();
    assert!(text.contains("not between 0 and 59"), "{text}");
    assert!(schedules(&backup, ONE).await.is_empty());

    patch(&tenant, "wrong", json!({ "spec": { "schedule": YEARLY } })).await;
    is_scheduled(&tenant, "wrong").await;
    schedule_where(&backup, ONE, "there", |_| true).await;
    tenant.delete_backup("wrong").await.unwrap();
    tenant.wait_backup_gone("wrong").await.unwrap();
}
