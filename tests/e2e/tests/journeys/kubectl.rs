//! The real kubectl on the hub.

use std::process::Output;

use e2e::Stack;
use tokio::process::Command;

/// Runs kubectl with these arguments, which must succeed, and gives what it printed.
pub(crate) async fn kubectl(stack: &Stack, args: &[&str]) -> String {
    let output = run(stack, args).await;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "kubectl {}: {error}",
        args.join(" ")
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs kubectl with these arguments, which must fail, and gives what it said about that.
pub(crate) async fn refused(stack: &Stack, args: &[&str]) -> String {
    let output = run(stack, args).await;
    assert!(!output.status.success(), "kubectl {}", args.join(" "));
    String::from_utf8(output.stderr).unwrap()
}

async fn run(stack: &Stack, args: &[&str]) -> Output {
    let kubectl = stack.bed().tools().path("kubectl").unwrap();
    let hub = stack.bed().hub().kubeconfig_path();
    Command::new(kubectl)
        .env("KUBECONFIG", hub)
        // It keeps what it knows about API servers in its home.
        .env("HOME", stack.dir())
        .args(args)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap()
}
