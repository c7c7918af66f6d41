//! The rules of an `AttachedCluster`.

use api_types::rules;
use serde_json::json;

use super::{case, check};

#[tokio::test]
async fn an_attached_cluster_needs_a_secret_and_a_key_that_can_exist() {
    let kubeconfig = |name: &str, key: &str| json!({ "kubeconfig": { "name": name, "key": key } });
    let a = "AttachedCluster";
    let good = || kubeconfig("kurator-member1", "kurator-member1.config");
    check(vec![
        case(rules::C43, a, json!({}), good()),
        case(rules::C43, a, json!(null), good()),
        case(
            rules::C44,
            a,
            kubeconfig("Kurator", "value"),
            kubeconfig("a.b-c.1", "value"),
        ),
        case(
            rules::C44,
            a,
            kubeconfig("a..b", "value"),
            kubeconfig("a", "value"),
        ),
        case(
            rules::C45,
            a,
            kubeconfig("a", "my key"),
            kubeconfig("a", "My_Key-1.config"),
        ),
        case(
            rules::C45,
            a,
            kubeconfig("a", "a/b"),
            kubeconfig("a", "..data"),
        ),
    ])
    .await;
}
