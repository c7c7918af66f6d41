//! The Schedule that Kurator v0.5.0 made for a Backup, on a hub that was upgraded. Pure.

use api_types::external::velero;
use api_types::labels;
use kube::ResourceExt;
use velero_kit::identity::Owner;

/// Whether a Schedule is the one that Kurator v0.5.0 made for this Backup in this cluster: exactly its
/// name, which spells cluster, namespace and Backup, and exactly its labels. What says of itself, or
/// of its runs, whose it is, is a newer one's.
pub fn is_of(owner: &Owner, full: &str, found: &velero::Schedule) -> bool {
    let labels = found.labels();
    let says = |key: &str, value: &str| labels.get(key).is_some_and(|found| found == value);
    let of_runs = found.spec.template.metadata.as_ref();
    let newer = [labels::OWNER_UID, labels::MEMBER].iter().any(|key| {
        labels.contains_key(*key) || of_runs.is_some_and(|runs| runs.labels.contains_key(*key))
    });
    found.metadata.name.as_deref() == Some(full)
        && says(owner.name_label, &owner.name)
        && says(labels::FLEET_NAME, &owner.fleet)
        && says(labels::PLUGIN, "backup")
        && !newer
        && !found.annotations().contains_key(labels::HUB_OBJECT)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::schedule::fixtures::{SCHEDULE, backup, schedule};

    fn of_v050() -> Value {
        json!({
            "metadata": {
                "name": SCHEDULE,
                "labels": {
                    "kurator.dev/backup-name": "nightly-shop",
                    "fleet.kurator.dev/fleet-name": "production",
                    "fleet.kurator.dev/plugin": "backup",
                },
            },
            "spec": { "schedule": "0 3 * * *", "template": { "includedNamespaces": ["shop"] } },
        })
    }

    fn is_adopted(found: Value) -> bool {
        let owner = crate::backup::owner(&backup());
        is_of(&owner, SCHEDULE, &serde_json::from_value(found).unwrap())
    }

    #[test]
    fn what_v0_5_0_made_for_this_backup_is_known_by_its_name_and_labels() {
        assert!(is_adopted(of_v050()));
        // Somebody's own label changes nothing.
        let mut labelled = of_v050();
        labelled["metadata"]["labels"]["team"] = json!("shop");
        assert!(is_adopted(labelled));
    }

    #[test]
    fn a_stranger_s_schedule_and_our_own_are_no_such_ones() {
        let owner_uid = json!({ "kurator.dev/owner-uid": "u" });
        let table: [(&str, Value); 9] = [
            (
                "/metadata/name",
                json!("oslo-backup-team-a-nightly-shop-8a9f990ea6"),
            ),
            (
                "/metadata/labels/kurator.dev~1backup-name",
                json!("nightly"),
            ),
            ("/metadata/labels/kurator.dev~1backup-name", Value::Null),
            (
                "/metadata/labels/fleet.kurator.dev~1fleet-name",
                json!("staging"),
            ),
            (
                "/metadata/labels/fleet.kurator.dev~1plugin",
                json!("metric"),
            ),
            ("/metadata/labels/kurator.dev~1owner-uid", json!("u")),
            (
                "/metadata/labels/kurator.dev~1member",
                json!("0123456789abcdef"),
            ),
            (
                "/metadata/annotations",
                json!({ "kurator.dev/hub-object": "Backup/team-b/nightly-shop" }),
            ),
            ("/spec/template/metadata", json!({ "labels": owner_uid })),
        ];
        for (path, value) in table {
            let mut found = of_v050();
            let (parent, key) = path.rsplit_once('/').unwrap();
            let key = key.replace("~1", "/");
            let parent = found.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            match &value {
                Value::Null => parent.remove(&key),
                value => parent.insert(key, value.clone()),
            };
            assert!(!is_adopted(found), "{path} {value}");
        }
        assert!(!is_adopted(serde_json::to_value(schedule()).unwrap()));
    }
}
