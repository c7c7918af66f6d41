use std::sync::Arc;

use api_types::fleet::FleetStatus;

use super::super::fixtures::{at, known, member, planned, settled};
use super::*;

fn shown(known: &Known) -> Option<PluginStatus> {
    entry(known, &planned(known), &Answers::new(), at(5))
}

#[test]
fn the_whole_is_as_bad_as_its_worst_cluster_and_names_it() {
    let mut known = known(vec![
        settled(member("bergen"), "Available"),
        settled(member("oslo"), "Unavailable"),
    ]);
    let status = shown(&known).unwrap();
    assert_eq!(status.name, "backup");
    assert_eq!(status.observed_generation, Some(3));
    assert_eq!(status.phase, PluginPhase::Failed);
    assert_eq!(status.reason.as_deref(), Some("StorageLocationUnavailable"));
    assert!(status.message.unwrap().contains("oslo"));
    assert_eq!(status.display.as_deref(), Some("1/2"));
    assert_eq!((status.ready_clusters, status.clusters_total), (1, 2));
    assert_eq!(status.details["layout"], "PerCluster");

    known.members.pop();
    let status = shown(&known).unwrap();
    assert_eq!(status.phase, PluginPhase::Ready);
    assert_eq!(
        (status.reason.as_deref(), status.message),
        (Some("Ready"), None)
    );
}

#[test]
fn an_entry_that_says_the_same_stays_equal() {
    let mut known = known(vec![settled(member("oslo"), "Available")]);
    let first = shown(&known).unwrap();
    let mut fleet = (*known.fleet).clone();
    fleet.status = Some(FleetStatus {
        plugins: vec![first.clone()],
        ..FleetStatus::default()
    });
    known.fleet = Arc::new(fleet);
    known.members[0].entry = Some(first.clusters[0].clone());
    let again = entry(&known, &planned(&known), &Answers::new(), at(99)).unwrap();
    assert_eq!(again, first);
}

#[test]
fn without_clusters_nothing_is_ready_and_without_the_plugin_nothing_is_said() {
    let mut known = known(Vec::new());
    let status = shown(&known).unwrap();
    assert_eq!(status.phase, PluginPhase::Pending);
    assert_eq!(status.reason.as_deref(), Some("NoClusters"));
    known.config = None;
    assert_eq!(shown(&known), None);
}

#[test]
fn a_layout_that_is_asked_for_in_vain_is_a_warning_where_all_else_is_well() {
    let mut known = known(vec![settled(member("oslo"), "Available")]);
    let mut first = shown(&known).unwrap();
    first.details = [("layout".to_owned(), "Shared".to_owned())].into();
    let mut fleet = (*known.fleet).clone();
    fleet.status = Some(FleetStatus {
        plugins: vec![first],
        ..FleetStatus::default()
    });
    known.fleet = Arc::new(fleet);
    let decision = planned(&known).layout.unwrap();
    let clusters = vec![PluginClusterStatus {
        phase: PluginPhase::Ready,
        ..PluginClusterStatus::default()
    }];
    let summary = summary(Some(&decision), &clusters);
    assert_eq!(summary.phase, PluginPhase::Degraded);
    assert_eq!(summary.reason, "InvalidSpec");
}

#[test]
fn only_a_plugin_that_becomes_ready_is_told() {
    let of = |phase| PluginStatus {
        phase,
        ..PluginStatus::default()
    };
    let (pending, ready) = (of(PluginPhase::Pending), of(PluginPhase::Ready));
    assert_eq!(events(None, Some(&ready))[0].reason, "PluginReady");
    assert_eq!(events(Some(&pending), Some(&ready)).len(), 1);
    assert!(events(Some(&ready), Some(&ready)).is_empty());
    assert!(events(Some(&ready), Some(&pending)).is_empty());
    assert!(events(Some(&ready), None).is_empty());
}
