//! Members give the proxy no more than `deploy/member-access.yaml` says.

use api_types::backup::BackupSpec;
use api_types::common::DeletionPolicy;
use api_types::phase::Phase;
use e2e::{Attached, Tenant, examples};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Api;
use kube::api::{ListParams, PostParams};
use testbed::{Member, apply_yaml};

use crate::migrate;
use crate::points::as_copy_of;
use crate::restore::{App, Held, assert_restored, in_phase, objects_of, of};
use crate::schedule::{YEARLY, answered, no_schedule, run_now, scheduled, schedules};
use crate::world::{ONE, TWO, assert_completed, stack, view, wait_nothing_left};

/// A token of the account that the manifest makes.
async fn documented_account(member: &Member) -> String {
    let admin = member.client().unwrap();
    let manifests = examples::root().join("deploy/member-access.yaml");
    apply_yaml(&admin, &std::fs::read_to_string(manifests).unwrap())
        .await
        .unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(admin, "kurator-system");
    let (params, hour) = (PostParams::default(), TokenRequest::default());
    let issued = accounts.create_token_request("kurator", &params, &hour);
    issued.await.unwrap().status.unwrap().token
}

/// A cluster whose kubeconfig has no more than the documented rights.
async fn with_documented_rights(name: &str) -> Attached {
    let stack = stack().await;
    let member = stack.member(name).unwrap();
    let token = documented_account(member).await;
    let mut cluster = stack.attach(name).unwrap();
    let almighty = member.control_plane().token(0);
    cluster.kubeconfig = cluster.kubeconfig.replace(almighty, &token);
    assert!(cluster.kubeconfig.contains(&token));
    cluster
}

/// A Schedule is made, asked for a run, and removed.
async fn assert_schedule_works(tenant: &Tenant) {
    tenant.back_up("yearly", scheduled(YEARLY)).await.unwrap();
    run_now(tenant, "yearly", "now").await;
    let yearly = answered(tenant, "yearly", "now", &[ONE]).await;
    assert_eq!(schedules(&yearly, ONE).await.len(), 1);
    tenant.delete_backup("yearly").await.unwrap();
    tenant.wait_backup_gone("yearly").await.unwrap();
    no_schedule(&yearly, ONE).await;
}

/// A Restore is made and removed.
async fn assert_restore_works(tenant: &Tenant, app: &App, backup: &str) {
    let spec = as_copy_of(app, of(backup), "least-copy", None);
    tenant.restore("least", spec).await.unwrap();
    let restore = in_phase(tenant, "least", Phase::Completed).await;
    assert_restored(&restore, &[ONE]).await;
    tenant.delete_restore("least").await.unwrap();
    tenant.wait_restore_gone("least").await.unwrap();
    assert!(objects_of(&restore, ONE).await.is_empty());
}

#[tokio::test]
async fn an_account_with_the_documented_rights_is_enough_to_back_up_to_restore_and_to_delete() {
    const APP: App = App("least");
    let stack = stack().await;
    let member = stack.member(ONE).unwrap();
    let token = documented_account(member).await;
    APP.deploy(&[ONE]).await;

    let cluster = with_documented_rights(ONE).await;
    let tenant = stack.tenant("least", &[cluster]).await.unwrap();
    let spec = BackupSpec {
        deletion_policy: DeletionPolicy::Delete,
        ..APP.backup()
    };
    tenant.back_up("least", spec).await.unwrap();
    let backup = tenant.wait_phase("least", Phase::Completed).await.unwrap();
    assert_completed(&backup, &[ONE]);
    let nodes = tenant.wait_cluster(ONE, true).await.unwrap();
    assert!(nodes.status.unwrap().nodes.is_some(), "nodes are counted");
    assert_schedule_works(&tenant).await;
    assert_restore_works(&tenant, &APP, "least").await;

    tenant.delete_backup("least").await.unwrap();
    tenant.wait_backup_gone("least").await.unwrap();
    let owner = backup.metadata.uid.unwrap();
    wait_nothing_left(&view(ONE).await, &owner).await.unwrap();

    let account = member.control_plane().client_as(&token).unwrap();
    let secrets: Api<Secret> = Api::namespaced(account, "kube-system");
    match secrets.list(&ListParams::default()).await {
        Err(kube::Error::Api(status)) => assert_eq!(status.code, 403),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn an_account_with_the_documented_rights_is_enough_to_migrate() {
    const NAME: &str = "least-migrate";
    let clusters = [
        with_documented_rights(ONE).await,
        with_documented_rights(TWO).await,
    ];
    let tenant = stack().await.tenant(NAME, &clusters).await.unwrap();
    let held = Held::deploy(&view(ONE).await.client, NAME).await;
    let mut spec = migrate::from(ONE, &[TWO], migrate::only(NAME));
    spec.deletion_policy = DeletionPolicy::Delete;
    migrate::begin(&tenant, NAME, spec).await;
    let moved = migrate::in_phase(&tenant, NAME, Phase::Completed).await;
    migrate::assert_made_once(&moved, ONE, &[TWO]).await;
    Held::at(&view(TWO).await.client, NAME)
        .assert_restored()
        .await;
    // What it may look at beforehand it has seen.
    let told = format!("it creates {NAME}");
    migrate::tells(&tenant, (NAME, "Preflight"), |note| note.ends_with(&told)).await;
    let events = tenant.event_reasons(NAME).await.unwrap();
    assert!(!events.contains(&"NotCompared".to_owned()), "{events:?}");

    migrate::wait_gone(&tenant, NAME).await;
    let owner = moved.metadata.uid.unwrap();
    wait_nothing_left(&view(ONE).await, &owner).await.unwrap();
    held.remove().await;
}
