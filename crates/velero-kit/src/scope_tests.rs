use serde_json::{Value, json};

use super::*;

fn of(filter: Value) -> Scope {
    scope(&serde_json::from_value(filter).unwrap()).unwrap()
}

#[test]
fn without_a_filter_everything_is_restored_but_what_is_velero_s() {
    let all = of(json!({}));
    assert_eq!(all.included_namespaces, Vec::<String>::new());
    assert_eq!(all.included_resources, Vec::<String>::new());
    assert_eq!(all.excluded_namespaces, ["velero"]);
    assert_eq!(all.excluded_resources, NEVER);
    // Else the excluded namespace would leave out all that lies outside of namespaces.
    assert_eq!(all.include_cluster_resources, Some(true));
}

#[test]
fn our_exclusion_changes_nothing_about_cluster_scoped_resources() {
    let table = [
        (json!({}), Some(true)),
        (json!({ "includedNamespaces": ["*"] }), Some(true)),
        (json!({ "includeClusterResources": false }), Some(false)),
        (json!({ "includedNamespaces": ["shop"] }), None),
        (json!({ "excludedNamespaces": ["shop"] }), None),
        (json!({ "includedNamespaces": ["velero"] }), None),
    ];
    for (filter, expected) in table {
        let scope = of(filter.clone());
        assert_eq!(scope.include_cluster_resources, expected, "{filter}");
    }
}

#[test]
fn velero_s_namespace_is_restored_only_where_it_is_named() {
    let named = of(json!({ "includedNamespaces": ["shop", "velero"] }));
    assert_eq!(named.excluded_namespaces, Vec::<String>::new());
    assert_eq!(named.excluded_resources, NEVER, "its objects never are");
    let twice = of(json!({ "excludedNamespaces": ["velero", "shop"] }));
    assert_eq!(twice.excluded_namespaces, ["velero", "shop"]);
}

#[test]
fn the_two_lists_of_a_kind_become_one() {
    let merged = of(json!({
        "includedClusterScopedResources": ["storageclasses", "pods"],
        "includedNamespaceScopedResources": ["pods", "secrets"],
        "excludedClusterScopedResources": ["nodes"],
        "excludedNamespaceScopedResources": ["events"],
    }));
    assert_eq!(
        merged.included_resources,
        ["storageclasses", "pods", "secrets"]
    );
    assert_eq!(merged.excluded_resources[..2], ["nodes", "events"]);
    let both = of(json!({
        "includedClusterScopedResources": ["*"],
        "includedNamespaceScopedResources": ["*"],
    }));
    assert_eq!(both.included_resources, ["*"]);
}

#[test]
fn what_velero_s_restore_cannot_express_is_refused() {
    let table = [
        (
            json!({ "includedResources": ["pods"], "excludedNamespaceScopedResources": ["events"] }),
            "one family",
        ),
        (
            json!({ "includeClusterResources": true, "includedClusterScopedResources": ["nodes"] }),
            "one family",
        ),
        (
            json!({
                "includedClusterScopedResources": ["*"],
                "includedNamespaceScopedResources": ["pods"],
            }),
            "of the other",
        ),
        (
            json!({ "excludedClusterScopedResources": ["*"] }),
            "includeClusterResources",
        ),
        (
            json!({
                "includedNamespaceScopedResources": ["pods"],
                "excludedClusterScopedResources": ["pods"],
            }),
            "both included and excluded",
        ),
        (
            json!({ "includedResources": ["schedules.velero.io"] }),
            "never restored",
        ),
    ];
    for (filter, word) in table {
        let error = scope(&serde_json::from_value(filter.clone()).unwrap()).unwrap_err();
        assert!(error.contains(word), "{filter}: {error}");
    }
}
