//! `$(member)` in selectors.

use api_types::{labels::MEMBER_VARIABLE, names::MemberId};
use tonic::Code;

use crate::error::{CallError, Retryable};

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
