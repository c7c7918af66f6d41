//! A namespace that is on its way out and is held there: Velero waits for its end in the middle of a
//! restore into it, and makes it anew.

use api_types::backup::BackupSpec;
use e2e::specs::demo_backup;
use e2e::{PATIENCE, await_gone};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use testbed::apply_yaml;

/// The namespace in a member.
pub(crate) struct Held {
    name: &'static str,
    client: Client,
}

impl Held {
    /// One that is there, or will be.
    pub(crate) fn at(client: &Client, name: &'static str) -> Self {
        Self {
            name,
            client: client.clone(),
        }
    }

    /// Makes it.
    pub(crate) async fn deploy(client: &Client, name: &'static str) -> Self {
        let manifest = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n---\n\
             apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings, namespace: {name}}}\ndata: {{greeting: hello}}\n"
        );
        apply_yaml(client, &manifest).await.unwrap();
        Self::at(client, name)
    }

    /// Takes it.
    pub(crate) fn backup(&self) -> BackupSpec {
        let mut spec = demo_backup();
        let filter = json!({ "resourceFilter": { "includedNamespaces": [self.name] } });
        spec.policy = serde_json::from_value(filter).unwrap();
        spec
    }

    /// Begins to remove it, and keeps it from going. Returns its uid.
    pub(crate) async fn hold(&self) -> Option<String> {
        self.pin(&["e2e.kurator.dev/hold"]).await;
        let gone = DeleteParams::default();
        let old = self.namespaces().delete(self.name, &gone).await.unwrap();
        old.left().unwrap().uid()
    }

    /// Lets it go.
    pub(crate) async fn release(&self) {
        self.pin(&[]).await;
    }

    async fn pin(&self, finalizers: &[&str]) {
        let patch = Patch::Merge(json!({ "metadata": { "finalizers": finalizers } }));
        self.settings()
            .patch("settings", &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// The uid of the namespace that has the name now.
    pub(crate) async fn uid(&self) -> Option<String> {
        self.namespaces().get(self.name).await.unwrap().uid()
    }

    /// Changes what is in it.
    pub(crate) async fn greet(&self, greeting: &str) {
        let patch = Patch::Merge(json!({ "data": { "greeting": greeting } }));
        self.settings()
            .patch("settings", &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// What is in it.
    pub(crate) async fn greeting(&self) -> String {
        let settings = self.settings().get("settings").await.unwrap();
        settings.data.unwrap().remove("greeting").unwrap()
    }

    /// Checks that what was in it is there.
    pub(crate) async fn assert_restored(&self) {
        assert_eq!(self.greeting().await, "hello");
    }

    /// Removes it.
    pub(crate) async fn remove(self) {
        let namespaces = self.namespaces();
        let gone = DeleteParams::default();
        namespaces.delete(self.name, &gone).await.unwrap();
        await_gone(&namespaces, self.name, PATIENCE).await.unwrap();
    }

    /// Waits until it is gone.
    pub(crate) async fn wait_gone(&self) {
        let namespaces = self.namespaces();
        await_gone(&namespaces, self.name, PATIENCE).await.unwrap();
    }

    fn namespaces(&self) -> Api<Namespace> {
        Api::all(self.client.clone())
    }

    fn settings(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), self.name)
    }
}
