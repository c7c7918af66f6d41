use kube::api::{DynamicObject, Patch, PatchParams, ValidationDirective};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::{client, repository};

/// Applies one manifest in a namespace of its own, so that namesakes of different files do not meet.
/// A field that the server does not know makes it refuse the whole.
async fn apply(client: &Client, namespace: &str, mut manifest: Value) -> DynamicObject {
    let text = |pointer: &str| {
        manifest
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap()
            .to_owned()
    };
    let (api_version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
    let (group, version) = api_version.split_once('/').unwrap();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
    manifest["metadata"]["namespace"] = json!(namespace);
    let params = PatchParams {
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply("kubectl")
    };
    let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let applied = objects
        .patch(&name, &params, &Patch::Apply(&manifest))
        .await;
    applied.unwrap_or_else(|error| panic!("{kind} {name}: {error}"))
}

/// Whether `stored` holds all of `sent`.
fn holds(sent: &Value, stored: &Value) -> bool {
    match (sent, stored) {
        (Value::Object(sent), Value::Object(stored)) => sent
            .iter()
            .all(|(name, value)| stored.get(name).is_some_and(|stored| holds(value, stored))),
        (Value::Array(sent), Value::Array(stored)) => {
            sent.len() == stored.len()
                && sent
                    .iter()
                    .zip(stored)
                    .all(|(sent, stored)| holds(sent, stored))
        }
        _ => sent == stored,
    }
}

#[tokio::test]
async fn every_example_is_accepted_and_stored_without_a_pruned_field() {
    let client = client().await;
    let mut applied = 0;
    for folder in ["common", "backup", "fleet", "api"] {
        for entry in std::fs::read_dir(repository("tests/examples").join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let namespace = format!("example-{}", path.file_stem().unwrap().to_str().unwrap());
            make_namespace(&client, &namespace).await;
            let text = std::fs::read_to_string(&path).unwrap();
            let manifests: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
            for manifest in manifests.into_iter().filter(is_ours) {
                let stored = apply(&client, &namespace, manifest.clone()).await;
                let spec = stored.data.get("spec").unwrap();
                assert!(
                    holds(&manifest["spec"], spec),
                    "{}: stored as {spec:#}",
                    path.display()
                );
                applied += 1;
            }
        }
    }
    assert!(applied >= 24, "only {applied} objects found");
}

fn is_ours(manifest: &Value) -> bool {
    manifest["apiVersion"]
        .as_str()
        .is_some_and(|version| version.contains("kurator.dev"))
}

async fn make_namespace(client: &Client, name: &str) {
    let manifest = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n");
    testbed::apply_yaml(client, &manifest).await.unwrap();
}

#[test]
fn a_pruned_field_is_noticed() {
    assert!(holds(&json!({ "a": [1] }), &json!({ "a": [1], "b": 2 })));
    assert!(!holds(&json!({ "a": [1], "b": 2 }), &json!({ "a": [1] })));
}
