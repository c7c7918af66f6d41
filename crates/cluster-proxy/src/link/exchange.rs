//! One request on one connection, and its bounded answer.

use std::{error::Error as _, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};
use tonic::Code;

use super::connection::Connection;
use crate::{
    error::{CallError, Retryable, WriteOutcome},
    request::{answer::Answer, path::Path},
    trace,
};

/// A unary answer may be this large.
pub const UNARY_MAX: usize = 8 * 1024 * 1024;
/// A page of a list may be this large.
pub const PAGE_MAX: usize = 32 * 1024 * 1024;
/// Response headers must come within this.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(10);
/// No body pauses for longer.
const BODY_IDLE: Duration = Duration::from_secs(10);
/// After this a body must have come at 1 KiB/s on average.
const SLOW_AFTER: Duration = Duration::from_secs(10);
const SLOW_RATE: usize = 1024;
/// A member that was given less time than this is not called slow: a caller in a hurry must not speak
/// against it for all others.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the member shall send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// Whole objects.
    Json,
    /// One object's metadata.
    Metadata,
    /// A list's metadata.
    MetadataList,
    /// Discovery in one document.
    Discovery,
}

impl Accept {
    fn header(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Metadata => {
                "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
            }
            Self::MetadataList => {
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
            }
            Self::Discovery => {
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                 application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,\
                 application/json"
            }
        }
    }
}

/// A request for a member.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Path and query, checked.
    pub path: Path,
    /// What to send back.
    pub accept: Accept,
    /// The body's type; none for requests without a body.
    pub content_type: Option<&'static str>,
    /// The body.
    pub body: Bytes,
    /// `Audit-ID`, kept by the API server.
    pub audit_id: Option<String>,
    /// The largest answer.
    pub max_body: usize,
    /// A retry after an unknown outcome does no harm.
    pub retry_unknown: bool,
}

impl Request {
    /// A read.
    pub fn get(path: Path, accept: Accept) -> Self {
        Self {
            method: Method::GET,
            path,
            accept,
            content_type: None,
            body: Bytes::new(),
            audit_id: None,
            max_body: UNARY_MAX,
            retry_unknown: true,
        }
    }

    /// Anything but a read.
    pub fn is_write(&self) -> bool {
        self.method != Method::GET
    }

    fn to_http(&self, connection: &Connection) -> Result<http::Request<Full<Bytes>>, CallError> {
        let credentials = connection.credentials();
        let uri = format!(
            "https://{}{}{}",
            authority(&credentials.host, credentials.port),
            credentials.base_path,
            self.path.as_str()
        );
        let mut builder = http::Request::builder()
            .method(self.method.clone())
            .uri(uri)
            .header(header::ACCEPT, self.accept.header())
            // A small answer must not become a large one here.
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::USER_AGENT, USER_AGENT);
        if let Some(content_type) = self.content_type {
            builder = builder.header(header::CONTENT_TYPE, content_type);
        }
        if let Some(audit_id) = &self.audit_id {
            builder = builder.header("Audit-ID", audit_id);
        }
        if let Some(authorization) = &credentials.authorization {
            builder = builder.header(header::AUTHORIZATION, authorization.clone());
        }
        if let Some(headers) = builder.headers_mut() {
            trace::inject(headers);
        }
        builder
            .body(Full::new(self.body.clone()))
            .map_err(|e| CallError::invalid("request", e))
    }
}

const USER_AGENT: &str = concat!("kurator-cluster-proxy/", env!("CARGO_PKG_VERSION"));

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Response headers, with the body still to be read.
pub type Head = http::Response<Incoming>;

/// Sends a request and waits for the response headers.
pub async fn send(
    connection: &Connection,
    request: &Request,
    deadline: Instant,
) -> Result<Head, CallError> {
    let message = request.to_http(connection)?;
    let asked = Instant::now();
    let deadline = deadline.min(asked + HEADERS_TIMEOUT);
    let mut sender = connection.sender();
    match timeout_at(deadline, sender.ready()).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => return Err(transport(&e, WriteOutcome::NotSent)),
        Err(_) => return Err(late(request, asked, WriteOutcome::NotSent)),
    }
    match timeout_at(deadline, sender.try_send_request(message)).await {
        Ok(Ok(head)) => Ok(head),
        Ok(Err(mut error)) => {
            let unsent = error.take_message().is_some() || is_refused(error.error());
            let outcome = if unsent {
                WriteOutcome::NotSent
            } else {
                WriteOutcome::Unknown
            };
            Err(transport(error.error(), outcome))
        }
        Err(_) => Err(late(request, asked, WriteOutcome::Unknown)),
    }
}

/// Reads a body within its limits of size, time and rate.
pub async fn read(head: Head, request: &Request, deadline: Instant) -> Result<Answer, CallError> {
    let (parts, mut body) = head.into_parts();
    // The write was answered; what follows can only spoil the answer.
    let outcome = match parts.status.as_u16() {
        200..=299 => WriteOutcome::Applied,
        // Only the body could say that nothing happened.
        500.. => WriteOutcome::Unknown,
        _ => WriteOutcome::Rejected,
    };
    let start = Instant::now();
    let mut bytes = BytesMut::new();
    loop {
        let last = Instant::now();
        let until = deadline.min(last + BODY_IDLE);
        let frame = match timeout_at(until, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(e))) => return Err(transport(&e, outcome)),
            Ok(None) => break,
            Err(_) => return Err(late(request, last, outcome)),
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > request.max_body {
            return Err(too_large(request.max_body, outcome));
        }
        bytes.extend_from_slice(&data);
        let elapsed = start.elapsed();
        let expected = usize::try_from(elapsed.as_secs()).unwrap_or(usize::MAX);
        if elapsed > SLOW_AFTER && bytes.len() / SLOW_RATE < expected {
            return Err(late(request, start, outcome));
        }
    }
    Ok(Answer {
        status: parts.status,
        retry_after: retry_after(&parts.headers),
        body: bytes.freeze(),
    })
}

/// The seconds of `Retry-After`.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    value.parse().ok().map(Duration::from_secs)
}

/// An answer over its limit.
pub fn too_large(limit: usize, outcome: WriteOutcome) -> CallError {
    let mut error = CallError::proxy(
        Code::ResourceExhausted,
        "MEMBER_RESPONSE_TOO_LARGE",
        format!("the member's answer is larger than {limit} bytes"),
    );
    error.write_outcome = outcome;
    error.weight = 1;
    error
}

fn transport(error: &hyper::Error, outcome: WriteOutcome) -> CallError {
    let source = error.source().map(ToString::to_string).unwrap_or_default();
    let mut failed = CallError::proxy(
        Code::Unavailable,
        "CLUSTER_UNREACHABLE",
        format!("the connection to the member failed: {error} {source}"),
    )
    .retry(Retryable::Yes, Some(Duration::from_secs(1)));
    failed.write_outcome = outcome;
    failed.weight = 1;
    failed
}

/// The time is up, after waiting `since` then for the member to say something.
fn late(request: &Request, since: Instant, outcome: WriteOutcome) -> CallError {
    let mut error = CallError::deadline(
        format!("the member did not answer {} in time", request.method),
        outcome,
    );
    error.weight = u32::from(since.elapsed() >= PATIENCE);
    error
}

/// The member says that it has not looked at the stream.
fn is_refused(error: &hyper::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(h2) = cause.downcast_ref::<h2::Error>() {
            let refused = h2.reason() == Some(h2::Reason::REFUSED_STREAM);
            let drained = h2.is_go_away() && h2.reason() == Some(h2::Reason::NO_ERROR);
            return h2.is_remote() && (refused || drained);
        }
        source = cause.source();
    }
    false
}

#[cfg(test)]
mod tests;
