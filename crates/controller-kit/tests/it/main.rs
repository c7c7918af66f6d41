//! What the kit does to a hub, on a real API server.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy.toml allows it in tests, which leaves out their helpers"
)]

mod events;
mod leases;
mod telemetry;
mod writes;

use std::time::Duration;

use controller_kit::{
    crds::{self, Wanted},
    http::Readiness,
    hub,
};
use kube::{Api, Client, CustomResource, CustomResourceExt as _, api::PostParams};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use testbed::{Bed, apply_yaml, wait_for};
use tokio::{sync::OnceCell, time::timeout};

/// Far more than anything takes that is expected to happen.
const SOON: Duration = Duration::from_mins(1);

#[derive(Clone, Debug, CustomResource, Deserialize, JsonSchema, Serialize)]
#[kube(
    group = "test.kurator.dev",
    version = "v1",
    kind = "Widget",
    namespaced,
    status = "WidgetStatus"
)]
struct WidgetSpec {}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
struct WidgetStatus {
    phase: Option<String>,
    message: Option<String>,
}

#[derive(Clone, Debug, CustomResource, Deserialize, JsonSchema, Serialize)]
#[kube(
    group = "test.kurator.dev",
    version = "v1",
    kind = "Gadget",
    namespaced
)]
struct GadgetSpec {}

async fn bed() -> &'static Bed {
    static BED: OnceCell<Bed> = OnceCell::const_new();
    BED.get_or_init(async || {
        let bed = Bed::builder("kit")
            .hub_without_controllers()
            .member("behind-a-relay")
            .start()
            .await
            .unwrap();
        let client = bed.hub().client().unwrap();
        install(&client, &Widget::crd()).await;
        crds::wait(&client, &[Wanted::of::<Widget>()], &Readiness::default()).await;
        bed
    })
    .await
}

async fn client() -> Client {
    hub::client(Some(bed().await.hub().kubeconfig_path()))
        .await
        .unwrap()
}

async fn install(client: &Client, crd: &impl Serialize) {
    apply_yaml(client, &serde_json::to_string(crd).unwrap())
        .await
        .unwrap();
}

async fn widget(client: &Client, name: &str) -> Widget {
    let api = Api::<Widget>::namespaced(client.clone(), "default");
    let widget = Widget::new(name, WidgetSpec {});
    api.create(&PostParams::default(), &widget).await.unwrap()
}

#[tokio::test]
async fn a_process_waits_for_its_crds_and_names_them() {
    let client = client().await;
    let readiness = Readiness::waiting_for(&[crds::CHECK]);
    let wanted = [Wanted::of::<Widget>(), Wanted::of::<Gadget>()];
    let waiting = tokio::spawn({
        let (client, readiness) = (client.clone(), readiness.clone());
        async move { crds::wait(&client, &wanted, &readiness).await }
    });
    wait_for("the missing CRD to be named", SOON, async || {
        let reason = readiness.failing().first()?.1.clone();
        let named = reason.contains("gadgets.test.kurator.dev/v1") && !reason.contains("widgets");
        named.then_some(())
    })
    .await
    .unwrap();

    install(&client, &Gadget::crd()).await;
    timeout(SOON, waiting).await.unwrap().unwrap();
    assert!(readiness.is_ready());
}
