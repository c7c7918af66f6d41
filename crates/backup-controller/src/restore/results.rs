//! What Velero says went wrong with single objects: its results, read through a link that it gives.
//! Best effort and bounded: an entry is final only with its message, so it waits for the results, but
//! never longer than [`Timings::results`](crate::timings::Timings::results).

use std::sync::Arc;
use std::time::Duration;

use api_types::external::velero;
use api_types::labels;
use api_types::names::MemberId;
use controller_kit::text::chain;
use proxy_client::{Error as CallError, MemberApi, Preconditions};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::Instrument;
use velero_kit::classify;
use velero_kit::identity::Owner;
use velero_kit::results;

use super::pass::{Pass, Row};
use super::plan::Next;
use crate::context::Context;
use crate::operation::member::Link;
use crate::operation::objects::{self, Target};
use crate::operation::{destination, silence, sooner};

mod fetch;

use fetch::{Store, Unread};

/// Results that are fetched at a time, by all passes: each may hold 4 MiB.
static TURNS: Semaphore = Semaphore::const_new(32);
/// How long is waited for a turn, so that stores that do not answer cost others little.
const TURN: Duration = Duration::from_secs(2);
/// Times between two looks at a request; Velero answers in about 0.2 s.
const LOOKS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// Beyond its time, for a reading that never told its end.
const GRACE: Duration = Duration::from_secs(1);

/// The results of the Velero Restore of an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Results {
    /// They are not asked for, or could not be read.
    #[default]
    None,
    /// They are being read.
    Awaited,
    /// The first error lines.
    Lines(Arc<[String]>),
}

/// How far the reading of the results of one Velero Restore is.
#[derive(Debug, Default)]
pub enum Reading {
    /// It has not begun.
    #[default]
    None,
    /// It has begun, then.
    Since(Instant),
    /// It has ended with these lines; none if nothing could be read.
    Done(Arc<[String]>),
}

impl Reading {
    /// What is known, `limit` after the beginning at the latest; and when to look again.
    fn results(&self, limit: Duration) -> (Results, Option<Duration>) {
        match self {
            Self::Since(at) => match (limit + GRACE).checked_sub(at.elapsed()) {
                Some(left) if !left.is_zero() => (Results::Awaited, Some(left)),
                _ => (Results::None, None),
            },
            Self::Done(lines) if !lines.is_empty() => (Results::Lines(Arc::clone(lines)), None),
            Self::None | Self::Done(_) => (Results::None, None),
        }
    }
}

impl Pass<'_> {
    /// Reads the results of each restore that has just gone wrong, beside the passes: the end of a
    /// reading starts the next one. Returns when to look again, should that be lost.
    pub(super) fn read_results(&self, rows: &mut [Row]) -> Option<Duration> {
        let mut ended: Vec<(&mut Row, Arc<velero::Restore>, MemberId)> = rows
            .iter_mut()
            .filter_map(|row| {
                let (object, member) = has_results(row)?;
                Some((row, object, member))
            })
            .collect();
        if ended.is_empty() {
            return None;
        }
        let (ctx, owner) = (self.0.ctx, &self.0.owner);
        let fleet = destination::fleet(ctx, &owner.namespace, &owner.fleet);
        let store = fleet.as_deref().and_then(Store::of).map(Arc::new);
        let mut again = None;
        for (row, object, member) in &mut ended {
            let Some(store) = &store else { continue };
            let target = Target {
                key: row.entry.key.clone(),
                member: member.clone(),
                name: object.metadata.name.clone().unwrap_or_default(),
            };
            let (results, left) = read(ctx, owner, target, store);
            row.entry.results = results;
            again = sooner(again, left);
        }
        again
    }
}

/// The Velero Restore of an entry, if Velero may have written its results and can be asked for them.
fn has_results(row: &Row) -> Option<(Arc<velero::Restore>, MemberId)> {
    let (Next::Follow(object), Link::Up { member_uid }) = (&row.next, &row.entry.facts.link) else {
        return None;
    };
    let text = object.status.get("failureReason");
    let text = text.and_then(serde_json::Value::as_str);
    let there = object.metadata.uid.is_some() && object.metadata.deletion_timestamp.is_none();
    (there && classify::restore_has_results(object.phase(), text))
        .then(|| (Arc::clone(object), MemberId::from_uid(member_uid)))
}

/// What is known of the results; begins to read them if nobody does.
fn read(
    ctx: &Arc<Context>,
    owner: &Owner,
    target: Target,
    store: &Arc<Store>,
) -> (Results, Option<Duration>) {
    let limit = ctx.timings.results;
    ctx.memory.with(&owner.uid, |memory| {
        let of = memory.clusters.entry(target.key.clone()).or_default();
        if let Reading::None = of.results {
            let now = Instant::now();
            of.results = Reading::Since(now);
            let task = Task {
                ctx: Arc::clone(ctx),
                owner: owner.clone(),
                target,
                store: Arc::clone(store),
                end: now + limit,
            };
            tokio::spawn(task.run().in_current_span());
        }
        of.results.results(limit)
    })
}

/// The reading of the results of one Velero Restore.
struct Task {
    ctx: Arc<Context>,
    owner: Owner,
    /// The Velero Restore.
    target: Target,
    store: Arc<Store>,
    end: Instant,
}

impl Task {
    async fn run(self) {
        let key = self.target.key.clone();
        let Some(turn) = self.turn().await else {
            tracing::info!(cluster = %key, "too many results are read at once: only counts are shown");
            self.tell(Vec::new());
            return;
        };
        let api = objects::velero::<velero::DownloadRequest>(&self.ctx, &key);
        let name = silence::question_name(&self.owner, &key);
        let lines = self.lines(&api, &name).await.unwrap_or_else(|error| {
            let error = chain(&error);
            tracing::info!(cluster = %key, %error, "the results of a restore were not read");
            Vec::new()
        });
        drop(turn);
        self.tell(lines);
        // Nobody waits for this. What stays is removed by Velero ten minutes after it answered.
        if let Err(error) = self.remove(&api, &name).await {
            tracing::debug!(cluster = %key, %name, %error, "a DownloadRequest stays for now");
        }
    }

    /// Removes the request, if it is ours.
    async fn remove(
        &self,
        api: &MemberApi<velero::DownloadRequest>,
        name: &str,
    ) -> Result<(), CallError> {
        let Some(found) = api.get_opt(name).await? else {
            return Ok(());
        };
        if self.owner.owns(&found.metadata, &self.target.member) {
            let only_if = Preconditions {
                uid: found.metadata.uid,
                resource_version: None,
            };
            api.delete(name, &only_if).await?;
        }
        Ok(())
    }

    async fn turn(&self) -> Option<SemaphorePermit<'static>> {
        let end = self.end.min(Instant::now() + TURN);
        timeout_at(end, TURNS.acquire()).await.ok()?.ok()
    }

    /// Asks for a link, and reads what is there.
    async fn lines(
        &self,
        api: &MemberApi<velero::DownloadRequest>,
        name: &str,
    ) -> Result<Vec<String>, Unread> {
        let link = timeout_at(self.end, self.link(api, name)).await;
        let link = link.unwrap_or(Err(Unread::TooSlow))?;
        self.store.read(&link, self.end).await
    }

    async fn link(
        &self,
        api: &MemberApi<velero::DownloadRequest>,
        name: &str,
    ) -> Result<String, Unread> {
        let Target {
            key,
            member,
            name: restore,
        } = &self.target;
        let request = results::request(&self.owner, name, restore, (key, member));
        match api.create(&request, labels::BACKUP_MANAGER).await {
            // One that is there is of an earlier process; a lost answer may hide a success.
            Ok(_) | Err(CallError::AlreadyExists(_) | CallError::OutcomeUnknown(_)) => {}
            Err(error) => return Err(Unread::Call(Box::new(error))),
        }
        let (mut wait, longest) = LOOKS;
        loop {
            sleep(wait).await;
            wait = (wait * 2).min(longest);
            let found = api.get(name).await;
            let found = found.map_err(|error| Unread::Call(Box::new(error)))?;
            let ours = self.owner.owns(&found.metadata, member);
            if !ours || found.spec.target != request.spec.target {
                return Err(Unread::NotOurs);
            }
            match (found.download_url(), found.phase()) {
                ("", "Failed") => return Err(Unread::Refused),
                ("", _) => {}
                (link, _) => return Ok(link.to_owned()),
            }
        }
    }

    /// Notes the lines, and starts the pass that waits for them.
    fn tell(&self, lines: Vec<String>) {
        let Owner {
            kind,
            namespace,
            name,
            uid,
            ..
        } = &self.owner;
        self.ctx.memory.amend(uid, |memory| {
            if let Some(of) = memory.clusters.get_mut(&self.target.key) {
                of.results = Reading::Done(lines.into());
            }
        });
        self.ctx.trigger_owner(kind, namespace, name);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{down, object, seen};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_entry_waits_for_its_results_and_never_for_long() {
        let limit = Duration::from_secs(10);
        let mut reading = Reading::None;
        assert_eq!(reading.results(limit), (Results::None, None));

        reading = Reading::Since(Instant::now());
        assert_eq!(reading.results(limit).0, Results::Awaited);
        tokio::time::advance(limit).await;
        assert_eq!(reading.results(limit), (Results::Awaited, Some(GRACE)));
        tokio::time::advance(GRACE).await;
        assert_eq!(reading.results(limit), (Results::None, None));

        let lines: Arc<[String]> = vec!["quota exceeded".to_owned()].into();
        reading = Reading::Done(Arc::clone(&lines));
        assert_eq!(reading.results(limit), (Results::Lines(lines), None));
        reading = Reading::Done(Vec::new().into());
        assert_eq!(reading.results(limit), (Results::None, None));
    }

    #[test]
    fn only_what_went_wrong_and_is_there_on_a_member_that_answers_is_asked_for() {
        let row = |status, change: fn(&mut velero::Restore)| {
            let mut object = Arc::unwrap_or_clone(object(status));
            object.metadata.uid = Some("a-uid".to_owned());
            change(&mut object);
            Row::new(seen(), Next::Follow(Arc::new(object)))
        };
        let partial = json!({ "phase": "PartiallyFailed", "errors": 2 });
        assert!(has_results(&row(partial.clone(), |_| ())).is_some());
        let failed = json!({ "phase": "Failed", "failureReason": "no space left" });
        assert!(has_results(&row(failed, |_| ())).is_some());

        for phase in ["", "InProgress", "Completed", "FailedValidation"] {
            let row = row(json!({ "phase": phase }), |_| ());
            assert!(has_results(&row).is_none(), "{phase}");
        }
        let gone = row(partial.clone(), |object| object.metadata.uid = None);
        assert!(has_results(&gone).is_none());
        let mut silent = row(partial, |_| ());
        silent.entry.facts.link = down("Unreachable", Some(60));
        assert!(has_results(&silent).is_none());
        assert!(has_results(&Row::new(seen(), Next::Hold)).is_none());
    }
}
