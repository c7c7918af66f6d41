//! Targets that are chosen by their labels, and how long the backup in between is kept.

use api_types::cluster::AttachedCluster;
use api_types::external::velero;
use api_types::phase::Phase;
use e2e::specs::labels;
use jiff::SignedDuration;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{
    assert_made_once, assert_nothing_restored, begin, from, in_phase, of_source, only, stored_name,
};
use crate::restore::Held;
use crate::world::{ONE, TWO, tenant_of, view};

#[tokio::test]
async fn targets_are_chosen_by_label_and_the_backup_expires_after_its_ttl() {
    const NAME: &str = "migrate-chosen";
    let tenant = tenant_of(NAME, &[ONE, TWO]).await;
    let one = view(ONE).await;
    Held::deploy(&one.client, NAME).await;
    let label = json!({ "metadata": { "labels": { "region": "eu" } } });
    let clusters = tenant.api::<AttachedCluster>();
    clusters
        .patch(TWO, &PatchParams::default(), &Patch::Merge(label))
        .await
        .unwrap();
    let mut policy = only(NAME);
    policy["ttl"] = json!("24h");
    let mut spec = from(ONE, &[], policy);
    spec.target_cluster.cluster_selector = Some(labels(&[("region", "eu")]));
    begin(&tenant, NAME, spec).await;

    let migrate = in_phase(&tenant, NAME, Phase::Completed).await;
    let targets = &migrate.status.as_ref().unwrap().target_cluster_status;
    let targets: Vec<&str> = targets.iter().map(|of| of.cluster_name.as_str()).collect();
    assert_eq!(targets, [TWO]);
    assert_made_once(&migrate, ONE, &[TWO]).await;
    assert_nothing_restored(&migrate, &[ONE]).await;
    let two = view(TWO).await.client;
    Held::at(&two, NAME).assert_restored().await;

    let backups: Api<velero::Backup> = one.velero();
    let backup = backups.get(&stored_name(&migrate)).await.unwrap();
    let expiration = backup.expiration().unwrap();
    // Velero takes the time for it when it has seen the object, before it begins.
    let ttl = SignedDuration::from_hours(24);
    let made = backup.metadata.creation_timestamp.as_ref().unwrap().0;
    let began = backup.start_timestamp().unwrap();
    assert!(
        made + ttl <= expiration && expiration <= began + ttl,
        "{backup:?}"
    );
    let shown = of_source(&migrate).backup_status_in_cluster.unwrap();
    assert_eq!(shown.expiration.unwrap().0, expiration);
}
