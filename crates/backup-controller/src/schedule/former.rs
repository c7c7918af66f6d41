//! Clusters that left: they lose their Schedule, and are remembered until nothing of ours is there.

use std::collections::BTreeSet;

use api_types::backup::{BackupDetail, FormerCluster};
use api_types::common::DeletionPolicy;
use api_types::condition::reason;
use api_types::key::ClusterKey;
use velero_kit::problem::Problem;

use super::dereference;
use super::plan::{Entry, Facts, HubObject};

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
    /// Runs are still there.
    pub runs: bool,
}

/// Whether a requested cluster with this problem keeps what it has: one that is listed and is no
/// member of the fleet has left like one that is not listed.
pub fn goes_on(problem: Option<&Problem>) -> bool {
    problem.is_none_or(|problem| problem.reason != reason::CLUSTER_NOT_IN_FLEET)
}

/// What is remembered of a cluster that leaves.
pub fn of(detail: BackupDetail) -> FormerCluster {
    FormerCluster {
        cluster_name: detail.cluster_name,
        cluster_kind: detail.cluster_kind,
        member_uid: detail.member_uid,
        storage: detail.storage,
    }
}

/// Its key.
pub fn key_of(namespace: &str, cluster: &FormerCluster) -> Option<ClusterKey> {
    dereference::key(namespace, &cluster.cluster_kind, &cluster.cluster_name)
}

/// Each once, in the order of entries.
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

/// Decides from what is known without asking. `stopped`: a live look has shown that it has no
/// Schedule of ours any more.
pub fn next(former: &Former, stopped: bool) -> Next {
    let Some(facts) = &former.facts else {
        return Next::Keep;
    };
    match (facts.member_uid(), former.cluster.member_uid.as_deref()) {
        // Nobody knows where the cluster is that had it.
        (Some(answers), Some(claimed)) if answers != claimed => Next::Forget,
        (None, _) => Next::Keep,
        _ if stopped && facts.schedules.is_empty() && !facts.runs.is_empty() => Next::Keep,
        _ => Next::Stop,
    }
}

/// Decides after a live look. While `policy` keeps data, a cluster whose own object goes is let go
/// once it is stopped: what it has stored stays until its ttl, and must not hold the cluster back.
pub fn after(former: &Former, left: Left, policy: DeletionPolicy) -> Next {
    let goes = former
        .facts
        .as_ref()
        .is_some_and(|facts| facts.hub != HubObject::Present);
    match left {
        Left {
            schedules: true, ..
        } => Next::Keep,
        Left { runs: false, .. } => Next::Forget,
        _ if goes && policy == DeletionPolicy::Retain => Next::Forget,
        _ => Next::Keep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::fixtures::{MEMBER_UID, down, key};
    use crate::schedule::fixtures::{claimed, facts, fresh, run, schedule};

    fn oslo() -> Former {
        Former {
            cluster: FormerCluster {
                cluster_name: "oslo".to_owned(),
                cluster_kind: "AttachedCluster".to_owned(),
                member_uid: Some(MEMBER_UID.to_owned()),
                storage: None,
            },
            key: Some(key("oslo")),
            facts: Some(facts()),
        }
    }

    fn with(edit: impl FnOnce(&mut Facts)) -> Former {
        let mut former = oslo();
        edit(former.facts.as_mut().unwrap());
        former
    }

    #[test]
    fn it_is_asked_until_a_live_look_has_shown_that_it_is_stopped_and_again_once_its_runs_are_gone()
    {
        let runs = || vec![run("a", "Completed", 0)];
        let schedules = || vec![std::sync::Arc::new(schedule())];
        assert_eq!(next(&oslo(), false), Next::Stop, "a watch may lag behind");
        let with_runs = with(|facts| facts.runs = runs());
        assert_eq!(next(&with_runs, false), Next::Stop);
        assert_eq!(next(&with_runs, true), Next::Keep, "until they expire");
        let again = with(|facts| (facts.runs, facts.schedules) = (runs(), schedules()));
        assert_eq!(next(&again, true), Next::Stop);
        assert_eq!(next(&oslo(), true), Next::Stop);
        let silent = with(|facts| facts.link = down("Unreachable", None));
        assert_eq!(next(&silent, false), Next::Keep);
        let mut replaced = oslo();
        replaced.cluster.member_uid = Some("another".to_owned());
        assert_eq!(next(&replaced, true), Next::Forget);
    }

    #[test]
    fn it_is_forgotten_when_nothing_of_ours_is_left_there() {
        use DeletionPolicy::{Delete, Retain};
        let left = |schedules, runs| Left { schedules, runs };
        assert_eq!(after(&oslo(), left(true, false), Retain), Next::Keep);
        assert_eq!(after(&oslo(), left(false, false), Delete), Next::Forget);
        assert_eq!(after(&oslo(), left(false, true), Retain), Next::Keep);
        let going = with(|facts| facts.hub = HubObject::Terminating);
        assert_eq!(after(&going, left(true, true), Retain), Next::Keep);
        assert_eq!(after(&going, left(false, true), Retain), Next::Forget);
        assert_eq!(after(&going, left(false, true), Delete), Next::Keep);
    }

    #[test]
    fn a_listed_cluster_that_is_no_member_has_left() {
        assert!(goes_on(None));
        assert!(goes_on(Some(&Problem::new(reason::FLEET_NOT_FOUND, ""))));
        assert!(!goes_on(Some(&Problem::new(
            reason::CLUSTER_NOT_IN_FLEET,
            ""
        ))));
    }

    #[test]
    fn one_that_is_back_is_remembered_until_that_very_member_is_claimed() {
        let left = |entry: Entry| unclaimed(vec![oslo()], [entry].iter()).len();
        assert_eq!(
            left(fresh("oslo")),
            1,
            "it answers, and may still have to wait"
        );
        assert_eq!(left(claimed()), 0);
        let mut another = claimed();
        another.stored.member_uid = Some("another".to_owned());
        assert_eq!(left(another), 1);
        let mut elsewhere = claimed();
        elsewhere.key = key("bergen");
        assert_eq!(left(elsewhere), 1);
    }

    #[test]
    fn each_is_remembered_once() {
        let clusters = [oslo().cluster, oslo().cluster];
        assert_eq!(distinct(clusters.into_iter()), [oslo().cluster]);
    }
}
