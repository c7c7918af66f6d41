//! The one error that a caller sees, as a gRPC status or inside a stream.
//!
//! It says who failed (the member or the proxy), whether a write may have happened, and what may be
//! done about it. Texts never hold credentials or Secret data.

use std::{
    collections::HashMap,
    fmt,
    ops::{Deref, DerefMut},
    time::Duration,
};

use api_types::key::ClusterKey;
use bytes::Bytes;
use prost::Message as _;
use proxy_client::proto;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt, pb};

use crate::request::answer::clean;

const KUBE_STATUS: &str = "type.googleapis.com/clusterproxy.v1.KubeStatus";

/// Who produced an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The member answered.
    Member,
    /// The proxy did, with or without having asked the member.
    Proxy,
}

impl Origin {
    /// The domain of `google.rpc.ErrorInfo`.
    pub fn domain(self) -> &'static str {
        match self {
            Self::Member => "kubernetes",
            Self::Proxy => "cluster-proxy.kurator.dev",
        }
    }
}

/// Whether a caller may try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retryable {
    /// Yes, after the hinted time.
    Yes,
    /// No.
    No,
    /// After reading the object again.
    AfterReread,
    /// After a person mended the cause.
    AfterFix,
}

impl Retryable {
    /// The value of the `retryable` metadata.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::AfterReread => "after_reread",
            Self::AfterFix => "after_fix",
        }
    }
}

/// What is known about the effect of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// No byte of it reached the member.
    NotSent,
    /// It may have happened.
    Unknown,
    /// It happened, but the answer could not be used.
    Applied,
    /// The member refused it.
    Rejected,
}

impl WriteOutcome {
    /// The value of the `write_outcome` metadata.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotSent => "not_sent",
            Self::Unknown => "unknown",
            Self::Applied => "applied",
            Self::Rejected => "rejected",
        }
    }
}

/// A failed call. Boxed, since calls mostly succeed.
#[derive(Clone, Debug)]
pub struct CallError(Box<Failure>);

/// What is known about a failed call.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The gRPC code.
    pub code: Code,
    /// A constant such as `CLUSTER_UNREACHABLE`.
    pub reason: String,
    /// What failed and what to do, for people.
    pub message: String,
    /// Who failed.
    pub origin: Origin,
    /// Whether to try again.
    pub retryable: Retryable,
    /// The fate of the write; `NotSent` for what never left the proxy.
    pub write_outcome: WriteOutcome,
    /// How long to wait before the next try.
    pub retry_after: Option<Duration>,
    /// The member's HTTP status, when it answered.
    pub http_code: Option<u16>,
    /// The request field at fault, for `INVALID_ARGUMENT`.
    pub field: Option<String>,
    /// The member's `Status` as JSON, when it sent one.
    pub kube_status: Option<Bytes>,
    /// Further metadata: cluster, gvr, namespace, name, audit id.
    pub context: Vec<(&'static str, String)>,
    /// The failure speaks against the member's health, so it counts for the breaker.
    pub weight: u32,
}

impl Deref for CallError {
    type Target = Failure;

    fn deref(&self) -> &Failure {
        &self.0
    }
}

impl DerefMut for CallError {
    fn deref_mut(&mut self) -> &mut Failure {
        &mut self.0
    }
}

impl CallError {
    /// An error of the proxy itself, before anything was sent.
    pub fn proxy(code: Code, reason: &str, message: impl Into<String>) -> Self {
        Self(Box::new(Failure {
            code,
            reason: reason.to_owned(),
            message: message.into(),
            origin: Origin::Proxy,
            retryable: Retryable::No,
            write_outcome: WriteOutcome::NotSent,
            retry_after: None,
            http_code: None,
            field: None,
            kube_status: None,
            context: Vec::new(),
            weight: 0,
        }))
    }

    /// The request itself is wrong.
    pub fn invalid(field: &str, message: impl fmt::Display) -> Self {
        let mut error = Self::proxy(
            Code::InvalidArgument,
            "INVALID_REQUEST",
            format!("{field}: {message}"),
        );
        error.field = Some(field.to_owned());
        error
    }

    /// No link exists for the cluster.
    pub fn unknown_cluster(cluster: &ClusterKey) -> Self {
        Self::proxy(
            Code::NotFound,
            "CLUSTER_UNKNOWN",
            format!("{cluster} is not known to the proxy: is there such an object on the hub?"),
        )
        .about("cluster", cluster)
    }

    /// The hub has not been read yet, so nothing can be said about any cluster.
    pub fn not_synced() -> Self {
        Self::proxy(
            Code::Unavailable,
            "NOT_READY",
            "the proxy has just started and has not read the hub yet",
        )
        .retry(Retryable::Yes, Some(Duration::from_secs(1)))
    }

    /// The member does not serve the resource type.
    pub fn not_served(what: impl fmt::Display) -> Self {
        let mut error = Self::proxy(
            Code::NotFound,
            "GVR_NOT_SERVED",
            format!("the member does not serve {what}: is its operator installed?"),
        );
        error.origin = Origin::Member;
        error.retryable = Retryable::Yes;
        error.write_outcome = WriteOutcome::Rejected;
        error.http_code = Some(404);
        error
    }

    /// An answer of the member that cannot be believed or read. What a parser says about it may quote
    /// it, so that the message is cut like any other text of a member.
    pub fn malformed(message: impl fmt::Display, write_outcome: WriteOutcome) -> Self {
        let mut error = Self::proxy(
            Code::Internal,
            "MEMBER_MALFORMED",
            clean(&format!("the member's answer cannot be used: {message}")),
        );
        error.origin = Origin::Member;
        error.write_outcome = write_outcome;
        error.weight = 2;
        error
    }

    /// The deadline passed.
    pub fn deadline(message: impl Into<String>, write_outcome: WriteOutcome) -> Self {
        let mut error = Self::proxy(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", message);
        error.retryable = Retryable::Yes;
        error.write_outcome = write_outcome;
        error
    }

    /// Adds a metadata entry unless it is there already.
    #[must_use]
    pub fn about(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        if !self.context.iter().any(|(known, _)| *known == key) {
            self.context.push((key, value.to_string()));
        }
        self
    }

    /// Sets whether to try again, and after how long.
    #[must_use]
    pub fn retry(mut self, retryable: Retryable, after: Option<Duration>) -> Self {
        self.retryable = retryable;
        self.retry_after = after;
        self
    }

    /// Only the text.
    pub fn into_message(self) -> String {
        self.0.message
    }

    /// The form used inside streams.
    pub fn to_proto(&self) -> proto::Error {
        proto::Error {
            code: self.code as i32,
            reason: self.reason.clone(),
            message: self.message.clone(),
            origin: self.origin.domain().to_owned(),
            retryable: self.retryable.as_str().to_owned(),
            write_outcome: self.write_outcome.as_str().to_owned(),
            retry_after: self.retry_after.and_then(|after| after.try_into().ok()),
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

impl std::error::Error for CallError {}

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        let error = *error.0;
        let mut metadata: HashMap<String, String> = error
            .context
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect();
        metadata.insert("retryable".into(), error.retryable.as_str().into());
        metadata.insert("write_outcome".into(), error.write_outcome.as_str().into());
        if let Some(code) = error.http_code {
            metadata.insert("http_code".into(), code.to_string());
        }
        let mut details =
            ErrorDetails::with_error_info(error.reason, error.origin.domain(), metadata);
        if let Some(after) = error.retry_after {
            details.set_retry_info(Some(after));
        }
        if error.code == Code::InvalidArgument {
            let field = error.field.unwrap_or_else(|| "body".to_owned());
            details.add_bad_request_violation(field, error.message.clone());
        }
        let status = Self::with_error_details(error.code, error.message, details);
        match error.kube_status {
            Some(json) => with_kube_status(&status, &json),
            None => status,
        }
    }
}

/// Adds the member's own words to the details.
fn with_kube_status(status: &Status, json: &Bytes) -> Status {
    let detail = proto::KubeStatus {
        json: json.to_vec(),
    };
    let mut details = pb::Status::decode(status.details()).unwrap_or_default();
    details.details.push(prost_types::Any {
        type_url: KUBE_STATUS.to_owned(),
        value: detail.encode_to_vec(),
    });
    let details = details.encode_to_vec().into();
    Status::with_details(status.code(), status.message(), details)
}

/// The name of a gRPC code, for metric labels.
pub fn code_label(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::Unauthenticated => "UNAUTHENTICATED",
        Code::Unknown | Code::DataLoss => "UNKNOWN",
    }
}
