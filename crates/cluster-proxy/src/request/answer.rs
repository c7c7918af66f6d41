//! The member's HTTP answers as errors.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use tonic::Code;

use super::{path::Gvr, status::KubeStatus};
use crate::{
    error::{CallError, Origin, Retryable, WriteOutcome},
    link::breaker::BACKOFF_CAP,
};

const MESSAGE_MAX: usize = 1024;
/// Bodies of errors are read no further than this.
const STATUS_MAX: usize = 64 * 1024;

/// A complete answer of a member.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// `Retry-After` in seconds, if sent.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Bytes,
}

/// What the answer answers.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    what: What<'a>,
    /// A write, so that the outcome matters.
    write: bool,
}

#[derive(Clone, Copy, Debug)]
enum What<'a> {
    Type(&'a Gvr),
    Other(&'static str),
}

impl<'a> Asked<'a> {
    /// A read of objects.
    pub fn read(gvr: &'a Gvr) -> Self {
        let what = What::Type(gvr);
        Self { what, write: false }
    }

    /// A write of an object.
    pub fn write(gvr: &'a Gvr) -> Self {
        let what = What::Type(gvr);
        Self { what, write: true }
    }

    /// A read of something else.
    pub const fn of(what: &'static str) -> Self {
        let what = What::Other(what);
        Self { what, write: false }
    }

    /// The type of the objects.
    pub fn gvr(&self) -> Option<&'a Gvr> {
        match self.what {
            What::Type(gvr) => Some(gvr),
            What::Other(_) => None,
        }
    }

    /// Nothing that a member says about a Secret is passed on.
    fn is_secret(&self) -> bool {
        self.gvr().is_some_and(Gvr::is_secret)
    }
}

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            What::Type(gvr) => gvr.fmt(f),
            What::Other(what) => f.write_str(what),
        }
    }
}

impl Answer {
    /// The answer itself if it is a success, an error otherwise.
    pub fn success(self, asked: Asked<'_>) -> Result<Self, CallError> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(self.error(asked))
    }

    fn error(&self, asked: Asked<'_>) -> CallError {
        let http = self.status.as_u16();
        let parsed = self.kube_status();
        let status = parsed.as_ref();
        if http == 404 && status.is_none_or(KubeStatus::names_no_object) {
            return CallError::not_served(asked);
        }
        let Some(row) = Row::find(http, status) else {
            let unknown = WriteOutcome::Unknown;
            return CallError::malformed(format_args!("HTTP status {http}"), unknown);
        };
        let mut error = CallError::proxy(row.code, row.reason, self.text(status, asked));
        error.origin = Origin::Member;
        error.retryable = row.retryable;
        error.write_outcome = if row.uncertain && asked.write {
            WriteOutcome::Unknown
        } else {
            WriteOutcome::Rejected
        };
        error.http_code = Some(http);
        error.retry_after = matches!(http, 429 | 503 | 504).then(|| self.retry_after(status));
        let callers_fault = status.is_some_and(KubeStatus::asks_for_the_future);
        error.weight = u32::from(matches!(http, 500 | 502..=504) && !callers_fault);
        error.kube_status = status.map(|status| status.to_detail(asked.is_secret()));
        error
    }

    fn kube_status(&self) -> Option<KubeStatus> {
        let head = self.body.get(..self.body.len().min(STATUS_MAX))?;
        serde_json::from_slice::<KubeStatus>(head)
            .ok()
            .filter(|status| status.kind == "Status")
    }

    /// The member's hint, but never more than the cap of our own back-off.
    fn retry_after(&self, status: Option<&KubeStatus>) -> Duration {
        let said = status
            .map(|s| s.details.retry_after_seconds)
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs);
        self.retry_after
            .or(said)
            .unwrap_or(Duration::from_secs(1))
            .min(BACKOFF_CAP)
    }

    fn text(&self, status: Option<&KubeStatus>, asked: Asked<'_>) -> String {
        let http = self.status.as_u16();
        let Some(status) = status.filter(|s| !asked.is_secret() && !s.message.is_empty()) else {
            let reason = status.map_or("", |s| s.reason.as_str());
            let reason = clean(reason);
            return format!("the member answered {http} {reason} for {asked}");
        };
        clean(&status.message)
    }
}

/// What an HTTP status means.
struct Row {
    code: Code,
    reason: &'static str,
    retryable: Retryable,
    /// A write may have happened nevertheless.
    uncertain: bool,
}

impl Row {
    fn find(http: u16, status: Option<&KubeStatus>) -> Option<Self> {
        use Retryable::{AfterFix, AfterReread, No, Yes};
        let reason = status.map_or("", |s| s.reason.as_str());
        let (code, name, retryable, uncertain) = match (http, reason) {
            (300..=399, _) => (Code::FailedPrecondition, "MEMBER_REDIRECT", AfterFix, false),
            (400, _) => (Code::InvalidArgument, "BAD_REQUEST", No, false),
            (401, _) => (
                Code::FailedPrecondition,
                "MEMBER_UNAUTHORIZED",
                AfterFix,
                false,
            ),
            (403, _) => (Code::PermissionDenied, "FORBIDDEN", AfterFix, false),
            (404, _) => (Code::NotFound, "NOT_FOUND", No, false),
            (405, _) => (Code::Unimplemented, "METHOD_NOT_ALLOWED", No, false),
            (409, "AlreadyExists") => (Code::AlreadyExists, "ALREADY_EXISTS", No, false),
            (409, _) if status.is_some_and(KubeStatus::is_apply_conflict) => {
                (Code::Aborted, "APPLY_CONFLICT", No, false)
            }
            (409, _) => (Code::Aborted, "CONFLICT", AfterReread, false),
            (410, _) => (Code::OutOfRange, "EXPIRED", AfterReread, false),
            (413, _) => (Code::InvalidArgument, "TOO_LARGE", No, false),
            (422, _) => (Code::InvalidArgument, "INVALID", No, false),
            (429, _) => (Code::ResourceExhausted, "TOO_MANY_REQUESTS", Yes, false),
            (503, _) | (_, "ServerTimeout") => (Code::Unavailable, "UNAVAILABLE", Yes, true),
            (504, _) => (Code::DeadlineExceeded, "TIMEOUT", Yes, true),
            (500, _) if status.is_some_and(KubeStatus::is_wrong_type) => {
                (Code::Internal, "INTERNAL", No, false)
            }
            (500..=599, _) => (Code::Internal, "INTERNAL", Yes, true),
            _ => return None,
        };
        Some(Self {
            code,
            reason: name,
            retryable,
            uncertain,
        })
    }
}

/// A text of the member without control characters and not too long.
pub fn clean(text: &str) -> String {
    let kept = text.floor_char_boundary(MESSAGE_MAX);
    let (head, rest) = text.split_at(kept);
    let mut out = head.replace(char::is_control, " ");
    if !rest.is_empty() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::code_label;

    const READ: Asked<'static> = Asked::of("velero.io/v1 backups");

    fn status_body(code: u16, reason: &str, details: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(code).unwrap(),
            retry_after: None,
            body: Bytes::from(format!(
                r#"{{"kind":"Status","reason":"{reason}","message":"text of {reason}","details":{details}}}"#
            )),
        }
    }

    fn error(code: u16, reason: &str) -> CallError {
        let write = Asked {
            write: true,
            ..READ
        };
        let named = r#"{"kind":"backups","name":"x"}"#;
        status_body(code, reason, named).success(write).unwrap_err()
    }

    #[test]
    fn every_row_of_the_table_has_its_code_and_outcome() {
        let table = "
            400 BadRequest            INVALID_ARGUMENT    BAD_REQUEST         no           rejected
            422 Invalid               INVALID_ARGUMENT    INVALID             no           rejected
            401 Unauthorized          FAILED_PRECONDITION MEMBER_UNAUTHORIZED after_fix    rejected
            403 Forbidden             PERMISSION_DENIED   FORBIDDEN           after_fix    rejected
            404 NotFound              NOT_FOUND           NOT_FOUND           no           rejected
            405 MethodNotAllowed      UNIMPLEMENTED       METHOD_NOT_ALLOWED  no           rejected
            409 AlreadyExists         ALREADY_EXISTS      ALREADY_EXISTS      no           rejected
            409 Conflict              ABORTED             CONFLICT            after_reread rejected
            410 Expired               OUT_OF_RANGE        EXPIRED             after_reread rejected
            413 RequestEntityTooLarge INVALID_ARGUMENT    TOO_LARGE           no           rejected
            429 TooManyRequests       RESOURCE_EXHAUSTED  TOO_MANY_REQUESTS   yes          rejected
            500 InternalError         INTERNAL            INTERNAL            yes          unknown
            503 ServiceUnavailable    UNAVAILABLE         UNAVAILABLE         yes          unknown
            504 Timeout               DEADLINE_EXCEEDED   TIMEOUT             yes          unknown
            302 Found                 FAILED_PRECONDITION MEMBER_REDIRECT     after_fix    rejected";
        for row in table.lines().filter(|row| !row.trim().is_empty()) {
            let cells: Vec<&str> = row.split_whitespace().collect();
            let error = error(cells[0].parse().unwrap(), cells[1]);
            let got = [
                code_label(error.code),
                &error.reason,
                error.retryable.as_str(),
                error.write_outcome.as_str(),
            ];
            assert_eq!(got, cells[2..], "{row}");
            assert_eq!(error.origin, Origin::Member);
        }
    }

    #[test]
    fn a_plain_404_means_that_the_type_is_not_served() {
        let answer = Answer {
            status: StatusCode::NOT_FOUND,
            retry_after: None,
            body: Bytes::from_static(b"404 page not found\n"),
        };
        let error = answer.success(READ).unwrap_err();
        assert_eq!(error.reason, "GVR_NOT_SERVED");
        assert_eq!(error.retryable, Retryable::Yes);
        // In a group that the server itself serves.
        let nameless = status_body(404, "NotFound", "{}");
        let error = nameless.success(READ).unwrap_err();
        assert_eq!(error.reason, "GVR_NOT_SERVED");
    }

    #[test]
    fn a_500_without_a_reason_may_have_written_unless_it_is_a_wrong_type_in_an_apply() {
        let configmaps = Gvr::new("", "v1", "configmaps").unwrap();
        let answered = |body: String| {
            let answer = Answer {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                retry_after: None,
                body: body.into(),
            };
            let error = answer.success(Asked::write(&configmaps)).unwrap_err();
            (error.write_outcome, error.retryable)
        };
        let status = |message: &str| {
            format!(r#"{{"kind":"Status","code":500,"reason":"","message":"{message}"}}"#)
        };
        let typed = "failed to create typed patch object (default/x; /v1, Kind=ConfigMap): .data.k";
        let refused = (WriteOutcome::Rejected, Retryable::No);
        assert_eq!(answered(status(typed)), refused);
        let open = (WriteOutcome::Unknown, Retryable::Yes);
        assert_eq!(answered(status("etcdserver: request timed out")), open);
        assert_eq!(answered("<html>Internal Server Error</html>".into()), open);
    }

    #[test]
    fn a_conflict_of_field_managers_is_the_callers_decision() {
        let details = r#"{"causes":[{"reason":"FieldManagerConflict","message":"conflict with \"kubectl\""}]}"#;
        let error = status_body(409, "Conflict", details)
            .success(READ)
            .unwrap_err();
        assert_eq!(error.reason, "APPLY_CONFLICT");
        assert_eq!(error.retryable, Retryable::No);
    }

    #[test]
    fn a_version_that_does_not_exist_yet_speaks_against_the_caller_only() {
        let cause = r#"{"causes":[{"reason":"ResourceVersionTooLarge","message":"Too large"}]}"#;
        let error = status_body(504, "Timeout", cause)
            .success(READ)
            .unwrap_err();
        assert_eq!((error.code, error.weight), (Code::DeadlineExceeded, 0));
        let error = status_body(504, "Timeout", "{}").success(READ);
        assert_eq!(error.unwrap_err().weight, 1);
    }

    #[test]
    fn an_absurd_retry_after_is_clamped() {
        let mut answer = status_body(429, "TooManyRequests", r#"{"retryAfterSeconds":86400}"#);
        assert_eq!(
            answer.clone().success(READ).unwrap_err().retry_after,
            Some(BACKOFF_CAP)
        );
        answer.retry_after = Some(Duration::from_secs(5));
        assert_eq!(
            answer.success(READ).unwrap_err().retry_after,
            Some(Duration::from_secs(5))
        );
    }

    #[test]
    fn what_a_member_says_about_a_secret_is_not_passed_on() {
        let secrets = Gvr::new("", "v1", "secrets").unwrap();
        let asked = Asked::write(&secrets);
        let causes = r#"{"name":"s","causes":[{"field":"data.k","message":"text of k"}]}"#;
        let error = status_body(422, "Invalid", causes)
            .success(asked)
            .unwrap_err();
        assert!(!error.message.contains("text of"), "{}", error.message);
        let detail = String::from_utf8(error.kube_status.clone().unwrap().into()).unwrap();
        assert!(
            detail.contains("Invalid") && !detail.contains("text of"),
            "{detail}"
        );
    }

    #[test]
    fn texts_of_a_member_are_cut_and_cleaned() {
        assert_eq!(clean("a\u{1b}[31mb\nc"), "a [31mb c");
        assert!(clean(&"x".repeat(5000)).len() < 1100);
    }
}
