//! The proxy lets each caller do what its job needs, and nothing else.

use api_types::external::velero;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use proxy_client::{Error, ListOptions, Origin, Preconditions};

use crate::world::{ONE, stack, tenant_of};

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T, Error>) {
    match result {
        Err(Error::Refused(detail)) => assert_eq!(detail.origin, Origin::Proxy, "{detail}"),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_caller_is_refused_what_its_job_does_not_need() {
    let stack = stack().await;
    let tenant = tenant_of("refused", &[ONE]).await;
    let key = tenant.key(ONE);

    let backup = stack.members("backup-controller").unwrap();
    let velero = backup.api::<velero::Backup>(&key).namespace("velero");
    velero.list(&ListOptions::default()).await.unwrap();
    let elsewhere = backup.api::<velero::Backup>(&key).namespace("default");
    assert_refused(elsewhere.list(&ListOptions::default()).await);
    assert_refused(
        backup
            .api::<Pod>(&key)
            .namespace("kurator-backup")
            .get("busybox")
            .await,
    );
    let maps = backup.api::<ConfigMap>(&key).namespace("kube-system");
    assert_refused(maps.get("kube-root-ca.crt").await);
    let secrets = backup.api::<Secret>(&key).namespace("velero");
    assert_refused(secrets.list(&ListOptions::default()).await);

    let fleet = stack.members("fleet-controller").unwrap();
    let not_its = fleet.api::<velero::Backup>(&key).namespace("velero");
    assert_refused(
        not_its
            .delete("some-backup", &Preconditions::default())
            .await,
    );

    let nobody = stack.members("nobody").unwrap();
    let backups = nobody.api::<velero::Backup>(&key).namespace("velero");
    assert_refused(backups.list(&ListOptions::default()).await);
}
