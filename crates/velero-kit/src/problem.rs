//! What keeps an entry from going on, in the words of its status.

use api_types::condition::reason;
use proxy_client::Error;

/// A reason of `api.md` 4.1 and a message that says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub reason: &'static str,
    pub message: String,
}

impl Problem {
    /// A problem of this reason.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

impl From<&Error> for Problem {
    /// What a failed call to a member means for the entry of that member.
    fn from(error: &Error) -> Self {
        let reason = match error {
            Error::Credentials(_) => reason::CREDENTIALS_INVALID,
            Error::Refused(_) => reason::ACCESS_DENIED,
            Error::NotServed(_) => reason::VELERO_NOT_INSTALLED,
            Error::UnknownCluster(_) => reason::CLUSTER_NOT_FOUND,
            Error::Malformed(_) => reason::MEMBER_ANSWER_INVALID,
            Error::Invalid(_) => reason::BACKUP_REJECTED,
            _ => reason::UNREACHABLE,
        };
        Self::new(reason, error.to_string())
    }
}
