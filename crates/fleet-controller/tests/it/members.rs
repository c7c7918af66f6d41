//! `AttachedClusters` are shown as the inventory has them.

use api_types::cluster::AttachedCluster;
use api_types::condition::{self, ConditionStatus};
use proxy_client::proto::cluster_status::State;
use rstest::rstest;

use crate::space::{ready, ready_reason, state};
use crate::world::shared;

fn stamp(text: &str) -> prost_types::Timestamp {
    let time: jiff::Timestamp = text.parse().unwrap();
    prost_types::Timestamp {
        seconds: time.as_second(),
        nanos: time.subsec_nanosecond(),
    }
}

#[tokio::test]
async fn a_member_is_shown_as_it_is_and_as_it_was_when_it_is_lost() {
    let space = shared().await.space("shown").await;
    let bergen = space.key("bergen");
    space.attach("bergen").await;
    let connecting = space.until_ready_is("bergen", "Connecting").await;
    assert!(!connecting.status.unwrap().ready);

    let mut answering = ready();
    answering.credential_expiry = Some(stamp("2099-01-01T00:00:00.75Z"));
    space.script.count_nodes(&bergen, 3);
    space.script.say(&bergen, answering);
    let cluster = space
        .until("bergen", |cluster: &AttachedCluster| {
            cluster
                .status
                .as_ref()
                .is_some_and(|status| status.ready && status.nodes == Some(3))
        })
        .await;
    let status = cluster.status.unwrap();
    assert_eq!(status.mode.as_deref(), Some("Direct"));
    assert_eq!(status.kubernetes_version.as_deref(), Some("v1.34.4"));
    assert_eq!(
        status.cluster_uid.as_deref(),
        Some("0c1ae5a4-7f9d-4ac4-8f0e-0a4a6a0d7f11")
    );
    assert_eq!(status.observed_generation, cluster.metadata.generation);
    let expires = status.credential_expiration_time.unwrap();
    assert_eq!(expires.0.to_string(), "2099-01-01T00:00:00Z");
    assert!(status.last_seen_time.is_some());
    for type_ in ["Ready", "Connected", "CredentialsValid"] {
        assert!(condition::is_true(&status.conditions, type_), "{type_}");
    }
    assert!(
        condition::find(&status.conditions, "AccessGranted").is_none(),
        "nobody has checked it"
    );
    space.event("bergen", "Connected").await;

    let mut lost = state(State::Unreachable, "Unreachable");
    lost.last_ok = Some(stamp("2026-02-03T04:05:06Z"));
    space.script.say(&bergen, lost);
    let status = space
        .until_ready_is("bergen", "Unreachable")
        .await
        .status
        .unwrap();
    assert!(!status.ready);
    assert_eq!(
        status.last_seen_time.unwrap().0.to_string(),
        "2026-02-03T04:05:06Z"
    );
    assert_eq!(
        status.kubernetes_version.as_deref(),
        Some("v1.34.4"),
        "what was known stays"
    );
    let ready = condition::find(&status.conditions, "Ready").unwrap();
    assert!(
        ready.message.contains("bergen does not answer"),
        "{}",
        ready.message
    );
    let credentials = condition::find(&status.conditions, "CredentialsValid").unwrap();
    assert_eq!(credentials.status, ConditionStatus::Unknown);
    space.event("bergen", "Unreachable").await;
}

#[rstest]
#[case(State::CredentialsInvalid, "CredentialsInvalid")]
#[case(State::CredentialsInvalid, "CertificateInvalid")]
#[case(State::Misconfigured, "SecretNotFound")]
#[case(State::Misconfigured, "SecretKeyNotFound")]
#[case(State::Misconfigured, "KubeconfigInvalid")]
#[case(State::Misconfigured, "KubeconfigRefused")]
#[case(State::Misconfigured, "Http2Required")]
#[tokio::test]
async fn a_member_that_cannot_be_used_says_why(#[case] proxy_says: State, #[case] reason: &str) {
    let space = shared()
        .await
        .space(&format!("why-{}", reason.to_lowercase()))
        .await;
    space
        .script
        .say(&space.key("bergen"), state(proxy_says, reason));
    space.attach("bergen").await;
    let status = space.until_ready_is("bergen", reason).await.status.unwrap();
    assert!(
        condition::is_true(&status.conditions, condition::STALLED),
        "somebody has to act"
    );
    assert!(!condition::is_true(
        &status.conditions,
        condition::CREDENTIALS_VALID
    ));
    let note = space.event("bergen", reason).await;
    assert!(note.contains(&format!("scripted {reason}")), "{note}");

    space.script.say(&space.key("bergen"), ready());
    space.until_ready_is("bergen", "Connected").await;
}

/// At steady state the proxy goes on hearing from its members, and the hub is not written to.
#[tokio::test]
async fn while_nothing_changes_nothing_is_written() {
    let world = shared().await;
    let space = world.space("steady").await;
    space.settle("bergen", "north").await;
    let versions = async || {
        let cluster: AttachedCluster = space.get("bergen").await;
        let fleet: api_types::fleet::Fleet = space.get("north").await;
        (
            cluster.metadata.resource_version,
            fleet.metadata.resource_version,
        )
    };
    space.attach_ready("marker").await;
    space.until_ready_is("marker", "Connected").await;
    let before = versions().await;

    for second in 0..50 {
        let mut heard = ready();
        heard.last_ok = Some(prost_types::Timestamp {
            seconds: 1_900_000_000 + second,
            nanos: 0,
        });
        space.script.say(&space.key("bergen"), heard);
    }
    // News of the same stream, so later than all of the above.
    space.script.say(
        &space.key("marker"),
        state(State::Unreachable, "Unreachable"),
    );
    space.until_ready_is("marker", "Unreachable").await;
    // A pass over both, which finds nothing to write.
    let touched: AttachedCluster = space
        .merge(
            "bergen",
            serde_json::json!({"metadata": {"annotations": {"touched": "yes"}}}),
        )
        .await;
    space.script.say(&space.key("marker"), ready());
    space.until_ready_is("marker", "Connected").await;

    let after = versions().await;
    assert_eq!(after.1, before.1, "the Fleet was written");
    assert_eq!(
        after.0, touched.metadata.resource_version,
        "the AttachedCluster was written"
    );
    assert_eq!(ready_reason(&touched), "Connected");
    let metrics = world.controller.get("/metrics").await.unwrap();
    assert!(metrics.contains("kurator_reconcile_total"), "{metrics}");
}
