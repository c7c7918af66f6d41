//! What people see: columns, short names, `explain` and `wait`.

use std::process::Command;

use kube::ResourceExt;
use serde_json::{Value, json};

use crate::{apply_status, bed, client, create, repository};

/// Runs kubectl on the hub and gives back what it prints.
async fn kubectl(args: &[&str]) -> String {
    let bed = bed().await;
    let mut command = Command::new(bed.tools().path("kubectl").unwrap());
    command
        .arg("--kubeconfig")
        .arg(bed.hub().kubeconfig_path())
        .args(args);
    // Discovery is cached on disk; a cache of another server would hide our kinds.
    command
        .arg("--cache-dir")
        .arg(bed.dir().join("kubectl-cache"));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "kubectl {args:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

fn columns(table: &str) -> Vec<&str> {
    table
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect()
}

fn condition(type_: &str, status: &str, reason: &str) -> Value {
    json!({
        "type": type_, "status": status, "reason": reason, "message": "all of it",
        "lastTransitionTime": "2026-11-23T12:00:00Z", "observedGeneration": 1,
    })
}

/// A finished Backup, as a controller would leave it.
async fn finished_backup() -> String {
    let client = client().await;
    let spec = json!({ "destination": { "fleet": "quickstart" } });
    let name = create(&client, "Backup", &spec).await.unwrap().name_any();
    let status = json!({
        "phase": "Completed",
        "observedGeneration": 1,
        "conditions": [condition("Ready", "True", "Completed"), condition("Succeeded", "True", "Completed")],
        "summary": { "total": 2, "completed": 2, "errors": 0, "display": "2/2" },
        "expirationTime": "2126-12-23T12:00:00Z",
    });
    apply_status(&client, "Backup", &name, &status)
        .await
        .unwrap();
    name
}

#[tokio::test]
async fn get_shows_the_documented_columns_and_wide_adds_the_rest_before_age() {
    let name = finished_backup().await;
    let client = client().await;
    let place = json!({ "fleet": "quickstart", "clusters": [{ "name": "oslo" }] });
    create(&client, "Restore", &json!({ "backupName": "a" }))
        .await
        .unwrap();
    create(
        &client,
        "Migrate",
        &json!({ "sourceCluster": place, "targetCluster": place }),
    )
    .await
    .unwrap();
    create(&client, "Fleet", &json!({})).await.unwrap();
    create(
        &client,
        "AttachedCluster",
        &json!({ "kubeconfig": { "name": "a" } }),
    )
    .await
    .unwrap();
    let kinds: [(&str, &[&str], &[&str]); 5] = [
        (
            "kac",
            &["NAME", "READY", "MODE", "VERSION", "NODES", "LAST-SEEN"],
            &["REASON"],
        ),
        (
            "kfl",
            &["NAME", "PHASE", "CLUSTERS", "PLUGINS"],
            &["MESSAGE"],
        ),
        (
            "kbk",
            &[
                "NAME",
                "SCHEDULE",
                "PHASE",
                "CLUSTERS",
                "LAST-SUCCESS",
                "NEXT",
                "ERRORS",
            ],
            &["FLEET", "STORE", "EXPIRES", "REASON"],
        ),
        (
            "krs",
            &[
                "NAME", "BACKUP", "PHASE", "CLUSTERS", "ITEMS", "WARNINGS", "ERRORS",
            ],
            &["REASON"],
        ),
        (
            "kmg",
            &["NAME", "SOURCE", "TARGETS", "PHASE", "STEP", "PROGRESS"],
            &["REASON"],
        ),
    ];
    for (short, narrow, more) in kinds {
        let table = kubectl(&["get", short]).await;
        assert_eq!(columns(&table), [narrow, &["AGE"]].concat(), "{short}");
        let table = kubectl(&["get", short, "-o", "wide"]).await;
        assert_eq!(
            columns(&table),
            [narrow, more, &["AGE"]].concat(),
            "{short}"
        );
    }
    let row = kubectl(&[
        "get",
        "backups.backup.kurator.dev",
        &name,
        "-o",
        "wide",
        "--no-headers",
    ])
    .await;
    for text in ["Completed", "2/2", "quickstart", "2126-12-23T12:00:00Z"] {
        assert!(row.contains(text), "{row}");
    }
    assert!(!row.contains("<invalid>"), "{row}");
}

#[tokio::test]
async fn the_category_lists_all_five_kinds() {
    let names = kubectl(&[
        "api-resources",
        "--categories",
        "kurator-dev",
        "--output",
        "name",
    ])
    .await;
    let mut names: Vec<&str> = names.lines().collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "attachedclusters.cluster.kurator.dev",
            "backups.backup.kurator.dev",
            "fleets.fleet.kurator.dev",
            "migrates.backup.kurator.dev",
            "restores.backup.kurator.dev",
        ]
    );
}

#[tokio::test]
async fn wait_returns_once_a_backup_has_succeeded() {
    let name = format!("backups.backup.kurator.dev/{}", finished_backup().await);
    kubectl(&["wait", "--for=condition=Succeeded", "--timeout=10s", &name]).await;
    kubectl(&[
        "wait",
        "--for=jsonpath={.status.phase}=Completed",
        "--timeout=10s",
        &name,
    ])
    .await;
}

#[tokio::test]
async fn explain_shows_our_comments() {
    let explain = async |path: &str| {
        let text = kubectl(&["explain", path]).await;
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let text = explain("backups.backup.kurator.dev.spec.policy.ttl").await;
    assert!(
        text.contains("How long the backup is kept, such as 720h"),
        "{text}"
    );
    let text = explain("fleets.fleet.kurator.dev.spec.plugin.backup.storage.location.layout").await;
    assert!(text.contains("ENUM: PerCluster Shared"), "{text}");
    assert!(
        text.contains("PerCluster stores each cluster under its own path"),
        "{text}"
    );
}

#[tokio::test]
async fn kubectl_apply_takes_the_definitions_and_refuses_a_misspelt_field() {
    // Client-side apply keeps the whole manifest in an annotation of at most 256 KiB.
    let folder = repository("deploy/crds");
    kubectl(&["apply", "-f", folder.to_str().unwrap()]).await;
    let bed = bed().await;
    let file = bed.dir().join("misspelt.yaml");
    let manifest = "apiVersion: backup.kurator.dev/v1alpha1\nkind: Backup\nmetadata: {name: misspelt}\nspec: {destination: {fleet: a}, polices: {}}\n";
    std::fs::write(&file, manifest).unwrap();
    let mut command = Command::new(bed.tools().path("kubectl").unwrap());
    command
        .arg("--kubeconfig")
        .arg(bed.hub().kubeconfig_path())
        .arg("apply")
        .arg("-f")
        .arg(&file);
    command
        .arg("--cache-dir")
        .arg(bed.dir().join("kubectl-cache"));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("unknown field \"spec.polices\""), "{text}");
}
