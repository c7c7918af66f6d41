use api_types::names::MemberId;
use serde_json::{Value, json};

use super::super::fixtures::{BACKUP, OWNER_UID, RESTORE, at, key, migrate, uid_of};
use super::super::validate::validate;
use super::*;

fn run() -> Run {
    Run {
        name: BACKUP.to_owned(),
        started: Some(at(30)),
        expires: None,
        partial: false,
    }
}

fn built(policy: Value) -> (Value, Value) {
    let migrate = migrate(policy);
    let spec = validate(&migrate).unwrap();
    let (oslo, bergen) = (key("oslo"), key("bergen"));
    let of = |name: &str| MemberId::from_uid(&uid_of(name));
    let (of_oslo, of_bergen) = (of("oslo"), of("bergen"));
    let in_oslo = Place {
        cluster: &oslo,
        member: &of_oslo,
        name: BACKUP,
    };
    let in_bergen = Place {
        cluster: &bergen,
        member: &of_bergen,
        name: RESTORE,
    };
    (
        serde_json::to_value(backup(&migrate, in_oslo)).unwrap(),
        serde_json::to_value(restore(&migrate, &spec, in_bergen, &run())).unwrap(),
    )
}

#[test]
fn objects_say_whose_they_are_and_each_its_own_fleet() {
    let (backup, restore) = built(json!({}));
    let table = [
        (
            &backup,
            BACKUP,
            "production",
            "oslo",
            "AttachedCluster/oslo",
        ),
        (
            &restore,
            RESTORE,
            "spare",
            "bergen",
            "AttachedCluster/bergen",
        ),
    ];
    for (object, name, fleet, cluster, reference) in table {
        let meta = &object["metadata"];
        assert_eq!(meta["name"], name);
        assert_eq!(meta["namespace"], "velero");
        assert_eq!(meta["labels"]["kurator.dev/migrate-name"], "leave-oslo");
        assert_eq!(meta["labels"]["kurator.dev/owner-uid"], OWNER_UID);
        assert_eq!(meta["labels"]["kurator.dev/cluster"], cluster);
        let member = MemberId::from_uid(&uid_of(cluster));
        assert_eq!(meta["labels"]["kurator.dev/member"], member.as_str());
        assert_eq!(meta["labels"]["fleet.kurator.dev/fleet-name"], fleet);
        assert_eq!(meta["labels"]["fleet.kurator.dev/plugin"], "backup");
        let annotations = &meta["annotations"];
        assert_eq!(
            annotations["kurator.dev/hub-object"],
            "Migrate/team-a/leave-oslo"
        );
        assert_eq!(annotations["kurator.dev/cluster-ref"], reference);
        assert!(object.get("status").is_none_or(Value::is_null));
    }
}

#[test]
fn without_a_policy_all_of_the_source_is_taken_and_all_but_velero_s_own_comes_back() {
    let (backup, restore) = built(json!({}));
    assert_eq!(
        backup["spec"],
        json!({ "storageLocation": "default", "includeClusterResources": true })
    );
    assert_eq!(
        restore["spec"],
        json!({
            "backupName": BACKUP,
            "excludedNamespaces": ["velero"],
            "excludedResources": [
                "backups.velero.io", "backupstoragelocations.velero.io",
                "deletebackuprequests.velero.io", "downloadrequests.velero.io",
                "restores.velero.io", "schedules.velero.io", "serverstatusrequests.velero.io",
            ],
            "includeClusterResources": true,
        })
    );
}

#[test]
fn a_policy_is_split_between_the_backup_and_the_restores() {
    let (backup, restore) = built(json!({
        "resourceFilter": {
            "includedNamespaces": ["shop"],
            "labelSelector": { "matchLabels": { "app": "busybox" } },
        },
        "orderedResources": { "pods": "shop/primary-0" },
        "ttl": "72h",
        "partialFailure": "Continue",
        "namespaceMapping": { "shop": "shop-oslo" },
        "migrateStatus": { "includedResources": ["deployments.apps"] },
        "preserveNodePorts": true,
    }));
    assert_eq!(
        backup["spec"],
        json!({
            "includedNamespaces": ["shop"],
            "labelSelector": { "matchLabels": { "app": "busybox" } },
            "orderedResources": { "pods": "shop/primary-0" },
            "ttl": "72h",
            "storageLocation": "default",
        })
    );
    let spec = &restore["spec"];
    assert_eq!(spec["namespaceMapping"], json!({ "shop": "shop-oslo" }));
    assert_eq!(
        spec["restoreStatus"],
        json!({ "includedResources": ["deployments.apps"] })
    );
    assert_eq!(spec["preserveNodePorts"], true);
    // The filter was applied when the backup was made.
    assert!(spec.get("includedNamespaces").is_none() && spec.get("labelSelector").is_none());
}
