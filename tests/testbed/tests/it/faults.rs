//! Faults that a bed makes, and that it is whole again afterwards.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use testbed::{Bed, Member, apply_yaml, client_from, wait_for};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::{SOON, bed};

/// Long enough for an answer on loopback, short enough to wait for none.
const SILENCE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn an_api_server_that_was_stopped_comes_back_with_its_objects() {
    let own = Bed::builder("apiserver").start().await.unwrap();
    let hub = own.hub();
    let client = hub.client().unwrap();
    let text = "{apiVersion: v1, kind: ConfigMap, metadata: {name: kept}}";
    apply_yaml(&client, text).await.unwrap();

    hub.stop_apiserver().await.unwrap();
    assert!(client.apiserver_version().await.is_err());
    hub.start_apiserver().await.unwrap();

    let maps = Api::<ConfigMap>::default_namespaced(client);
    assert!(maps.get_opt("kept").await.unwrap().is_some());
}

#[tokio::test]
async fn a_cut_relay_silences_open_and_new_connections_until_it_heals() {
    let member = with_relay().await;
    let client = relayed(&member).await;
    client.apiserver_version().await.unwrap();
    let relay = member.member().relay();

    relay.cut();
    let open = tokio::time::timeout(SILENCE, client.apiserver_version()).await;
    assert!(open.is_err(), "an answer came through: {open:?}");
    let other = relayed(&member).await;
    let new = tokio::time::timeout(SILENCE, other.apiserver_version()).await;
    assert!(new.is_err(), "a new connection got through: {new:?}");
    let direct = member.member().client().unwrap();
    direct.apiserver_version().await.unwrap();

    relay.heal();
    answers(&client).await;
    answers(&other).await;
}

#[tokio::test]
async fn a_call_that_was_cut_off_is_answered_once_the_relay_heals() {
    let member = with_relay().await;
    let client = relayed(&member).await;
    client.apiserver_version().await.unwrap();
    member.member().relay().cut();

    let mut call = tokio::spawn(async move { client.apiserver_version().await });
    let early = tokio::time::timeout(SILENCE, &mut call).await;
    assert!(early.is_err(), "an answer came through: {early:?}");
    member.member().relay().heal();

    let answer = tokio::time::timeout(SOON, call).await;
    answer.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_refusing_relay_resets_open_connections_and_refuses_new_ones() {
    let member = with_relay().await;
    let relay = member.member().relay();
    let address = relay.url().replace("https://", "");
    let mut open = TcpStream::connect(&address).await.unwrap();
    let client = relayed(&member).await;
    client.apiserver_version().await.unwrap();

    relay.refuse();
    let read = tokio::time::timeout(SOON, open.read_u8()).await.unwrap();
    assert_eq!(
        read.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
    wait_for("connections to be refused", SOON, async || {
        let error = TcpStream::connect(&address).await.err()?;
        (error.kind() == std::io::ErrorKind::ConnectionRefused).then_some(())
    })
    .await
    .unwrap();

    relay.heal();
    answers(&client).await;
}

/// The relay tests disturb each other, so each has a turn with the shared member.
struct Turn {
    member: &'static Member,
    _turn: tokio::sync::MutexGuard<'static, ()>,
}

impl Turn {
    fn member(&self) -> &'static Member {
        self.member
    }
}

async fn with_relay() -> Turn {
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let turn = TURN.lock().await;
    let member = bed().await.member("bare").unwrap();
    member.relay().heal();
    Turn {
        member,
        _turn: turn,
    }
}

async fn relayed(turn: &Turn) -> Client {
    let kubeconfig = turn.member().relayed_kubeconfig();
    client_from(&kubeconfig).await.unwrap()
}

async fn answers(client: &Client) {
    wait_for("an answer through the relay", SOON, async || {
        client.apiserver_version().await.ok()
    })
    .await
    .unwrap();
}
