//! Kubeconfigs and their Secrets, live.

use proxy_client::proto::cluster_status::State;
use testbed::Access;
use tonic::Code;

use crate::{
    fake::Fake,
    rig::{CALLER, Rig, SOON, bed, info},
    view::View,
};

const MAPS: (&str, &str) = ("", "configmaps");

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_takes_effect_without_a_restart_or_a_new_snapshot() {
    let rig = Rig::start(bed().await, "rotated").await;
    let member = rig.attach("m1").await;
    rig.attach("m2").await;
    let mut view = View::open(&rig, CALLER, MAPS, "set=rotated").await;
    view.until("snapshots", SOON, |v| v.synced.len() == 2).await;

    for access in [Access::Token(1), Access::Certificate] {
        let watches = rig.metrics.upstream_watches();
        rig.put_secret("m1", &member.relayed_kubeconfig_as(access))
            .await;
        let resumed = testbed::wait_for("the watch to resume", SOON, async || {
            (rig.metrics.upstream_watches() > watches).then_some(())
        });
        resumed.await.unwrap();
        assert_eq!(
            rig.get("m1", "nothing").await.unwrap_err().code(),
            Code::NotFound
        );
    }
    testbed::wait_for("the certificate's expiry", SOON, async || {
        rig.status("m1").await.unwrap().credential_expiry
    })
    .await
    .unwrap();
    assert_eq!(
        rig.get("m1", "nothing").await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(view.snapshots.len(), 2, "watches resume");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_a_state_with_a_reason_until_they_are_right() {
    let rig = Rig::start(bed().await, "unauthorized").await;
    let member = rig.attach("m1").await;
    let good = member.relayed_kubeconfig();
    let token = member.control_plane().token(0);
    rig.put_secret("m1", &good.replace(token, "wrong-token"))
        .await;
    let status = rig.until("m1", State::CredentialsInvalid, SOON).await;
    assert_eq!(status.reason, "CredentialsInvalid");
    let refused = rig.get("m1", "x").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(info(&refused).reason, "MEMBER_UNAUTHORIZED");
    assert_eq!(info(&refused).metadata["retryable"], "after_fix");
    rig.put_secret("m1", &good).await;
    rig.until("m1", State::Ready, SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_kubeconfigs_are_refused_with_their_reason() {
    let rig = Rig::start(bed().await, "unusable").await;
    let member = bed().await.member("m1").unwrap();
    let other = bed().await.member("m2").unwrap();
    let good = member.relayed_kubeconfig();
    let wrong_ca = other
        .relayed_kubeconfig()
        .replace(&other.relay().url(), &member.relay().url());
    rig.put_cluster("no-secret", "value").await;
    rig.put_secret("no-key", &good).await;
    rig.put_cluster("no-key", "another").await;
    rig.attach_as("garbage", "{{{").await;
    rig.attach_as("plain-http", &good.replace("https://", "http://"))
        .await;
    rig.attach_as("wrong-ca", &wrong_ca).await;
    let rows = [
        (
            "no-secret",
            State::Misconfigured,
            "SecretNotFound",
            "CREDENTIALS_INVALID",
        ),
        (
            "no-key",
            State::Misconfigured,
            "SecretKeyNotFound",
            "CREDENTIALS_INVALID",
        ),
        (
            "garbage",
            State::Misconfigured,
            "KubeconfigInvalid",
            "CREDENTIALS_INVALID",
        ),
        (
            "plain-http",
            State::Misconfigured,
            "KubeconfigRefused",
            "CREDENTIALS_REFUSED",
        ),
        (
            "wrong-ca",
            State::CredentialsInvalid,
            "CertificateInvalid",
            "MEMBER_CERT_INVALID",
        ),
    ];
    for (name, state, reason, error) in rows {
        let status = rig.until_reason(name, reason).await;
        assert_eq!(status.state(), state, "{name}");
        assert!(!status.message.is_empty(), "{name}");
        let refused = rig.get(name, "x").await.unwrap_err();
        assert_eq!(info(&refused).reason, error, "{name}");
    }
    rig.attach_as("exec", &with_exec(&good)).await;
    let status = rig.until_reason("exec", "KubeconfigRefused").await;
    assert!(status.message.contains("exec"), "{}", status.message);
    let status = rig.status("wrong-ca").await.unwrap();
    let refused = rig.get("wrong-ca", "x").await.unwrap_err();
    for part in ["subject CN=", "issuer CN=", "not after "] {
        assert!(status.message.contains(part), "{}", status.message);
        assert!(refused.message().contains(part), "{}", refused.message());
    }
    // What was missing and comes is used at once.
    rig.put_secret("no-secret", &good).await;
    rig.until("no-secret", State::Ready, SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_http2_says_that_and_not_that_its_kubeconfig_is_wrong() {
    let rig = Rig::start(bed().await, "http1").await;
    // A strict server ends the handshake, a lenient one goes on without a protocol.
    for (name, protocol) in [("strict", &b"http/1.1"[..]), ("lenient", b"")] {
        let old = Fake::start_with_alpn(protocol).await;
        rig.attach_as(name, &old.kubeconfig).await;
        let status = rig.until_reason(name, "Http2Required").await;
        assert_eq!(status.state(), State::Misconfigured);
        assert!(status.message.contains("h2"), "{}", status.message);
        let refused = rig.get(name, "x").await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert_eq!(info(&refused).reason, "HTTP2_REQUIRED");
        assert_eq!(info(&refused).metadata["retryable"], "after_fix");
        assert!(old.seen("/").is_empty(), "nothing is sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn loopback_addresses_are_refused_unless_allowed() {
    let rig = Rig::start_with(bed().await, "loopback", &[]).await;
    let member = bed().await.member("m1").unwrap();
    rig.attach_as("m1", &member.relayed_kubeconfig()).await;
    let status = rig.until_reason("m1", "KubeconfigRefused").await;
    assert!(status.message.contains("loopback"), "{}", status.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vanished_secret_leaves_the_link_and_a_vanished_cluster_ends_it() {
    let rig = Rig::start(bed().await, "vanished").await;
    rig.attach("m1").await;
    rig.attach("m2").await;
    let mut view = View::open(&rig, CALLER, MAPS, "set=vanished").await;
    view.until("snapshots", SOON, |v| v.synced.len() == 2).await;

    rig.delete_secret("m1").await;
    let status = rig.until("m1", State::Degraded, SOON).await;
    assert_eq!(status.reason, "SecretNotFound");
    assert_eq!(
        rig.get("m1", "nothing").await.unwrap_err().code(),
        Code::NotFound
    );

    // While a finalizer holds the object, the member is still served.
    rig.set_finalizers("m1", &["cluster.kurator.dev"]).await;
    rig.delete_cluster("m1").await;
    let status = rig.until("m1", State::Draining, SOON).await;
    assert_eq!(status.reason, "Draining");
    assert_eq!(
        rig.get("m1", "nothing").await.unwrap_err().code(),
        Code::NotFound
    );
    assert!(view.removed.is_empty());

    rig.set_finalizers("m1", &[]).await;
    view.until("ClusterRemoved", SOON, |v| v.removed.contains("m1"))
        .await;
    assert!(rig.status("m1").await.is_none());
    let gone = rig.get("m1", "nothing").await.unwrap_err();
    assert_eq!(info(&gone).reason, "CLUSTER_UNKNOWN");
    rig.until("m2", State::Ready, SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_goes_unverified_only_with_the_flag_and_the_annotation_and_that_shows() {
    const INSECURE: &str = "cluster.kurator.dev/insecure-skip-tls-verify";
    let loopback = ["--allow-address", "127.0.0.0/8"];
    let without = Rig::start_with(bed().await, "verified", &loopback).await;
    let flags = [&loopback[..], &["--allow-insecure-members"]].concat();
    let with = Rig::start_with(bed().await, "unverified", &flags).await;
    let member = bed().await.member("m1").unwrap();
    let good = member.relayed_kubeconfig();
    for rig in [&without, &with] {
        rig.attach_as("m1", &unverified(&good)).await;
        let status = rig.until_reason("m1", "KubeconfigRefused").await;
        assert_eq!(status.state(), State::Misconfigured);
        let text = status.message;
        assert!(text.contains("insecure-skip-tls-verify"), "{text}");
        rig.annotate("m1", INSECURE, Some("true")).await;
    }
    let status = with.until_reason("m1", "NotVerified").await;
    assert_eq!(status.state(), State::Degraded);
    assert!(
        status.message.contains("not verified"),
        "{}",
        status.message
    );
    assert_eq!(
        with.get("m1", "nothing").await.unwrap_err().code(),
        Code::NotFound
    );
    let refused = testbed::wait_for("the flag to be asked for", SOON, async || {
        let status = without.status("m1").await?;
        let asked = status.message.contains("--allow-insecure-members");
        asked.then_some(status.reason)
    });
    assert_eq!(refused.await.unwrap(), "KubeconfigRefused");

    // Without the annotation the open connection ends too.
    with.annotate("m1", INSECURE, None).await;
    with.until_reason("m1", "KubeconfigRefused").await;
    let refused = with.get("m1", "nothing").await.unwrap_err();
    assert_eq!(info(&refused).reason, "CREDENTIALS_REFUSED");
    with.put_secret("m1", &good).await;
    with.until_reason("m1", "Connected").await;

    // Also while there is no Secret: what was in it stays in use otherwise.
    with.annotate("m1", INSECURE, Some("true")).await;
    with.put_secret("m1", &unverified(&good)).await;
    with.until_reason("m1", "NotVerified").await;
    with.delete_secret("m1").await;
    with.annotate("m1", INSECURE, None).await;
    with.until("m1", State::Misconfigured, SOON).await;
    let refused = with.get("m1", "nothing").await.unwrap_err();
    assert_eq!(info(&refused).domain, "cluster-proxy.kurator.dev");
}

/// The same kubeconfig without its CA.
fn unverified(kubeconfig: &str) -> String {
    let parsed = kube::config::Kubeconfig::from_yaml(kubeconfig).unwrap();
    let mut json = serde_json::to_value(parsed).unwrap();
    let cluster = &mut json["clusters"][0]["cluster"];
    cluster["insecure-skip-tls-verify"] = true.into();
    let removed = cluster
        .as_object_mut()
        .unwrap()
        .remove("certificate-authority-data");
    assert!(removed.is_some(), "the bed's members are verified");
    json.to_string()
}

/// The same kubeconfig for a user that is asked of a programme.
fn with_exec(kubeconfig: &str) -> String {
    let parsed = kube::config::Kubeconfig::from_yaml(kubeconfig).unwrap();
    let mut json = serde_json::to_value(parsed).unwrap();
    json["users"][0]["user"] = serde_json::json!({
        "exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/true"}
    });
    json.to_string()
}
