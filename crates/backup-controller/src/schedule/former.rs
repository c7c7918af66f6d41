//! Clusters that left, and those whose name another one has taken: they lose their Schedule. And places
//! where a cluster has stored that stores elsewhere now. All are remembered while what lies there can
//! be restored, or is still to be deleted. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::backup::{Backup, BackupDetail, FormerCluster};
use api_types::common::{DeletionPolicy, StoragePlace};
use api_types::condition::reason;
use api_types::external::velero;
use api_types::key::ClusterKey;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use velero_kit::location;
use velero_kit::problem::Problem;

use super::dereference;
use super::plan::{Entry, Facts, HubObject, Served};
use crate::restore::wanted::location_of;

/// A cluster that left, or a place where one has stored before.
#[derive(Debug, Clone)]
pub struct Former {
    pub cluster: FormerCluster,
    /// `None` for a kind that this version does not know.
    pub key: Option<ClusterKey>,
    pub facts: Option<Facts>,
    /// Names of its own locations at the place: Velero shows there what lies at it.
    pub shown_in: Vec<String>,
    /// The member has an entry: it is asked for, and stores elsewhere.
    pub current: bool,
}

/// The schema takes no more.
const MOST: usize = 4096;

/// Places of one member that are remembered, those whose runs are kept longest.
const PLACES: usize = 8;

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

/// Notes where a cluster stores now. Returns what is to be remembered of the place before, if it has
/// run there.
pub fn move_on(detail: &mut BackupDetail, facts: &Facts, keep: Keep) -> Option<FormerCluster> {
    let answers = facts
        .member_uid()
        .filter(|uid| detail.member_uid.as_deref() == Some(uid));
    let (_, location) = answers.zip(facts.location.as_deref())?;
    let before = detail.storage.as_ref()?;
    // Before its runs are known nobody can tell whether something lies there.
    if location::is_at(location, before) || !facts.runs_known {
        return None;
    }
    let has_run = detail.backup_name_in_cluster.is_some() || !facts.runs.is_empty();
    let remembered = has_run.then(|| {
        let mut remembered = of(detail.clone(), keep);
        // Of runs whose ttl was changed meanwhile, the newest is not the last to go.
        let ends = facts.runs.iter().filter_map(|run| run.expiration());
        let known = remembered.expiration_time.as_ref().map(|end| end.0);
        remembered.expiration_time = ends.max().max(known).map(Time);
        remembered.released = keep.policy == DeletionPolicy::Retain;
        remembered
    });
    detail.storage = Some(location::storage(location));
    remembered
}

/// Its key.
pub fn key_of(namespace: &str, cluster: &FormerCluster) -> Option<ClusterKey> {
    dereference::key(namespace, &cluster.cluster_kind, &cluster.cluster_name)
}

/// Which member it is.
fn member_of(cluster: &FormerCluster) -> (String, String, Option<String>) {
    (
        cluster.cluster_name.clone(),
        cluster.cluster_kind.clone(),
        cluster.member_uid.clone(),
    )
}

/// A place as it is compared, in order.
pub fn written(place: &StoragePlace) -> [String; 4] {
    let place = location::normal(place);
    let provider = location::provider(&place).to_owned();
    [provider, place.endpoint, place.bucket, place.prefix]
}

/// Each once for each place, in the order of entries; what comes first counts.
pub fn distinct(clusters: impl Iterator<Item = FormerCluster>) -> Vec<FormerCluster> {
    let identity =
        |cluster: &FormerCluster| (member_of(cluster), cluster.storage.as_ref().map(written));
    let mut all: Vec<FormerCluster> = clusters.collect();
    all.sort_by_cached_key(identity);
    all.dedup_by_key(|cluster| identity(cluster));
    // A location that is moved again and again must not fill the status.
    let end = |cluster: &FormerCluster| cluster.expiration_time.as_ref().map(|end| end.0);
    all.sort_by_cached_key(|cluster| (member_of(cluster), Reverse(end(cluster))));
    let mut places = BTreeMap::new();
    all.retain(|cluster| {
        let count: &mut usize = places.entry(member_of(cluster)).or_default();
        *count = count.saturating_add(1);
        *count <= PLACES
    });
    all.sort_by_cached_key(identity);
    all.truncate(MOST);
    all
}

/// Those that no entry goes on as, at the place that it has. One that is back is remembered until its
/// entry is claimed: until then nothing else says that its member may hold something of ours.
pub fn unclaimed<'a>(former: Vec<Former>, entries: impl Iterator<Item = &'a Entry>) -> Vec<Former> {
    let claimed: BTreeMap<(&ClusterKey, &str), Option<&StoragePlace>> = entries
        .filter_map(|entry| {
            let stored = &entry.stored;
            let member = (&entry.key, stored.member_uid.as_deref()?);
            Some((member, stored.storage.as_ref()))
        })
        .collect();
    let left = |mut former: Former| {
        let uid = former.cluster.member_uid.as_deref();
        let member = former.key.as_ref().zip(uid);
        let entry = member.and_then(|member| claimed.get(&member));
        former.current = entry.is_some();
        match (entry, &former.cluster.storage) {
            (Some(_), None) => None,
            (Some(Some(now)), Some(before)) if location::is_same(now, before) => None,
            _ => Some(former),
        }
    };
    former.into_iter().filter_map(left).collect()
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

    /// Whether its member has no location at its place: what lies there is not seen, and so nothing
    /// that is seen tells whether it is gone.
    fn is_hidden(&self) -> bool {
        self.cluster.storage.is_some() && self.shown_in.is_empty()
    }

    /// The runs that lie at its place, as last seen.
    fn runs(&self) -> impl Iterator<Item = &Arc<velero::Backup>> {
        let all = self.facts.iter().flat_map(|facts| &facts.runs);
        all.filter(|run| {
            self.cluster.storage.is_none() || self.shown_in.contains(&location_of(run))
        })
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
            let last = self.runs().filter_map(|run| run.expiration()).max();
            // Its entry has the Schedule: of this place nothing more is to be done.
            let stopped = self.current || self.is_stopped(facts, stopped);
            let released = keep.policy == DeletionPolicy::Retain && stopped;
            if let Some(last) = last {
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
        // Nobody keeps to a ttl at a place that no location shows.
        let lies_there = keep.policy == DeletionPolicy::Delete && self.is_hidden();
        let remembered = if self.is_past(keep) && !lies_there {
            Next::Forget
        } else {
            Next::Keep
        };
        let facts = match &self.facts {
            Some(facts) if !self.current => facts,
            _ => return remembered,
        };
        match self.answers() {
            Answers::Itself if self.is_stopped(facts, stopped) => match facts.velero {
                Served::No => remembered,
                _ if self.is_hidden() => remembered,
                _ if facts.runs.is_empty() => Next::Stop,
                _ if self.runs().next().is_none() => remembered,
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
        if left == Left::default() && !self.is_hidden() {
            Next::Forget
        } else {
            Next::Keep
        }
    }
}

#[cfg(test)]
#[path = "former_tests.rs"]
mod tests;
