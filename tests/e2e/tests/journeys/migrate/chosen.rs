//! Targets that are chosen by their labels, or are in another fleet, and how long the backup in between
//! is kept.

use api_types::cluster::AttachedCluster;
use api_types::external::velero;
use api_types::fleet::{Fleet, FleetSpec};
use api_types::labels::FLEET_NAME;
use api_types::migrate::Migrate;
use api_types::phase::Phase;
use e2e::FLEET;
use e2e::specs::labels;
use jiff::SignedDuration;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::{
    assert_made_once, assert_nothing_restored, begin, from, in_phase, of_source, only, reason_of,
    stored_name, wait,
};
use crate::restore::Held;
use crate::world::{ONE, TWO, stack, tenant_of, view};

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

#[tokio::test]
async fn a_target_may_be_in_another_fleet_of_the_namespace() {
    const NAME: &str = "migrate-fleets";
    const OTHER: &str = "other";
    let tenant = tenant_of(NAME, &[ONE]).await;
    let two = stack().await.attach(TWO).unwrap();
    tenant.attach(&two).await.unwrap();
    Held::deploy(&view(ONE).await.client, NAME).await;
    let mut spec = from(ONE, &[TWO], only(NAME));
    OTHER.clone_into(&mut spec.target_cluster.fleet);
    let fleet = Fleet::new(
        OTHER,
        FleetSpec {
            clusters: spec.target_cluster.clusters.clone(),
            ..FleetSpec::default()
        },
    );
    begin(&tenant, NAME, spec).await;
    let waits = |seen: &Migrate| reason_of(seen, TWO) == "FleetNotFound";
    wait(&tenant, NAME, "FleetNotFound", waits).await;

    let new = PostParams::default();
    tenant.api().create(&new, &fleet).await.unwrap();
    let migrate = in_phase(&tenant, NAME, Phase::Completed).await;
    assert_made_once(&migrate, ONE, &[TWO]).await;
    let two = view(TWO).await;
    Held::at(&two.client, NAME).assert_restored().await;
    // Each object says whose it is.
    let restores = two.restores_of(&migrate.uid().unwrap()).await.unwrap();
    assert_eq!(restores[0].labels()[FLEET_NAME], OTHER);
    let backups: Api<velero::Backup> = view(ONE).await.velero();
    let backup = backups.get(&stored_name(&migrate)).await.unwrap();
    assert_eq!(backup.labels()[FLEET_NAME], FLEET);
}
