//! More than one backup-controller at a time.

use api_types::phase::Phase;
use e2e::specs::demo_backup;
use e2e::{PATIENCE, Service, Stack, Tenant, await_object};
use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;

use crate::restarts::{finishes_once, hub, tenant};
use crate::world::spare;

#[tokio::test]
async fn two_controllers_without_a_lease_make_one_object_a_claim() {
    const BACKUPS: usize = 8;
    let (hub, _turn) = hub().await;
    let spare = spare().await;
    let tenant = tenant(hub, "two-controllers", &spare).await;
    let second = hub
        .another_backup_controller("backup-controller-2", &[])
        .await
        .unwrap();

    let before = refused_status_writes(&tenant).await;

    let names: Vec<String> = (0..BACKUPS)
        .map(|number| format!("shared-{number}"))
        .collect();
    let made = names.iter().map(|name| tenant.back_up(name, demo_backup()));
    for made in join_all(made).await {
        made.unwrap();
    }
    join_all(
        names
            .iter()
            .map(|name| finishes_once(&tenant, name, &spare)),
    )
    .await;
    // Both saw everything at the same time: the slower one's writes were stale, and were refused.
    assert!(
        refused_status_writes(&tenant).await > before,
        "no stale write met a 409"
    );
    assert!(second.stop().await.unwrap().success());
}

/// How many writes of a Backup's status the hub has refused since its start, because they were made
/// from an old version.
async fn refused_status_writes(tenant: &Tenant) -> u64 {
    let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
    let metrics = tenant.hub().request_text(request).await.unwrap();
    let conflicts = metrics.lines().filter(|line| {
        line.starts_with("apiserver_request_total{")
            && [
                r#"code="409""#,
                r#"resource="backups""#,
                r#"subresource="status""#,
            ]
            .iter()
            .all(|label| line.contains(label))
    });
    conflicts
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[tokio::test]
async fn a_replica_takes_over_when_the_leader_is_killed() {
    let (hub, _turn) = hub().await;
    let spare = spare().await;
    let tenant = tenant(hub, "replicas", &spare).await;
    // It works without a lease, and would do all the work.
    assert!(hub.backup_controller().stop().await.unwrap().success());
    let replicas = [replica(hub, "one").await, replica(hub, "two").await];
    let leases: Api<Lease> = Api::namespaced(tenant.hub().clone(), "default");

    tenant.back_up("first", demo_backup()).await.unwrap();
    finishes_once(&tenant, "first", &spare).await;
    let leader = holder(&leases, |_| true).await;
    let (leading, other) = match leader.as_str() {
        "one" => (&replicas[0], &replicas[1]),
        _ => (&replicas[1], &replicas[0]),
    };
    leading.kill().await.unwrap();
    tenant.back_up("second", demo_backup()).await.unwrap();
    let next = holder(&leases, |holder| holder != leader).await;
    assert_eq!(next, if leader == "one" { "two" } else { "one" });
    finishes_once(&tenant, "second", &spare).await;

    assert!(other.stop().await.unwrap().success());
    let free = leases.get("e2e").await.unwrap().spec.unwrap_or_default();
    assert_eq!(
        free.holder_identity, None,
        "it was told to end, and gave its lease back"
    );
    hub.backup_controller().start_again().await.unwrap();
    let first = tenant.backups().get("first").await.unwrap();
    assert!(e2e::is_phase(&first, Phase::Completed));
}

async fn replica(hub: &Stack, name: &str) -> Service {
    let args = [
        "--leader-elect",
        "--lease-namespace",
        "default",
        "--lease-name",
        "e2e",
        "--lease-identity",
        name,
    ];
    let log = format!("backup-controller-{name}");
    hub.another_backup_controller(&log, &args).await.unwrap()
}

/// Who holds the lease, once that is somebody `wanted`.
async fn holder(leases: &Api<Lease>, wanted: impl Fn(&str) -> bool) -> String {
    let holder = |lease: &Lease| lease.spec.as_ref()?.holder_identity.clone();
    let held =
        |lease: &Lease| holder(lease).is_some_and(|holder| !holder.is_empty() && wanted(&holder));
    let lease = await_object(leases, "e2e", "a holder", PATIENCE, held)
        .await
        .unwrap();
    holder(&lease).unwrap_or_default()
}
