//! Members give the proxy no more than `deploy/member-access.yaml` says.

use api_types::phase::Phase;
use e2e::examples;
use e2e::specs::demo_backup_to_delete;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Api;
use kube::api::{ListParams, PostParams};
use testbed::apply_yaml;

use crate::world::{ONE, assert_completed, stack, view, wait_nothing_left};

#[tokio::test]
async fn an_account_with_the_documented_rights_is_enough_to_back_up_and_to_delete() {
    let stack = stack().await;
    let member = stack.member(ONE).unwrap();
    let admin = member.client().unwrap();
    let manifests = examples::root().join("deploy/member-access.yaml");
    apply_yaml(&admin, &std::fs::read_to_string(manifests).unwrap())
        .await
        .unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(admin, "kurator-system");
    let (params, hour) = (PostParams::default(), TokenRequest::default());
    let issued = accounts.create_token_request("kurator", &params, &hour);
    let token = issued.await.unwrap().status.unwrap().token;

    let mut cluster = stack.attach(ONE).unwrap();
    let almighty = member.control_plane().token(0);
    cluster.kubeconfig = cluster.kubeconfig.replace(almighty, &token);
    assert!(cluster.kubeconfig.contains(&token));
    let tenant = stack.tenant("least", &[cluster]).await.unwrap();
    tenant
        .back_up("least", demo_backup_to_delete())
        .await
        .unwrap();
    let backup = tenant.wait_phase("least", Phase::Completed).await.unwrap();
    assert_completed(&backup, &[ONE]);
    let nodes = tenant.wait_cluster(ONE, true).await.unwrap();
    assert!(nodes.status.unwrap().nodes.is_some(), "nodes are counted");

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
