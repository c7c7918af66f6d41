//! Clusters that left, and those whose name another one has taken. They lose their Schedule, and are
//! remembered while what they have stored can be restored, or is still to be deleted. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use api_types::backup::{Backup, BackupDetail, FormerCluster};
use api_types::common::DeletionPolicy;
use api_types::condition::reason;
use api_types::key::ClusterKey;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use velero_kit::problem::Problem;

use super::dereference;
use super::plan::{Entry, Facts, HubObject, Served};

/// A cluster that left.
#[derive(Debug, Clone)]
pub struct Former {
    pub cluster: FormerCluster,
    /// `None` for a kind that this version does not know.
    pub key: Option<ClusterKey>,
    pub facts: Option<Facts>,
}

/// The schema takes no more.
const MOST: usize = 4096;

/// How long Velero keeps a backup that names no ttl, unless its server is told otherwise.
const VELERO_TTL: Duration = Duration::from_hours(720);

/// How long what has left is remembered when nothing better is known.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    pub policy: DeletionPolicy,
    ttl: Duration,
    now: Timestamp,
}

impl Keep {
    /// As the spec has it now.
    pub fn new(backup: &Backup, now: Timestamp) -> Self {
        let policy = backup.spec.policy.as_ref();
        let ttl = policy.and_then(|policy| policy.ttl.as_ref()?.parse().ok());
        Self {
            policy: backup.spec.deletion_policy,
            ttl: ttl
                .filter(|ttl: &Duration| !ttl.is_zero())
                .unwrap_or(VELERO_TTL),
            now,
        }
    }

    fn from(self, then: Timestamp) -> Time {
        Time(then.checked_add(self.ttl).unwrap_or(Timestamp::MAX))
    }
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It is remembered; nothing is to be done, or nothing can be.
    Keep,
    /// It is to be asked what it has, and to lose its Schedule.
    Stop,
    /// It is forgotten.
    Forget,
}

/// What a live look has shown of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// Schedules are still there, on their way out.
    pub schedules: bool,
    /// Runs are still there, or may lie in its storage.
    pub runs: bool,
}

/// Whether a requested cluster with this problem keeps what it has: one that is listed and is no
/// member of the fleet has left like one that is not listed.
pub fn goes_on(problem: Option<&Problem>) -> bool {
    problem.is_none_or(|problem| problem.reason != reason::CLUSTER_NOT_IN_FLEET)
}

/// What is remembered of a cluster that leaves.
pub fn of(detail: BackupDetail, keep: Keep) -> FormerCluster {
    let newest = detail.backup_status_in_cluster.as_ref();
    let told = newest.and_then(|run| run.expiration.clone());
    let began = newest.and_then(|run| run.start_timestamp.as_ref());
    let counted = || keep.from(began.map_or(keep.now, |began| began.0));
    FormerCluster {
        expiration_time: Some(told.unwrap_or_else(counted)),
        cluster_name: detail.cluster_name,
        cluster_kind: detail.cluster_kind,
        member_uid: detail.member_uid,
        storage: detail.storage,
        ..FormerCluster::default()
    }
}

/// The same of one that cannot be asked any more, since another one answers in its place: without a
/// run there is nothing to remember.
pub fn replaced(detail: BackupDetail, keep: Keep) -> Option<FormerCluster> {
    let has_run = detail.backup_name_in_cluster.is_some();
    has_run.then(|| FormerCluster {
        replaced: true,
        ..of(detail, keep)
    })
}

/// Its key.
pub fn key_of(namespace: &str, cluster: &FormerCluster) -> Option<ClusterKey> {
    dereference::key(namespace, &cluster.cluster_kind, &cluster.cluster_name)
}

/// Each once, in the order of entries; what comes first counts.
pub fn distinct(clusters: impl Iterator<Item = FormerCluster>) -> Vec<FormerCluster> {
    let identity = |cluster: &FormerCluster| {
        (
            cluster.cluster_name.clone(),
            cluster.cluster_kind.clone(),
            cluster.member_uid.clone(),
        )
    };
    let mut all: Vec<FormerCluster> = clusters.collect();
    all.sort_by_cached_key(identity);
    all.dedup_by_key(|cluster| identity(cluster));
    all.truncate(MOST);
    all
}

/// Those that no entry goes on as. One that is back is remembered until its entry is claimed: until
/// then nothing else says that its member may hold something of ours.
pub fn unclaimed<'a>(former: Vec<Former>, entries: impl Iterator<Item = &'a Entry>) -> Vec<Former> {
    let claimed: BTreeSet<(&ClusterKey, &str)> = entries
        .filter_map(|entry| Some((&entry.key, entry.stored.member_uid.as_deref()?)))
        .collect();
    let is_claimed = |former: &Former| {
        let member = former
            .key
            .as_ref()
            .zip(former.cluster.member_uid.as_deref());
        member.is_some_and(|member| claimed.contains(&member))
    };
    former.into_iter().filter(|f| !is_claimed(f)).collect()
}

/// Who answers under its name.
enum Answers {
    Itself,
    Another,
    Nobody,
}

impl Former {
    fn answers(&self) -> Answers {
        let answers = self.facts.as_ref().and_then(Facts::member_uid);
        match (answers, self.cluster.member_uid.as_deref()) {
            (None, _) => Answers::Nobody,
            (Some(answers), Some(claimed)) if answers == claimed => Answers::Itself,
            (Some(_), _) => Answers::Another,
        }
    }

    fn is_past(&self, keep: Keep) -> bool {
        let end = self.cluster.expiration_time.as_ref();
        end.is_some_and(|end| end.0 <= keep.now)
    }

    /// Whether it has no Schedule any more. `stopped`: a live look of this process has shown that.
    fn is_stopped(&self, facts: &Facts, stopped: bool) -> bool {
        (stopped || self.cluster.released) && facts.schedules.is_empty()
    }

    /// Takes in what is known of it now.
    pub fn refresh(&mut self, keep: Keep, stopped: bool) {
        let answers = self.answers();
        if let (Answers::Itself, Some(facts)) = (&answers, &self.facts) {
            let ends = facts.runs.iter().filter_map(|run| run.expiration());
            let released = keep.policy == DeletionPolicy::Retain && self.is_stopped(facts, stopped);
            if let Some(last) = ends.max() {
                self.cluster.expiration_time = Some(Time(last));
            }
            (self.cluster.released, self.cluster.replaced) = (released, false);
        } else if matches!(answers, Answers::Another) {
            self.cluster.replaced = true;
        }
        // Of an earlier version, which did not write it down.
        let bound = keep.from(keep.now);
        self.cluster.expiration_time.get_or_insert(bound);
    }

    /// Decides from what is known without asking.
    pub fn next(&self, keep: Keep, stopped: bool) -> Next {
        let remembered = if self.is_past(keep) {
            Next::Forget
        } else {
            Next::Keep
        };
        let Some(facts) = &self.facts else {
            return remembered;
        };
        match self.answers() {
            Answers::Itself if self.is_stopped(facts, stopped) => match facts.velero {
                Served::No => remembered,
                _ if facts.runs.is_empty() => Next::Stop,
                _ => Next::Keep,
            },
            Answers::Itself => Next::Stop,
            Answers::Another => remembered,
            Answers::Nobody if self.cluster.released || facts.hub == HubObject::Absent => {
                remembered
            }
            // Its Schedule may go on there.
            Answers::Nobody => Next::Keep,
        }
    }

    /// Decides after a live look. While `policy` keeps data, it holds nobody any more once it is
    /// stopped.
    pub fn after(&mut self, left: Left, policy: DeletionPolicy) -> Next {
        self.cluster.released = policy == DeletionPolicy::Retain && !left.schedules;
        if left == Left::default() {
            Next::Forget
        } else {
            Next::Keep
        }
    }
}

#[cfg(test)]
#[path = "former_tests.rs"]
mod tests;
