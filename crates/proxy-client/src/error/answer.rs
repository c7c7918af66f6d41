//! Which error an answer stands for, be it of the proxy, of the transport, or none at all.

use std::{error::Error as StdError, time::Duration};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{Error, Origin, Retry, WriteOutcome};
use crate::{call::Subject, proto};

/// Reasons that the proxy sends in `ErrorInfo` and that change what a caller does.
mod reason {
    pub(super) const APPLY_CONFLICT: &str = "APPLY_CONFLICT";
    pub(super) const CLUSTER_UNKNOWN: &str = "CLUSTER_UNKNOWN";
    pub(super) const DRAINING: &str = "DRAINING";
    pub(super) const NOT_READY: &str = "NOT_READY";
    pub(super) const GVR_NOT_SERVED: &str = "GVR_NOT_SERVED";
    pub(super) const MEMBER_MALFORMED: &str = "MEMBER_MALFORMED";
    pub(super) const MEMBER_RESPONSE_TOO_LARGE: &str = "MEMBER_RESPONSE_TOO_LARGE";
    pub(super) const STALE_LEADER: &str = "STALE_LEADER";
}

/// `ErrorInfo.domain` when the member itself answered.
const MEMBER_DOMAIN: &str = "kubernetes";

/// What the proxy said, in a status or in a stream.
pub(crate) struct Answer<'a> {
    pub(crate) code: Code,
    pub(crate) reason: &'a str,
    pub(crate) message: &'a str,
    pub(crate) origin: Origin,
    pub(crate) retryable: &'a str,
    pub(crate) write_outcome: &'a str,
    pub(crate) retry_after: Option<Duration>,
}

impl Answer<'_> {
    pub(crate) fn retry(&self) -> Retry {
        match self.retryable {
            "yes" => Retry::Yes,
            "after_reread" => Retry::AfterReread,
            "after_fix" => Retry::AfterFix,
            "no" => Retry::No,
            _ => match self.code {
                Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded => Retry::Yes,
                Code::Aborted | Code::OutOfRange => Retry::AfterReread,
                Code::FailedPrecondition | Code::PermissionDenied | Code::Unauthenticated => {
                    Retry::AfterFix
                }
                _ => Retry::No,
            },
        }
    }
}

impl Error {
    /// The error that a gRPC status stands for.
    pub(crate) fn from_status(subject: &Subject, status: &Status) -> Self {
        match status.get_details_error_info() {
            Some(info) => {
                let field = |key| info.metadata.get(key).map_or("", String::as_str);
                Self::from_answer(
                    subject,
                    &Answer {
                        code: status.code(),
                        reason: &info.reason,
                        message: status.message(),
                        origin: origin(&info.domain),
                        retryable: field("retryable"),
                        write_outcome: field("write_outcome"),
                        retry_after: status.get_details_retry_info().and_then(|r| r.retry_delay),
                    },
                )
            }
            None => Self::without_info(subject, status),
        }
    }

    /// The error that a message inside a stream stands for.
    pub(crate) fn from_proto(subject: &Subject, error: &proto::Error) -> Self {
        let answer = Answer {
            code: Code::from_i32(error.code),
            reason: &error.reason,
            message: &error.message,
            origin: origin(&error.origin),
            retryable: &error.retryable,
            write_outcome: &error.write_outcome,
            retry_after: error
                .retry_after
                .and_then(|after| Duration::try_from(after).ok()),
        };
        Self::from_answer(subject, &answer)
    }

    /// No answer within the deadline, not even from the proxy.
    pub(crate) fn no_answer(subject: &Subject, deadline: Duration) -> Self {
        let message = format!("cluster-proxy did not answer within {deadline:?}");
        let outcome = subject.outcome_when_lost();
        let detail = subject.detail(message, Retry::Yes, outcome);
        match outcome {
            WriteOutcome::Unknown => Self::OutcomeUnknown(detail),
            _ => Self::Timeout(detail),
        }
    }

    /// The request cannot be sent as it is.
    pub(crate) fn unsendable(subject: &Subject, message: impl Into<String>) -> Self {
        Self::Invalid(subject.detail(message.into(), Retry::No, WriteOutcome::NotSent))
    }

    /// The answer cannot be read; if it answered a write, the write has happened.
    pub(crate) fn unreadable(subject: &Subject, message: impl Into<String>) -> Self {
        let outcome = match subject.outcome_when_lost() {
            WriteOutcome::Unknown => WriteOutcome::Applied,
            other => other,
        };
        Self::Malformed(subject.detail(message.into(), Retry::No, outcome))
    }

    /// A status that the proxy did not write: the transport broke, or a server that is none of ours.
    fn without_info(subject: &Subject, status: &Status) -> Self {
        let never_sent = has_source::<tonic::ConnectError>(status);
        let outcome = match (subject.outcome_when_lost(), never_sent) {
            (WriteOutcome::Unknown, false) => WriteOutcome::Unknown,
            _ => WriteOutcome::NotSent,
        };
        let detail = |message: String, retry| subject.detail(message, retry, outcome);
        let said = format!("{}: {}", status.code().description(), chain(status));
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => {
                let mut detail = detail(status.message().to_owned(), Retry::AfterFix);
                (detail.origin, detail.write_outcome) = (Origin::Proxy, WriteOutcome::NotSent);
                Self::Refused(detail)
            }
            Code::Unimplemented => Self::Failed(detail(
                format!("cluster-proxy does not offer this call, upgrade it: {said}"),
                Retry::AfterFix,
            )),
            Code::DeadlineExceeded | Code::Cancelled if outcome == WriteOutcome::NotSent => {
                Self::Timeout(detail(format!("no answer in time: {said}"), Retry::Yes))
            }
            Code::OutOfRange | Code::ResourceExhausted | Code::InvalidArgument => {
                Self::Malformed(detail(format!("message not usable: {said}"), Retry::No))
            }
            _ if outcome == WriteOutcome::Unknown => Self::OutcomeUnknown(detail(
                format!("the answer of cluster-proxy was lost: {said}"),
                Retry::Yes,
            )),
            _ => Self::ProxyUnavailable(detail(
                format!("cluster-proxy cannot be reached, check that it runs: {said}"),
                Retry::Yes,
            )),
        }
    }

    fn from_answer(subject: &Subject, answer: &Answer<'_>) -> Self {
        let detail = subject.answered(answer);
        if detail.write_outcome == WriteOutcome::Unknown {
            return Self::OutcomeUnknown(detail);
        }
        let from_member = detail.origin == Origin::Member;
        match (answer.code, answer.reason) {
            (Code::NotFound, reason::GVR_NOT_SERVED) => Self::NotServed(detail),
            (Code::NotFound, reason::CLUSTER_UNKNOWN) => Self::UnknownCluster(detail),
            (Code::NotFound, _) => Self::NotFound(detail),
            (Code::AlreadyExists, _) => Self::AlreadyExists(detail),
            (Code::Aborted, reason::APPLY_CONFLICT) => Self::ApplyConflict(detail),
            (Code::Aborted, _) => Self::Conflict(detail),
            (Code::PermissionDenied | Code::Unauthenticated, _)
            | (Code::FailedPrecondition, reason::STALE_LEADER) => Self::Refused(detail),
            (Code::FailedPrecondition, _) => Self::Credentials(detail),
            (Code::OutOfRange, _) => Self::Expired(detail),
            (_, reason::MEMBER_MALFORMED | reason::MEMBER_RESPONSE_TOO_LARGE) => {
                Self::Malformed(detail)
            }
            (Code::InvalidArgument, _) => Self::Invalid(detail),
            (Code::ResourceExhausted, _) => Self::RetryAfter(detail),
            (Code::Unavailable, reason::DRAINING | reason::NOT_READY) => {
                Self::ProxyUnavailable(detail)
            }
            (Code::Unavailable, _) if from_member => Self::RetryAfter(detail),
            (Code::Unavailable, _) => Self::Unreachable(detail),
            (Code::DeadlineExceeded | Code::Cancelled, _) => Self::Timeout(detail),
            _ => Self::Failed(detail),
        }
    }
}

fn origin(domain: &str) -> Origin {
    match domain {
        MEMBER_DOMAIN => Origin::Member,
        _ => Origin::Proxy,
    }
}

fn sources(status: &Status) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(status.source(), |&error| error.source())
}

fn has_source<E: StdError + 'static>(status: &Status) -> bool {
    sources(status).any(<dyn StdError>::is::<E>)
}

/// The message and what caused it; the transport's own message alone is "transport error".
fn chain(status: &Status) -> String {
    let mut text = status.message().to_owned();
    for source in sources(status) {
        let source = source.to_string();
        if !text.contains(&source) {
            text.push_str(": ");
            text.push_str(&source);
        }
    }
    text
}
