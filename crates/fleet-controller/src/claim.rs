//! Which Fleet has a cluster, when several list it.

use api_types::fleet::Fleet;
use api_types::key::ClusterKey;
use kube::ResourceExt;

/// Whether a Fleet lists a cluster.
pub fn lists(fleet: &Fleet, cluster: &ClusterKey) -> bool {
    let namespace = fleet.metadata.namespace.as_deref().unwrap_or_default();
    namespace == cluster.namespace
        && fleet
            .spec
            .clusters
            .iter()
            // The name first: it tells most entries apart without making a key of each.
            .filter(|entry| entry.name == cluster.name)
            .any(|entry| entry.fleet_member(namespace).as_ref() == Some(cluster))
}

/// Who comes first: the older Fleet, then the one whose name sorts first. A total order, so that
/// every pass and every replica comes to the same claim.
pub fn comes_before(one: &Fleet, other: &Fleet) -> bool {
    rank(one) < rank(other)
}

/// Of the Fleets that list a cluster, the one that has it. A terminating one keeps what it has.
pub fn claimer<'a, F: AsRef<Fleet> + 'a>(
    listing: impl IntoIterator<Item = &'a F>,
) -> Option<&'a F> {
    listing
        .into_iter()
        .min_by_key(|fleet| rank((*fleet).as_ref()))
}

fn rank(fleet: &Fleet) -> (jiff::Timestamp, String) {
    let created = fleet.metadata.creation_timestamp.as_ref();
    (
        created.map_or(jiff::Timestamp::MAX, |time| time.0),
        fleet.name_any(),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use api_types::key::ClusterKind;

    use super::*;
    use crate::fixture::fleet;

    #[test]
    fn the_older_fleet_has_the_cluster_and_then_the_name_decides() {
        let old = Arc::new(fleet("zebra", "2026-01-01T00:00:00Z", &["bergen"]));
        let new = Arc::new(fleet("ant", "2026-01-02T00:00:00Z", &["bergen"]));
        let twin = Arc::new(fleet("bee", "2026-01-02T00:00:00Z", &["bergen"]));
        let name =
            |fleets: &[&Arc<Fleet>]| claimer(fleets.iter().copied()).map(|fleet| fleet.name_any());

        assert_eq!(name(&[&new, &old, &twin]).as_deref(), Some("zebra"));
        assert_eq!(name(&[&twin, &new]).as_deref(), Some("ant"));
        assert_eq!(name(&[]), None);
        assert!(comes_before(&old, &new) && !comes_before(&new, &old) && !comes_before(&old, &old));
    }

    #[test]
    fn an_entry_without_kind_lists_a_cluster_of_kind_cluster() {
        let mut fleet = fleet("north", "2026-01-01T00:00:00Z", &["bergen"]);
        fleet.spec.clusters[0].kind = String::new();
        let attached = ClusterKey::attached("oslo", "bergen");
        let made = ClusterKey::new("oslo", ClusterKind::Cluster, "bergen");
        assert!(!lists(&fleet, &attached));
        assert!(lists(&fleet, &made));
        assert!(!lists(
            &fleet,
            &ClusterKey::new("elsewhere", ClusterKind::Cluster, "bergen")
        ));
    }
}
