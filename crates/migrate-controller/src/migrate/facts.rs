//! What a decision about a Migrate is made from: what the hub has stored, and what is known of each
//! member. All of it is gathered by somebody else.

use std::sync::Arc;

use api_types::backup::BackupDetail;
use api_types::common::StoragePlace;
use api_types::condition::reason;
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::migrate::PartialFailure;
use api_types::restore::RestoreDetail;
use jiff::Timestamp;
use velero_kit::classify;
use velero_kit::location;
pub use velero_kit::operation::member::Link;
use velero_kit::problem::Problem;
pub use velero_kit::results::read::Results;

/// What is known of a member, whatever it is to do.
#[derive(Debug, Clone)]
pub struct Member {
    /// Why nothing may begin there, by its Fleet and its object on the hub.
    pub problem: Option<Problem>,
    pub link: Link,
    /// Why its Velero's objects cannot be seen although it answers. `WaitingForClusters`: there was no
    /// first look yet.
    pub no_velero: Option<Problem>,
}

impl Member {
    /// Whether calls to it can be made.
    pub fn is_up(&self) -> bool {
        matches!(self.link, Link::Up { .. })
    }

    /// The first thing about it that keeps anything from beginning there.
    pub fn obstacle(&self) -> Option<Problem> {
        let silent = match &self.link {
            Link::Up { .. } => None,
            Link::Down { problem, .. } => Some(problem),
        };
        let first = self.problem.as_ref().or(silent);
        first.or(self.no_velero.as_ref()).cloned()
    }

    /// Whether another cluster answers than the one of this uid.
    pub fn is_replaced(&self, claimed_uid: &str) -> bool {
        matches!(&self.link, Link::Up { member_uid } if member_uid != claimed_uid)
    }

    /// What makes its objects invisible for good, until somebody acts.
    pub(super) fn blinded(&self) -> Option<&Problem> {
        let problem = self.no_velero.as_ref().filter(|_| self.is_up());
        problem.filter(|problem| problem.reason != reason::WAITING_FOR_CLUSTERS)
    }
}

/// What is known of the object whose name was claimed: from the watch, or from an answer of the member
/// in this pass, which is newer. An object of that name with another owner is not it.
#[derive(Debug, Clone)]
pub enum Seen<O> {
    /// Nothing: the member is silent, or its watch has not shown all there is.
    Unknown,
    /// The watch shows all there is, and not this.
    NotShown,
    /// It is there, or was when the member was last heard of.
    Present(Arc<O>),
    /// The member says that it is not there.
    Absent,
    /// The member says that somebody else has the name.
    Taken,
    /// It was to be created: the answer was lost, and it is not there.
    Lost,
    /// The call failed.
    Failed(Problem),
    /// Every name that it could have is somebody else's.
    NoName(Problem),
}

/// Whether the source's backup can be read in a target, by a look in this pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readable {
    /// Nobody has looked.
    NotAsked,
    /// Its copy is there, whole, in a location that Velero can use.
    Yes,
    /// Not yet, and why.
    No(Problem),
}

/// The source of a Migrate.
#[derive(Debug, Clone)]
pub struct Source {
    pub key: ClusterKey,
    /// As the hub has it; a fresh one where it has none yet.
    pub stored: BackupDetail,
    pub member: Member,
    /// The location that the backup is to be made in, if it can be: `velero_kit::location::usable`.
    pub location: Result<StoragePlace, Problem>,
    pub seen: Seen<velero::Backup>,
    /// What the silence of its object means, if it is silent.
    pub stuck: Option<Problem>,
    /// Whether its object is as it is for so long that another one may be tried in its place.
    pub rested: bool,
}

impl<O> Seen<O> {
    /// The object, if it is there.
    pub fn object(&self) -> Option<&Arc<O>> {
        match self {
            Self::Present(object) => Some(object),
            _ => None,
        }
    }
}

impl Source {
    /// The member and the name that were claimed.
    pub fn claimed(&self) -> Option<(&str, &str)> {
        let name = self.stored.backup_name_in_cluster.as_deref()?;
        Some((self.stored.member_uid.as_deref()?, name))
    }

    /// Why Velero refused its object, if only for what it had not seen yet.
    pub fn premature(&self) -> Option<Problem> {
        classify::premature(&self.key.name, &self.seen.object()?.status)
    }

    /// Whether this is the very cluster, whatever it is called on the hub.
    pub(super) fn is_same_cluster(&self, other: &Member) -> bool {
        let answers = |member: &Member| match &member.link {
            Link::Up { member_uid } => Some(member_uid.clone()),
            Link::Down { .. } => None,
        };
        // That of the backup, whoever answers by now.
        let own = self.stored.member_uid.clone();
        let own = own.or_else(|| answers(&self.member));
        own.is_some() && own == answers(other)
    }

    /// Whether a backup that is made now would lie elsewhere than is written down.
    pub(super) fn has_moved(&self) -> bool {
        let known = self.stored.storage.as_ref();
        let place = self.location.as_ref().ok();
        place.is_some_and(|place| !known.is_some_and(|known| location::is_same(known, place)))
    }
}

/// What a look at a target has shown before anything was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// What it does not serve of what is migrated.
    pub warning: Option<Problem>,
    /// Which namespaces are created there, and which are there already.
    pub namespaces: Option<String>,
    /// Whether it was compared what it serves: both it and the source had told in time.
    pub compared: bool,
}

/// One target of a Migrate.
#[derive(Debug, Clone)]
pub struct Target {
    pub key: ClusterKey,
    /// As the hub has it; a fresh one where it has none yet.
    pub stored: RestoreDetail,
    pub member: Member,
    pub notes: Notes,
    /// What keeps it from reading where the source stores, as its locations show that.
    pub storage: Option<Problem>,
    pub readable: Readable,
    pub seen: Seen<velero::Restore>,
    /// What the silence of its object means, if it is silent.
    pub stuck: Option<Problem>,
    /// Whether its object is as it is for so long that another one may be tried in its place.
    pub rested: bool,
    /// What its object's results say, if it went wrong.
    pub results: Results,
}

impl Target {
    /// The member and the name that were claimed.
    pub fn claimed(&self) -> Option<(&str, &str)> {
        let name = self.stored.restore_name_in_cluster.as_deref()?;
        Some((self.stored.member_uid.as_deref()?, name))
    }

    /// Why Velero refused its object, if only for what it had not seen yet.
    pub fn premature(&self) -> Option<Problem> {
        classify::premature(&self.key.name, &self.seen.object()?.status)
    }

    /// Whether the backup that is restored was written down. Before that nothing was created.
    pub fn has_chosen(&self) -> bool {
        self.claimed().is_some() && self.stored.backup_name_in_cluster.is_some()
    }
}

/// What holds for the whole Migrate.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Nothing new begins: `spec.cancel`.
    pub cancel: bool,
    /// When what has not begun fails.
    pub deadline: Timestamp,
    pub now: Timestamp,
    /// Whether targets go on with a backup that is only partial.
    pub partial_failure: PartialFailure,
    /// Why the source cannot be a target too, if it cannot.
    pub unmoved: Option<String>,
    /// Why there is no target, if there is none.
    pub no_targets: Option<Problem>,
    /// Whether it was asked what the members serve, and which namespaces they have.
    pub surveyed: bool,
}

impl Terms {
    /// Why nothing new begins any more; `cause`: what was in the way until now.
    pub(super) fn stop(&self, what: &str, cause: Option<&str>) -> Option<Problem> {
        if self.cancel {
            let message = format!("spec.cancel was set before {what} began");
            return Some(Problem::new(reason::CANCELLED, message));
        }
        let cause = cause.map_or_else(String::new, |cause| format!("; last: {cause}"));
        (self.now >= self.deadline).then(|| {
            Problem::new(
                reason::DEADLINE_EXCEEDED,
                format!("{what} did not begin before spec.deadline was over{cause}"),
            )
        })
    }
}
