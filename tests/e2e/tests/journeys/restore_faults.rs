//! What is in the way of a Restore is named, and it goes on by itself once that is mended.

use anyhow::ensure;
use api_types::external::velero;
use api_types::labels;
use api_types::phase::Phase;
use e2e::specs::{demo_backup, demo_policy_in};
use e2e::{PATIENCE, await_gone};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use testbed::{S3, apply_yaml, wait_ok};

use crate::restore::{in_phase, objects_of, of, with_reason};
use crate::world::{ONE, stack, tenant_of, view};

/// A location of a test's own, with credentials of its own, in one member.
struct Location {
    name: &'static str,
    member: &'static str,
}

impl Location {
    /// Makes it, with its bucket.
    async fn make(&self) {
        stack()
            .await
            .bed()
            .s3()
            .unwrap()
            .create_bucket(self.name)
            .unwrap();
        self.write_credentials().await;
        let locations = view(self.member)
            .await
            .velero::<velero::BackupStorageLocation>();
        let own = locations
            .get(labels::DEFAULT_STORAGE_LOCATION)
            .await
            .unwrap();
        let mut spec = velero::BackupStorageLocationSpec {
            default: None,
            credential: Some(
                serde_json::from_value(json!({ "name": self.name, "key": "cloud" })).unwrap(),
            ),
            ..own.spec
        };
        spec.object_storage.bucket = self.name.to_owned();
        let location = velero::BackupStorageLocation::new(self.name, spec);
        locations
            .create(&PostParams::default(), &location)
            .await
            .unwrap();
        self.wait("Available").await;
    }

    async fn write_credentials(&self) {
        let profile = format!(
            "[default]\naws_access_key_id={}\naws_secret_access_key={}\n",
            S3::ACCESS_KEY,
            S3::SECRET_KEY
        );
        let object = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": self.name },
            "stringData": { "cloud": profile },
        });
        let secrets: Api<Secret> = Api::namespaced(view(self.member).await.client, "velero");
        let params = PatchParams::apply("e2e").force();
        secrets
            .patch(self.name, &params, &Patch::Apply(object))
            .await
            .unwrap();
    }

    /// Waits until Velero has looked and found it so.
    async fn wait(&self, phase: &str) {
        let locations = view(self.member)
            .await
            .velero::<velero::BackupStorageLocation>();
        wait_ok(
            &format!("location {} {phase}", self.name),
            PATIENCE,
            async || {
                let found = locations.get(self.name).await?;
                ensure!(found.phase() == phase, "it is {:?}", found.phase());
                Ok(())
            },
        )
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn credentials_or_a_bucket_that_are_away_hold_it_until_they_are_back() {
    let tenant = tenant_of("restore-store", &[ONE]).await;
    let store = Location {
        name: "fickle",
        member: ONE,
    };
    store.make().await;
    let mut spec = demo_backup();
    spec.policy = Some(demo_policy_in(store.name));
    tenant.back_up("stored", spec).await.unwrap();
    tenant.wait_phase("stored", Phase::Completed).await.unwrap();

    // Wrong keys would do as well, but the bed's Velero has the right ones in its environment.
    let secrets: Api<Secret> = Api::namespaced(view(ONE).await.client, "velero");
    secrets
        .delete(store.name, &DeleteParams::default())
        .await
        .unwrap();
    store.wait("Unavailable").await;
    tenant.restore("keys", of("stored")).await.unwrap();
    let restore = with_reason(&tenant, "keys", ONE, "StorageLocationUnavailable").await;
    assert!(
        objects_of(&restore, ONE).await.is_empty(),
        "Velero would fail it for ever"
    );
    store.write_credentials().await;
    in_phase(&tenant, "keys", Phase::Completed).await;

    let data = stack().await.bed().s3().unwrap().data();
    let away = data.with_file_name("fickle-away");
    std::fs::rename(data.join(store.name), &away).unwrap();
    store.wait("Unavailable").await;
    tenant.restore("bucket", of("stored")).await.unwrap();
    let restore = with_reason(&tenant, "bucket", ONE, "StorageLocationUnavailable").await;
    assert!(
        objects_of(&restore, ONE).await.is_empty(),
        "Velero would fail it for ever"
    );
    std::fs::rename(&away, data.join(store.name)).unwrap();
    in_phase(&tenant, "bucket", Phase::Completed).await;
}

/// Velero itself waits for a namespace that is on its way out, and makes it anew.
#[tokio::test]
async fn what_goes_into_a_namespace_that_is_going_away_comes_once_it_has_gone() {
    const HELD: &str = "held-back";
    let tenant = tenant_of("restore-going", &[ONE]).await;
    let client = view(ONE).await.client;
    let manifest = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {HELD}}}\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings, namespace: {HELD}}}\ndata: {{greeting: hello}}\n"
    );
    apply_yaml(&client, &manifest).await.unwrap();
    let mut spec = demo_backup();
    spec.policy =
        serde_json::from_value(json!({ "resourceFilter": { "includedNamespaces": [HELD] } }))
            .unwrap();
    tenant.back_up("held", spec).await.unwrap();
    tenant.wait_phase("held", Phase::Completed).await.unwrap();

    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), HELD);
    let hold =
        |finalizers: &[&str]| Patch::Merge(json!({ "metadata": { "finalizers": finalizers } }));
    let params = PatchParams::default();
    maps.patch("settings", &params, &hold(&["e2e.kurator.dev/hold"]))
        .await
        .unwrap();
    let namespaces: Api<Namespace> = Api::all(client);
    let old = namespaces
        .delete(HELD, &DeleteParams::default())
        .await
        .unwrap();
    let old = old.left().unwrap().uid();

    tenant.restore("into-it", of("held")).await.unwrap();
    let restore = in_phase(&tenant, "into-it", Phase::InProgress).await;
    assert_eq!(objects_of(&restore, ONE).await.len(), 1);
    assert_eq!(
        namespaces.get(HELD).await.unwrap().uid(),
        old,
        "it is still there"
    );
    maps.patch("settings", &params, &hold(&[])).await.unwrap();
    in_phase(&tenant, "into-it", Phase::Completed).await;
    assert_ne!(namespaces.get(HELD).await.unwrap().uid(), old);
    let settings = maps.get("settings").await.unwrap();
    assert_eq!(settings.data.unwrap()["greeting"], "hello");

    namespaces
        .delete(HELD, &DeleteParams::default())
        .await
        .unwrap();
    await_gone(&namespaces, HELD, PATIENCE).await.unwrap();
}
