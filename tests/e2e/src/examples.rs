//! The manifests of `tests/examples`, which are the announcement's.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};
use testbed::Member;

/// The demo application.
pub const DEMO: &str = "application/busybox.yaml";
/// Two clusters to attach.
pub const CLUSTERS: &str = "common/attachedcluster.yaml";
/// A Fleet of them.
pub const FLEET: &str = "common/fleet.yaml";
/// The announcement's Backup.
pub const SELECT_LABELS: &str = "backup/backup-select-labels.yaml";
/// The announcement's Restore of it.
pub const RESTORE_MINIMAL: &str = "backup/restore-minimal.yaml";

/// The announcement's Migrate.
pub const MIGRATE: &str = "backup/migrate-select-labels.yaml";

/// A Backup of one cluster by a schedule.
pub const SCHEDULE: &str = "backup/backup-schedule.yaml";

/// The root of this repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// The path of an example.
pub fn path(example: &str) -> PathBuf {
    root().join("tests/examples").join(example)
}

/// The text of an example.
pub fn read(example: &str) -> Result<String> {
    let path = path(example);
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// The Secrets that the clusters of the example refer to, with the kubeconfigs of the members
/// of their names, as a manifest.
pub fn kubeconfig_secrets<'a>(member: impl Fn(&str) -> Result<&'a Member>) -> Result<String> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(&read(CLUSTERS)?)
        .map_err(|error| anyhow!("{CLUSTERS} is not YAML: {error}"))?;
    let mut secrets = Vec::new();
    for cluster in documents.iter().filter(|document| !document.is_null()) {
        let text = |pointer: &str| {
            let found = cluster.pointer(pointer).and_then(Value::as_str);
            found.with_context(|| format!("{CLUSTERS}: an object has no {pointer}"))
        };
        let kubeconfig = member(text("/metadata/name")?)?.relayed_kubeconfig();
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": text("/spec/kubeconfig/name")?,
                "namespace": text("/metadata/namespace").unwrap_or("default"),
            },
            "stringData": { text("/spec/kubeconfig/key")?: kubeconfig },
        });
        secrets.push(secret.to_string());
    }
    Ok(secrets.join("\n---\n"))
}
