//! Calls that go well, and what travels with them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::PartialObjectMeta;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracerProvider};
use proxy_client::{
    Deleted, ListOptions, Preconditions, SecretSpec, Written,
    fake::{Proxy, soon},
};
use serde_json::json;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::fixture::{oslo, value};

fn prices(value: &str) -> ConfigMap {
    serde_json::from_value(json!({
        "metadata": { "name": "prices" },
        "data": { "value": value },
    }))
    .unwrap()
}

#[tokio::test]
async fn an_object_can_be_created_read_applied_and_deleted() {
    let proxy = Proxy::start();
    let api = proxy.members().api::<ConfigMap>(&oslo()).namespace("shop");
    assert!(soon(api.get_opt("prices")).await.unwrap().is_none());

    let created = soon(api.create(&prices("low"), "tester")).await.unwrap();
    assert_eq!(
        created.metadata.namespace.as_deref(),
        Some("shop"),
        "the namespace is filled in"
    );
    let read = soon(api.get("prices")).await.unwrap();
    assert_eq!(value(&read), "low");

    let body = json!({ "data": { "value": "high" } });
    soon(api.apply("prices", &body, "tester", true))
        .await
        .unwrap();
    let listed = soon(api.list(&ListOptions::default())).await.unwrap();
    assert_eq!(listed.iter().map(value).collect::<Vec<_>>(), ["high"]);
    let stored = proxy.fake.state().objects.values().next().cloned().unwrap();
    assert_eq!(
        (&stored["apiVersion"], &stored["kind"]),
        (&json!("v1"), &json!("ConfigMap"))
    );

    let only_if = Preconditions::default();
    assert_eq!(
        soon(api.delete("prices", &only_if)).await.unwrap(),
        Deleted::Accepted
    );
    assert_eq!(
        soon(api.delete("prices", &only_if)).await.unwrap(),
        Deleted::Absent
    );
}

#[tokio::test]
async fn metadata_alone_can_be_asked_for() {
    let proxy = Proxy::start();
    let members = proxy.members();
    let api = members.api::<ConfigMap>(&oslo()).namespace("shop");
    soon(api.create(&prices("low"), "tester")).await.unwrap();

    let api = members
        .api::<PartialObjectMeta<ConfigMap>>(&oslo())
        .namespace("shop")
        .metadata_only();
    let read = soon(api.get("prices")).await.unwrap();
    assert_eq!(read.metadata.name.as_deref(), Some("prices"));
    let last = proxy.fake.state().last.clone();
    assert!(
        last.contains("Metadata") && last.contains("configmaps"),
        "{last}"
    );
}

#[tokio::test]
async fn namespaces_secrets_and_discovery_have_their_own_calls() {
    let proxy = Proxy::start();
    let members = proxy.members();
    let none = BTreeMap::new();
    let oslo = oslo();
    let namespace = members.ensure_namespace(&oslo, "velero", &none);
    assert_eq!(soon(namespace).await.unwrap(), Written::Created);

    let secret = SecretSpec {
        namespace: "velero".into(),
        name: "cloud-credentials".into(),
        data: [("cloud".to_owned(), b"hunter2".to_vec())].into(),
        ..Default::default()
    };
    let written = soon(members.ensure_secret(&oslo, &secret)).await.unwrap();
    assert_eq!(written, Written::Unchanged);
    let shown = format!("{secret:?}");
    assert!(shown.contains("cloud") && !shown.contains("hunter2") && !shown.contains("104"));

    let served = soon(members.discover(&oslo, Some("velero.io")))
        .await
        .unwrap();
    assert_eq!(
        (served[0].resource.as_str(), served[0].namespaced),
        ("backups", true)
    );
}

#[tokio::test]
async fn a_unix_socket_serves_as_well_as_a_port() {
    let path = std::env::temp_dir().join(format!("proxy-client-{}.sock", std::process::id()));
    // left over from a run that was killed
    let _ = std::fs::remove_file(&path);
    let proxy = Proxy::start_on_socket(path.clone());
    let api = proxy.members().api::<ConfigMap>(&oslo()).namespace("shop");
    let created = soon(api.create(&prices("low"), "tester")).await.unwrap();
    assert_eq!(value(&created), "low");
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn every_call_carries_caller_deadline_and_trace() {
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let provider = SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _tracing = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));

    let proxy = Proxy::start();
    let api = proxy.members().api::<ConfigMap>(&oslo()).namespace("shop");
    let parent = tracing::info_span!("reconcile");
    let trace_id = parent.context().span().span_context().trace_id();
    let call = async { soon(api.create(&prices("low"), "tester")).await };
    call.instrument(parent).await.unwrap();

    let (_, metadata) = proxy.fake.state().calls.remove(0);
    assert_eq!(metadata.get("x-kurator-caller").unwrap(), "test-controller");
    assert!(metadata.get("grpc-timeout").is_some());
    let sent = metadata.get("traceparent").unwrap().to_str().unwrap();
    assert!(
        sent.contains(&trace_id.to_string()),
        "{sent} is not of trace {trace_id}"
    );
    let received = proxy_client::trace::extract(&metadata);
    assert_eq!(received.span().span_context().trace_id(), trace_id);
}
