//! The quickstart as a person runs it.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::PATIENCE;
use testbed::{BedInfo, apply_yaml, client_from, process_is_gone, wait_ok};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

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

type Said = Lines<BufReader<ChildStdout>>;

/// What it says up to the line that holds `last`.
async fn until(lines: &mut Said, last: &str, deadline: Duration) -> String {
    let mut said = String::new();
    let read = tokio::time::timeout(deadline, async {
        while let Some(line) = lines.next_line().await.unwrap() {
            said.push_str(&line);
            said.push('\n');
            if line.contains(last) {
                return true;
            }
        }
        false
    });
    let found = read.await;
    assert_eq!(found, Ok(true), "no {last:?} in {said}");
    said
}

/// What it tells of the bed that it has started in a folder.
fn info(dir: &Path) -> BedInfo {
    let text = std::fs::read_to_string(dir.join("bed.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The processes that `parent` started, and those that they started.
fn descendants(parent: u32) -> Vec<u32> {
    let parent_of = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // After the name, which may hold anything: state, parent.
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    let all = std::fs::read_dir("/proc").unwrap();
    let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let links: Vec<(u32, u32)> = pids
        .filter_map(|pid| Some((parent_of(pid)?, pid)))
        .collect();
    let mut found = vec![parent];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let children = links.iter().filter(|(of, _)| *of == parent);
        found.extend(children.map(|(_, pid)| *pid));
        next += 1;
    }
    found.split_off(1)
}

#[tokio::test]
async fn it_says_what_to_try_next_and_keeps_everything_running_until_it_is_interrupted() {
    let dir = stack().await.dir().join("quickstart");
    let mut child = quickstart(&dir).spawn().unwrap();
    // Kept to the end: it has something to say then, too.
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = until(&mut lines, "keeps running until Ctrl-C", 2 * PATIENCE).await;
    let info = info(&dir);
    let next = said.split_once("Kubeconfigs and logs:").unwrap().1;
    let clusters = info.members.iter().chain([&info.hub]);
    for path in clusters
        .map(|cluster| &cluster.kubeconfig)
        .chain([&info.dir])
    {
        assert!(path.exists(), "{}", path.display());
        assert!(next.contains(path.to_str().unwrap()), "{next}");
    }
    for step in [
        "export KUBECONFIG=",
        "describe kbk select-labels",
        "backup/backup-minimal.yaml",
        "-n velero get backups.velero.io",
    ] {
        assert!(next.contains(step), "no {step:?} in {next}");
    }
    let kubectl = stack().await.bed().tools().path("kubectl").unwrap();
    let shown = Command::new(kubectl)
        .arg("--kubeconfig")
        .arg(&info.hub.kubeconfig)
        .args(["get", "backups.backup.kurator.dev", "select-labels"])
        .env("HOME", &dir)
        .output()
        .await
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains(" Completed ") && shown.contains(" 2/2 "),
        "{shown}"
    );

    let pid = child.id().unwrap();
    let started = descendants(pid);
    // Three control planes of which two have Velero, object storage, our processes.
    assert!(started.len() > 10, "{started:?}");
    Command::new("kill")
        .args(["-INT", &pid.to_string()])
        .status()
        .await
        .unwrap();
    let output = end(child, SECONDS).await;
    assert_eq!(output.status.code(), Some(130));
    wait_ok("an end of all that it started", SECONDS, async || {
        let left: Vec<u32> = started
            .iter()
            .copied()
            .filter(|pid| !process_is_gone(*pid))
            .collect();
        ensure!(left.is_empty(), "{left:?} are still there");
        Ok(())
    })
    .await
    .unwrap();
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
        "restoreNameInCluster: kurator-member1-restore-default-minimal",
        "restoreNameInCluster: kurator-member2-restore-default-minimal",
        "restoreNameInCluster: kurator-member2-restore-default-point-in-time",
        "restoreNameInCluster: kurator-member2-migrate-default-select-labels",
        "kurator-member1 has Pod busybox and ConfigMap busybox-settings with greeting \"hello\"",
        "kurator-member2 has Pod busybox and ConfigMap busybox-settings with greeting \"hello\"",
        "kurator-member2 has Pod busybox and ConfigMap busybox-settings with greeting \"from another cluster\"",
    ] {
        assert!(text.contains(expected), "no {expected:?} in {text}");
    }
    // When Velero was done and how much later the hub said so, measured for both.
    for member in ["kurator-member1", "kurator-member2"] {
        let measured = |line: &&str| {
            let line = line.trim_start();
            line.starts_with(&format!("{member}  Velero done ")) && line.contains(" later")
        };
        // Of the Backup, of two or one Restores, and of the Migrate.
        let lines: Vec<&str> = text.lines().filter(measured).collect();
        assert!(lines.len() >= 3, "{lines:?} of {text}");
        assert!(
            lines.iter().all(|line| !line.contains("never")),
            "{lines:?}"
        );
    }
    let progress = |line: &&str| line.contains("kurator-member1  Completed");
    text.lines()
        .find(progress)
        .context("no line about the end")
        .unwrap();
}

/// Velero runs the hook of what it backs up, and there is no such container.
const WITH_A_WRONG_HOOK: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: busybox-with-a-wrong-hook
  namespace: default
  labels: {app: busybox}
  annotations:
    pre.hook.backup.velero.io/container: missing
    pre.hook.backup.velero.io/command: '["/bin/true"]'
    pre.hook.backup.velero.io/on-error: Fail
spec:
  containers: [{name: busybox, image: "busybox:1.36"}]
"#;

#[tokio::test]
async fn where_a_member_does_not_complete_it_says_which_and_ends_with_an_error() {
    const WRONG: &str = "kurator-member2";
    let dir = stack().await.dir().join("quickstart-wrong");
    let mut child = quickstart(&dir).arg("--once").spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    until(&mut lines, "starting cluster-proxy", 2 * PATIENCE).await;
    let member = info(&dir).members.into_iter().find(|of| of.name == WRONG);
    let kubeconfig = std::fs::read_to_string(member.unwrap().kubeconfig).unwrap();
    let client = client_from(&kubeconfig).await.unwrap();
    apply_yaml(&client, WITH_A_WRONG_HOOK).await.unwrap();

    let said = until(&mut lines, "quickstart failed", PATIENCE).await;
    let told = said.lines().last().unwrap();
    let which = format!("{WRONG}: PartiallyFailed BackupPartiallyFailed");
    assert!(told.contains(&which), "{said}");
    assert!(told.contains("kurator-member1: Completed"), "{said}");
    assert!(told.contains(dir.to_str().unwrap()), "{said}");
    let output = end(child, SECONDS).await;
    assert_eq!(output.status.code(), Some(1));
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
