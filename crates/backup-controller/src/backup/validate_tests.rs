use api_types::backup::BackupStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::super::fixtures::{at, backup};
use super::*;

fn with_spec(mut spec: Value) -> Backup {
    if spec.get("destination").is_none() {
        spec["destination"] = json!({ "fleet": "production" });
    }
    let mut backup = backup(BackupStatus::default());
    backup.spec = serde_json::from_value(spec).unwrap();
    backup
}

fn checked(spec: Value) -> Result<Validated, InvalidSpec> {
    validate(&with_spec(spec), true)
}

fn refusal(spec: Value) -> String {
    checked(spec).unwrap_err().to_string()
}

#[test]
fn what_is_left_out_has_its_default() {
    let spec = checked(json!({})).unwrap();
    assert_eq!(spec.deadline, at(3600));
    assert_eq!(spec.location, "default");
    assert!(spec.selector.is_none() && spec.resource_policy.is_none());
    assert!(spec.fleet_found);
    let empty = json!({ "policy": { "storageLocation": "" } });
    assert_eq!(checked(empty).unwrap().location, "default");
}

#[test]
fn what_is_written_is_parsed() {
    let spec = checked(json!({
        "startDeadline": "1h30m",
        "destination": {
            "fleet": "production",
            "clusterSelector": { "matchExpressions": [
                { "key": "region", "operator": "In", "values": ["eu"] },
            ] },
        },
        "policy": {
            "ttl": "720h",
            "csiSnapshotTimeout": "10m",
            "itemOperationTimeout": "4h",
            "storageLocation": "second",
            "resourcePolicy": { "kind": "CONFIGMAP", "name": "skip-caches" },
        },
    }))
    .unwrap();
    assert_eq!(spec.deadline, at(5400));
    assert_eq!(spec.location, "second");
    assert_eq!(spec.resource_policy.as_deref(), Some("skip-caches"));
    let labels = std::collections::BTreeMap::from([("region".to_owned(), "eu".to_owned())]);
    assert!(kube::core::SelectorExt::matches(
        &spec.selector.unwrap(),
        &labels
    ));
}

#[test]
fn a_deadline_counts_from_creation_and_never_overflows() {
    let long = checked(json!({ "startDeadline": "2562047h" })).unwrap();
    assert!(long.deadline > at(3600));
    let mut late = with_spec(json!({ "startDeadline": "2562047h" }));
    late.metadata.creation_timestamp = Some(Time("9900-01-01T00:00:00Z".parse().unwrap()));
    assert_eq!(validate(&late, true).unwrap().deadline, Timestamp::MAX);
}

#[test]
fn each_mistake_that_the_schema_cannot_see_is_told_with_its_field() {
    let filter = |filter: Value| json!({ "policy": { "resourceFilter": filter } });
    let unknown = json!({ "matchExpressions": [{ "key": "a", "operator": "Near" }] });
    let table = [
        (json!({ "startDeadline": "10d" }), "startDeadline: "),
        (json!({ "policy": { "ttl": "10d" } }), "policy.ttl: "),
        (
            json!({ "policy": { "csiSnapshotTimeout": "soon" } }),
            "policy.csiSnapshotTimeout: ",
        ),
        (
            json!({ "policy": { "itemOperationTimeout": "" } }),
            "policy.itemOperationTimeout: ",
        ),
        (
            json!({ "policy": { "resourcePolicy": { "kind": "Secret", "name": "a" } } }),
            "policy.resourcePolicy.kind: kind must be configmap",
        ),
        (
            json!({ "destination": { "fleet": "f", "clusterSelector": unknown } }),
            "destination.clusterSelector: not a label selector",
        ),
        (
            filter(json!({ "labelSelector": unknown })),
            "policy.resourceFilter: not a label selector",
        ),
        (
            filter(json!({ "orLabelSelectors": [{}, unknown] })),
            "policy.resourceFilter: not a label selector",
        ),
        (
            filter(json!({ "labelSelector": {}, "orLabelSelectors": [{}] })),
            "policy.resourceFilter: labelSelector and orLabelSelectors",
        ),
    ];
    for (spec, begin) in table {
        let text = refusal(spec.clone());
        assert!(text.starts_with(begin), "{spec}: {text}");
    }
}

#[test]
fn the_two_families_of_filters_do_not_mix_in_any_pair() {
    let old = [
        json!({ "includedResources": ["pods"] }),
        json!({ "excludedResources": ["pods"] }),
        json!({ "includeClusterResources": false }),
    ];
    let scoped = [
        json!({ "includedClusterScopedResources": ["nodes"] }),
        json!({ "excludedClusterScopedResources": ["nodes"] }),
        json!({ "includedNamespaceScopedResources": ["pods"] }),
        json!({ "excludedNamespaceScopedResources": ["pods"] }),
    ];
    let policy = |filter: &Value| json!({ "policy": { "resourceFilter": filter } });
    for one in &old {
        assert!(checked(policy(one)).is_ok(), "{one}");
        for other in &scoped {
            assert!(checked(policy(other)).is_ok(), "{other}");
            let mut both = one.clone();
            let other = other.as_object().unwrap().clone();
            both.as_object_mut().unwrap().extend(other);
            assert!(refusal(policy(&both)).contains("use one family"), "{both}");
        }
    }
}
