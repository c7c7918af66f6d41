//! Supervised processes.

use std::process::Command;
use std::time::Duration;

use testbed::{Bed, Process, Program, process_is_gone, wait_for};

use crate::{SOON, bed};

fn shell(bed: &Bed, name: &str, script: &str) -> Process {
    let log = bed.dir().join(format!("{name}.log"));
    let program = Program::new(name, "/bin/sh", log).args(["-c", script]);
    bed.spawn(program).unwrap()
}

/// The process ids that a script has printed, once there are `count`.
async fn pids(process: &Process, count: usize) -> Vec<u32> {
    wait_for("process ids in the log", SOON, async || {
        let log = process.log();
        let pids: Vec<u32> = log.lines().filter_map(|line| line.parse().ok()).collect();
        (pids.len() == count).then_some(pids)
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn killing_a_process_ends_its_descendants_too() {
    let script = "echo $$; sleep 1000 & echo $!; wait";
    let process = shell(bed().await, "family", script);
    let family = pids(&process, 2).await;

    process.kill().await.unwrap();

    assert!(!process.is_running());
    assert_eq!(process.pid(), None);
    for pid in family {
        assert!(process_is_gone(pid), "{pid} is still there");
    }
}

#[tokio::test]
async fn a_gentle_stop_lets_a_process_finish() {
    let script = "trap 'echo bye; exit 7' TERM; echo $$; while :; do sleep 0.02; done";
    let process = shell(bed().await, "gentle", script);
    pids(&process, 1).await;

    let status = process.stop(SOON).await.unwrap();

    assert_eq!(status.code(), Some(7));
    assert!(process.log().contains("bye"));
}

#[tokio::test]
async fn a_stop_that_is_ignored_becomes_a_kill() {
    let script = "trap '' TERM; echo $$; while :; do sleep 0.02; done";
    let process = shell(bed().await, "stubborn", script);
    pids(&process, 1).await;

    let status = process.stop(Duration::from_millis(50)).await.unwrap();

    assert_eq!(status.code(), None, "it was not killed: {status}");
}

#[tokio::test]
async fn a_process_can_be_started_again_and_keeps_its_log() {
    let process = shell(bed().await, "again", "echo $$; exec sleep 1000");
    let first = pids(&process, 1).await;
    assert!(process.start().is_err(), "it runs twice");
    process.kill().await.unwrap();

    process.start().unwrap();

    let both = pids(&process, 2).await;
    assert_eq!(both[0], first[0]);
    assert_eq!(process.pid(), Some(both[1]));
}

#[tokio::test]
async fn a_process_that_ended_is_reported_with_the_end_of_its_log() {
    let process = shell(bed().await, "broken", "echo no such kettle >&2; exit 3");
    process.wait(SOON).await.unwrap();

    let error = process.check().unwrap_err().to_string();

    assert!(
        error.starts_with("broken: it ended with exit status: 3"),
        "{error}"
    );
    assert!(error.ends_with("no such kettle"), "{error}");
}

#[tokio::test]
async fn a_child_sees_only_the_environment_that_it_was_given() {
    let bed = bed().await;
    let log = bed.dir().join("env.log");
    let program = Program::new("env", "/usr/bin/env", log).env("KETTLE", "on");
    let process = bed.spawn(program).unwrap();
    process.wait(SOON).await.unwrap();

    assert!(process.log().contains("KETTLE=on"));
    assert!(!process.log().contains("CARGO"), "{}", process.log());
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let error = bed().await.tools().path("no-such-program").unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("no-such-program") && error.contains("hack/tools/build.sh"),
        "{error}"
    );
    // The same check works on a program that is there.
    let kubectl = bed().await.tools().path("kubectl").unwrap();
    assert!(
        Command::new(kubectl)
            .args(["version", "--client"])
            .output()
            .unwrap()
            .status
            .success()
    );
}

#[tokio::test]
async fn a_frozen_process_goes_on_where_it_was() {
    let script = "while read -r line; do echo \"$line\"; done < \"$0\"";
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let bed = bed().await;
    let program = Program::new("frozen", "/bin/sh", bed.dir().join("frozen.log"))
        .args(["-c", script])
        .arg(&pipe);
    let process = bed.spawn(program).unwrap();

    process.freeze().unwrap();
    let pid = process.pid().unwrap();
    wait_for("a stopped process", SOON, async || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.contains(") T ").then_some(())
    })
    .await
    .unwrap();
    process.thaw().unwrap();

    std::fs::write(&pipe, "42\n").unwrap();
    pids(&process, 1).await;
}
