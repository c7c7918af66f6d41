//! The process itself.

use tokio::process::Command;

use crate::rig::{SOON, bed};

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_may_open_too_few_files_does_not_start() {
    let kubeconfig = bed().await.hub().kubeconfig_path();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", r#"ulimit -n 200 && exec "$0" "$@""#])
        .arg(env!("CARGO_BIN_EXE_cluster-proxy"))
        .args(["--listen", "127.0.0.1:0", "--http-address", "127.0.0.1:0"])
        .arg("--kubeconfig")
        .arg(kubeconfig);
    let output = tokio::time::timeout(SOON, shell.kill_on_drop(true).output())
        .await
        .unwrap()
        .unwrap();
    assert!(!output.status.success());
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("may open only 200"), "{message}");
}
