//! The one error of every call: what failed, for which object and cluster, what may be done.

mod answer;

use std::{fmt, time::Duration};

use api_types::key::ClusterKey;

pub(crate) use self::answer::Answer;

/// Who said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The member's API server.
    Member,
    /// cluster-proxy.
    Proxy,
    /// This process: the proxy could not be asked, or its answer could not be used.
    Client,
}

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Yes, after a while.
    Yes,
    /// Yes, with what a new read shows.
    AfterReread,
    /// Once a person has mended something.
    AfterFix,
    /// No.
    No,
}

/// What is known about a write that failed. Reads are `NotSent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The member never got it.
    NotSent,
    /// It may have happened: read before trying again.
    Unknown,
    /// It happened; only the answer could not be used.
    Applied,
    /// The member refused it.
    Rejected,
}

/// What is common to all errors.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Detail {
    /// The member that the call was for.
    pub cluster: Option<ClusterKey>,
    /// The call, such as `create backups.velero.io velero/nightly`.
    pub call: String,
    /// The machine-readable reason of the proxy, such as `CLUSTER_UNREACHABLE`; may be empty.
    pub reason: String,
    /// What the one who refused said.
    pub message: String,
    /// Who refused.
    pub origin: Origin,
    /// Whether trying again can help.
    pub retry: Retry,
    /// What became of a write.
    pub write_outcome: WriteOutcome,
    /// When to try again, if that is known.
    pub retry_after: Option<Duration>,
}

impl Detail {
    /// A failure of this call that the client itself found, before anything was sent.
    pub fn new(call: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            cluster: None,
            call: call.into(),
            reason: String::new(),
            message: message.into(),
            origin: Origin::Client,
            retry: Retry::No,
            write_outcome: WriteOutcome::NotSent,
            retry_after: None,
        }
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.call)?;
        if let Some(cluster) = &self.cluster {
            write!(f, " on {cluster}")?;
        }
        write!(f, ": {}", self.message)?;
        if !self.reason.is_empty() {
            write!(f, " ({})", self.reason)?;
        }
        Ok(())
    }
}

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such object.
    #[error("{0}")]
    NotFound(Box<Detail>),
    /// The member does not serve this resource type (yet).
    #[error("{0}")]
    NotServed(Box<Detail>),
    /// The proxy knows no such member.
    #[error("{0}")]
    UnknownCluster(Box<Detail>),
    /// An object of this name exists.
    #[error("{0}")]
    AlreadyExists(Box<Detail>),
    /// The object changed meanwhile (resourceVersion or uid): read again.
    #[error("{0}")]
    Conflict(Box<Detail>),
    /// Another field manager holds a field of the apply.
    #[error("{0}")]
    ApplyConflict(Box<Detail>),
    /// Forbidden by the member's RBAC or by the proxy's policy, see [`Detail::origin`].
    #[error("{0}")]
    Refused(Box<Detail>),
    /// The member finds the object wrong, or the request was.
    #[error("{0}")]
    Invalid(Box<Detail>),
    /// A continue token is too old: list again.
    #[error("{0}")]
    Expired(Box<Detail>),
    /// The proxy's credentials for the member are missing, refused or unusable.
    #[error("{0}")]
    Credentials(Box<Detail>),
    /// The member does not answer.
    #[error("{0}")]
    Unreachable(Box<Detail>),
    /// The member or the proxy is too busy, see [`Detail::retry_after`].
    #[error("{0}")]
    RetryAfter(Box<Detail>),
    /// A write may have happened: read before trying again.
    #[error("{0}")]
    OutcomeUnknown(Box<Detail>),
    /// The answer could not be read.
    #[error("{0}")]
    Malformed(Box<Detail>),
    /// The deadline passed without harm: a read, or a write that was never sent.
    #[error("{0}")]
    Timeout(Box<Detail>),
    /// The proxy cannot be reached, drains, or does not know this caller.
    #[error("{0}")]
    ProxyUnavailable(Box<Detail>),
    /// The member or the proxy failed in another way.
    #[error("{0}")]
    Failed(Box<Detail>),
}

impl Error {
    /// What is known beside the kind of error.
    pub fn detail(&self) -> &Detail {
        match self {
            Self::NotFound(detail)
            | Self::NotServed(detail)
            | Self::UnknownCluster(detail)
            | Self::AlreadyExists(detail)
            | Self::Conflict(detail)
            | Self::ApplyConflict(detail)
            | Self::Refused(detail)
            | Self::Invalid(detail)
            | Self::Expired(detail)
            | Self::Credentials(detail)
            | Self::Unreachable(detail)
            | Self::RetryAfter(detail)
            | Self::OutcomeUnknown(detail)
            | Self::Malformed(detail)
            | Self::Timeout(detail)
            | Self::ProxyUnavailable(detail)
            | Self::Failed(detail) => detail,
        }
    }

    /// A bounded name for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not_found",
            Self::NotServed(_) => "not_served",
            Self::UnknownCluster(_) => "unknown_cluster",
            Self::AlreadyExists(_) => "already_exists",
            Self::Conflict(_) => "conflict",
            Self::ApplyConflict(_) => "apply_conflict",
            Self::Refused(_) => "refused",
            Self::Invalid(_) => "invalid",
            Self::Expired(_) => "expired",
            Self::Credentials(_) => "credentials",
            Self::Unreachable(_) => "unreachable",
            Self::RetryAfter(_) => "retry_after",
            Self::OutcomeUnknown(_) => "outcome_unknown",
            Self::Malformed(_) => "malformed",
            Self::Timeout(_) => "timeout",
            Self::ProxyUnavailable(_) => "proxy_unavailable",
            Self::Failed(_) => "failed",
        }
    }

    /// Whether the same intent may succeed later without anyone mending anything.
    pub fn is_transient(&self) -> bool {
        matches!(self.detail().retry, Retry::Yes | Retry::AfterReread)
    }

    /// What became of a write.
    pub fn write_outcome(&self) -> WriteOutcome {
        self.detail().write_outcome
    }

    /// When to try again, if that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.detail().retry_after
    }

    /// What the one who refused said, without the call and the cluster.
    pub fn message(&self) -> &str {
        &self.detail().message
    }
}
