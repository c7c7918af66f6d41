//! Migrates.

use api_types::rules;
use serde_json::{Value, json};

use super::{case, check, filters, with};

fn migrate(more: &Value) -> Value {
    let cluster = |name: &str| json!({ "fleet": "quickstart", "clusters": [{ "name": name }] });
    with(
        json!({ "sourceCluster": cluster("oslo"), "targetCluster": cluster("turku") }),
        more,
    )
}

#[tokio::test]
async fn a_migrate_is_refused_when_it_is_not_from_one_named_cluster() {
    let clusters = json!([{ "name": "oslo" }, { "name": "turku" }]);
    let two = json!({ "fleet": "quickstart", "clusters": clusters });
    check(vec![
        case(
            rules::C30,
            "Migrate",
            migrate(&json!({ "sourceCluster": two })),
            migrate(&json!({ "targetCluster": two })),
        ),
        case(
            rules::C30,
            "Migrate",
            migrate(&json!({ "sourceCluster": { "fleet": "quickstart" } })),
            migrate(&json!({ "targetCluster": { "fleet": "quickstart" } })),
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_migrate_is_refused_for_each_rule_that_its_parts_have() {
    let m = "Migrate";
    let named = json!([{ "kind": "AttachedCluster", "name": "oslo" }]);
    let by_label = |clusters: &Value| json!({ "fleet": "quickstart", "clusters": clusters, "clusterSelector": {} });
    let listed = |clusters: Value| json!({ "fleet": "quickstart", "clusters": clusters });
    let source = |of: Value| migrate(&json!({ "sourceCluster": of }));
    let target = |of: Value| migrate(&json!({ "targetCluster": of }));
    let plain = || migrate(&json!({}));
    let mut cases = vec![
        case(
            rules::C9,
            m,
            migrate(&json!({ "deadline": "1d" })),
            migrate(&json!({ "deadline": "6h" })),
        ),
        case(
            rules::C9,
            m,
            migrate(&json!({ "policy": { "ttl": "30d" } })),
            migrate(&json!({ "policy": { "ttl": "720h" } })),
        ),
        case(
            rules::C10,
            m,
            target(by_label(&named)),
            target(by_label(&json!([]))),
        ),
        case(rules::C10, m, source(by_label(&named)), plain()),
        case(
            rules::C30,
            m,
            source(by_label(&json!([]))),
            source(listed(named.clone())),
        ),
        case(
            rules::C30,
            m,
            source(json!({ "fleet": "quickstart", "clusterSelector": {} })),
            plain(),
        ),
    ];
    for (rule, wrong) in [
        (rules::C12, json!([{ "kind": "AttachedCluster" }])),
        (rules::C13, json!([{ "kind": "Pod", "name": "oslo" }])),
    ] {
        cases.push(case(
            rule,
            m,
            source(listed(wrong.clone())),
            source(listed(named.clone())),
        ));
        cases.push(case(
            rule,
            m,
            target(listed(wrong)),
            target(listed(json!([{ "name": "oslo" }]))),
        ));
    }
    check(cases).await;
}

#[tokio::test]
async fn a_migrate_is_refused_for_each_rule_that_the_filter_of_its_policy_has() {
    let filter = |of: Value| migrate(&json!({ "policy": { "resourceFilter": of } }));
    let mixed = (
        rules::C15,
        json!({ "excludedResources": ["pods"], "excludedClusterScopedResources": ["nodes"] }),
        json!({ "excludedResources": ["pods"] }),
    );
    let cases = filters().into_iter().chain([mixed]);
    let cases = cases.map(|(rule, bad, good)| case(rule, "Migrate", filter(bad), filter(good)));
    check(cases.collect()).await;
}
