//! Members get no more calls a second than they may.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use proxy_client::proto::{self, cluster_status::State};
use tonic::Code;
use tonic_types::StatusExt;

use crate::{
    fake::{Fake, Reply},
    rig::{Rig, SOON, bed, configmap, info, request},
};

const CALLS: usize = 30;
const MAP: &str = "/api/v1/namespaces/default/configmaps/x";

async fn start(namespace: &str, rate: &[&str]) -> (Rig, Fake) {
    let flags = [&["--allow-address", "127.0.0.0/8"], rate].concat();
    let rig = Rig::start_with(bed().await, namespace, &flags).await;
    let fake = Fake::start().await;
    fake.reply(MAP, Reply::Json(200, configmap("x", "1")));
    rig.attach_as("m1", &fake.kubeconfig).await;
    rig.until("m1", State::Ready, SOON).await;
    (rig, fake)
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_the_rate_wait_and_none_is_lost() {
    let (rig, fake) = start("rate", &["--member-rate=20", "--member-burst=10"]).await;
    let begun = Instant::now();
    let answers = join_all((0..30).map(|_| rig.get("m1", "x"))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(fake.seen(MAP).len(), 30);
    // 20 calls had to wait for a token each. No machine is too slow for that.
    assert!(begun.elapsed() >= Duration::from_millis(950));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_turn_does_not_come_in_time_is_refused_unsent() {
    let (rig, fake) = start("rate-full", &["--member-rate=1", "--member-burst=1"]).await;
    // A write, whose outcome matters.
    let (status, body) = (201, configmap("x", "1").to_string());
    let json = ("content-type", "application/json");
    let maps = "/api/v1/namespaces/default/configmaps";
    fake.reply(maps, Reply::Raw(status, json, Bytes::from(body.clone())));
    let create = async || {
        let create = proto::CreateRequest {
            target: rig.target("m1", "x"),
            json: body.clone().into_bytes(),
            field_manager: "tests".into(),
            ..Default::default()
        };
        rig.access().create(request(create)).await
    };
    // One a second gets its turn within the 5 s that a call waits.
    let tried = join_all((0..CALLS).map(|_| create())).await;
    let refused: Vec<_> = tried.into_iter().filter_map(Result::err).collect();
    assert!(!refused.is_empty());
    for status in &refused {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert_eq!(info(status).reason, "QUEUE_FULL");
        assert_eq!(info(status).metadata["write_outcome"], "not_sent");
        assert_eq!(info(status).metadata["retryable"], "yes");
        let hint = status.get_details_retry_info().unwrap();
        assert_eq!(hint.retry_delay, Some(Duration::from_secs(1)));
    }
    assert_eq!(fake.seen(maps).len(), CALLS - refused.len());
}
