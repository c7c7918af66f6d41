use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use super::*;

static CRDS: LazyLock<Vec<CustomResourceDefinition>> = LazyLock::new(|| all().unwrap());

/// Every schema with its path, such as `Backup .spec.policy.ttl`. Made once: it takes a while.
static SCHEMAS: LazyLock<Vec<(String, Value)>> = LazyLock::new(|| {
    let mut found = Vec::new();
    for crd in CRDS.iter() {
        let schema = crd.spec.versions[0]
            .schema
            .clone()
            .unwrap()
            .open_api_v3_schema
            .unwrap();
        let kind = crd.spec.names.kind.clone();
        walk(
            &format!("{kind} "),
            &serde_json::to_value(schema).unwrap(),
            &mut found,
        );
    }
    found
});

fn walk(path: &str, schema: &Value, found: &mut Vec<(String, Value)>) {
    found.push((path.to_owned(), schema.clone()));
    for (name, inner) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        walk(&format!("{path}.{name}"), inner, found);
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", ".*")] {
        if let Some(inner) = schema.get(key).filter(|inner| inner.is_object()) {
            walk(&format!("{path}{mark}"), inner, found);
        }
    }
}

#[test]
fn committed_definitions_are_what_the_types_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
    for crd in CRDS.iter() {
        let name = file_name(crd);
        let committed = std::fs::read_to_string(folder.join(&name)).unwrap_or_default();
        assert!(
            committed == render(crd).unwrap(),
            "{name} is stale: run `cargo run -p api-types --bin crdgen`"
        );
    }
}

#[test]
fn a_rendered_definition_reads_back_equal() {
    for crd in CRDS.iter() {
        let again: CustomResourceDefinition =
            serde_saphyr::from_str(&render(crd).unwrap()).unwrap();
        assert_eq!(&again, crd);
    }
}

#[test]
fn only_the_documented_fields_have_a_schema_default() {
    let defaults: BTreeSet<String> = SCHEMAS
        .iter()
        .filter_map(|(path, schema)| Some(format!("{path} {}", schema.get("default")?)))
        .collect();
    let volumes = |list: &str| {
        let class = format!("Fleet .spec.plugin.distributedStorage.storage.{list}[].storageClass");
        [
            format!("{class}.reclaimPolicy \"Delete\""),
            format!("{class}.allowVolumeExpansion true"),
        ]
    };
    let mut documented: BTreeSet<String> = [
        "AttachedCluster .spec {}",
        "AttachedCluster .spec.kubeconfig.key \"value\"",
        "Backup .spec.startDeadline \"1h\"",
        "Backup .spec.historyLimit 3",
        "Backup .spec.deletionPolicy \"Retain\"",
        "Restore .spec.startDeadline \"24h\"",
        "Migrate .spec.deadline \"24h\"",
        "Migrate .spec.deletionPolicy \"Retain\"",
        "Migrate .spec.policy.partialFailure \"Stop\"",
        "Fleet .spec.plugin.distributedStorage.storage.objectStores[].storageClass.reclaimPolicy \"Delete\"",
    ]
    .map(str::to_owned)
    .into();
    documented.extend(volumes("blockPools"));
    documented.extend(volumes("filesystems"));
    assert_eq!(defaults, documented);
}

#[test]
fn every_integer_has_bounds_that_its_type_can_hold() {
    let integers: Vec<&(String, Value)> = SCHEMAS
        .iter()
        .filter(|(_, schema)| schema.get("type") == Some(&json!("integer")))
        .collect();
    assert!(integers.len() > 40, "{}", integers.len());
    for (path, schema) in integers {
        let bound = |key: &str| {
            schema
                .get(key)
                .and_then(Value::as_f64)
                .unwrap_or_else(|| panic!("{path}: no {key}"))
        };
        let (min, max) = (bound("minimum"), bound("maximum"));
        assert!(min <= max, "{path}");
        if schema.get("format") == Some(&json!("int32")) {
            assert!(
                min >= f64::from(i32::MIN) && max <= f64::from(i32::MAX),
                "{path}"
            );
        }
    }
}

#[test]
fn every_field_is_described_in_one_line() {
    for (path, schema) in SCHEMAS.iter() {
        let needs_one = !path.ends_with("[]") && !path.ends_with(".*");
        let text = schema.get("description").and_then(Value::as_str);
        assert!(!needs_one || text.is_some(), "{path} has no description");
        let text = text.unwrap_or_default();
        assert!(
            text.chars().count() <= MAX_DESCRIPTION && !text.contains('\n'),
            "{path}: {text}"
        );
        assert!(schema.get("title").is_none(), "{path} has a title");
    }
}

#[test]
fn every_rule_is_attached_somewhere_and_no_other() {
    let mut attached = BTreeSet::new();
    for (_, schema) in SCHEMAS.iter() {
        for rule in schema
            .get("x-kubernetes-validations")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            attached.insert((
                rule["rule"].as_str().unwrap().to_owned(),
                rule["message"].as_str().unwrap().to_owned(),
            ));
        }
    }
    let ours: BTreeSet<(String, String)> = crate::rules::ALL
        .iter()
        .map(|(rule, message)| ((*rule).to_owned(), (*message).to_owned()))
        .collect();
    assert_eq!(attached, ours);
}

#[test]
fn rules_sit_where_they_are_documented() {
    let at = |rule: crate::rules::CelRule| -> Vec<String> {
        let has = |schema: &Value| {
            let rules = schema
                .get("x-kubernetes-validations")
                .and_then(Value::as_array);
            rules
                .into_iter()
                .flatten()
                .any(|attached| attached["message"] == rule.1)
        };
        SCHEMAS
            .iter()
            .filter(|(_, schema)| has(schema))
            .map(|(path, _)| path.clone())
            .collect()
    };
    assert_eq!(
        at(crate::rules::C15),
        [
            "Backup .spec.policy.resourceFilter",
            "Migrate .spec.policy.resourceFilter"
        ]
    );
    assert_eq!(at(crate::rules::C30), ["Migrate .spec.sourceCluster"]);
    assert_eq!(at(crate::rules::C40).len(), 3);
    assert_eq!(at(crate::rules::C10).len(), 4);
    assert_eq!(at(crate::rules::C12).len(), 9);
    assert_eq!(at(crate::rules::C16).len(), 3);
    assert_eq!(
        at(crate::rules::C23),
        [
            "Backup .spec.policy.resourcePolicy.kind",
            "Restore .spec.policy.resourceModifier.kind"
        ]
    );
}

#[test]
fn nothing_is_nullable_that_kurator_did_not_make_so() {
    for (path, schema) in SCHEMAS.iter() {
        if schema.get("nullable") != Some(&json!(true)) {
            continue;
        }
        let inherited = [
            "resourceFilter.",
            "preserveStatus",
            "migrateStatus",
            "preserveNodePorts",
            "orderedResources",
            "distributedStorage.storage.",
            "StatusInCluster.",
            "sourceClusterStatus.",
            "credentialSecret",
        ];
        // Names are one type everywhere.
        let names = schema.get("type") == Some(&json!("array"))
            && schema.get("maxItems") == Some(&json!(500));
        assert!(
            names || inherited.iter().any(|part| path.contains(part)),
            "{path}"
        );
    }
}

#[test]
fn names_columns_and_status_are_as_documented() {
    let crds = &*CRDS;
    let short: Vec<Vec<String>> = crds
        .iter()
        .map(|crd| crd.spec.names.short_names.clone().unwrap())
        .collect();
    assert_eq!(short, [["kac"], ["kfl"], ["kbk"], ["krs"], ["kmg"]]);
    for crd in crds {
        assert_eq!(crd.spec.scope, "Namespaced");
        assert_eq!(
            crd.spec.names.categories,
            Some(vec!["kurator-dev".to_owned()])
        );
        let version = &crd.spec.versions[0];
        assert!(version.subresources.as_ref().unwrap().status.is_some());
        let columns = version.additional_printer_columns.as_ref().unwrap();
        assert_eq!(columns.last().unwrap().name, "Age");
    }
    assert_eq!(file_name(&crds[1]), "fleets.fleet.kurator.dev.yaml");
}
