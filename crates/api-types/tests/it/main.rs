//! The definitions on a real API server: what it accepts, refuses, fills in and shows.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy.toml allows it in tests, which leaves out their helpers"
)]

mod examples;
mod kubectl;
mod rules;
mod stored;
mod updates;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};
use testbed::{Bed, install_crds};
use tokio::sync::OnceCell;

/// The shared API server with our five definitions. It ends with the test process.
async fn bed() -> &'static Bed {
    static BED: OnceCell<Bed> = OnceCell::const_new();
    BED.get_or_init(async || {
        let bed = Bed::builder("api-types")
            .hub_without_controllers()
            .start()
            .await
            .unwrap();
        install_crds(&bed.hub().client().unwrap(), &repository("deploy/crds"))
            .await
            .unwrap();
        bed
    })
    .await
}

async fn client() -> Client {
    bed().await.hub().client().unwrap()
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

fn resource(kind: &str) -> ApiResource {
    let group = match kind {
        "AttachedCluster" => "cluster.kurator.dev",
        "Fleet" => "fleet.kurator.dev",
        _ => "backup.kurator.dev",
    };
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1alpha1", kind))
}

/// The objects of one of our kinds in the namespace `default`.
fn objects(client: &Client, kind: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), "default", &resource(kind))
}

/// A name that no other test uses.
fn fresh_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("object-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn object(kind: &str, name: &str, spec: &Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": resource(kind).api_version,
        "kind": kind,
        "metadata": { "name": name, "namespace": "default" },
        "spec": spec,
    }))
    .unwrap()
}

async fn create(client: &Client, kind: &str, spec: &Value) -> kube::Result<DynamicObject> {
    let object = object(kind, &fresh_name(), spec);
    objects(client, kind)
        .create(&PostParams::default(), &object)
        .await
}

async fn merge(
    client: &Client,
    kind: &str,
    name: &str,
    spec: &Value,
) -> kube::Result<DynamicObject> {
    let patch = Patch::Merge(json!({ "spec": spec }));
    objects(client, kind)
        .patch(name, &PatchParams::default(), &patch)
        .await
}

/// Writes a status as our controllers do.
async fn apply_status(
    client: &Client,
    kind: &str,
    name: &str,
    status: &Value,
) -> kube::Result<DynamicObject> {
    let patch = Patch::Apply(json!({
        "apiVersion": resource(kind).api_version,
        "kind": kind,
        "metadata": { "name": name },
        "status": status,
    }));
    let params = PatchParams::apply("kurator-test").force();
    objects(client, kind)
        .patch_status(name, &params, &patch)
        .await
}

/// The message of a refusal; anything else fails the test.
fn refusal(what: &str, result: kube::Result<DynamicObject>) -> String {
    match result {
        Err(kube::Error::Api(status)) if status.code == 422 => status.message.clone(),
        Err(other) => panic!("{what}: refused in another way: {other}"),
        Ok(object) => panic!("{what}: accepted: {}", object.data),
    }
}
