//! Each rule that speaks at creation: a manifest that it refuses with its sentence, and a neighbour
//! that is accepted.

mod attached_cluster;
mod backup;
mod fleet;
mod migrate;
mod restore;

use api_types::rules::{self, CelRule};
use serde_json::{Value, json};

use self::backup::backup_to;
use crate::{client, create, refusal};

struct Case {
    rule: CelRule,
    kind: &'static str,
    refused: Value,
    accepted: Value,
}

async fn check(cases: Vec<Case>) {
    let client = client().await;
    for Case {
        rule,
        kind,
        refused,
        accepted,
    } in cases
    {
        let what = format!("{kind} {refused}");
        let message = refusal(&what, create(&client, kind, &refused).await);
        assert!(
            message.contains(rule.1),
            "{what}\nwants: {}\nsays: {message}",
            rule.1
        );
        if let Err(error) = create(&client, kind, &accepted).await {
            panic!("{kind} {accepted}: {error}");
        }
    }
}

fn case(rule: CelRule, kind: &'static str, refused: Value, accepted: Value) -> Case {
    Case {
        rule,
        kind,
        refused,
        accepted,
    }
}

fn with(mut spec: Value, more: &Value) -> Value {
    let (Some(spec_fields), Some(more)) = (spec.as_object_mut(), more.as_object()) else {
        panic!("a spec is an object");
    };
    spec_fields.extend(more.clone());
    spec
}

/// For each rule of every resourceFilter one that it refuses and one that it takes.
fn filters() -> [(CelRule, Value, Value); 7] {
    let selector = json!({ "matchLabels": { "app": "busybox" } });
    [
        (
            rules::C16,
            json!({ "labelSelector": selector, "orLabelSelectors": [selector] }),
            json!({ "labelSelector": selector }),
        ),
        (
            rules::C17,
            json!({ "includedNamespaces": ["shop"], "excludedNamespaces": ["shop"] }),
            json!({ "includedNamespaces": ["shop"], "excludedNamespaces": ["bank"] }),
        ),
        (
            rules::C18,
            json!({ "excludedNamespaces": ["*"] }),
            json!({ "excludedNamespaces": ["bank"] }),
        ),
        (
            rules::C19,
            json!({ "includedNamespaces": ["*", "a"] }),
            json!({ "includedNamespaces": ["*"] }),
        ),
        (
            rules::C20,
            json!({ "includedResources": ["pods"], "excludedResources": ["pods"] }),
            json!({ "includedResources": ["pods"], "excludedResources": ["events"] }),
        ),
        (
            rules::C21,
            json!({ "excludedResources": ["*"] }),
            json!({ "excludedResources": ["pods"] }),
        ),
        (
            rules::C22,
            json!({ "includedResources": ["pods", "*"] }),
            json!({ "includedResources": ["*"] }),
        ),
    ]
}

#[tokio::test]
async fn a_refusal_names_the_field_and_then_says_the_sentence() {
    let client = client().await;
    let message = refusal(
        "no kubeconfig",
        create(&client, "AttachedCluster", &json!({})).await,
    );
    let sentence = rules::C43.1;
    assert!(
        message.contains(&format!("spec: Invalid value: \"object\": {sentence}")),
        "{message}"
    );
    let nameless = backup_to(&json!({ "clusters": [{ "name": "a" }, { "kind": "Cluster" }] }));
    let message = refusal("no name", create(&client, "Backup", &nameless).await);
    let sentence = rules::C12.1;
    let path = "spec.destination.clusters[1]";
    assert!(
        message.contains(&format!("{path}: Invalid value: \"object\": {sentence}")),
        "{message}"
    );
}
