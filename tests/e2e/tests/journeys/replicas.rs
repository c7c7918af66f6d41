//! More than one of a controller at a time.

use api_types::phase::Phase;
use e2e::specs::demo_backup;
use e2e::{PATIENCE, Service, Stack, Tenant, await_object};
use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;

use crate::migrate;
use crate::restarts::{finishes_once, hub, tenant};
use crate::restore::Held;
use crate::world::{ONE, spare};

#[tokio::test]
async fn two_controllers_without_a_lease_make_one_object_a_claim() {
    const BACKUPS: usize = 8;
    let (hub, _turn) = hub().await;
    let spare = spare().await;
    let tenant = tenant(hub, "two-controllers", &spare).await;
    let second = hub
        .another("backup-controller", "backup-controller-2", &[])
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
    let replicas = Replicas::of(hub, "backup-controller").await;

    tenant.back_up("first", demo_backup()).await.unwrap();
    finishes_once(&tenant, "first", &spare).await;
    let leader = replicas.holder(|_| true).await;
    replicas.kill(&leader).await;
    tenant.back_up("second", demo_backup()).await.unwrap();
    replicas.holder(|holder| holder != leader).await;
    finishes_once(&tenant, "second", &spare).await;
    replicas.end(&leader).await;

    hub.backup_controller().start_again().await.unwrap();
    let first = tenant.backups().get("first").await.unwrap();
    assert!(e2e::is_phase(&first, Phase::Completed));
}

#[tokio::test]
async fn a_migrate_goes_on_when_the_leader_is_killed_in_the_middle_of_it() {
    const NAME: &str = "migrate-replicas";
    let (hub, _turn) = hub().await;
    let spare = spare().await;
    let tenant = tenant(hub, NAME, &spare).await;
    Held::deploy(&spare.view.client, NAME).await;
    assert!(hub.migrate_controller().stop().await.unwrap().success());
    let replicas = Replicas::of(hub, "migrate-controller").await;

    let spec = migrate::from(spare.name, &[ONE], migrate::only(NAME));
    let name = migrate::frozen(&spare, &tenant, NAME, &spec).await;
    let leader = replicas.holder(|_| true).await;
    replicas.kill(&leader).await;
    spare.velero().process().thaw().unwrap();
    replicas.holder(|holder| holder != leader).await;
    let seen = migrate::in_phase(&tenant, &name, Phase::Completed).await;
    migrate::assert_made_once(&seen, spare.name, &[ONE]).await;
    replicas.end(&leader).await;

    hub.migrate_controller().start_again().await.unwrap();
}

/// Two of a controller, for one lease.
struct Replicas {
    all: [(&'static str, Service); 2],
    leases: Api<Lease>,
    lease: String,
}

impl Replicas {
    async fn of(hub: &Stack, binary: &str) -> Self {
        let client = hub.bed().hub().client().unwrap();
        let lease = format!("e2e-{binary}");
        let start = async |name| {
            let args = [
                "--leader-elect",
                "--lease-namespace",
                "default",
                "--lease-name",
                &lease,
                "--lease-identity",
                name,
            ];
            let log = format!("{binary}-{name}");
            (name, hub.another(binary, &log, &args).await.unwrap())
        };
        Self {
            all: [start("one").await, start("two").await],
            leases: Api::namespaced(client, "default"),
            lease,
        }
    }

    /// Who holds the lease, once that is somebody `wanted`.
    async fn holder(&self, wanted: impl Fn(&str) -> bool) -> String {
        let holder = |lease: &Lease| lease.spec.as_ref()?.holder_identity.clone();
        let held = |lease: &Lease| {
            holder(lease).is_some_and(|holder| !holder.is_empty() && wanted(&holder))
        };
        let lease = await_object(&self.leases, &self.lease, "a holder", PATIENCE, held)
            .await
            .unwrap();
        let holder = holder(&lease).unwrap_or_default();
        assert!(self.all.iter().any(|(name, _)| *name == holder), "{holder}");
        holder
    }

    async fn kill(&self, leader: &str) {
        for (_, leader) in self.all.iter().filter(|(name, _)| *name == leader) {
            leader.kill().await.unwrap();
        }
    }

    /// Tells the one that is left to end: it gives its lease back.
    async fn end(&self, killed: &str) {
        for (_, left) in self.all.iter().filter(|(name, _)| *name != killed) {
            assert!(left.stop().await.unwrap().success());
        }
        let free = self.leases.get(&self.lease).await.unwrap();
        let free = free.spec.unwrap_or_default();
        assert_eq!(free.holder_identity, None, "it was not given back");
    }
}
