//! Logs to standard error; traces that pass on in any case and are exported when somebody listens.

use std::io::IsTerminal as _;
use std::time::Duration;

use opentelemetry::{global, trace::TracerProvider as _};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::ParseError,
    fmt::MakeWriter,
    layer::SubscriberExt as _,
    util::{SubscriberInitExt as _, TryInitError},
};

use crate::args::{LogFormat, TelemetryArgs};

const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `--log` is wrong.
    #[error("log filter {filter:?} cannot be read")]
    Filter {
        /// The value.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// `--otlp-endpoint` is wrong.
    #[error("traces cannot be exported to {endpoint:?}")]
    Exporter {
        /// The value.
        endpoint: String,
        /// What is wrong with it.
        source: ExporterBuildError,
    },
    /// It was set up before.
    #[error("logging is set up already")]
    Twice(#[from] TryInitError),
}

/// Sends what is left of the traces when dropped; `main` keeps it to the end.
#[derive(Debug)]
#[must_use = "traces are flushed when the guard is dropped"]
pub struct Guard {
    provider: SdkTracerProvider,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(EXPORT_TIMEOUT) {
            tracing::warn!(%error, "the last traces may be lost");
        }
    }
}

/// Sets up logs and traces for the process. Needs a tokio runtime when traces are exported.
pub fn init(args: &TelemetryArgs, service: &'static str) -> Result<Guard, TelemetryError> {
    let filter = EnvFilter::try_new(&args.log).map_err(|source| TelemetryError::Filter {
        filter: args.log.clone(),
        source,
    })?;
    let provider = provider(args, service)?;
    global::set_text_map_propagator(TraceContextPropagator::new());
    let traces = tracing_opentelemetry::layer().with_tracer(provider.tracer(service));
    tracing_subscriber::registry()
        .with(
            lines(args.log_format, std::io::stderr)
                .and_then(traces)
                .with_filter(filter),
        )
        .try_init()?;
    Ok(Guard { provider })
}

fn lines<W>(format: LogFormat, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(writer);
    match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    }
}

/// Without an exporter spans still get ids, so that a caller's trace reaches whom we call.
fn provider(
    args: &TelemetryArgs,
    service: &'static str,
) -> Result<SdkTracerProvider, TelemetryError> {
    let resource = Resource::builder().with_service_name(service).build();
    let builder = SdkTracerProvider::builder().with_resource(resource);
    let Some(endpoint) = &args.otlp_endpoint else {
        return Ok(builder.build());
    };
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|source| TelemetryError::Exporter {
            endpoint: endpoint.clone(),
            source,
        })?;
    Ok(builder.with_batch_exporter(exporter).build())
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use serde_json::Value;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut lines = self.0.lock().map_err(|_| io::ErrorKind::Other)?;
            lines.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_in_json_is_one_object_with_level_message_fields_and_span() {
        let written = Lines::default();
        let writer = written.clone();
        let subscriber = Registry::default().with(lines(LogFormat::Json, move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("reconcile", object = "ns/b");
            span.in_scope(|| tracing::warn!(cluster = "oslo", "two\nlines"));
            tracing::info!("after");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0]["level"], "WARN");
        assert_eq!(lines[0]["message"], "two\nlines");
        assert_eq!(lines[0]["cluster"], "oslo");
        assert_eq!(lines[0]["span"]["object"], "ns/b");
        assert!(lines[0]["timestamp"].is_string() && lines[0]["target"].is_string());
        assert_eq!(lines[1]["message"], "after");
    }
}
