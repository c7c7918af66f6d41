use api_types::key::ClusterKind;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};

use super::super::fixtures::{at, key, migrate, to};
use super::*;

fn refused(policy: Value) -> InvalidSpec {
    validate(&migrate(policy)).unwrap_err()
}

#[test]
fn a_plain_migrate_is_read() {
    let validated = validate(&migrate(json!({}))).unwrap();
    assert_eq!(validated.source.name, "oslo");
    assert_eq!(validated.deadline, at(24 * 3600));
    assert!(!validated.cancel && validated.selector.is_none());
    assert_eq!(validated.scope.include_cluster_resources, Some(true));
    let never = &validated.scope.excluded_resources;
    assert!(never.contains(&"schedules.velero.io".to_owned()));
    assert_eq!(validated.scope.excluded_namespaces, ["velero"]);
}

#[test]
fn velero_s_namespace_is_restored_only_where_it_is_named() {
    let filter = |names: &[&str]| json!({ "resourceFilter": { "includedNamespaces": names } });
    let scope = |names: &[&str]| validate(&migrate(filter(names))).unwrap().scope;
    assert_eq!(scope(&["shop"]).excluded_namespaces, ["velero"]);
    assert_eq!(scope(&["shop"]).included_namespaces, Vec::<String>::new());
    let named = scope(&["shop", "velero"]);
    assert_eq!(named.excluded_namespaces, Vec::<String>::new());
    assert_eq!(named.included_namespaces, Vec::<String>::new());
    assert!(!named.excluded_resources.is_empty());
}

#[test]
fn what_velero_would_refuse_or_never_restore_is_refused_before_anything_is_made() {
    let selector = json!({ "matchLabels": { "app": "shop" } });
    let odd = json!({ "matchExpressions": [{ "key": "app", "operator": "Resembles" }] });
    let table = [
        (json!({ "ttl": "30d" }), "policy.ttl", "duration"),
        (
            json!({ "resourceFilter": { "labelSelector": odd } }),
            "policy.resourceFilter",
            "label selector",
        ),
        (
            json!({ "resourceFilter": { "labelSelector": selector, "orLabelSelectors": [selector] } }),
            "policy.resourceFilter",
            "exclude each other",
        ),
        (
            json!({ "resourceFilter": {
                "includeClusterResources": false, "includedNamespaceScopedResources": ["pods"],
            } }),
            "policy.resourceFilter",
            "use one family",
        ),
        (
            json!({ "resourceFilter": { "includedResources": ["pods", "schedules.velero.io"] } }),
            "policy.resourceFilter",
            "schedules.velero.io is Velero's own",
        ),
        (
            json!({ "resourceFilter": { "includedNamespaceScopedResources": ["backups.velero.io"] } }),
            "policy.resourceFilter",
            "backups.velero.io is Velero's own",
        ),
        (
            json!({ "namespaceMapping": { "shop": "Shop" } }),
            "policy.namespaceMapping",
            "cannot become",
        ),
        (
            json!({ "namespaceMapping": { "shop": "" } }),
            "policy.namespaceMapping",
            "cannot become",
        ),
        (
            json!({ "namespaceMapping": { "": "shop" } }),
            "policy.namespaceMapping",
            "cannot become",
        ),
    ];
    for (policy, field, words) in table {
        let invalid = refused(policy.clone());
        assert_eq!(invalid.field, field, "{policy}");
        assert!(invalid.problem.contains(words), "{policy}: {invalid}");
    }
}

#[test]
fn a_source_of_no_or_several_clusters_is_refused_also_where_the_schema_was_older() {
    for names in [&[][..], &["oslo", "bergen"], &[""]] {
        let mut several = migrate(json!({}));
        several.spec.source_cluster = to("production", names);
        assert_eq!(validate(&several).unwrap_err().field, "sourceCluster");
    }
    let mut by_label = migrate(json!({}));
    by_label.spec.source_cluster.cluster_selector = Some(LabelSelector::default());
    assert_eq!(validate(&by_label).unwrap_err().field, "sourceCluster");
    let mut late = migrate(json!({}));
    late.spec.deadline = "soon".into();
    assert_eq!(validate(&late).unwrap_err().field, "deadline");
}

fn onto_itself(policy: &Value) -> Migrate {
    let mut clone = migrate(policy.clone());
    clone.spec.target_cluster = to("production", &["bergen", "oslo"]);
    clone
}

#[test]
fn the_source_is_a_target_only_where_everything_moves() {
    let of = |names: &[&str], mapping: Value| {
        json!({
            "resourceFilter": { "includedNamespaces": names }, "namespaceMapping": mapping,
        })
    };
    let good = of(
        &["shop", "bank"],
        json!({ "shop": "shop-2", "bank": "shop-2" }),
    );
    validate(&onto_itself(&good)).unwrap();
    let table = [
        (json!({}), "includedNamespaces"),
        (
            of(&["*"], json!({ "shop": "shop-2" })),
            "includedNamespaces",
        ),
        (
            of(&["sho*"], json!({ "sho*": "shop-2" })),
            "includedNamespaces",
        ),
        (
            of(&["shop", "bank"], json!({ "shop": "shop-2" })),
            "map bank",
        ),
        (of(&["shop"], json!({ "shop": "shop" })), "map shop"),
        (
            of(&["shop", "bank"], json!({ "shop": "bank", "bank": "shop" })),
            "which is migrated itself",
        ),
    ];
    for (policy, words) in table {
        let invalid = validate(&onto_itself(&policy)).unwrap_err();
        assert_eq!(invalid.field, "targetCluster");
        assert!(invalid.problem.contains(words), "{policy}: {invalid}");
        assert!(invalid.problem.contains("oslo"), "{invalid}");
    }
}

#[test]
fn what_lies_in_no_namespace_is_not_cloned() {
    let with = |more: Value| {
        let mut filter = json!({ "includedNamespaces": ["shop"] });
        let all = filter.as_object_mut().unwrap();
        all.extend(more.as_object().unwrap().clone());
        onto_itself(&json!({
            "resourceFilter": filter, "namespaceMapping": { "shop": "shop-2" },
        }))
    };
    for (more, words) in [
        (
            json!({ "includeClusterResources": true }),
            "includeClusterResources",
        ),
        (
            json!({ "includedClusterScopedResources": ["storageclasses"] }),
            "includedClusterScopedResources",
        ),
    ] {
        let invalid = validate(&with(more)).unwrap_err();
        assert!(invalid.problem.contains(words), "{invalid}");
    }
    for more in [
        json!({ "includeClusterResources": false }),
        json!({ "excludedClusterScopedResources": ["storageclasses"] }),
    ] {
        validate(&with(more)).unwrap();
    }
}

#[test]
fn a_selection_that_turns_out_to_hold_the_source_is_refused_too() {
    let plain = validate(&migrate(json!({}))).unwrap();
    let (oslo, bergen) = (key("oslo"), key("bergen"));
    assert_eq!(plain.check_targets(&oslo, [&bergen].into_iter()), Ok(()));
    let invalid = plain.check_targets(&oslo, [&bergen, &oslo].into_iter());
    assert_eq!(invalid.unwrap_err().field, "targetCluster");
    let moved = json!({
        "resourceFilter": { "includedNamespaces": ["shop"] },
        "namespaceMapping": { "shop": "shop-2" },
    });
    let moved = validate(&migrate(moved)).unwrap();
    assert_eq!(moved.check_targets(&oslo, [&oslo].into_iter()), Ok(()));
}

#[test]
fn a_namesake_is_another_cluster_only_if_it_is_of_another_kind() {
    let mut other_kind = onto_itself(&json!({}));
    other_kind.spec.target_cluster.clusters[1].kind = "Cluster".to_owned();
    let validated = validate(&other_kind).unwrap();
    let oslo = key("oslo");
    let namesake = ClusterKey::new("team-a", ClusterKind::Cluster, "oslo");
    let targets = [&namesake].into_iter();
    assert_eq!(validated.check_targets(&oslo, targets), Ok(()));
    other_kind.spec.target_cluster.clusters[1].kind = String::new();
    assert!(validate(&other_kind).is_err());
}

#[test]
fn the_source_by_way_of_another_fleet_is_refused_once_the_targets_are_known() {
    let mut other_fleet = migrate(json!({}));
    other_fleet.spec.target_cluster = to("spare", &["oslo"]);
    // The spec alone does not tell; a cluster is the same one in whichever fleet it is.
    let validated = validate(&other_fleet).unwrap();
    let oslo = key("oslo");
    let invalid = validated.check_targets(&oslo, [&oslo].into_iter());
    assert_eq!(invalid.unwrap_err().field, "targetCluster");
}

#[test]
fn a_filter_of_patterns_is_no_list_of_names() {
    let filter = ResourceFilter {
        included_namespaces: ["shop?"].into_iter().collect(),
        ..ResourceFilter::default()
    };
    assert!(unmoved(&filter, &StringMap::new()).is_some());
}
