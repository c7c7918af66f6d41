//! Each rule that speaks at creation: a manifest that it refuses with its sentence, and a neighbour
//! that is accepted.

use api_types::rules::{self, CelRule};
use serde_json::{Value, json};

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

fn backup(more: &Value) -> Value {
    with(json!({ "destination": { "fleet": "quickstart" } }), more)
}

fn backup_to(destination: &Value) -> Value {
    json!({ "destination": with(json!({ "fleet": "quickstart" }), destination) })
}

fn policy(policy: &Value) -> Value {
    backup(&json!({ "policy": policy }))
}

fn filter(filter: &Value) -> Value {
    policy(&json!({ "resourceFilter": filter }))
}

#[tokio::test]
async fn a_backup_is_refused_when_its_schedule_makes_no_sense() {
    let b = "Backup";
    let scheduled = |more: &Value| with(backup(&json!({ "schedule": "0 3 * * *" })), more);
    let at = |schedule: &str| backup(&json!({ "schedule": schedule }));
    let mut cases = vec![
        case(
            rules::C4,
            b,
            backup(&json!({ "timeZone": "UTC" })),
            scheduled(&json!({ "timeZone": "UTC" })),
        ),
        case(
            rules::C5,
            b,
            backup(&json!({ "paused": true })),
            scheduled(&json!({ "paused": true })),
        ),
        case(
            rules::C5,
            b,
            backup(&json!({ "paused": true, "schedule": "" })),
            backup(&json!({ "paused": false })),
        ),
        case(
            rules::C6,
            b,
            backup(&json!({ "schedule": "CRON_TZ=UTC 0 3 * * *", "timeZone": "UTC" })),
            at("CRON_TZ=UTC 0 3 * * *"),
        ),
    ];
    let texts = [
        ("0 3 * *", "0 3 * * *"),
        ("0 3 * * * *", "*/5 * * * *"),
        ("@sometimes", "@daily"),
        ("@every 6 hours", "@every 6h"),
        ("@every", "@every 1h30m"),
        ("0 3 @ * *", "0 3 1,15 * MON-FRI"),
        ("TZ= 0 3 * * *", "TZ=Europe/Berlin 0 3 * * *"),
    ];
    cases.extend(texts.map(|(bad, good)| case(rules::C7, b, at(bad), at(good))));
    let zones = [
        ("Europe/Berlin ", "Europe/Berlin"),
        ("+02:00", "Etc/GMT-2"),
        ("Local", "America/Argentina/Buenos_Aires"),
    ];
    let zone = |zone: &str| scheduled(&json!({ "timeZone": zone }));
    cases.extend(zones.map(|(bad, good)| case(rules::C8, b, zone(bad), zone(good))));
    check(cases).await;
}

#[tokio::test]
async fn a_duration_is_refused_when_go_could_not_read_it() {
    let durations = [
        ("30d", "720h"),
        ("1", "0"),
        ("1h 30m", "1h30m"),
        ("-1h", "1.5h"),
        ("", "250ms"),
    ];
    let places: [fn(&str) -> Value; 5] = [
        |text| policy(&json!({ "ttl": text })),
        |text| backup(&json!({ "startDeadline": text })),
        |text| policy(&json!({ "itemOperationTimeout": text, "csiSnapshotTimeout": "10m" })),
        |text| policy(&json!({ "csiSnapshotTimeout": text })),
        |text| {
            let pre = json!([{ "exec": { "command": ["sync"], "timeout": text } }]);
            policy(&json!({ "hooks": { "resources": [{ "name": "sync", "pre": pre }] } }))
        },
    ];
    let cases = durations.iter().flat_map(|(bad, good)| {
        places
            .iter()
            .map(|place| case(rules::C9, "Backup", place(bad), place(good)))
    });
    check(cases.collect()).await;
}

#[tokio::test]
async fn a_destination_is_refused_when_it_does_not_say_which_clusters() {
    let named = json!([{ "kind": "AttachedCluster", "name": "kurator-member1" }]);
    let b = "Backup";
    check(vec![
        case(
            rules::C10,
            b,
            backup_to(&json!({ "clusters": named, "clusterSelector": {} })),
            backup_to(&json!({ "clusters": [], "clusterSelector": {} })),
        ),
        case(
            rules::C12,
            b,
            backup_to(&json!({ "clusters": [{ "kind": "AttachedCluster" }] })),
            backup_to(&json!({ "clusters": named })),
        ),
        case(
            rules::C12,
            "Fleet",
            json!({ "clusters": [{ "kind": "AttachedCluster", "name": "" }] }),
            json!({ "clusters": [{ "name": "a" }, { "name": "a" }] }),
        ),
        case(
            rules::C13,
            b,
            backup_to(&json!({ "clusters": [{ "kind": "Pod", "name": "a" }] })),
            backup_to(&json!({ "clusters": [{ "name": "a", "namespace": "elsewhere" }] })),
        ),
        case(
            rules::C13,
            "Fleet",
            json!({ "clusters": [{ "kind": "attachedcluster", "name": "a" }] }),
            json!({ "clusters": [{ "kind": "Cluster", "name": "a" }, { "kind": "AttachedCluster", "name": "a" }] }),
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_policy_is_refused_when_velero_would_refuse_it() {
    let b = "Backup";
    let selector = json!({ "matchLabels": { "app": "busybox" } });
    let one = |name: &str, values: &Value| filter(&json!({ name: values }));
    check(vec![
        case(
            rules::C14,
            b,
            policy(&json!({ "snapshotMoveData": true, "snapshotVolumes": false })),
            policy(&json!({ "snapshotMoveData": true, "snapshotVolumes": true })),
        ),
        case(
            rules::C15,
            b,
            filter(&json!({ "includeClusterResources": true, "includedNamespaceScopedResources": ["pods"] })),
            filter(&json!({ "includeClusterResources": null, "includedNamespaceScopedResources": ["pods"] })),
        ),
        case(
            rules::C15,
            "Migrate",
            migrate(&json!({ "policy": { "resourceFilter": {
                "excludedResources": ["pods"], "excludedClusterScopedResources": ["nodes"],
            } } })),
            migrate(&json!({ "policy": { "resourceFilter": { "excludedResources": ["pods"] } } })),
        ),
        case(
            rules::C16,
            b,
            filter(&json!({ "labelSelector": selector, "orLabelSelectors": [selector] })),
            filter(&json!({ "labelSelector": selector, "orLabelSelectors": [] })),
        ),
        case(
            rules::C17,
            b,
            filter(&json!({ "includedNamespaces": ["shop", "bank"], "excludedNamespaces": ["bank"] })),
            filter(&json!({ "includedNamespaces": ["shop"], "excludedNamespaces": ["bank"] })),
        ),
        case(rules::C18, b, one("excludedNamespaces", &json!(["*"])), one("excludedNamespaces", &json!(["a*"]))),
        case(rules::C19, b, one("includedNamespaces", &json!(["*", "a"])), one("includedNamespaces", &json!(["*"]))),
        case(
            rules::C20,
            b,
            filter(&json!({ "includedResources": ["pods"], "excludedResources": ["pods"] })),
            filter(&json!({ "includedResources": ["pods"], "excludedResources": ["events"] })),
        ),
        case(rules::C21, b, one("excludedResources", &json!(["*"])), one("excludedResources", &json!(["pods"]))),
        case(rules::C22, b, one("includedResources", &json!(["pods", "*"])), one("includedResources", &json!(["*"]))),
        case(
            rules::C23,
            b,
            policy(&json!({ "resourcePolicy": { "kind": "Secret", "name": "skip" } })),
            policy(&json!({ "resourcePolicy": { "kind": "ConfigMap", "name": "skip" } })),
        ),
    ])
    .await;
}

fn restore(more: &Value) -> Value {
    with(json!({ "backupName": "select-labels" }), more)
}

fn migrate(more: &Value) -> Value {
    let cluster = |name: &str| json!({ "fleet": "quickstart", "clusters": [{ "name": name }] });
    with(
        json!({ "sourceCluster": cluster("oslo"), "targetCluster": cluster("turku") }),
        more,
    )
}

#[tokio::test]
async fn a_restore_or_migrate_is_refused_when_it_cannot_work() {
    let oslo = json!({ "name": "oslo" });
    let two = json!({ "fleet": "quickstart", "clusters": [oslo, { "name": "turku" }] });
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
    let filter = |of: Value| migrate(&json!({ "policy": { "resourceFilter": of } }));
    let selector = json!({ "matchLabels": { "app": "busybox" } });
    let filters = [
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
    ];
    cases.extend(filters.map(|(rule, bad, good)| case(rule, m, filter(bad), filter(good))));
    check(cases).await;
}

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

fn location(more: &Value) -> Value {
    let location = with(json!({ "bucket": "velero", "provider": "aws" }), more);
    json!({ "plugin": { "backup": { "storage": { "location": location, "secretName": "s3" } } } })
}

#[tokio::test]
async fn a_backup_location_is_refused_when_it_names_no_place() {
    let f = "Fleet";
    let prefix = |prefix: &str| location(&json!({ "prefix": prefix }));
    check(vec![
        case(
            rules::C31,
            f,
            location(&json!({ "provider": "huaweicloud" })),
            location(&json!({ "provider": "huaweicloud", "endpoint": "https://obs.example.org" })),
        ),
        case(
            rules::C32,
            f,
            location(&json!({ "layout": "Shared", "prefix": "a" })),
            location(&json!({ "layout": "Shared", "prefix": "" })),
        ),
        case(
            rules::C33,
            f,
            location(&json!({ "bucket": "a/b" })),
            location(&json!({ "bucket": "a" })),
        ),
        case(
            rules::C34,
            f,
            location(&json!({ "endpoint": "s3.example.org" })),
            location(&json!({ "endpoint": "http://s3.example.org:9000" })),
        ),
        case(rules::C35, f, prefix("/a"), prefix("a/b_c.d-e")),
        case(rules::C35, f, prefix("a//b"), prefix("")),
    ])
    .await;
}

fn storage(storage: &Value) -> Value {
    json!({ "plugin": { "distributedStorage": { "storage": storage } } })
}

#[tokio::test]
async fn storage_is_refused_when_it_contradicts_itself() {
    let f = "Fleet";
    let default = |name: &str, is_default: bool| json!([{ "name": name, "storageClass": { "default": is_default } }]);
    let devices = |more: &Value| storage(&json!({ "storage": more }));
    let pools = |more: &Value| storage(&json!({ "objectStores": [more] }));
    let erasure = json!({ "dataChunks": 2, "codingChunks": 1 });
    let cleanup = |text: &str| storage(&json!({ "cleanup": { "confirmation": text } }));
    check(vec![
        case(
            rules::C36,
            f,
            storage(&json!({ "blockPools": default("a", true), "filesystems": default("b", true) })),
            storage(&json!({ "blockPools": default("a", true), "filesystems": default("b", false) })),
        ),
        case(
            rules::C38,
            f,
            devices(&json!({ "useAllDevices": true, "deviceFilter": "^sd" })),
            devices(&json!({ "useAllDevices": false, "deviceFilter": "^sd" })),
        ),
        case(
            rules::C39,
            f,
            devices(&json!({ "devices": [{ "config": { "a": "b" } }] })),
            devices(&json!({ "nodes": [{ "name": "node-1", "devices": [{ "fullpath": "/dev/sdb" }] }] })),
        ),
        case(
            rules::C40,
            f,
            pools(&json!({ "name": "a", "replicas": 3, "erasureCoding": erasure })),
            pools(&json!({ "name": "a", "erasureCoding": erasure })),
        ),
        case(rules::C41, f, pools(&json!({ "name": "A" })), pools(&json!({ "name": "a.b-1" }))),
        case(rules::C42, f, cleanup("yes"), cleanup("yes-really-destroy-data")),
    ])
    .await;
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
