//! Following one Backup, Restore or Migrate on the hub and, past everything of ours, in the members: what is
//! shown, and how long after it happened.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use api_types::aggregate::VeleroPhase;
use api_types::labels;
use api_types::phase::{EntryPhase, Phase};
use futures::stream::{BoxStream, select_all};
use futures::{StreamExt, TryStreamExt};
use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::watcher::{self, watch_object};
use kube::runtime::{WatchStreamExt, watcher as watch};

use crate::cluster::MemberView;
use crate::operation::{Entry, Object, Operation, Sights};

/// How often somebody who shows the state may draw it, so that running times move.
const TICK: Duration = Duration::from_millis(200);

/// One cluster of what is followed.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Its entry on the hub.
    pub entry: Entry,
    /// When the Velero object was first seen in the member.
    pub begun: Option<Instant>,
    /// When Velero in the member was first seen to be done with it.
    pub done: Option<Instant>,
    /// When the hub first showed a final phase.
    pub shown: Option<Instant>,
}

impl Row {
    /// How long after Velero's end the hub showed it. The two are seen over different connections,
    /// so the hub may be seen first: that counts as no time at all.
    pub fn lag(&self) -> Option<Duration> {
        Some(self.shown?.saturating_duration_since(self.done?))
    }
}

/// An operation that is being followed.
#[derive(Debug, Clone)]
pub struct Followed<O> {
    /// When it was made.
    pub started: Instant,
    /// As the hub last showed it.
    pub operation: O,
    /// Its clusters by name.
    pub rows: BTreeMap<String, Row>,
}

/// A look at the Velero object of an operation.
#[derive(Debug, Clone)]
pub struct Sight {
    /// The member that it is in.
    pub cluster: String,
    /// Velero is done with it.
    pub is_final: bool,
}

enum Seen<O> {
    Hub(Box<O>),
    Member(Sight),
    Tick,
}

/// Follows `operation`, which was just made, until its outcome is known. `changed` is called for all
/// that is new, and now and then between.
pub async fn follow<O: Operation>(
    api: &Api<O>,
    operation: O,
    members: &[MemberView],
    deadline: Duration,
    mut changed: impl FnMut(&Followed<O>),
) -> Result<Followed<O>> {
    let mut seen = select_all(sources(api, &operation, members));
    let mut state = Followed {
        started: Instant::now(),
        operation,
        rows: BTreeMap::new(),
    };
    let ended = tokio::time::timeout(deadline, async {
        while let Some(next) = seen.try_next().await? {
            state.take(next);
            changed(&state);
            if state.is_complete() {
                return Ok(());
            }
        }
        bail!("the watches ended")
    });
    match ended.await {
        Ok(ended) => ended?,
        Err(_) => bail!("not finished after {deadline:?}: {}", state.explain()),
    }
    Ok(state)
}

type Source<O> = BoxStream<'static, watcher::Result<Seen<O>>>;

fn sources<O: Operation>(api: &Api<O>, operation: &O, members: &[MemberView]) -> Vec<Source<O>> {
    let hub = watch_object(api.clone(), &operation.name_any())
        .try_filter_map(|object| async { Ok(object.map(|object| Seen::Hub(Box::new(object)))) });
    let uid = operation.uid().unwrap_or_default();
    let members = members.iter().flat_map(|member| O::in_member(member, &uid));
    let members = members.map(|sights| sights.map_ok(Seen::Member).boxed());
    let ticks = futures::stream::unfold(tokio::time::interval(TICK), |mut interval| async {
        interval.tick().await;
        Some((Ok(Seen::Tick), interval))
    });
    [hub.boxed(), ticks.boxed()]
        .into_iter()
        .chain(members)
        .collect()
}

/// What is seen of the Velero objects of one kind that the hub object of this uid owns in a member,
/// but for copies of what another one has made.
pub fn sights<K: Object>(member: &MemberView, uid: &str, phase: fn(&K) -> VeleroPhase) -> Sights {
    let name = member.name.clone();
    let own = format!("{}={uid},{}={name}", labels::OWNER_UID, labels::CLUSTER);
    watch::watcher(member.velero::<K>(), watch::Config::default().labels(&own))
        .applied_objects()
        .map_ok(move |object| Sight {
            cluster: name.clone(),
            is_final: phase(&object).is_final(),
        })
        .boxed()
}

impl<O: Operation> Followed<O> {
    fn take(&mut self, seen: Seen<O>) {
        let now = Instant::now();
        match seen {
            Seen::Tick => {}
            Seen::Member(Sight { cluster, is_final }) => {
                let row = self.rows.entry(cluster).or_default();
                row.begun.get_or_insert(now);
                if is_final {
                    row.done.get_or_insert(now);
                }
            }
            Seen::Hub(operation) => {
                for entry in operation.entries() {
                    let row = self.rows.entry(entry.cluster.clone()).or_default();
                    if entry.phase.is_final() {
                        row.shown.get_or_insert(now);
                    }
                    row.entry = entry;
                }
                self.operation = *operation;
            }
        }
    }

    /// The outcome is known, and of what completed it is known when.
    fn is_complete(&self) -> bool {
        let timed = |row: &Row| row.entry.phase != EntryPhase::Completed || row.done.is_some();
        self.operation.is_known() && self.rows.values().all(timed)
    }

    /// Whether every cluster completed.
    pub fn is_success(&self) -> bool {
        !self.rows.is_empty()
            && self
                .rows
                .values()
                .all(|row| row.entry.phase == EntryPhase::Completed)
            && self.operation.phase() == Some(Phase::Completed)
    }

    /// Where each cluster stands, in one line.
    pub fn explain(&self) -> String {
        let rows = self.rows.iter().map(|(name, row)| {
            let reason = row.entry.reason.as_deref().unwrap_or_default();
            let message = row.entry.message.as_deref().unwrap_or_default();
            format!("{name}: {} {reason} {message}", row.entry.phase.as_str())
                .trim_end()
                .to_owned()
        });
        let rows: Vec<String> = rows.collect();
        if rows.is_empty() {
            "its status shows no cluster".to_owned()
        } else {
            rows.join("; ")
        }
    }
}

#[cfg(test)]
mod tests {
    use api_types::backup::Backup;
    use serde_json::json;

    use super::*;

    fn followed(phase: &str, entries: &[(&str, &str, &str)]) -> Followed<Backup> {
        let details = entries.iter().map(|(cluster, phase, message)| {
            json!({"clusterName": cluster, "clusterKind": "AttachedCluster", "phase": phase,
                "reason": "Said", "message": message})
        });
        let backup = json!({
            "apiVersion": "backup.kurator.dev/v1alpha1", "kind": "Backup",
            "metadata": {"name": "b"}, "spec": {"destination": {"fleet": "f"}},
            "status": {"phase": phase, "backupDetails": details.collect::<Vec<_>>()},
        });
        let backup: Backup = serde_json::from_value(backup).unwrap();
        let mut state = Followed {
            started: Instant::now(),
            operation: backup.clone(),
            rows: BTreeMap::new(),
        };
        state.take(Seen::Hub(Box::new(backup)));
        state
    }

    #[test]
    fn only_a_backup_that_completed_everywhere_is_a_success() {
        let good = [("bergen", "Completed", ""), ("oslo", "Completed", "")];
        assert!(followed("Completed", &good).is_success());
        assert!(
            !followed("InProgress", &good).is_success(),
            "not yet said of the whole"
        );
        let one_bad = [
            ("bergen", "Completed", ""),
            ("oslo", "Failed", "the bucket is gone"),
        ];
        assert!(!followed("PartiallyFailed", &one_bad).is_success());
        assert!(!followed("Completed", &one_bad).is_success());
        assert!(
            !followed("Completed", &[]).is_success(),
            "of no cluster at all"
        );
    }

    #[test]
    fn what_did_not_complete_is_explained_for_each_cluster() {
        let mixed = [
            ("bergen", "Completed", ""),
            ("oslo", "Failed", "the bucket is gone"),
        ];
        let text = followed("PartiallyFailed", &mixed).explain();
        assert_eq!(
            text,
            "bergen: Completed Said; oslo: Failed Said the bucket is gone"
        );
        let text = followed("Pending", &[]).explain();
        assert_eq!(text, "its status shows no cluster");
    }
}
