//! How a member is, in the words of its conditions: the one place that reads inventory states.

use std::borrow::Cow;

use api_types::condition::{ConditionStatus, reason};
use api_types::key::ClusterKey;
use controller_kit::condition::Activity;
use jiff::{SignedDuration, Timestamp};
use proxy_client::{ClusterState, MemberState};

use crate::text::{cut, list, whole_seconds};

/// Credentials that expire within this time are warned of.
const EXPIRES_SOON: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Status of `Ready`.
    pub ready: ConditionStatus,
    /// Reason of `Ready`.
    pub reason: Cow<'static, str>,
    /// Message of `Ready`.
    pub message: String,
    /// `Connected`: its API server answers.
    pub connected: Aspect,
    /// `CredentialsValid`: the kubeconfig is usable and accepted.
    pub credentials: Aspect,
    /// What is to be expected: a member is tried again, or waits until somebody acts.
    pub activity: Activity,
}

/// One condition beside `Ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aspect {
    /// Its status.
    pub status: ConditionStatus,
    /// Its reason.
    pub reason: Cow<'static, str>,
    /// Its message.
    pub message: String,
}

impl Aspect {
    fn new(status: ConditionStatus, reason: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            reason: Cow::Owned(reason.to_owned()),
            message: message.into(),
        }
    }

    fn unknown(reason: &str, message: &str) -> Self {
        Self::new(ConditionStatus::Unknown, reason, message)
    }
}

impl Health {
    /// The health that a state of the inventory stands for.
    pub fn of(state: &ClusterState, now: Timestamp) -> Self {
        match state.state {
            MemberState::Connecting => Self::connecting(&state.key),
            MemberState::Ready => Self::working(state, reason::CONNECTED, now),
            MemberState::Degraded => Self::working(state, reason::DEGRADED, now),
            MemberState::Draining => Self::working(state, reason::DRAINING, now),
            MemberState::Unreachable => Self::unreachable(state),
            MemberState::CredentialsInvalid => Self::refused(state),
            MemberState::Misconfigured if state.reason == reason::HTTP2_REQUIRED => {
                Self::without_http2(state)
            }
            MemberState::Misconfigured => Self::misconfigured(state),
        }
    }

    /// Nothing is known yet.
    pub fn connecting(key: &ClusterKey) -> Self {
        let message = format!("{} has not answered yet", key.name);
        Self {
            ready: ConditionStatus::False,
            reason: reason::CONNECTING.into(),
            connected: Aspect::unknown(reason::CONNECTING, &message),
            credentials: Aspect::unknown(reason::CONNECTING, &message),
            activity: Activity::Reconciling,
            message,
        }
    }

    /// Nothing is known any more: the one that would know is silent.
    pub fn proxy_silent(since: Timestamp) -> Self {
        let since = whole_seconds(since);
        let message = format!("cluster-proxy has not answered since {since}: check that it runs");
        let unknown = Aspect::unknown(reason::PROXY_NOT_RESPONDING, &message);
        Self {
            ready: ConditionStatus::Unknown,
            reason: reason::PROXY_NOT_RESPONDING.into(),
            connected: unknown.clone(),
            credentials: unknown,
            activity: Activity::Reconciling,
            message,
        }
    }

    /// The same member while it is being deleted and something still needs it: no new work for it,
    /// and who holds it.
    #[must_use]
    pub fn in_use(self, key: &ClusterKey, holders: &[String]) -> Self {
        let message = format!(
            "deletion of {} waits for {}: delete them, or take the cluster out of the Fleet",
            key.name,
            list(holders)
        );
        Self {
            ready: ConditionStatus::False,
            reason: reason::IN_USE.into(),
            message: cut(&message),
            activity: Activity::Reconciling,
            ..self
        }
    }

    fn working(state: &ClusterState, kind: &'static str, now: Timestamp) -> Self {
        let message = match kind {
            reason::CONNECTED => "the API server answers".to_owned(),
            reason::DRAINING => format!("{} is being deleted", state.key.name),
            _ => explain(state, "works with a warning", "see cluster-proxy's log"),
        };
        let draining = kind == reason::DRAINING;
        Self {
            ready: (!draining).into(),
            reason: kind.into(),
            connected: Aspect::new(
                ConditionStatus::True,
                reason::CONNECTED,
                "the API server answers",
            ),
            credentials: accepted(state, now),
            activity: if draining {
                Activity::Reconciling
            } else {
                Activity::Settled
            },
            message,
        }
    }

    fn unreachable(state: &ClusterState) -> Self {
        let message = explain(
            state,
            "does not answer",
            "check its API server and the network",
        );
        Self {
            ready: ConditionStatus::False,
            reason: reason::UNREACHABLE.into(),
            connected: Aspect::new(ConditionStatus::False, reason::UNREACHABLE, &message),
            credentials: Aspect::unknown(
                reason::UNREACHABLE,
                "not known while the cluster does not answer",
            ),
            activity: Activity::Reconciling,
            message,
        }
    }

    /// The member refuses us, or we refuse its certificate.
    fn refused(state: &ClusterState) -> Self {
        let certificate = state.reason == reason::CERTIFICATE_INVALID;
        let (reason, what, next) = if certificate {
            let next = "renew the certificate, or the CA in the kubeconfig Secret";
            (
                reason::CERTIFICATE_INVALID,
                "has a certificate that is not trusted",
                next,
            )
        } else {
            (
                reason::CREDENTIALS_INVALID,
                "refuses our credentials",
                "renew the kubeconfig Secret",
            )
        };
        let message = explain(state, what, next);
        let connected = if certificate {
            Aspect::new(ConditionStatus::False, reason, &message)
        } else {
            Aspect::new(
                ConditionStatus::True,
                reason::CONNECTED,
                "the API server answers",
            )
        };
        Self {
            ready: ConditionStatus::False,
            reason: reason.into(),
            connected,
            credentials: Aspect::new(ConditionStatus::False, reason, &message),
            activity: Activity::Stalled,
            message,
        }
    }

    /// It answers, in a language that the proxy does not speak; nobody has looked at the credentials.
    fn without_http2(state: &ClusterState) -> Self {
        let message = explain(
            state,
            "has an API server without HTTP/2",
            "let it, and what is in front of it, offer h2 by ALPN",
        );
        let reason = reason::HTTP2_REQUIRED;
        Self {
            ready: ConditionStatus::False,
            reason: reason.into(),
            connected: Aspect::new(ConditionStatus::False, reason, &message),
            credentials: Aspect::unknown(
                reason,
                "not known while there is no connection to try them on",
            ),
            activity: Activity::Stalled,
            message,
        }
    }

    fn misconfigured(state: &ClusterState) -> Self {
        let reason = match state.reason.as_str() {
            "" => reason::KUBECONFIG_INVALID,
            given => given,
        };
        let message = explain(
            state,
            "has no usable kubeconfig",
            "mend spec.kubeconfig or its Secret",
        );
        Self {
            ready: ConditionStatus::False,
            reason: Cow::Owned(reason.to_owned()),
            connected: Aspect::new(ConditionStatus::False, reason, &message),
            credentials: Aspect::new(ConditionStatus::False, reason, &message),
            activity: Activity::Stalled,
            message,
        }
    }
}

/// Cluster, cause, next step. The proxy's own sentence is the better cause when it has one.
fn explain(state: &ClusterState, what: &str, next: &str) -> String {
    let name = &state.key.name;
    let text = match state.message.as_str() {
        "" => format!("{name} {what}: {next}"),
        cause => format!("{name} {what} ({cause}): {next}"),
    };
    cut(&text)
}

/// The credentials of a member that works: they may still be about to expire, or already gone from
/// the hub.
fn accepted(state: &ClusterState, now: Timestamp) -> Aspect {
    let lost = [
        reason::SECRET_NOT_FOUND,
        reason::SECRET_KEY_NOT_FOUND,
        reason::KUBECONFIG_INVALID,
        reason::KUBECONFIG_REFUSED,
    ];
    if let (MemberState::Degraded, true) = (state.state, lost.contains(&state.reason.as_str())) {
        let message = explain(
            state,
            "works with credentials that are gone from the hub",
            "restore the Secret",
        );
        return Aspect::new(ConditionStatus::False, &state.reason, message);
    }
    match state.credential_expiry {
        Some(expiry) if expiry.duration_since(now) < EXPIRES_SOON => {
            let expiry = whole_seconds(expiry);
            let message =
                format!("the credentials expire at {expiry}: renew the kubeconfig Secret");
            Aspect::new(ConditionStatus::True, reason::CREDENTIALS_EXPIRING, message)
        }
        _ => Aspect::new(
            ConditionStatus::True,
            reason::CONNECTED,
            "the API server accepts the credentials",
        ),
    }
}

/// When credentials that are fine now begin to be warned of.
pub fn warned_from(expiry: Timestamp) -> Option<Timestamp> {
    expiry.checked_sub(EXPIRES_SOON).ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::fixture::{NAMESPACE, at};

    fn state(state: MemberState, reason: &str) -> ClusterState {
        let mut member = ClusterState::new(ClusterKey::attached(NAMESPACE, "bergen"), state);
        member.reason = reason.into();
        member.message = "tcp connect error".into();
        member
    }

    const YES: ConditionStatus = ConditionStatus::True;
    const NO: ConditionStatus = ConditionStatus::False;
    const WHO_KNOWS: ConditionStatus = ConditionStatus::Unknown;

    #[rstest]
    #[case(MemberState::Connecting, "", "Connecting", [NO, WHO_KNOWS, WHO_KNOWS])]
    #[case(MemberState::Ready, "Connected", "Connected", [YES, YES, YES])]
    #[case(MemberState::Degraded, "Degraded", "Degraded", [YES, YES, YES])]
    #[case(MemberState::Degraded, "SecretNotFound", "Degraded", [YES, YES, NO])]
    #[case(MemberState::Draining, "Draining", "Draining", [NO, YES, YES])]
    #[case(MemberState::Unreachable, "Unreachable", "Unreachable", [NO, NO, WHO_KNOWS])]
    #[case(MemberState::CredentialsInvalid, "CredentialsInvalid", "CredentialsInvalid", [NO, YES, NO])]
    #[case(MemberState::CredentialsInvalid, "CertificateInvalid", "CertificateInvalid", [NO, NO, NO])]
    #[case(MemberState::Misconfigured, "SecretNotFound", "SecretNotFound", [NO, NO, NO])]
    #[case(MemberState::Misconfigured, "SecretKeyNotFound", "SecretKeyNotFound", [NO, NO, NO])]
    #[case(MemberState::Misconfigured, "KubeconfigInvalid", "KubeconfigInvalid", [NO, NO, NO])]
    #[case(MemberState::Misconfigured, "KubeconfigRefused", "KubeconfigRefused", [NO, NO, NO])]
    #[case(MemberState::Misconfigured, "Http2Required", "Http2Required", [NO, NO, WHO_KNOWS])]
    #[case(MemberState::Misconfigured, "", "KubeconfigInvalid", [NO, NO, NO])]
    fn each_state_of_the_inventory_has_its_conditions(
        #[case] member: MemberState,
        #[case] why: &str,
        #[case] reason: &str,
        #[case] ready_connected_valid: [ConditionStatus; 3],
    ) {
        let health = Health::of(&state(member, why), at(0));
        let got = [
            health.ready,
            health.connected.status,
            health.credentials.status,
        ];
        assert_eq!((&*health.reason, got), (reason, ready_connected_valid));
        let settled = health.activity == Activity::Settled;
        assert_eq!(
            settled,
            health.ready == YES,
            "what is not ready is being worked on or stalled"
        );
    }

    #[test]
    fn a_message_names_cluster_cause_and_next_step_within_its_limit() {
        let mut member = state(MemberState::Unreachable, "Unreachable");
        assert_eq!(
            Health::of(&member, at(0)).message,
            "bergen does not answer (tcp connect error): check its API server and the network"
        );
        let mut old = state(MemberState::Misconfigured, "Http2Required");
        old.message = "no h2 in the TLS handshake".into();
        assert_eq!(
            Health::of(&old, at(0)).message,
            "bergen has an API server without HTTP/2 (no h2 in the TLS handshake): let it, and what is \
             in front of it, offer h2 by ALPN"
        );
        member.message = "ø".repeat(4000);
        assert!(Health::of(&member, at(0)).message.len() <= 256);
    }

    #[test]
    fn credentials_are_warned_of_a_week_before_they_expire() {
        let mut member = state(MemberState::Ready, "Connected");
        let day = 24 * 60 * 60;
        member.credential_expiry = Some(at(8 * day));
        assert_eq!(
            Health::of(&member, at(0)).credentials.reason,
            reason::CONNECTED
        );
        let due = warned_from(at(8 * day)).unwrap() + SignedDuration::from_secs(1);
        let credentials = Health::of(&member, due).credentials;
        assert_eq!(
            (&*credentials.reason, credentials.status),
            (reason::CREDENTIALS_EXPIRING, YES)
        );
        assert!(
            credentials.message.contains("2026-02-11T04:05:06Z"),
            "{}",
            credentials.message
        );
    }
}
