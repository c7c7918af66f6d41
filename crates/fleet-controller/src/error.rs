//! Why a pass over an object failed.

use std::time::Duration;

use controller_kit::hub::WriteError;
use controller_kit::reconcile::{Outcome, ReconcileError, Retry};

/// After a write that came too late, if the change that was faster has not started a pass already.
const AFTER_CONFLICT: Duration = Duration::from_secs(1);

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object on the hub is none that this version can read.
    #[error("{object} cannot be read and is left alone, mend or delete it: {problem}")]
    Unreadable {
        /// Kind, namespace and name.
        object: String,
        /// What is wrong.
        problem: String,
    },
    /// The hub did not show who needs what is being deleted; `source`: why, if it answered at all.
    #[error(
        "the hub does not list objects of kind {kind} in {namespace}, which may need what is being deleted"
    )]
    Unlisted {
        /// What was to be listed.
        kind: String,
        /// Where.
        namespace: String,
        /// Why not.
        source: Option<Box<kube::Error>>,
    },
    /// The hub refused a write or did not answer it.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl ReconcileError for Error {
    fn category(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "unreadable",
            Self::Unlisted { .. } => "hub_list",
            Self::Write(error) => error.category(),
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Unreadable { .. } => Retry::OnChange,
            Self::Unlisted { .. } | Self::Write(_) => Retry::Backoff,
        }
    }
}

/// An object that changed or went while it was looked at is nothing wrong: its change starts the
/// next pass.
pub fn settle(result: Result<Outcome, Error>) -> Result<Outcome, Error> {
    match result {
        Err(Error::Write(WriteError::Gone(_))) => Ok(Outcome::Done),
        Err(Error::Write(WriteError::Conflict(_))) => Ok(Outcome::Waiting {
            reason: "ChangedMeanwhile",
            after: AFTER_CONFLICT,
        }),
        other => other,
    }
}
