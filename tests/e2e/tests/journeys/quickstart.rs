//! The quickstart as a person runs it.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::PATIENCE;
use testbed::{BedInfo, wait_ok};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::world::stack;

/// What a person calls seconds.
const SECONDS: Duration = Duration::from_secs(10);

fn quickstart(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quickstart"));
    command
        .arg("--dir")
        .arg(dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn end(child: Child, deadline: Duration) -> Output {
    let output = tokio::time::timeout(deadline, child.wait_with_output()).await;
    output.unwrap().unwrap()
}

#[tokio::test]
async fn it_keeps_everything_running_until_it_is_interrupted() {
    let dir = stack().await.dir().join("quickstart");
    let child = quickstart(&dir).spawn().unwrap();
    let info = wait_ok("the finished Backup", 2 * PATIENCE, async || {
        let text = std::fs::read_to_string(dir.join("bed.json"))?;
        let info: BedInfo = serde_json::from_str(&text)?;
        let kubectl = stack().await.bed().tools().path("kubectl")?;
        let shown = Command::new(kubectl)
            .arg("--kubeconfig")
            .arg(&info.hub.kubeconfig)
            .args(["get", "backups.backup.kurator.dev", "select-labels"])
            .env("HOME", &dir)
            .output()
            .await?;
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        ensure!(
            shown.contains(" Completed ") && shown.contains(" 2/2 "),
            "{shown}"
        );
        Ok(info)
    })
    .await
    .unwrap();

    let pid = child.id().unwrap().to_string();
    Command::new("kill")
        .args(["-INT", &pid])
        .status()
        .await
        .unwrap();
    let output = end(child, SECONDS).await;
    assert_eq!(output.status.code(), Some(130));
    let hub = info.hub.url.strip_prefix("https://").unwrap();
    assert!(
        TcpStream::connect(hub).await.is_err(),
        "the hub is still there"
    );
}

#[tokio::test]
async fn once_and_in_full_it_shows_progress_status_and_times_and_ends_well() {
    let dir = stack().await.dir().join("quickstart-once");
    let child = quickstart(&dir).args(["--once", "--full"]).spawn().unwrap();
    let output = end(child, 4 * PATIENCE).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for expected in [
        "backupNameInCluster: kurator-member1-backup-default-select-labels",
        "backupNameInCluster: kurator-member2-backup-default-select-labels",
        "shown on the hub",
        "restoreNameInCluster: kurator-member1-restore-default-minimal",
        "restoreNameInCluster: kurator-member2-restore-default-minimal",
        "restoreNameInCluster: kurator-member2-restore-default-point-in-time",
        "kurator-member1 has Pod busybox and ConfigMap busybox-settings with greeting \"hello\"",
        "kurator-member2 has Pod busybox and ConfigMap busybox-settings with greeting \"hello\"",
    ] {
        assert!(text.contains(expected), "no {expected:?} in {text}");
    }
    let progress = |line: &&str| line.contains("kurator-member1  Completed");
    text.lines()
        .find(progress)
        .context("no line about the end")
        .unwrap();
}

#[tokio::test]
async fn it_says_what_is_missing_and_ends_with_an_error() {
    let dir = stack().await.dir().join("quickstart-missing");
    let child = quickstart(&dir)
        .arg("--once")
        .env("KURATOR_TOOLS", dir.join("no-tools"))
        .env("PATH", "/nowhere")
        .env_remove("KUBEBUILDER_ASSETS")
        .spawn()
        .unwrap();
    let output = end(child, SECONDS).await;
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("run hack/tools/build.sh"), "{text}");
}
