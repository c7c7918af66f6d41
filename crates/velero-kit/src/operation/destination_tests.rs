use api_types::backup::BackupDetail;
use api_types::fleet::FleetSpec;
use api_types::phase::EntryPhase;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::*;
use crate::operation::fixtures::{attached, detail, key, listed};

fn fleet(members: &[ClusterRef]) -> Fleet {
    let spec = FleetSpec {
        clusters: members.to_vec(),
        ..FleetSpec::default()
    };
    Fleet::new("production", spec)
}

fn to(clusters: &[ClusterRef]) -> Destination {
    Destination {
        fleet: "production".to_owned(),
        clusters: clusters.to_vec(),
        cluster_selector: None,
    }
}

/// Selects what lies in the region, by label.
fn in_region(region: &str) -> (Destination, Selector) {
    let labels = LabelSelector {
        match_labels: Some([("region".to_owned(), region.to_owned())].into()),
        ..LabelSelector::default()
    };
    let destination = Destination {
        cluster_selector: Some(labels.clone()),
        ..to(&[])
    };
    (destination, Selector::try_from(labels).unwrap())
}

fn hub(regions: &[(&str, &str)]) -> HubLabels {
    let labels = |region: &str| BTreeMap::from([("region".to_owned(), region.to_owned())]);
    regions
        .iter()
        .map(|(name, region)| ((*name).to_owned(), labels(region)))
        .collect()
}

/// `<Kind>/<name>` and the reason against it, in the order of a status.
fn shown(requested: &Requested) -> Vec<String> {
    requested
        .iter()
        .map(|(key, problem)| match problem {
            None => key.cluster_ref(),
            Some(problem) => format!("{} {}", key.cluster_ref(), problem.reason),
        })
        .collect()
}

fn resolved(destination: &Destination, fleet: Option<&Fleet>) -> Vec<String> {
    let requested = resolve("team-a", destination, None, fleet, &HubLabels::new());
    shown(&requested)
}

#[test]
fn without_a_fleet_listed_clusters_wait_for_it_and_a_whole_fleet_has_no_entries_yet() {
    let listed = to(&[attached("oslo"), listed("", "bergen")]);
    assert_eq!(
        resolved(&listed, None),
        [
            "AttachedCluster/bergen FleetNotFound",
            "AttachedCluster/oslo FleetNotFound"
        ]
    );
    assert!(resolved(&to(&[]), None).is_empty());
}

#[test]
fn an_empty_list_means_all_members_once_and_an_empty_kind_there_is_cluster() {
    let fleet = fleet(&[
        attached("oslo"),
        attached("bergen"),
        attached("oslo"),
        listed("", "turku"),
    ]);
    assert_eq!(
        resolved(&to(&[]), Some(&fleet)),
        [
            "AttachedCluster/bergen",
            "AttachedCluster/oslo",
            "Cluster/turku"
        ]
    );
    assert!(resolved(&to(&[]), Some(&self::fleet(&[]))).is_empty());
}

#[test]
fn listed_clusters_are_those_members_once_whatever_kind_is_left_out() {
    let fleet = fleet(&[attached("oslo"), listed("Cluster", "turku")]);
    let table: [(&[ClusterRef], &[&str]); 5] = [
        (&[attached("oslo")], &["AttachedCluster/oslo"]),
        (&[listed("", "turku")], &["Cluster/turku"]),
        (
            &[attached("oslo"), listed("", "oslo"), attached("oslo")],
            &["AttachedCluster/oslo"],
        ),
        (
            &[attached("turku")],
            &["AttachedCluster/turku ClusterNotInFleet"],
        ),
        (
            &[listed("", "gdansk")],
            &["AttachedCluster/gdansk ClusterNotInFleet"],
        ),
    ];
    for (clusters, expected) in table {
        assert_eq!(resolved(&to(clusters), Some(&fleet)), expected);
    }
}

#[test]
fn a_name_that_two_members_have_is_ambiguous_in_any_order_of_the_list() {
    let fleet = fleet(&[attached("oslo"), listed("Cluster", "oslo")]);
    let ambiguous = ["AttachedCluster/oslo AmbiguousCluster"];
    assert_eq!(
        resolved(&to(&[listed("", "oslo")]), Some(&fleet)),
        ambiguous
    );
    let both = [listed("", "oslo"), attached("oslo")];
    assert_eq!(resolved(&to(&both), Some(&fleet)), ambiguous);
    let turned = [attached("oslo"), listed("", "oslo")];
    assert_eq!(resolved(&to(&turned), Some(&fleet)), ambiguous);
    assert_eq!(
        resolved(&to(&[listed("Cluster", "oslo")]), Some(&fleet)),
        ["Cluster/oslo"]
    );
}

#[test]
fn a_selector_takes_members_by_their_labels_and_keeps_those_that_nobody_knows_yet() {
    let (destination, selector) = in_region("eu");
    let fleet = fleet(&[attached("oslo"), attached("boston"), attached("turku")]);
    let hub = hub(&[("oslo", "eu"), ("boston", "us"), ("paris", "eu")]);
    let requested = resolve("team-a", &destination, Some(&selector), Some(&fleet), &hub);
    assert_eq!(
        shown(&requested),
        ["AttachedCluster/oslo", "AttachedCluster/turku"]
    );
}

#[test]
fn a_cluster_of_another_kind_is_not_judged_by_the_labels_of_its_namesake() {
    let (destination, selector) = in_region("eu");
    let fleet = fleet(&[listed("Cluster", "oslo")]);
    let requested = resolve(
        "team-a",
        &destination,
        Some(&selector),
        Some(&fleet),
        &hub(&[("oslo", "us")]),
    );
    assert_eq!(shown(&requested), ["Cluster/oslo"]);
}

fn stored(entries: &[(&str, EntryPhase, Option<&str>)]) -> BTreeMap<ClusterKey, BackupDetail> {
    entries
        .iter()
        .map(|(name, phase, reason)| {
            let mut detail = detail(name, *phase);
            detail.reason = reason.map(str::to_owned);
            (key(name), detail)
        })
        .collect()
}

fn requested(names: &[&str]) -> Requested {
    names.iter().map(|name| (key(name), None)).collect()
}

#[test]
fn once_frozen_no_cluster_joins_and_a_listed_one_that_left_waits() {
    let before = stored(&[
        ("oslo", EntryPhase::Pending, None),
        ("turku", EntryPhase::Pending, None),
    ]);
    let after = frozen(
        &before,
        requested(&["oslo", "bergen"]),
        &to(&[]),
        true,
        |_| HubObject::Present,
    );
    assert_eq!(
        shown(&after),
        [
            "AttachedCluster/oslo",
            "AttachedCluster/turku ClusterNotInFleet"
        ]
    );
}

#[test]
fn once_frozen_what_has_begun_or_ended_goes_on_whatever_the_fleet_says() {
    let mut before = stored(&[
        ("oslo", EntryPhase::Pending, None),
        ("turku", EntryPhase::Failed, None),
    ]);
    before.get_mut(&key("oslo")).unwrap().member_uid = Some("uid".to_owned());
    for fleet_found in [true, false] {
        let after = frozen(&before, requested(&[]), &to(&[]), fleet_found, |_| {
            HubObject::Present
        });
        assert_eq!(
            shown(&after),
            ["AttachedCluster/oslo", "AttachedCluster/turku"]
        );
    }
}

#[test]
fn chosen_by_label_only_a_cluster_that_was_unknown_may_turn_out_not_to_match() {
    let (destination, _) = in_region("eu");
    let before = stored(&[
        ("bergen", EntryPhase::Pending, Some("ClusterNotFound")),
        ("oslo", EntryPhase::Pending, Some("Unreachable")),
        ("turku", EntryPhase::Pending, Some("ClusterNotFound")),
    ]);
    let after = frozen(
        &before,
        requested(&[]),
        &destination,
        true,
        |key| match key.name.as_str() {
            "turku" => HubObject::Absent,
            _ => HubObject::Present,
        },
    );
    assert_eq!(
        shown(&after),
        [
            "AttachedCluster/oslo ClusterNotInFleet",
            "AttachedCluster/turku ClusterNotInFleet"
        ]
    );
}

#[test]
fn once_frozen_a_fleet_that_vanished_takes_no_cluster_with_it() {
    let (by_label, _) = in_region("eu");
    for destination in [to(&[]), by_label] {
        let before = stored(&[("oslo", EntryPhase::Pending, Some("ClusterNotFound"))]);
        let after = frozen(&before, requested(&[]), &destination, false, |_| {
            HubObject::Present
        });
        assert_eq!(shown(&after), ["AttachedCluster/oslo FleetNotFound"]);
    }
}

/// The entries after one more pass, as `obstacle` would have them written.
fn pass(
    before: &BTreeMap<ClusterKey, BackupDetail>,
    selected: &[&str],
    hub: HubObject,
) -> BTreeMap<ClusterKey, BackupDetail> {
    let (destination, _) = in_region("eu");
    let wanted = known(requested(selected), &destination, |_| hub);
    let after = frozen(before, wanted, &destination, true, |_| hub);
    after
        .into_iter()
        .map(|(key, problem)| {
            let mut entry = before[&key].clone();
            let problem = problem.or_else(|| crate::operation::member::no_cluster(&key, hub));
            entry.reason = problem.map(|problem| problem.reason.to_owned());
            (key, entry)
        })
        .collect()
}

#[test]
fn chosen_by_label_a_cluster_that_was_known_stays_although_its_object_goes_and_comes_back_bare() {
    for reason in [
        None,
        Some("Unreachable"),
        Some("StorageLocationUnavailable"),
    ] {
        let mut entries = stored(&[("oslo", EntryPhase::Pending, reason)]);
        // Deleted, made anew, and its label comes a moment later or never.
        let steps: [(&[&str], HubObject, Option<&str>); 5] = [
            (&["oslo"], HubObject::Terminating, Some("Unreachable")),
            (&["oslo"], HubObject::Absent, Some("Unreachable")),
            (&[], HubObject::Present, Some("ClusterNotInFleet")),
            (&["oslo"], HubObject::Absent, Some("Unreachable")),
            (&["oslo"], HubObject::Present, None),
        ];
        for (selected, hub, expected) in steps {
            entries = pass(&entries, selected, hub);
            let oslo = entries.get(&key("oslo"));
            let told = oslo.map(|entry| entry.reason.as_deref());
            assert_eq!(told, Some(expected), "{reason:?} {hub:?}");
        }
    }
}

#[test]
fn a_cluster_that_is_being_deleted_when_the_set_freezes_is_not_taken_for_unknown() {
    let (by_label, _) = in_region("eu");
    let going = |_: &ClusterKey| HubObject::Terminating;
    let chosen = known(requested(&["oslo"]), &by_label, going);
    assert_eq!(shown(&chosen), ["AttachedCluster/oslo Unreachable"]);
    // Nobody leaves a set that was not chosen by label.
    let listed = known(requested(&["oslo"]), &to(&[attached("oslo")]), going);
    assert_eq!(shown(&listed), ["AttachedCluster/oslo"]);
}

#[test]
fn a_cluster_that_nobody_knew_is_judged_by_its_labels_once_it_appears() {
    let entries = stored(&[("oslo", EntryPhase::Pending, Some("ClusterNotFound"))]);
    let still = pass(&entries, &["oslo"], HubObject::Absent);
    let told = still[&key("oslo")].reason.as_deref();
    assert_eq!(told, Some("ClusterNotFound"));
    assert!(pass(&still, &[], HubObject::Present).is_empty());
    assert_eq!(pass(&still, &["oslo"], HubObject::Present).len(), 1);
}

#[test]
fn more_clusters_than_a_status_can_hold_are_told_before_anything_begins() {
    let keys: Vec<_> = (0..2500).map(|n| key(&format!("cluster-{n}"))).collect();
    assert!(too_many("Backup", keys[..1500].iter()).is_none());
    let problem = too_many("Backup", keys.iter()).unwrap();
    assert_eq!(problem.reason, "InvalidSpec");
    assert!(problem.message.starts_with("selects 2500 clusters"));
}
