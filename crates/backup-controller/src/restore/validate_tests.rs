use serde_json::{Value, json};

use super::super::fixtures::{at, restore};
use super::*;

fn refused(spec: Value) -> &'static str {
    validate(&restore(spec)).unwrap_err().field
}

#[test]
fn a_spec_without_a_policy_restores_everything_until_the_deadline() {
    let spec = validate(&restore(json!({}))).unwrap();
    assert_eq!(spec.deadline, at(3600));
    assert!(spec.resource_modifier.is_none());
    assert_eq!(
        spec.scope,
        filter::scope(&api_types::common::ResourceFilter::default()).unwrap()
    );
}

#[test]
fn what_the_schema_cannot_see_is_refused_with_its_field() {
    let selector = json!({ "matchExpressions": [{ "key": "a", "operator": "Near" }] });
    let table = [
        (
            json!({ "destination": { "fleet": "f", "clusterSelector": selector } }),
            "destination.clusterSelector",
        ),
        (json!({ "pointInTime": "yesterday" }), "pointInTime"),
        (
            json!({ "policy": { "itemOperationTimeout": "2 days" } }),
            "policy.itemOperationTimeout",
        ),
        (
            json!({ "policy": { "resourceModifier": { "kind": "Secret", "name": "x" } } }),
            "policy.resourceModifier.kind",
        ),
        (
            json!({ "policy": { "resourceFilter": { "labelSelector": selector } } }),
            "policy.resourceFilter",
        ),
        (
            json!({ "policy": { "resourceFilter": {
                "labelSelector": {},
                "orLabelSelectors": [{}],
            } } }),
            "policy.resourceFilter",
        ),
        (
            json!({ "policy": { "resourceFilter": {
                "includedClusterScopedResources": ["*"],
                "includedNamespaceScopedResources": ["pods"],
            } } }),
            "policy.resourceFilter",
        ),
    ];
    for (spec, field) in table {
        assert_eq!(refused(spec.clone()), field, "{spec}");
    }
}

#[test]
fn a_config_map_may_be_written_in_any_case() {
    let policy = json!({ "resourceModifier": { "kind": "ConfigMap", "name": "louder" } });
    let spec = validate(&restore(json!({ "policy": policy }))).unwrap();
    assert_eq!(spec.resource_modifier.as_deref(), Some("louder"));
}
