//! Where a cluster of a Fleet stores, when nothing of its backups says so (`api.md` 1.3). Pure.

use api_types::common::StoragePlace;
use api_types::fleet::{Fleet, PluginClusterStatus};
use api_types::key::ClusterKey;
use kube::core::ObjectMeta;
use velero_kit::location;
use velero_kit::owned::{self, Parts};

use super::origin::{Member, Origin};
use crate::plugin::{self, layout};

/// Where the Fleet has this cluster store in its location `default`: as it has written down, else by
/// its spec and layout. The cluster need not be one of the Fleet any more.
pub fn of_fleet(fleet: &Fleet, cluster: &ClusterKey) -> Option<StoragePlace> {
    let backup = fleet.spec.plugin.as_ref()?.backup.as_ref()?;
    let storage = &backup.storage.location;
    let stored = plugin::stored(fleet);
    let clusters = stored.into_iter().flat_map(|stored| &stored.clusters);
    let written = clusters
        .filter(|of| of.cluster_kind == cluster.kind.as_str())
        .find(|of| of.cluster_name == cluster.name)
        .and_then(written);
    let at = |prefix: String| {
        let parts = Parts {
            storage,
            prefix,
            secret: String::new(),
            read_only: false,
        };
        location::storage(&owned::build(ObjectMeta::default(), parts))
    };
    if let Some(written) = written {
        let provider = at(String::new()).provider;
        return Some(StoragePlace {
            provider,
            ..written
        });
    }
    let layout = layout::decide(storage, stored, &[]).layout()?;
    Some(at(owned::prefix(storage, layout, cluster)))
}

fn written(of: &PluginClusterStatus) -> Option<StoragePlace> {
    let detail = |key| of.details.get(key).cloned().unwrap_or_default();
    Some(StoragePlace {
        provider: String::new(),
        endpoint: detail(layout::ENDPOINT),
        bucket: of.details.get(layout::BUCKET)?.clone(),
        prefix: detail(layout::PREFIX),
    })
}

/// A member of which nobody knows more than its name, and where it stores or may have stored.
pub fn nameless(place: Option<StoragePlace>) -> Member {
    Member {
        uid: String::new(),
        place,
        last: None,
    }
}

/// The origin with a place for each member that has none.
pub fn filled(mut origin: Origin, place: &StoragePlace) -> Origin {
    let without = origin.members.iter_mut().filter(|of| of.place.is_none());
    for member in without {
        member.place = Some(place.clone());
    }
    origin
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::restore::fixtures::{key, member, origin};

    fn fleet(location: &Value, status: &Value) -> Fleet {
        let mut location = location.clone();
        location["bucket"] = json!("fleet-backups");
        location["provider"] = json!("aws");
        location["endpoint"] = json!("https://s3.example.org");
        let fleet = json!({
            "apiVersion": "fleet.kurator.dev/v1alpha1",
            "kind": "Fleet",
            "metadata": { "name": "production", "namespace": "team-a" },
            "spec": {
                "clusters": [],
                "plugin": { "backup": { "storage": { "location": location, "secretName": "s3" } } },
            },
            "status": { "plugins": [status] },
        });
        serde_json::from_value(fleet).unwrap()
    }

    fn prefix_in(fleet: &Fleet) -> Option<String> {
        let place = of_fleet(fleet, &key("oslo"))?;
        let rest = [&place.provider, &place.endpoint, &place.bucket];
        assert_eq!(rest, ["aws", "https://s3.example.org", "fleet-backups"]);
        Some(place.prefix)
    }

    #[test]
    fn the_status_of_the_fleet_comes_first_and_then_its_layout() {
        let nothing = json!({ "name": "backup" });
        let decided = |layout| json!({ "name": "backup", "details": { "layout": layout } });
        let of_oslo = json!({
            "name": "backup",
            "details": { "layout": "PerCluster" },
            "clusters": [{
                "clusterName": "oslo",
                "clusterKind": "AttachedCluster",
                "details": {
                    "endpoint": "https://s3.example.org",
                    "bucket": "fleet-backups",
                    "prefix": "as/it/was",
                },
            }],
        });
        let mut of_bergen = of_oslo.clone();
        of_bergen["clusters"][0]["clusterName"] = json!("bergen");
        let table = [
            (json!({}), &of_oslo, Some("as/it/was")),
            (json!({}), &of_bergen, Some("team-a/oslo")),
            (json!({}), &decided("PerCluster"), Some("team-a/oslo")),
            (json!({}), &decided("Shared"), Some("")),
            (
                json!({ "prefix": "eu" }),
                &decided("PerCluster"),
                Some("eu/team-a/oslo"),
            ),
            // A hub that was built anew may not have decided yet, unless it is told.
            (json!({}), &nothing, None),
            (
                json!({ "layout": "PerCluster" }),
                &nothing,
                Some("team-a/oslo"),
            ),
            (json!({ "layout": "Shared" }), &nothing, Some("")),
        ];
        for (location, status, expected) in table {
            let got = prefix_in(&fleet(&location, status));
            assert_eq!(got.as_deref(), expected, "{location} {status}");
        }
        let mut without = fleet(&json!({}), &nothing);
        without.spec.plugin = None;
        assert_eq!(of_fleet(&without, &key("oslo")), None);
    }

    #[test]
    fn only_what_is_not_written_down_is_filled_in() {
        let mut origin = origin();
        origin.members = vec![member("a", Some("written")), member("b", None)];
        let place = member("", Some("of the fleet")).place.unwrap();
        let filled = filled(origin, &place);
        let expected = [
            member("a", Some("written")),
            member("b", Some("of the fleet")),
        ];
        assert_eq!(filled.members, expected);
    }
}
