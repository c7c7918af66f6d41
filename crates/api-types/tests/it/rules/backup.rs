//! Backups.

use api_types::rules;
use serde_json::{Value, json};

use super::{case, check, with};

fn backup(more: &Value) -> Value {
    with(json!({ "destination": { "fleet": "quickstart" } }), more)
}

pub(super) fn backup_to(destination: &Value) -> Value {
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
            rules::C13,
            b,
            backup_to(&json!({ "clusters": [{ "kind": "Pod", "name": "a" }] })),
            backup_to(&json!({ "clusters": [{ "name": "a", "namespace": "elsewhere" }] })),
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
