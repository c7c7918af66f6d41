//! The inventory: live, and right again after the proxy was gone.

use api_types::key::ClusterKey;
use proxy_client::{
    Inventory, MemberState, cluster_ref,
    fake::{Proxy, soon},
    proto::{ClusterStatus, cluster_event::Type, cluster_status::State},
};

use crate::fixture::{bergen, oslo};

fn status(cluster: &ClusterKey, state: State) -> ClusterStatus {
    ClusterStatus {
        cluster: Some(cluster_ref(cluster)),
        member_uid: "uid-of-kube-system".into(),
        state: state.into(),
        reason: "Why".into(),
        served_groups: vec!["velero.io".into()],
        ..Default::default()
    }
}

fn known(inventory: &Inventory) -> Vec<String> {
    let name = |state: &proxy_client::ClusterState| state.key.name.clone();
    inventory.list().iter().map(|state| name(state)).collect()
}

#[tokio::test]
async fn members_come_change_and_go() {
    let proxy = Proxy::start();
    let inventory = proxy.members().inventory();
    assert!(!inventory.synced());
    let stream = proxy.next_inventory().await;
    stream
        .send(Type::Snapshot, status(&oslo(), State::Connecting))
        .await;
    stream.send(Type::Synced, ClusterStatus::default()).await;
    soon(inventory.until(Inventory::synced)).await;
    assert_eq!(inventory.lost(), None);
    let state = inventory.get(&oslo()).unwrap();
    assert!(!state.state.is_usable() && state.serves("velero.io") && !state.serves("ceph.rook.io"));
    assert_eq!(state.member_uid.as_deref(), Some("uid-of-kube-system"));
    assert_eq!(state.kubernetes_version, None);

    stream
        .send(Type::Updated, status(&oslo(), State::Unreachable))
        .await;
    let unreachable = |inventory: &Inventory| {
        inventory
            .get(&oslo())
            .is_some_and(|state| state.state == MemberState::Unreachable)
    };
    soon(inventory.until(unreachable)).await;
    stream
        .send(Type::Added, status(&bergen(), State::Ready))
        .await;
    soon(inventory.until(|inventory| known(inventory) == ["bergen", "oslo"])).await;
    stream
        .send(Type::Removed, status(&oslo(), State::Draining))
        .await;
    soon(inventory.until(|inventory| known(inventory) == ["bergen"])).await;
}

#[tokio::test]
async fn a_member_that_left_while_the_proxy_was_gone_is_forgotten_after_the_next_snapshot() {
    let mut proxy = Proxy::start();
    let inventory = proxy.members().inventory();
    let stream = proxy.next_inventory().await;
    stream
        .send(Type::Snapshot, status(&oslo(), State::Ready))
        .await;
    stream
        .send(Type::Snapshot, status(&bergen(), State::Ready))
        .await;
    stream.send(Type::Synced, ClusterStatus::default()).await;
    soon(inventory.until(Inventory::synced)).await;

    proxy.kill();
    soon(inventory.until(|inventory| inventory.lost().is_some())).await;
    assert_eq!(
        known(&inventory),
        ["bergen", "oslo"],
        "the last known states stay"
    );
    assert!(inventory.synced());

    proxy.restart();
    let stream = proxy.next_inventory().await;
    stream
        .send(Type::Snapshot, status(&bergen(), State::Ready))
        .await;
    assert!(inventory.lost().is_some(), "half a snapshot is not enough");
    stream.send(Type::Synced, ClusterStatus::default()).await;
    soon(inventory.until(|inventory| inventory.lost().is_none())).await;
    assert_eq!(known(&inventory), ["bergen"]);
}

#[tokio::test]
async fn a_member_can_be_probed() {
    let proxy = Proxy::start();
    let probed = soon(proxy.members().inventory().probe(&oslo()))
        .await
        .unwrap();
    assert_eq!((probed.key, probed.state), (oslo(), MemberState::Ready));
    assert_eq!(probed.kubernetes_version.as_deref(), Some("v1.34.4"));
}
