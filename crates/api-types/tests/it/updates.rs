//! The rules that speak when an object is changed.

use api_types::rules::{self, CelRule};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::{client, create, merge, refusal};

struct Case {
    rule: CelRule,
    kind: &'static str,
    stored: Value,
    refused: Value,
    accepted: Value,
}

async fn check(cases: Vec<Case>) {
    let client = client().await;
    for Case {
        rule,
        kind,
        stored,
        refused,
        accepted,
    } in cases
    {
        let name = create(&client, kind, &stored).await.unwrap().name_any();
        let what = format!("{kind} {stored} with {refused}");
        let message = refusal(&what, merge(&client, kind, &name, &refused).await);
        assert!(
            message.contains(rule.1),
            "{what}\nwants: {}\nsays: {message}",
            rule.1
        );
        if let Err(error) = merge(&client, kind, &name, &accepted).await {
            panic!("{kind} {stored} with {accepted}: {error}");
        }
    }
}

fn destination(cluster: &str) -> Value {
    json!({ "fleet": "quickstart", "clusters": [{ "name": cluster }] })
}

#[tokio::test]
async fn a_one_time_backup_keeps_what_it_was_asked_for() {
    let once = || json!({ "destination": { "fleet": "quickstart" }, "policy": { "ttl": "720h" } });
    let scheduled = || json!({ "schedule": "@daily", "destination": { "fleet": "quickstart" } });
    let kind = "Backup";
    check(vec![
        Case {
            rule: rules::C1,
            kind,
            stored: once(),
            refused: json!({ "schedule": "@daily" }),
            accepted: json!({ "schedule": "" }),
        },
        Case {
            rule: rules::C1,
            kind,
            stored: scheduled(),
            refused: json!({ "schedule": null }),
            accepted: json!({ "schedule": "@hourly", "paused": true }),
        },
        Case {
            rule: rules::C2,
            kind,
            stored: once(),
            refused: json!({ "policy": { "ttl": "24h" } }),
            accepted: json!({ "deletionPolicy": "Delete", "startDeadline": "2h" }),
        },
        Case {
            rule: rules::C2,
            kind,
            stored: once(),
            refused: json!({ "policy": null }),
            accepted: json!({ "policy": { "ttl": "720h" } }),
        },
        Case {
            rule: rules::C3,
            kind,
            stored: once(),
            refused: json!({ "destination": destination("oslo") }),
            accepted: json!({ "destination": { "fleet": "quickstart" } }),
        },
        Case {
            rule: rules::C11,
            kind,
            stored: scheduled(),
            refused: json!({ "destination": { "fleet": "another" } }),
            accepted: json!({ "destination": destination("oslo"), "policy": { "ttl": "24h" } }),
        },
    ])
    .await;
}

#[tokio::test]
async fn a_restore_keeps_what_it_was_asked_for() {
    let kind = "Restore";
    let stored = || json!({ "backupName": "select-labels", "destination": destination("oslo") });
    let refusals = [
        (rules::C24, json!({ "backupName": "another" })),
        (rules::C24, json!({ "destination": destination("turku") })),
        (rules::C24, json!({ "pointInTime": "2026-11-23T12:00:00Z" })),
        (rules::C24, json!({ "sourceCluster": { "name": "turku" } })),
        (
            rules::C25,
            json!({ "policy": { "preserveNodePorts": true } }),
        ),
    ];
    let accepted = json!({ "startDeadline": "48h" });
    let case = |(rule, refused)| Case {
        rule,
        kind,
        stored: stored(),
        refused,
        accepted: accepted.clone(),
    };
    check(refusals.map(case).into()).await;
}

#[tokio::test]
async fn a_migrate_keeps_what_it_was_asked_for_and_is_cancelled_for_good() {
    let kind = "Migrate";
    let stored =
        || json!({ "sourceCluster": destination("oslo"), "targetCluster": destination("turku") });
    let mut cancelled = stored();
    cancelled["cancel"] = json!(true);
    check(vec![
        Case {
            rule: rules::C27,
            kind,
            stored: stored(),
            refused: json!({ "targetCluster": destination("bergen") }),
            accepted: json!({ "cancel": true }),
        },
        Case {
            rule: rules::C28,
            kind,
            stored: stored(),
            refused: json!({ "policy": { "ttl": "24h" } }),
            accepted: json!({ "deadline": "48h" }),
        },
        Case {
            rule: rules::C27,
            kind,
            stored: stored(),
            refused: json!({ "sourceCluster": destination("bergen") }),
            accepted: json!({ "deletionPolicy": "Delete" }),
        },
        Case {
            rule: rules::C11,
            kind,
            stored: stored(),
            refused: json!({ "targetCluster": { "fleet": "another" } }),
            accepted: json!({ "cancel": false }),
        },
        Case {
            rule: rules::C11,
            kind,
            stored: stored(),
            refused: json!({ "sourceCluster": { "fleet": "another" } }),
            accepted: json!({ "deadline": "1h" }),
        },
        Case {
            rule: rules::C29,
            kind,
            stored: cancelled.clone(),
            refused: json!({ "cancel": null }),
            accepted: json!({ "deadline": "1h" }),
        },
        Case {
            rule: rules::C29,
            kind,
            stored: cancelled,
            refused: json!({ "cancel": false }),
            accepted: json!({ "deletionPolicy": "Delete" }),
        },
    ])
    .await;
}

#[tokio::test]
async fn the_path_of_ceph_s_data_cannot_move() {
    let storage =
        |storage: &Value| json!({ "plugin": { "distributedStorage": { "storage": storage } } });
    check(vec![Case {
        rule: rules::C37,
        kind: "Fleet",
        stored: storage(&json!({ "dataDirHostPath": "/var/lib/rook" })),
        refused: storage(&json!({ "dataDirHostPath": "/data/rook" })),
        accepted: json!({ "plugin": { "distributedStorage": null } }),
    }])
    .await;
}
