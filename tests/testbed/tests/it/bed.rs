//! What a bed gives when nothing goes wrong.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{DeleteParams, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use testbed::{Access, Bed, apply_yaml, client_from, install_crds, wait_for, wait_ok};

use crate::{SOON, bed};

fn velero_objects(client: &Client, kind: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("velero.io", "v1", kind);
    Api::namespaced_with(client.clone(), "velero", &ApiResource::from_gvk(&kind))
}

async fn backup_phase(client: &Client, name: &str) -> Option<String> {
    let backup = velero_objects(client, "Backup").get(name).await.ok()?;
    Some(backup.data.pointer("/status/phase")?.as_str()?.to_owned())
}

#[tokio::test]
async fn a_velero_backup_completes_and_its_objects_are_in_the_bucket() {
    let bed = bed().await;
    let member = bed.member("with-velero").unwrap();
    let client = member.client().unwrap();
    apply_yaml(
        &client,
        "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: prices, namespace: shop}
data: {tea: '3'}
---
apiVersion: velero.io/v1
kind: Backup
metadata: {name: by-hand, namespace: velero}
spec:
  includedNamespaces: [shop]
  snapshotVolumes: false
  storageLocation: default
",
    )
    .await
    .unwrap();

    wait_for("the backup to complete", SOON, async || {
        (backup_phase(&client, "by-hand").await? == "Completed").then_some(())
    })
    .await
    .unwrap();

    let velero = member.velero().unwrap();
    let folder = format!("{}/backups/by-hand/", velero.prefix());
    let objects = bed.s3().unwrap().objects(velero.bucket(), &folder).unwrap();
    assert!(
        objects.contains(&format!("{folder}velero-backup.json")),
        "{objects:?}"
    );
    assert!(
        objects.contains(&format!("{folder}by-hand.tar.gz")),
        "{objects:?}"
    );
}

#[tokio::test]
async fn velero_answers_again_after_it_was_killed() {
    let bed = bed().await;
    let own = Bed::builder("velero-restart")
        .member("m")
        .velero()
        .start()
        .await
        .unwrap();
    assert_ne!(own.address(), bed.address(), "two beds, one address");
    let member = own.member("m").unwrap();
    let velero = member.velero().unwrap();
    let before = velero.process().pid();

    velero.restart(&member.client().unwrap()).await.unwrap();

    assert!(velero.process().is_running());
    assert_ne!(velero.process().pid(), before);
}

#[tokio::test]
async fn object_storage_that_goes_away_comes_back_with_its_objects() {
    let own = Bed::builder("s3")
        .member("m")
        .velero()
        .start()
        .await
        .unwrap();
    let (s3, member) = (own.s3().unwrap(), own.member("m").unwrap());
    let client = member.client().unwrap();
    s3.create_bucket("kept").unwrap();
    std::fs::write(s3.data().join("kept/object"), "tea").unwrap();

    s3.stop().await.unwrap();
    wait_for("the location to be unavailable", SOON, async || {
        let locations = velero_objects(&client, "BackupStorageLocation");
        let location = locations.get("default").await.ok()?;
        (location.data.pointer("/status/phase")? == "Unavailable").then_some(())
    })
    .await
    .unwrap();

    s3.start_again().await.unwrap();
    let velero = member.velero().unwrap();
    velero.wait_available(&client).await.unwrap();
    assert_eq!(s3.objects("kept", "").unwrap(), ["object"]);
    assert!(s3.objects("never-made", "").unwrap().is_empty());
}

#[tokio::test]
async fn two_members_of_one_name_are_refused() {
    let twice = Bed::builder("x").member("m").member("m").start().await;
    let error = twice.unwrap_err().to_string();
    assert!(error.contains("the name m is taken"), "{error}");
}

#[tokio::test]
async fn two_beds_run_side_by_side_with_different_content() {
    let bed = bed().await;
    let other = Bed::builder("other").start().await.unwrap();
    assert_ne!(bed.address(), other.address());

    let text = "{apiVersion: v1, kind: Namespace, metadata: {name: only-here}}";
    apply_yaml(&other.hub().client().unwrap(), text)
        .await
        .unwrap();

    let namespaces = Api::<Namespace>::all(bed.hub().client().unwrap());
    assert!(namespaces.get_opt("only-here").await.unwrap().is_none());
    // The token of one bed is worth nothing on another.
    let stranger = bed.hub().client_as(other.hub().token(0)).unwrap();
    let refused = stranger.list_core_api_versions().await.unwrap_err();
    assert!(refused.to_string().contains("Unauthorized"), "{refused}");

    other.stop().await.unwrap();
}

#[tokio::test]
async fn a_deleted_namespace_goes_away() {
    let client = bed().await.hub().client().unwrap();
    let text = "{apiVersion: v1, kind: Namespace, metadata: {name: short-lived}}";
    apply_yaml(&client, text).await.unwrap();
    let namespaces = Api::<Namespace>::all(client);
    namespaces
        .delete("short-lived", &DeleteParams::default())
        .await
        .unwrap();
    wait_for("the namespace to go", SOON, async || {
        namespaces
            .get_opt("short-lived")
            .await
            .ok()?
            .is_none()
            .then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn every_kind_of_kubeconfig_works_and_the_unprivileged_may_do_nothing() {
    let bed = bed().await;
    let member = bed.member("bare").unwrap();
    for access in [Access::Token(0), Access::Token(1), Access::Certificate] {
        let client = client_from(&member.relayed_kubeconfig_as(access))
            .await
            .unwrap();
        let secrets = Api::<Secret>::all(client);
        let listed = secrets.list(&ListParams::default()).await;
        listed.unwrap_or_else(|error| panic!("an administrator by {access:?}: {error}"));
    }
    let client = client_from(&member.relayed_kubeconfig_as(Access::Unprivileged))
        .await
        .unwrap();
    let secrets = Api::<Secret>::all(client);
    let refused = secrets.list(&ListParams::default()).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .contains(r#"User "nobody" cannot list resource "secrets""#),
        "{refused}"
    );
}

#[tokio::test]
async fn a_revoked_token_is_refused_and_the_other_still_works() {
    let own = Bed::builder("revoke").start().await.unwrap();
    own.hub().revoke_token(0).await.unwrap();
    let old = own.hub().client_as(own.hub().token(0)).unwrap();
    assert!(old.list_core_api_versions().await.is_err());
    let new = own.hub().client_as(own.hub().token(1)).unwrap();
    new.list_core_api_versions().await.unwrap();
}

#[tokio::test]
async fn objects_of_a_crd_in_the_same_text_can_be_applied() {
    let client = bed().await.hub().client().unwrap();
    let crds = tempfile::tempdir().unwrap();
    let crd = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: kettles.testbed.example}
spec:
  group: testbed.example
  names: {kind: Kettle, plural: kettles}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties: {spec: {type: object, properties: {litres: {type: integer}}}}
";
    std::fs::write(crds.path().join("kettles.yaml"), crd).unwrap();
    install_crds(&client, crds.path()).await.unwrap();

    let text = "
apiVersion: v1
kind: List
items:
- {apiVersion: testbed.example/v1, kind: Kettle, metadata: {name: big}, spec: {litres: 3}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: of-a-list}}
";
    let applied = apply_yaml(&client, text).await.unwrap();
    assert_eq!(applied[0].data["spec"]["litres"], 3);
    let maps = Api::<ConfigMap>::default_namespaced(client);
    assert!(maps.get_opt("of-a-list").await.unwrap().is_some());
}

#[tokio::test]
async fn waiting_in_vain_says_for_what_and_what_was_seen_last() {
    let deadline = std::time::Duration::from_millis(60);
    let error = wait_ok("the kettle", deadline, async || {
        anyhow::bail!("it is cold") as anyhow::Result<()>
    })
    .await
    .unwrap_err()
    .to_string();
    assert!(
        error.contains("the kettle") && error.ends_with("last answer: it is cold"),
        "{error}"
    );
}
