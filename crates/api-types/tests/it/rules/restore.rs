//! Restores.

use api_types::rules;
use serde_json::{Value, json};

use super::{case, check, filters, with};

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

#[tokio::test]
async fn a_restore_is_refused_when_it_does_not_say_where_to() {
    let named = json!([{ "kind": "AttachedCluster", "name": "oslo" }]);
    let to = |destination: Value| {
        let destination = with(json!({ "fleet": "quickstart" }), &destination);
        restore(&json!({ "destination": destination }))
    };
    let cases = [
        (
            rules::C10,
            json!({ "clusters": named, "clusterSelector": {} }),
            json!({ "clusters": [], "clusterSelector": {} }),
        ),
        (
            rules::C12,
            json!({ "clusters": [{ "kind": "AttachedCluster" }] }),
            json!({ "clusters": named }),
        ),
        (
            rules::C13,
            json!({ "clusters": [{ "kind": "Pod", "name": "oslo" }] }),
            json!({ "clusters": [{ "name": "oslo" }] }),
        ),
    ];
    let cases = cases.map(|(rule, bad, good)| case(rule, "Restore", to(bad), to(good)));
    check(cases.into()).await;
}

#[tokio::test]
async fn a_restore_is_refused_for_each_rule_that_its_policy_has() {
    let policy = |policy: Value| restore(&json!({ "policy": policy }));
    let filter = |of: Value| policy(json!({ "resourceFilter": of }));
    let cases = filters().map(|(rule, bad, good)| case(rule, "Restore", filter(bad), filter(good)));
    let timeout = |text: &str| policy(json!({ "itemOperationTimeout": text }));
    let deadline = |text: &str| restore(&json!({ "startDeadline": text }));
    let durations = [
        case(rules::C9, "Restore", timeout("30d"), timeout("4h")),
        case(rules::C9, "Restore", deadline("1h 30m"), deadline("1h30m")),
    ];
    check(cases.into_iter().chain(durations).collect()).await;
}
