use api_types::names::MemberId;
use serde_json::{Value, json};

use super::super::filter;
use super::super::fixtures::{MEMBER_UID, NAME, RESTORE_UID, RUN, key, restore, source};
use super::*;

fn built(policy: Value, resource_modifier: Option<&str>) -> Value {
    let policy: RestorePolicy = serde_json::from_value(policy).unwrap();
    let filter = policy.resource_filter.clone().unwrap_or_default();
    let scope = filter::scope(&filter).unwrap();
    let owner = super::super::owner(
        &restore(json!({ "destination": { "fleet": "production" } })),
        &source(None),
    );
    let target = Target {
        key: key("oslo"),
        member: MemberId::from_uid(MEMBER_UID),
        name: NAME.to_owned(),
    };
    let object = build(&owner, &target, (RUN, &scope), &policy, resource_modifier);
    serde_json::to_value(object).unwrap()
}

#[test]
fn an_object_says_whose_it_is_and_what_it_restores() {
    let object = built(json!({}), None);
    assert_eq!(object["kind"], "Restore");
    let meta = &object["metadata"];
    assert_eq!(
        (&meta["name"], &meta["namespace"]),
        (&json!(NAME), &json!("velero"))
    );
    let labels = &meta["labels"];
    assert_eq!(labels["kurator.dev/restore-name"], "shop-again");
    assert_eq!(labels["kurator.dev/owner-uid"], RESTORE_UID);
    assert_eq!(
        labels["kurator.dev/member"],
        MemberId::from_uid(MEMBER_UID).as_str()
    );
    let annotations = &meta["annotations"];
    assert_eq!(
        annotations["kurator.dev/hub-object"],
        "Restore/team-a/shop-again"
    );
    let spec = &object["spec"];
    assert_eq!(spec["backupName"], RUN);
    assert_eq!(spec.get("scheduleName"), None);
    let fields: Vec<_> = spec.as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        [
            "backupName",
            "excludedNamespaces",
            "excludedResources",
            "includeClusterResources"
        ]
    );
}

#[test]
fn every_option_of_the_policy_reaches_velero() {
    let hooks = json!({ "resources": [{
        "name": "thaw",
        "includedNamespaces": ["shop"],
        "postHooks": [
            { "exec": { "command": ["/bin/true"], "onError": "Fail", "waitTimeout": "5m" } },
            { "init": { "initContainers": [{ "name": "i", "image": "x" }], "timeout": "1m" } },
        ],
    }] });
    let spec = &built(
        json!({
            "resourceFilter": {
                "includedNamespaces": ["shop"],
                "labelSelector": { "matchLabels": { "app": "busybox" } },
                "excludedNamespaceScopedResources": ["events"],
            },
            "namespaceMapping": { "shop": "shop-copy" },
            "preserveStatus": { "includedResources": ["pods"], "excludedResources": ["jobs"] },
            "preserveNodePorts": false,
            "existingResourcePolicy": "update",
            "restorePVs": false,
            "hooks": hooks,
            "itemOperationTimeout": "1h30m",
        }),
        Some("louder-0123456789"),
    )["spec"];
    assert_eq!(spec["namespaceMapping"], json!({ "shop": "shop-copy" }));
    assert_eq!(
        spec["restoreStatus"],
        json!({ "includedResources": ["pods"], "excludedResources": ["jobs"] })
    );
    assert_eq!(spec["preserveNodePorts"], false);
    assert_eq!(spec["existingResourcePolicy"], "update");
    assert_eq!(spec["restorePVs"], false);
    assert_eq!(spec["hooks"], hooks);
    assert_eq!(spec["itemOperationTimeout"], "1h30m");
    assert_eq!(
        spec["resourceModifier"],
        json!({ "kind": "configmap", "name": "louder-0123456789" })
    );
    assert_eq!(spec["excludedResources"][0], "events");
    assert_eq!(spec["labelSelector"]["matchLabels"]["app"], "busybox");
}

#[test]
fn a_status_is_restored_of_all_kinds_when_none_is_named() {
    let spec = &built(json!({ "preserveStatus": {} }), None)["spec"];
    assert_eq!(spec["restoreStatus"], json!({}));
}
