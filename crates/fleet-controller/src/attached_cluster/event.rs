//! Which events a change of status is worth.

use api_types::cluster::AttachedClusterStatus;
use api_types::condition::{self, Condition, reason};
use controller_kit::event::{Event, Severity};

/// Reasons that are told when a cluster comes to have them.
const TOLD: [&str; 11] = [
    reason::CONNECTED,
    reason::UNREACHABLE,
    reason::CREDENTIALS_INVALID,
    reason::CERTIFICATE_INVALID,
    reason::SECRET_NOT_FOUND,
    reason::SECRET_KEY_NOT_FOUND,
    reason::KUBECONFIG_INVALID,
    reason::KUBECONFIG_REFUSED,
    reason::HTTP2_REQUIRED,
    reason::PROXY_NOT_RESPONDING,
    reason::IN_USE,
];

/// The events of this transition.
pub fn events(old: Option<&AttachedClusterStatus>, new: &AttachedClusterStatus) -> Vec<Event> {
    let turned = |type_: &str| {
        let was = old.and_then(|old| condition::find(&old.conditions, type_));
        let is = condition::find(&new.conditions, type_)?;
        (was.map(|was| &was.reason) != Some(&is.reason)).then_some(is)
    };
    let ready = turned(condition::READY).and_then(told);
    let expiring = turned(condition::CREDENTIALS_VALID)
        .filter(|credentials| credentials.reason == reason::CREDENTIALS_EXPIRING)
        .map(|credentials| warning(reason::CREDENTIALS_EXPIRING, credentials));
    ready.into_iter().chain(expiring).collect()
}

fn told(ready: &Condition) -> Option<Event> {
    let reason = TOLD.into_iter().find(|reason| *reason == ready.reason)?;
    let mut event = warning(reason, ready);
    if reason == reason::CONNECTED {
        event.severity = Severity::Normal;
    }
    Some(event)
}

fn warning(reason: &'static str, condition: &Condition) -> Event {
    Event {
        severity: Severity::Warning,
        reason,
        action: "Watch",
        note: condition.message.clone(),
        related: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::attached_status;

    fn reasons(old: Option<&str>, new: &str) -> Vec<(&'static str, Severity)> {
        let old = old.map(attached_status);
        let events = events(old.as_ref(), &attached_status(new));
        events
            .into_iter()
            .map(|event| (event.reason, event.severity))
            .collect()
    }

    #[test]
    fn only_a_transition_is_told() {
        assert_eq!(
            reasons(None, "Connected"),
            [("Connected", Severity::Normal)]
        );
        assert_eq!(reasons(Some("Connected"), "Connected"), []);
        assert_eq!(
            reasons(Some("Connected"), "Unreachable"),
            [("Unreachable", Severity::Warning)]
        );
        assert_eq!(reasons(None, "Connecting"), [], "nothing has happened yet");
    }

    #[test]
    fn credentials_that_will_expire_are_told_once() {
        let mut old = attached_status("Connected");
        let mut valid = old.conditions[0].clone();
        valid.type_ = condition::CREDENTIALS_VALID.into();
        old.conditions.push(valid);
        let mut new = old.clone();
        new.conditions[1].reason = reason::CREDENTIALS_EXPIRING.into();
        assert_eq!(events(Some(&old), &new)[0].reason, "CredentialsExpiring");
        assert!(events(Some(&new), &new).is_empty());
    }
}
