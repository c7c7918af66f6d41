//! What Backup, Restore and Migrate have in common: a hub object that works on many clusters and has
//! one entry for each of them.

pub mod calls;
pub mod conclude;
pub mod contact;
pub mod context;
pub mod deletion;
pub mod destination;
pub mod draft;
pub mod entry;
pub mod events;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod follow;
pub mod inherited;
pub mod kind;
pub mod member;
pub mod memory;
pub mod metrics;
pub mod objects;
pub mod outcome;
pub mod refusal;
pub mod silence;
pub mod spec;
mod state;
pub mod timings;

use std::fmt::Debug;
use std::time::Duration;

use api_types::aggregate;
use controller_kit::hub::{self, WriteError};
use controller_kit::reconcile::{Outcome, ReconcileError};
use jiff::Timestamp;
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use entry::{Common, Detail};

pub use state::{Parts, State};

use self::context::{Context, Process};

/// A kind of hub object that works on many clusters.
pub trait Operation:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Its status.
    type Status: State;

    /// What holds it back until members are cleaned up.
    const FINALIZER: &'static str;
    /// What it makes on members, as a leftover is called.
    const OBJECT: &'static str;

    /// The status as it was read.
    fn state(&self) -> Option<&Self::Status>;

    /// Puts another status in its place.
    fn set_state(&mut self, status: Self::Status);

    /// Kind and name of what a forced deletion leaves behind in a cluster.
    fn leftover(&self, detail: &<Self::Status as State>::Detail) -> (&'static str, String) {
        let name = detail.object_name().unwrap_or_default();
        (Self::OBJECT, name.to_owned())
    }
}

/// Why a pass ended early. Entries never end a pass: what goes wrong with one is in its status.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The hub refused or did not answer.
    #[error("a write to the hub failed")]
    Write(#[from] WriteError),
    /// A read from the hub failed.
    #[error("a read from the hub failed")]
    Read(#[source] Box<kube::Error>),
}

impl ReconcileError for Error {
    fn category(&self) -> &'static str {
        match self {
            Self::Write(error) => error.category(),
            Self::Read(_) => "hub_read",
        }
    }
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Read(Box::new(error))
    }
}

/// An operation with an outcome: it never runs again.
pub fn is_settled<K: Operation>(object: &K) -> bool {
    object.state().is_some_and(|stored| {
        aggregate::is_final(stored.phase(), conclude::succeeded(stored.conditions()))
    })
}

/// Sees to it that the object carries our finalizer before the first remote object. True when it was
/// only now added: the new version of the object starts the next pass.
pub async fn hold<K: Operation>(ctx: &Context<impl Process>, object: &K) -> Result<bool, Error> {
    if object.finalizers().iter().any(|held| held == K::FINALIZER) {
        return Ok(false);
    }
    match hub::add_finalizer(&ctx.client, object, K::FINALIZER).await {
        Ok(_) | Err(WriteError::Conflict(_) | WriteError::Gone(_)) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// The shorter of two waits.
pub fn sooner(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// How long until then; a time that has passed is nothing to wait for.
pub fn until(then: Timestamp, now: Timestamp) -> Option<Duration> {
    Duration::try_from(then.duration_since(now)).ok()
}

/// Look at an unfinished operation at least this often, should a trigger ever be lost.
const LEVEL_CHECK: Duration = Duration::from_mins(10);

/// When the next pass over an unfinished operation is due, if nothing starts one before; `after`: the
/// first that nobody else will tell about.
pub fn look_again(after: Option<Duration>) -> Outcome {
    Outcome::Waiting {
        reason: "Entries",
        // Status times are whole seconds: a little later is surely after a deadline.
        after: after
            .map_or(LEVEL_CHECK, |after| after.min(LEVEL_CHECK))
            .saturating_add(Duration::from_millis(100)),
    }
}

/// The pass was made from an old view; the newer one starts another.
pub fn stale() -> Outcome {
    Outcome::Waiting {
        reason: "StaleView",
        after: Duration::from_secs(2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_operation_is_looked_at_every_ten_minutes_whatever_else_is_due() {
        let table = [
            (None, 600),
            (Some(5), 5),
            (Some(600), 600),
            (Some(86_400), 600),
        ];
        for (due, expected) in table {
            let outcome = look_again(due.map(Duration::from_secs));
            let Outcome::Waiting { after, .. } = outcome else {
                panic!("{outcome:?}");
            };
            assert_eq!(after.as_secs(), expected, "{due:?}");
        }
    }
}
