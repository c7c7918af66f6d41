//! The program `testbed up`.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use testbed::{Bed, BedInfo, process_is_gone, wait_for};

use crate::SOON;

fn start(dir: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_testbed"))
        .args(["up", "--members", "1", "--dir"])
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap()
}

async fn info(dir: &Path) -> BedInfo {
    wait_for("bed.json", SOON, async || {
        serde_json::from_str(&fs::read_to_string(dir.join("bed.json")).ok()?).ok()
    })
    .await
    .unwrap()
}

/// Processes that have the bed's folder or address in their command line.
fn processes_of(info: &BedInfo) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&info.address)
        })
        .collect()
}

async fn ended(child: &mut Child) {
    wait_for("testbed to end", SOON, async || {
        child.try_wait().unwrap().map(|_| ())
    })
    .await
    .unwrap();
}

async fn gone(pids: &[u32]) {
    wait_for("all of the bed's processes to end", SOON, async || {
        pids.iter().all(|pid| process_is_gone(*pid)).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn no_process_outlives_a_bed_whose_owner_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut owner = start(dir.path());
    let pids = processes_of(&info(dir.path()).await);
    assert!(pids.len() >= 4, "etcd and API server of two: {pids:?}");

    owner.kill().unwrap();
    owner.wait().unwrap();

    gone(&pids).await;
}

#[tokio::test]
async fn a_folder_holds_one_bed_at_a_time_and_nothing_of_others_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = dir.path().join("hub");
    fs::create_dir(&foreign).unwrap();
    let refused = Bed::builder("x").dir(dir.path()).start().await.unwrap_err();
    assert!(refused.to_string().contains("is in the way"), "{refused}");
    fs::remove_dir(&foreign).unwrap();

    let bed = Bed::builder("x").dir(dir.path()).start().await.unwrap();
    let second = Bed::builder("x").dir(dir.path()).start().await.unwrap_err();
    assert!(second.to_string().contains("already runs"), "{second}");
    bed.stop().await.unwrap();

    let again = Bed::builder("x").dir(dir.path()).start().await.unwrap();
    again.stop().await.unwrap();
}

#[tokio::test]
async fn a_bed_ends_when_its_standard_input_closes() {
    let dir = tempfile::tempdir().unwrap();
    let mut owner = start(dir.path());
    let info = info(dir.path()).await;
    assert!(info.hub.kubeconfig.is_file());
    let relayed = info.members[0].relayed_kubeconfig.as_ref();
    assert!(relayed.is_some_and(|path| path.is_file()));
    let pids = processes_of(&info);

    drop(owner.stdin.take());
    ended(&mut owner).await;

    gone(&pids).await;
    assert!(!dir.path().join("bed.json").exists());
}
