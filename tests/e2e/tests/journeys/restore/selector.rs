//! Clusters that are chosen by their labels.

use api_types::backup::Backup;
use api_types::cluster::AttachedCluster;
use api_types::common::Destination;
use api_types::phase::Phase;
use api_types::restore::RestoreSpec;
use e2e::specs::labels;
use e2e::{FLEET, Tenant};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::{assert_restored, in_phase, objects_of, of};
use crate::schedule::{
    YEARLY, answered, is_scheduled, no_schedule, run_names, run_now, schedule_where, scheduled,
    schedules,
};
use crate::world::{ONE, TWO, tenant};

async fn label(tenant: &Tenant, cluster: &str, region: Value) {
    let label = json!({ "metadata": { "labels": { "region": region } } });
    let clusters = tenant.api::<AttachedCluster>();
    clusters
        .patch(cluster, &PatchParams::default(), &Patch::Merge(label))
        .await
        .unwrap();
}

fn of_region(backup: &str) -> RestoreSpec {
    RestoreSpec {
        destination: Some(Destination {
            fleet: FLEET.to_owned(),
            clusters: Vec::new(),
            cluster_selector: Some(labels(&[("region", "eu")])),
        }),
        ..of(backup)
    }
}

#[tokio::test]
async fn a_schedule_follows_a_label_and_a_restore_takes_who_has_it_when_it_begins() {
    let tenant = tenant("by-label-scheduled").await;
    label(&tenant, TWO, json!("eu")).await;
    let mut spec = scheduled(YEARLY);
    spec.destination.cluster_selector = Some(labels(&[("region", "eu")]));
    tenant.back_up("nightly", spec).await.unwrap();
    let backup = is_scheduled(&tenant, "nightly").await;
    schedule_where(&backup, TWO, "there", |_| true).await;
    assert!(schedules(&backup, ONE).await.is_empty());

    label(&tenant, ONE, json!("eu")).await;
    schedule_where(&backup, ONE, "there", |_| true).await;
    run_now(&tenant, "nightly", "both").await;
    answered(&tenant, "nightly", "both", &[ONE, TWO]).await;
    tenant.restore("both", of_region("nightly")).await.unwrap();
    let both = in_phase(&tenant, "both", Phase::Completed).await;
    assert_restored(&both, &[ONE, TWO]).await;

    label(&tenant, ONE, Value::Null).await;
    no_schedule(&backup, ONE).await;
    let left = |backup: &Backup| {
        let status = backup.status.as_ref();
        status.is_some_and(|status| {
            let former = status.former_clusters.iter();
            let former: Vec<&str> = former.map(|f| f.cluster_name.as_str()).collect();
            former == [ONE] && status.backup_details.len() == 1
        })
    };
    let what = "a former cluster";
    tenant.wait_backup("nightly", what, left).await.unwrap();
    assert_eq!(run_names(&backup, ONE).await.len(), 1, "its run stays");
    tenant.restore("one", of_region("nightly")).await.unwrap();
    let one = in_phase(&tenant, "one", Phase::Completed).await;
    assert_restored(&one, &[TWO]).await;
    assert!(objects_of(&one, ONE).await.is_empty());
    tenant.delete_backup("nightly").await.unwrap();
    tenant.wait_backup_gone("nightly").await.unwrap();
}
