//! Restores.

use api_types::rules;
use serde_json::{Value, json};

use super::{case, check, with};

fn restore(more: &Value) -> Value {
    with(json!({ "backupName": "select-labels" }), more)
}

#[tokio::test]
async fn a_restore_is_refused_when_it_cannot_work() {
    let oslo = json!({ "name": "oslo" });
    check(vec![
        case(
            rules::C23,
            "Restore",
            restore(&json!({ "policy": { "resourceModifier": { "kind": "", "name": "a" } } })),
            restore(
                &json!({ "policy": { "resourceModifier": { "kind": "configmap", "name": "a" } } }),
            ),
        ),
        case(
            rules::C26,
            "Restore",
            restore(&json!({ "sourceCluster": oslo })),
            restore(&json!({ "sourceCluster": oslo, "destination": { "fleet": "quickstart" } })),
        ),
    ])
    .await;
}
