//! What is known about a link, as callers see it.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use proxy_client::proto::{self, cluster_status, link_state};
use tokio::time::Instant;
use tonic::Code;

use crate::{
    error::{CallError, Retryable},
    inventory::cluster_ref,
    link::connection::ConnectError,
    request::answer::clean,
};
use api_types::key::ClusterKey;

/// The state of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Not tried yet, or trying for the first time.
    Connecting,
    /// Works.
    Ready,
    /// Works, with a warning.
    Degraded,
    /// Does not answer.
    Unreachable,
    /// Refuses our credentials, or shows a certificate that is not trusted.
    CredentialsInvalid,
    /// No usable kubeconfig.
    Misconfigured,
    /// Works, and its hub object is being deleted.
    Draining,
}

impl State {
    /// All states, for metrics.
    pub const ALL: [Self; 7] = [
        Self::Connecting,
        Self::Ready,
        Self::Degraded,
        Self::Unreachable,
        Self::CredentialsInvalid,
        Self::Misconfigured,
        Self::Draining,
    ];

    /// A constant for metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "Connecting",
            Self::Ready => "Ready",
            Self::Degraded => "Degraded",
            Self::Unreachable => "Unreachable",
            Self::CredentialsInvalid => "CredentialsInvalid",
            Self::Misconfigured => "Misconfigured",
            Self::Draining => "Draining",
        }
    }

    fn to_proto(self) -> cluster_status::State {
        match self {
            Self::Connecting => cluster_status::State::Connecting,
            Self::Ready => cluster_status::State::Ready,
            Self::Degraded => cluster_status::State::Degraded,
            Self::Unreachable => cluster_status::State::Unreachable,
            Self::CredentialsInvalid => cluster_status::State::CredentialsInvalid,
            Self::Misconfigured => cluster_status::State::Misconfigured,
            Self::Draining => cluster_status::State::Draining,
        }
    }
}

/// The reasons, as conditions on the hub show them.
pub mod reason {
    /// Works.
    pub const CONNECTED: &str = "Connected";
    /// First contact.
    pub const CONNECTING: &str = "Connecting";
    /// Works, with a warning.
    pub const DEGRADED: &str = "Degraded";
    /// Works, but is not verified.
    pub const NOT_VERIFIED: &str = "NotVerified";
    /// Does not answer.
    pub const UNREACHABLE: &str = "Unreachable";
    /// The kubeconfig's Secret is gone.
    pub const SECRET_NOT_FOUND: &str = "SecretNotFound";
    /// The Secret has no such key.
    pub const SECRET_KEY_NOT_FOUND: &str = "SecretKeyNotFound";
    /// The kubeconfig cannot be read.
    pub const KUBECONFIG_INVALID: &str = "KubeconfigInvalid";
    /// The kubeconfig asks for what is refused.
    pub const KUBECONFIG_REFUSED: &str = "KubeconfigRefused";
    /// The member speaks no HTTP/2.
    pub const HTTP2_REQUIRED: &str = "Http2Required";
    /// The member answers 401.
    pub const CREDENTIALS_INVALID: &str = "CredentialsInvalid";
    /// The member's certificate is not trusted.
    pub const CERTIFICATE_INVALID: &str = "CertificateInvalid";
    /// The hub object is being deleted.
    pub const DRAINING: &str = "Draining";
}

/// A state with why and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// State.
    pub state: State,
    /// One of [`reason`].
    pub reason: &'static str,
    /// For people; empty when all is well. Every controller gets it, so that it is short.
    pub message: String,
}

impl Condition {
    /// A condition. Of a long message only the beginning is kept.
    pub fn new(state: State, reason: &'static str, message: impl AsRef<str>) -> Self {
        Self {
            state,
            reason,
            message: clean(message.as_ref()),
        }
    }

    /// No answer.
    pub fn unreachable(message: impl AsRef<str>) -> Self {
        Self::new(State::Unreachable, reason::UNREACHABLE, message)
    }

    /// Why a connection did not come about.
    pub fn from_connect(error: &ConnectError) -> Self {
        let message = error.to_string();
        match error {
            ConnectError::Address { .. } => {
                Self::new(State::Misconfigured, reason::KUBECONFIG_REFUSED, message)
            }
            ConnectError::Certificate(_) => Self::new(
                State::CredentialsInvalid,
                reason::CERTIFICATE_INVALID,
                message,
            ),
            ConnectError::Identity(_) => Self::new(
                State::CredentialsInvalid,
                reason::CREDENTIALS_INVALID,
                message,
            ),
            ConnectError::Http2Required => {
                Self::new(State::Misconfigured, reason::HTTP2_REQUIRED, message)
            }
            ConnectError::Unreachable(_) => Self::unreachable(message),
        }
    }

    /// The member refuses the credentials.
    pub fn unauthorized() -> Self {
        Self::new(
            State::CredentialsInvalid,
            reason::CREDENTIALS_INVALID,
            "the member answers 401 Unauthorized: renew the kubeconfig in the Secret",
        )
    }
}

/// The whole of what is known.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkStatus {
    /// State, reason, message.
    pub condition: Condition,
    /// Since when the state holds.
    pub since: Timestamp,
    /// Uid of the member's `kube-system`, empty before first contact.
    pub member_uid: Arc<str>,
    /// The member's version.
    pub version: Arc<str>,
    /// How long `/version` took.
    pub rtt: Duration,
    /// When certificate or token expire.
    pub expiry: Option<Timestamp>,
    /// The API groups that it serves.
    pub groups: Arc<[String]>,
    /// When the next try is made, while there is no connection.
    pub next_probe: Option<Instant>,
}

impl LinkStatus {
    /// Before anything is known.
    pub fn connecting() -> Self {
        Self {
            condition: Condition::new(State::Connecting, reason::CONNECTING, ""),
            since: Timestamp::now(),
            member_uid: Arc::from(""),
            version: Arc::from(""),
            rtt: Duration::ZERO,
            expiry: None,
            groups: Arc::from([]),
            next_probe: None,
        }
    }

    /// Whether calls may be tried.
    pub fn is_up(&self) -> bool {
        matches!(
            self.condition.state,
            State::Ready | State::Degraded | State::Draining
        )
    }

    /// Lets a call pass, or answers it at once.
    pub fn admit(&self, key: &ClusterKey) -> Result<(), CallError> {
        if self.is_up() {
            return Ok(());
        }
        let Condition {
            state,
            reason,
            message,
        } = &self.condition;
        let since = self.since;
        let error = match (*state, *reason) {
            (State::CredentialsInvalid, reason::CERTIFICATE_INVALID) => {
                CallError::proxy(Code::FailedPrecondition, "MEMBER_CERT_INVALID", message)
                    .retry(Retryable::AfterFix, None)
            }
            (State::CredentialsInvalid, _) => {
                CallError::proxy(Code::FailedPrecondition, "MEMBER_UNAUTHORIZED", message)
                    .retry(Retryable::AfterFix, None)
            }
            (State::Misconfigured, reason::KUBECONFIG_REFUSED) => {
                CallError::proxy(Code::FailedPrecondition, "CREDENTIALS_REFUSED", message)
                    .retry(Retryable::AfterFix, None)
            }
            (State::Misconfigured, reason::HTTP2_REQUIRED) => {
                CallError::proxy(Code::FailedPrecondition, "HTTP2_REQUIRED", message)
                    .retry(Retryable::AfterFix, None)
            }
            (State::Misconfigured, _) => {
                CallError::proxy(Code::FailedPrecondition, "CREDENTIALS_INVALID", message)
                    .retry(Retryable::AfterFix, None)
            }
            (State::Connecting, _) => CallError::proxy(
                Code::Unavailable,
                "CLUSTER_UNREACHABLE",
                format!("{key}: first contact is still being made"),
            )
            .retry(Retryable::Yes, Some(Duration::from_secs(1))),
            _ => CallError::proxy(
                Code::Unavailable,
                "CLUSTER_UNREACHABLE",
                format!("{key} has not answered since {since:.0}: {message}"),
            )
            .retry(Retryable::Yes, Some(self.until_probe())),
        };
        Err(error.about("since", since))
    }

    fn until_probe(&self) -> Duration {
        self.next_probe.map_or(Duration::from_secs(1), |at| {
            at.saturating_duration_since(Instant::now())
        })
    }

    /// The form in the inventory.
    pub fn to_proto(&self, key: &ClusterKey, last_ok: Option<Timestamp>) -> proto::ClusterStatus {
        proto::ClusterStatus {
            cluster: Some(cluster_ref(key)),
            member_uid: self.member_uid.to_string(),
            state: self.condition.state.to_proto().into(),
            reason: self.condition.reason.to_owned(),
            message: self.condition.message.clone(),
            since: Some(timestamp(self.since)),
            last_ok: last_ok.map(timestamp),
            kubernetes_version: self.version.to_string(),
            rtt_us: u32::try_from(self.rtt.as_micros()).unwrap_or(u32::MAX),
            credential_expiry: self.expiry.map(timestamp),
            served_groups: self.groups.to_vec(),
        }
    }

    /// The state for a subscription.
    pub fn link_state(&self) -> link_state::State {
        match self.condition.state {
            State::Ready | State::Degraded | State::Draining => link_state::State::Up,
            State::Connecting => link_state::State::Down,
            State::Unreachable => link_state::State::BreakerOpen,
            State::CredentialsInvalid | State::Misconfigured => {
                link_state::State::CredentialsInvalid
            }
        }
    }
}

/// The protobuf form of a time.
pub fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.as_second(),
        nanos: time.subsec_nanosecond(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: State, reason: &'static str) -> LinkStatus {
        LinkStatus {
            condition: Condition::new(state, reason, "why"),
            ..LinkStatus::connecting()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_breaker_answers_with_the_time_of_the_next_probe() {
        let mut down = status(State::Unreachable, reason::UNREACHABLE);
        down.next_probe = Some(Instant::now() + Duration::from_secs(7));
        let error = down.admit(&ClusterKey::attached("ns", "m")).unwrap_err();
        assert_eq!(error.reason, "CLUSTER_UNREACHABLE");
        assert_eq!(error.code, Code::Unavailable);
        assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
        assert!(error.message.contains("AttachedCluster ns/m"));
    }

    #[test]
    fn every_state_without_a_connection_refuses_with_its_own_reason() {
        let key = ClusterKey::attached("ns", "m");
        for (state, why, wanted) in [
            (
                State::Misconfigured,
                reason::KUBECONFIG_REFUSED,
                "CREDENTIALS_REFUSED",
            ),
            (
                State::Misconfigured,
                reason::SECRET_NOT_FOUND,
                "CREDENTIALS_INVALID",
            ),
            (
                State::Misconfigured,
                reason::HTTP2_REQUIRED,
                "HTTP2_REQUIRED",
            ),
            (
                State::CredentialsInvalid,
                reason::CREDENTIALS_INVALID,
                "MEMBER_UNAUTHORIZED",
            ),
            (
                State::CredentialsInvalid,
                reason::CERTIFICATE_INVALID,
                "MEMBER_CERT_INVALID",
            ),
            (State::Connecting, reason::CONNECTING, "CLUSTER_UNREACHABLE"),
        ] {
            assert_eq!(status(state, why).admit(&key).unwrap_err().reason, wanted);
        }
        for state in [State::Ready, State::Degraded, State::Draining] {
            assert!(status(state, reason::CONNECTED).admit(&key).is_ok());
        }
    }
}
