//! W3C trace context: from the caller's metadata to the span of the call, and on to the member.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{global, propagation::Injector};
use tonic::metadata::MetadataMap;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const KEYS: [&str; 2] = ["traceparent", "tracestate"];

tokio::task_local! {
    /// The caller's own context, passed on as it came where no tracer is set up.
    static INCOMING: Vec<(&'static str, String)>;
}

struct Headers<'a>(&'a mut HeaderMap);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

/// Makes the caller's span the parent of `span`.
pub fn adopt(span: &Span, metadata: &MetadataMap) {
    // Refused only where no tracer is set up; then there is nothing to link.
    let _ = span.set_parent(proxy_client::trace::extract(metadata));
}

/// Runs a call so that requests it makes carry the caller's context.
pub async fn scope<F: Future>(metadata: &MetadataMap, call: F) -> F::Output {
    let incoming = KEYS
        .into_iter()
        .filter_map(|key| Some((key, metadata.get(key)?.to_str().ok()?.to_owned())))
        .filter(|(_, value)| value.len() <= 512)
        .collect();
    INCOMING.scope(incoming, call).await
}

/// Puts the present context into a request's headers.
pub fn inject(headers: &mut HeaderMap) {
    let context = Span::current().context();
    global::get_text_map_propagator(|p| p.inject_context(&context, &mut Headers(headers)));
    if headers.contains_key(KEYS[0]) {
        return;
    }
    // Outside of a call, as in watches, there is no incoming context.
    let _ = INCOMING.try_with(|incoming| {
        for (key, value) in incoming {
            Headers(headers).set(key, value.clone());
        }
    });
}

/// Takes the incoming context along into another task.
pub fn carry<F: Future>(task: F) -> impl Future<Output = F::Output> {
    let incoming = INCOMING.try_with(Clone::clone).unwrap_or_default();
    INCOMING.scope(incoming, task)
}
