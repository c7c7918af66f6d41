//! Leadership, with a real Lease.

use std::path::Path;

use controller_kit::{
    args::LeaseArgs,
    hub,
    lease::{Leadership, LeaseError, LeaseTask, seek},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{SOON, bed, client};

async fn replica(
    name: &str,
    identity: &str,
    release: &CancellationToken,
) -> (Leadership, LeaseTask) {
    replica_at(bed().await.hub().kubeconfig_path(), name, identity, release).await
}

async fn replica_at(
    kubeconfig: &Path,
    name: &str,
    identity: &str,
    release: &CancellationToken,
) -> (Leadership, LeaseTask) {
    let hub = hub::config(Some(kubeconfig)).await.unwrap();
    let args = LeaseArgs {
        leader_elect: true,
        lease_namespace: Some("default".into()),
        lease_name: None,
        lease_identity: Some(identity.into()),
    };
    seek(hub, &args, name, release.clone()).await.unwrap()
}

async fn leases() -> Api<Lease> {
    Api::namespaced(client().await, "default")
}

async fn spec(name: &str) -> LeaseSpec {
    leases().await.get(name).await.unwrap().spec.unwrap()
}

/// The proxy's fence compares `leaseTransitions`, so it must count every change of holder.
#[tokio::test]
async fn a_released_lease_goes_to_the_next_replica_and_the_change_is_counted() {
    let (release, later) = (CancellationToken::new(), CancellationToken::new());
    let (mut first, first_task) = replica("handover", "first", &release).await;
    timeout(SOON, first.acquired()).await.unwrap();
    let before = spec("handover").await;
    assert_eq!(before.holder_identity.as_deref(), Some("first"));

    let (mut second, second_task) = replica("handover", "second", &later).await;
    assert!(first.is_leader() && !second.is_leader());
    release.cancel();
    timeout(SOON, first_task.ended()).await.unwrap().unwrap();
    assert!(!first.is_leader());

    timeout(SOON, second.acquired()).await.unwrap();
    let after = spec("handover").await;
    assert_eq!(after.holder_identity.as_deref(), Some("second"));
    assert_eq!(
        after.lease_transitions.unwrap(),
        before.lease_transitions.unwrap() + 1
    );
    later.cancel();
    timeout(SOON, second_task.ended()).await.unwrap().unwrap();
    assert_eq!(spec("handover").await.holder_identity, None);
}

/// The count of changes shows that nobody else led in between.
#[tokio::test]
async fn of_two_replicas_that_find_a_dead_leader_one_leads_and_the_other_follows_it() {
    let renewed = MicroTime(Timestamp::now());
    let dead = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "dead"},
        "spec": {"holderIdentity": "dead", "leaseDurationSeconds": 2, "leaseTransitions": 7,
            "acquireTime": renewed, "renewTime": renewed},
    });
    let dead = serde_json::from_value(dead).unwrap();
    let leases = leases().await;
    leases.create(&PostParams::default(), &dead).await.unwrap();

    let releases = [CancellationToken::new(), CancellationToken::new()];
    let (first, second) = tokio::join!(
        replica("dead", "first", &releases[0]),
        replica("dead", "second", &releases[1])
    );
    let ((mut first, first_task), (mut second, second_task)) = (first, second);
    let first_leads = timeout(SOON, async {
        tokio::select! {
            () = first.acquired() => true,
            () = second.acquired() => false,
        }
    });
    let first_leads = first_leads.await.unwrap();
    let (mut follower, tasks, releases, names) = if first_leads {
        (
            second,
            [first_task, second_task],
            releases,
            ["first", "second"],
        )
    } else {
        let [one, other] = releases;
        (
            first,
            [second_task, first_task],
            [other, one],
            ["second", "first"],
        )
    };
    let [leader_task, follower_task] = tasks;
    let leading = spec("dead").await;
    assert_eq!(leading.holder_identity.as_deref(), Some(names[0]));
    assert_eq!(leading.lease_transitions, Some(8));
    assert!(!follower.is_leader());

    releases[0].cancel();
    timeout(SOON, leader_task.ended()).await.unwrap().unwrap();
    timeout(SOON, follower.acquired()).await.unwrap();
    let taken = spec("dead").await;
    assert_eq!(taken.holder_identity.as_deref(), Some(names[1]));
    assert_eq!(taken.lease_transitions, Some(9));
    releases[1].cancel();
    timeout(SOON, follower_task.ended()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_leader_that_has_done_its_work_gives_the_lease_back() {
    let release = CancellationToken::new();
    let (mut leadership, task) = replica("done", "worker", &release).await;
    let work = async { timeout(SOON, leadership.acquired()).await.unwrap() };
    timeout(SOON, task.around(work, &release))
        .await
        .unwrap()
        .unwrap();
    let free = spec("done").await;
    assert_eq!(
        (free.holder_identity, free.lease_transitions),
        (None, Some(1))
    );
}

#[tokio::test]
async fn a_replica_whose_lease_was_taken_stops_leading_and_says_so() {
    let release = CancellationToken::new();
    let (mut leadership, task) = replica("taken", "victim", &release).await;
    timeout(SOON, leadership.acquired()).await.unwrap();
    let theft = json!({ "spec": { "holderIdentity": "thief" } });
    leases()
        .await
        .patch("taken", &PatchParams::default(), &Patch::Merge(&theft))
        .await
        .unwrap();
    let error = timeout(SOON, task.ended()).await.unwrap().unwrap_err();
    assert!(matches!(error, LeaseError::Lost(..)), "{error}");
    assert!(error.to_string().contains("default/taken"), "{error}");
    assert!(!leadership.is_leader());
}

/// A member's API server plays the hub here, because its relay can be cut: then requests hang.
#[tokio::test]
async fn a_leader_that_is_cut_off_stops_before_its_lease_ends() {
    let bed = bed().await;
    let hub = bed.member("behind-a-relay").unwrap();
    let kubeconfig = bed.dir().join("relayed.kubeconfig");
    std::fs::write(&kubeconfig, hub.relayed_kubeconfig()).unwrap();
    let release = CancellationToken::new();
    let (mut leadership, task) = replica_at(&kubeconfig, "cut-off", "lonely", &release).await;
    timeout(SOON, leadership.acquired()).await.unwrap();

    hub.relay().cut();
    let error = timeout(SOON, task.ended()).await.unwrap().unwrap_err();
    let ended = Timestamp::now();
    assert!(matches!(error, LeaseError::Lost(..)), "{error}");
    assert!(!leadership.is_leader());
    let leases = Api::<Lease>::namespaced(hub.client().unwrap(), "default");
    let lease = leases.get("cut-off").await.unwrap().spec.unwrap();
    assert_eq!(
        lease.holder_identity.as_deref(),
        Some("lonely"),
        "nobody else may lead yet"
    );
    let held = SignedDuration::from_secs(lease.lease_duration_seconds.unwrap().into());
    assert!(
        ended < lease.renew_time.unwrap().0 + held,
        "it led longer than it held the lease"
    );
}
