//! Following one Backup on the hub and, past everything of ours, in the members: what is shown, and
//! how long after it happened.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use api_types::aggregate::VeleroPhase;
use api_types::backup::{Backup, BackupDetail};
use api_types::external::velero;
use api_types::labels;
use api_types::phase::{EntryPhase, Phase};
use futures::stream::{BoxStream, select_all};
use futures::{StreamExt, TryStreamExt};
use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::watcher::{self, watch_object};
use kube::runtime::{WatchStreamExt, watcher as watch};

use crate::cluster::MemberView;
use crate::status::{is_phase, is_succeeded_known};

/// How often somebody who shows the state may draw it, so that running times move.
const TICK: Duration = Duration::from_millis(200);

/// One cluster of a followed Backup.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Its entry on the hub.
    pub entry: BackupDetail,
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

/// A Backup that is being followed.
#[derive(Debug, Clone)]
pub struct Followed {
    /// When it was made.
    pub started: Instant,
    /// As the hub last showed it.
    pub backup: Backup,
    /// Its clusters by name.
    pub rows: BTreeMap<String, Row>,
}

enum Seen {
    Hub(Box<Backup>),
    Member(String, Box<velero::Backup>),
    Tick,
}

/// Follows `backup`, which was just made, until its outcome is known. `changed` is called for all
/// that is new, and now and then between.
pub async fn follow(
    backups: &Api<Backup>,
    backup: Backup,
    members: &[MemberView],
    deadline: Duration,
    mut changed: impl FnMut(&Followed),
) -> Result<Followed> {
    let mut seen = select_all(sources(backups, &backup, members));
    let mut state = Followed {
        started: Instant::now(),
        backup,
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

type Source = BoxStream<'static, watcher::Result<Seen>>;

fn sources(backups: &Api<Backup>, backup: &Backup, members: &[MemberView]) -> Vec<Source> {
    let hub = watch_object(backups.clone(), &backup.name_any())
        .try_filter_map(|backup| async { Ok(backup.map(|backup| Seen::Hub(Box::new(backup)))) });
    let owned = format!("{}={}", labels::OWNER_UID, backup.uid().unwrap_or_default());
    let config = watch::Config::default().labels(&owned);
    let members = members.iter().map(|member| {
        let name = member.name.clone();
        watch::watcher(member.velero::<velero::Backup>(), config.clone())
            .applied_objects()
            .map_ok(move |object| Seen::Member(name.clone(), Box::new(object)))
            .boxed()
    });
    let ticks = futures::stream::unfold(tokio::time::interval(TICK), |mut interval| async {
        interval.tick().await;
        Some((Ok(Seen::Tick), interval))
    });
    [hub.boxed(), ticks.boxed()]
        .into_iter()
        .chain(members)
        .collect()
}

impl Followed {
    fn take(&mut self, seen: Seen) {
        let now = Instant::now();
        match seen {
            Seen::Tick => {}
            Seen::Member(cluster, object) => {
                if VeleroPhase::of(object.phase()).is_final() {
                    self.rows
                        .entry(cluster)
                        .or_default()
                        .done
                        .get_or_insert(now);
                }
            }
            Seen::Hub(backup) => {
                for entry in backup
                    .status
                    .iter()
                    .flat_map(|status| &status.backup_details)
                {
                    let row = self.rows.entry(entry.cluster_name.clone()).or_default();
                    row.entry = entry.clone();
                    if entry.phase.is_final() {
                        row.shown.get_or_insert(now);
                    }
                }
                self.backup = *backup;
            }
        }
    }

    /// The outcome is known, and of what completed it is known when.
    fn is_complete(&self) -> bool {
        let timed = |row: &Row| row.entry.phase != EntryPhase::Completed || row.done.is_some();
        is_succeeded_known(&self.backup) && self.rows.values().all(timed)
    }

    /// Whether every cluster completed.
    pub fn is_success(&self) -> bool {
        !self.rows.is_empty()
            && self
                .rows
                .values()
                .all(|row| row.entry.phase == EntryPhase::Completed)
            && is_phase(&self.backup, Phase::Completed)
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
