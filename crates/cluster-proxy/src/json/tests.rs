use serde_json::{Value, json};

use super::*;

const HINT: TypeHint<'static> = TypeHint {
    api_version: "velero.io/v1",
    kind: "Backup",
};

fn projected(value: &Value, projection: Projection) -> Value {
    let text = value.to_string();
    let out = project(&text, projection, HINT).unwrap();
    serde_json::from_slice(&out.json).unwrap()
}

fn backup() -> Value {
    json!({
        "apiVersion": "velero.io/v1", "kind": "Backup",
        "metadata": {
            "annotations": {"a": "with \"managedFields\": [1] inside"},
            "generation": 3,
            "managedFields": [{"manager": "x", "fieldsV1": {"f:spec": {}}}],
            "name": "b", "namespace": "velero", "resourceVersion": "18446744073709551617",
            "uid": "u"
        },
        "spec": {"managedFields": "kept", "big": 9_007_199_254_740_993_i64},
        "status": {"phase": "Brand New"}
    })
}

/// The oracle: parse, remove, serialise.
fn without_managed_fields(mut value: Value) -> Value {
    if let Some(meta) = value["metadata"].as_object_mut() {
        meta.remove("managedFields");
    }
    value
}

#[test]
fn the_cut_equals_parse_and_remove_wherever_the_key_stands() {
    let fields = r#""managedFields":[{"a":"}],"},{"b":[]}]"#;
    for meta in [
        format!(r#"{{{fields},"name":"b","namespace":"velero"}}"#),
        format!(r#"{{"name":"b",{fields},"namespace":"velero"}}"#),
        format!(r#"{{"name":"b","namespace":"velero",{fields}}}"#),
        format!("{{{fields}}}"),
        format!("{{ \"name\" : \"b\" ,\n {fields} \n}}"),
        r#"{"name":"b"}"#.to_owned(),
    ] {
        let text = format!(
            r#"{{"apiVersion":"velero.io/v1","kind":"Backup","metadata":{meta},"spec":{{"x":1}}}}"#
        );
        let oracle = without_managed_fields(serde_json::from_str(&text).unwrap());
        let out = project(&text, Projection::Full, HINT).unwrap();
        let got: Value = serde_json::from_slice(&out.json).unwrap();
        assert_eq!(got, oracle, "{text}");
    }
}

#[test]
fn identity_is_read_and_the_rest_survives() {
    let value = backup();
    let text = value.to_string();
    let out = project(&text, Projection::Full, HINT).unwrap();
    assert_eq!((out.name.as_str(), out.namespace.as_str()), ("b", "velero"));
    assert_eq!(out.resource_version, "18446744073709551617");
    assert_eq!(out.generation, 3);
    assert_eq!(
        projected(&value, Projection::Full),
        without_managed_fields(value.clone())
    );
    assert_eq!(projected(&value, Projection::WithManagedFields), value);
}

#[test]
fn metadata_projection_keeps_nothing_of_the_body() {
    let got = projected(&backup(), Projection::Metadata);
    assert_eq!(got["kind"], "Backup");
    assert!(got.get("spec").is_none() && got.get("status").is_none());
    assert!(got["metadata"].get("managedFields").is_none());
}

#[test]
fn a_secrets_data_does_not_hide_in_its_annotations() {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "data": {"cloud": "c2VjcmV0"},
        "metadata": {"name": "s", "annotations": {LAST_APPLIED: "{\"data\":\"c2VjcmV0\"}", "k": "v"}}});
    let got = projected(&secret, Projection::SecretMetadata);
    assert!(!got.to_string().contains("c2VjcmV0"), "{got}");
    assert_eq!(got["metadata"]["annotations"]["k"], "v");
}

#[test]
fn list_items_get_the_type_that_the_server_leaves_out() {
    let item = json!({"metadata": {"name": "n"}, "spec": {}});
    assert_eq!(projected(&item, Projection::Full)["kind"], "Backup");
}

#[test]
fn an_identity_beyond_what_kubernetes_allows_is_refused() {
    let at = |field: &str, length: usize| {
        let mut object = json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": "n"}});
        let text = "x".repeat(length);
        match field {
            "apiVersion" | "kind" => object[field] = text.into(),
            field => object["metadata"][field] = text.into(),
        }
        project(&object.to_string(), Projection::Full, HINT).map(|object| object.name)
    };
    for (field, max) in [
        ("apiVersion", API_VERSION_MAX),
        ("kind", KIND_MAX),
        ("name", NAME_MAX),
        ("namespace", NAMESPACE_MAX),
        ("uid", REVISION_MAX),
        ("resourceVersion", REVISION_MAX),
    ] {
        assert!(at(field, max).is_ok(), "{field}");
        let refused = at(field, max + 1);
        assert!(matches!(refused, Err(JsonError::Beyond(_))), "{field}");
    }
}

#[test]
fn what_grows_when_it_is_written_anew_is_refused() {
    let numbers = vec!["1e15"; 300_000].join(",");
    let text = format!(r#"{{"metadata":{{"name":"s","x":[{numbers}]}}}}"#);
    assert!(text.len() < OBJECT_MAX);
    let refused = project(&text, Projection::SecretMetadata, HINT);
    assert_eq!(refused, Err(JsonError::Beyond("metadata")));
}

#[test]
fn an_error_quotes_a_member_only_a_little() {
    let text = format!(r#"{{"metadata":"{}"}}"#, "x".repeat(1 << 20));
    let text = format!(r#"{{"metadata":{{"generation":{text}}}}}"#);
    let error = project(&text, Projection::Full, HINT).unwrap_err();
    assert!(error.to_string().len() < 2048);
}

#[test]
fn hostile_json_is_an_error_and_never_a_panic() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(text(deep.as_bytes()), Err(JsonError::Depth));
    assert_eq!(text(b"\"\xff\""), Err(JsonError::Utf8));
    for wrong in [
        "",
        "null",
        "[]",
        "{}",
        "{\"metadata\":1}",
        "{\"metadata\":{\"name\":1}}",
        "{\"metadata\":{\"name\":\"a\",\"name\":\"b\"}}",
        "{\"metadata\":{},\"metadata\":{}}",
        "\u{feff}{\"metadata\":{}}",
        "{\"metadata\":{\"generation\":NaN}}",
        r#"{"metadata":{"managed\u0046ields":[1],"name":"x"}}"#,
    ] {
        assert!(project(wrong, Projection::Full, HINT).is_err(), "{wrong}");
    }
}
