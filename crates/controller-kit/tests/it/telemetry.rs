//! Traces leave the process when somebody listens.

use controller_kit::{
    args::{LogFormat, TelemetryArgs},
    telemetry,
};
use tokio::{io::AsyncReadExt as _, net::TcpListener, time::timeout};

use crate::SOON;

#[tokio::test(flavor = "multi_thread")]
async fn the_last_spans_are_exported_when_the_guard_is_dropped() {
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let args = TelemetryArgs {
        log_format: LogFormat::Json,
        log: "off,it::telemetry=info".into(),
        otlp_endpoint: Some(format!("http://{}", collector.local_addr().unwrap())),
    };
    let guard = telemetry::init(&args, "test-controller").unwrap();
    tracing::info_span!("the last one").in_scope(|| {});
    let dropped = tokio::task::spawn_blocking(|| drop(guard));

    let (mut exporter, _) = timeout(SOON, collector.accept()).await.unwrap().unwrap();
    let mut start = [0; 14];
    timeout(SOON, exporter.read_exact(&mut start))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&start, b"PRI * HTTP/2.0", "gRPC begins like this");
    // this collector answers nothing; the guard gives up in time
    timeout(SOON, dropped).await.unwrap().unwrap();
}
