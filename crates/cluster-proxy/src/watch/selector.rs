//! Which selectors the member judges, and which the proxy does.

use std::sync::Arc;

use api_types::{
    labels::{MEMBER_VARIABLE, VELERO_SCHEDULE_NAME},
    names::MemberId,
};
use kube::core::{Expression, Selector, SelectorExt};
use tonic::Code;

use crate::{
    error::{CallError, Retryable},
    json::{self, Projected},
    request::selector,
};

/// Labels of ours: few objects have them, and few selectors are made of them.
const OWN_PREFIXES: [&str; 2] = ["kurator.dev/", "fleet.kurator.dev/"];

/// Which objects of a shared watch a subscriber is told of; by default all.
#[derive(Clone, Debug, Default)]
pub struct Filter(Option<Arc<Selector>>);

impl Filter {
    /// Of a selector that the proxy judges.
    pub(super) fn of(selector: Selector) -> Self {
        Self((!selector.selects_all()).then(|| Arc::new(selector)))
    }

    /// Whether the subscriber selects the object as it is here.
    pub fn matches(&self, object: &Projected) -> bool {
        let selects = |selector: &Arc<Selector>| selector.matches(&json::labels(&object.json));
        self.0.as_ref().is_none_or(selects)
    }
}

/// The selector for the member, and what is left to filter here. A member gets only selectors of our
/// own labels: all others share the watch of everything, so that it is not read once for each.
pub fn split(field: &'static str, text: &str) -> Result<(String, Filter), CallError> {
    let upstream = || (text.to_owned(), Filter::default());
    if text.contains(MEMBER_VARIABLE) {
        return Ok(upstream());
    }
    let selector = selector::parse(field, text)?;
    if selector.selects_all() || selector.clone().into_iter().any(|e| is_own(key(&e))) {
        return Ok(upstream());
    }
    Ok((String::new(), Filter::of(selector)))
}

fn key(expression: &Expression) -> &str {
    match expression {
        Expression::In(key, _)
        | Expression::NotIn(key, _)
        | Expression::Equal(key, _)
        | Expression::NotEqual(key, _)
        | Expression::Exists(key)
        | Expression::DoesNotExist(key) => key,
    }
}

fn is_own(key: &str) -> bool {
    key == VELERO_SCHEDULE_NAME || OWN_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

/// Puts the member's id in place of `$(member)`.
pub fn expand(selector: &str, member_uid: &str) -> Result<String, CallError> {
    if !selector.contains(MEMBER_VARIABLE) {
        return Ok(selector.to_owned());
    }
    if member_uid.is_empty() {
        return Err(no_identity());
    }
    let id = MemberId::from_uid(member_uid);
    Ok(selector.replace(MEMBER_VARIABLE, id.as_str()))
}

/// The member's id is not known.
pub(super) fn no_identity() -> CallError {
    CallError::proxy(
        Code::FailedPrecondition,
        "NO_MEMBER_IDENTITY",
        "$(member) cannot be expanded: the credentials may not read namespace kube-system",
    )
    .retry(Retryable::AfterFix, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_selectors_of_our_own_labels_go_to_the_member() {
        for own in [
            "",
            "kurator.dev/backup-name",
            "kurator.dev/backup-name=b,team=x",
            "fleet.kurator.dev/plugin in (a)",
            "velero.io/schedule-name=s",
            "team=x,kurator.dev/member=$(member)",
        ] {
            let (upstream, filter) = split("f", own).unwrap();
            assert_eq!((upstream.as_str(), filter.0), (own, None), "{own}");
        }
        for foreign in ["team=x", "!team", "velero.io/backup-name=b", "kurator.dev"] {
            let (upstream, filter) = split("f", foreign).unwrap();
            assert!(upstream.is_empty() && filter.0.is_some(), "{foreign}");
        }
        assert!(split("f", "team=x y").is_err());
    }

    #[test]
    fn a_selector_gets_the_members_own_id() {
        let id = MemberId::from_uid("some-uid");
        assert_eq!(
            expand("kurator.dev/member=$(member),a=b", "some-uid").unwrap(),
            format!("kurator.dev/member={},a=b", id.as_str())
        );
        assert_eq!(expand("a=b", "").unwrap(), "a=b");
        assert_eq!(
            expand("x=$(member)", "").unwrap_err().reason,
            "NO_MEMBER_IDENTITY"
        );
    }
}
