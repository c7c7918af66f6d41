//! A receiver of traces.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use tonic::{Request, Response, Status};

/// Spans that are kept; the oldest go first.
const KEPT: usize = 200_000;

/// One span, as far as tests look at it.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) service: String,
    pub(crate) trace: Vec<u8>,
    pub(crate) id: Vec<u8>,
    pub(crate) parent: Vec<u8>,
    pub(crate) name: String,
    pub(crate) attributes: BTreeMap<String, String>,
}

/// It lives on a thread of its own, since it outlives the runtime of the test that started it.
#[derive(Debug)]
pub(crate) struct Receiver {
    endpoint: String,
    spans: Mutex<Vec<Span>>,
}

/// The one receiver, started with the first call.
pub(crate) fn receiver() -> &'static Receiver {
    static RECEIVER: LazyLock<Receiver> = LazyLock::new(|| {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let connections = tokio_stream::wrappers::TcpListenerStream::new(listener);
                let service = TraceServiceServer::new(Collector);
                let server = tonic::transport::Server::builder().add_service(service);
                server.serve_with_incoming(connections).await.unwrap();
            });
        });
        Receiver {
            endpoint,
            spans: Mutex::default(),
        }
    });
    &RECEIVER
}

impl Receiver {
    /// Where to send spans.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// All spans of the traces in which some span is `wanted`.
    pub(crate) fn traces(&self, wanted: impl Fn(&Span) -> bool) -> Vec<Span> {
        let spans = self.lock();
        let mut traces: Vec<&[u8]> = spans
            .iter()
            .filter(|span| wanted(span))
            .map(|span| span.trace.as_slice())
            .collect();
        traces.sort_unstable();
        let ours = |span: &&Span| traces.binary_search(&span.trace.as_slice()).is_ok();
        spans.iter().filter(ours).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Span>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Collector;

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut spans = receiver().lock();
        for group in request.into_inner().resource_spans {
            let service = service_name(group.resource);
            for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                spans.push(Span {
                    service: service.clone(),
                    trace: span.trace_id,
                    id: span.span_id,
                    parent: span.parent_span_id,
                    name: span.name,
                    attributes: span.attributes.into_iter().map(attribute).collect(),
                });
            }
        }
        let surplus = spans.len().saturating_sub(KEPT);
        spans.drain(..surplus);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn service_name(resource: Option<Resource>) -> String {
    let attributes = resource
        .map(|resource| resource.attributes)
        .unwrap_or_default();
    let mut found = attributes
        .into_iter()
        .map(attribute)
        .filter(|(key, _)| key == "service.name");
    found.next().map(|(_, value)| value).unwrap_or_default()
}

fn attribute(attribute: KeyValue) -> (String, String) {
    let value = match attribute.value.and_then(|AnyValue { value }| value) {
        Some(Value::StringValue(text)) => text,
        other => format!("{other:?}"),
    };
    (attribute.key, value)
}
