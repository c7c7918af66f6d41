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

    /// The same of a Velero Restore: what a member refuses is a restore here.
    #[must_use]
    pub fn of_restore(self) -> Self {
        match self.reason {
            reason::BACKUP_REJECTED => Self::new(reason::RESTORE_REJECTED, self.message),
            _ => self,
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

#[cfg(test)]
mod tests {
    use proxy_client::Detail;

    use super::*;

    #[test]
    fn a_refused_restore_is_no_refused_backup() {
        let told = |reason| {
            let problem = Problem::new(reason, "why").of_restore();
            assert_eq!(problem.message, "why");
            problem.reason
        };
        assert_eq!(told("BackupRejected"), "RestoreRejected");
        assert_eq!(told("Unreachable"), "Unreachable");
    }

    #[test]
    fn each_failure_of_a_call_has_the_reason_that_tells_what_to_do() {
        type Make = fn(Box<Detail>) -> Error;
        let table: [(Make, &str); 17] = [
            (Error::Credentials, "CredentialsInvalid"),
            (Error::Refused, "AccessDenied"),
            (Error::NotServed, "VeleroNotInstalled"),
            (Error::UnknownCluster, "ClusterNotFound"),
            (Error::Malformed, "MemberAnswerInvalid"),
            (Error::Invalid, "BackupRejected"),
            (Error::NotFound, "Unreachable"),
            (Error::AlreadyExists, "Unreachable"),
            (Error::Conflict, "Unreachable"),
            (Error::ApplyConflict, "Unreachable"),
            (Error::Expired, "Unreachable"),
            (Error::Unreachable, "Unreachable"),
            (Error::RetryAfter, "Unreachable"),
            (Error::OutcomeUnknown, "Unreachable"),
            (Error::Timeout, "Unreachable"),
            (Error::ProxyUnavailable, "Unreachable"),
            (Error::Failed, "Unreachable"),
        ];
        for (make, reason) in table {
            let detail = Detail::new("create Backup velero/oslo-shop", "the member said no");
            let error = make(Box::new(detail));
            let problem = Problem::from(&error);
            assert_eq!(problem.reason, reason, "{}", error.category());
            assert!(problem.message.contains("oslo-shop"), "{problem:?}");
            assert!(problem.message.contains("said no"), "{problem:?}");
        }
    }
}
