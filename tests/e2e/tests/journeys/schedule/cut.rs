//! A member that is cut off while its Schedule is to be made, changed and removed.

use api_types::backup::Backup;
use api_types::external::velero;
use api_types::phase::Phase;
use e2e::{is_phase, reason};
use serde_json::json;

use super::{YEARLY, is_scheduled, no_schedule, patch, schedule_where, scheduled, schedules};
use crate::world::{ONE, TWO, stack};

#[tokio::test]
async fn a_member_that_is_cut_off_gets_changes_and_loses_its_schedule_once_it_is_back() {
    let stack = stack().await;
    let (two, relay) = stack.attach_with_relay(TWO).unwrap();
    let clusters = [stack.attach(ONE).unwrap(), two];
    let tenant = stack.tenant("schedule-cuts", &clusters).await.unwrap();
    let unreachable = |backup: &Backup| {
        reason(backup, TWO) == "Unreachable" && is_phase(backup, Phase::Scheduled)
    };

    // Before its Schedule is made.
    relay.cut();
    tenant.wait_cluster(TWO, false).await.unwrap();
    tenant.back_up("cuts", scheduled(YEARLY)).await.unwrap();
    let what = "Unreachable in one entry";
    let backup = tenant.wait_backup("cuts", what, unreachable).await.unwrap();
    schedule_where(&backup, ONE, "there", |_| true).await;
    assert!(schedules(&backup, TWO).await.is_empty());
    relay.heal();
    is_scheduled(&tenant, "cuts").await;
    let made = schedule_where(&backup, TWO, "there", |_| true).await;

    // During an edit.
    relay.cut();
    tenant.wait_backup("cuts", what, unreachable).await.unwrap();
    let edit = json!({ "spec": { "policy": { "ttl": "36h" } } });
    patch(&tenant, "cuts", edit).await;
    let edited = |live: &velero::Schedule| live.spec.template.ttl.as_deref() == Some("36h");
    schedule_where(&backup, ONE, "edited", edited).await;
    assert!(!edited(&schedules(&backup, TWO).await[0]));
    relay.heal();
    let found = schedule_where(&backup, TWO, "edited", edited).await;
    assert_eq!(found.metadata.uid, made.metadata.uid);
    is_scheduled(&tenant, "cuts").await;

    // While it leaves the fleet.
    relay.cut();
    tenant.wait_cluster(TWO, false).await.unwrap();
    tenant.change_fleet(&[ONE]).await.unwrap();
    let left = |backup: &Backup| {
        let status = backup.status.as_ref();
        status.is_some_and(|status| {
            let former = status.former_clusters.iter();
            let held: Vec<&str> = former
                .filter(|former| !former.released)
                .map(|former| former.cluster_name.as_str())
                .collect();
            held == [TWO] && status.backup_details.len() == 1
        })
    };
    let what = "a former cluster that has its Schedule";
    tenant.wait_backup("cuts", what, left).await.unwrap();
    is_scheduled(&tenant, "cuts").await;
    assert_eq!(schedules(&backup, TWO).await.len(), 1);
    relay.heal();
    no_schedule(&backup, TWO).await;
    // It has stored nothing: there is nothing to remember of it.
    let forgotten = |backup: &Backup| {
        let status = backup.status.as_ref();
        status.is_some_and(|status| status.former_clusters.is_empty())
    };
    let what = "an end of the former cluster";
    tenant.wait_backup("cuts", what, forgotten).await.unwrap();
    tenant.delete_backup("cuts").await.unwrap();
    tenant.wait_backup_gone("cuts").await.unwrap();
}
