//! What Velero says went wrong with single objects: its results, read through a link that it gives.
//! Best effort and bounded: an entry is final only with its message, so it waits for the results, but
//! never longer than [`Timings::results`](crate::operation::timings::Timings::results).

use std::sync::Arc;
use std::time::Duration;

use api_types::external::velero;
use controller_kit::text::chain;
use proxy_client::{Error as CallError, MemberApi, Preconditions};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::Instrument;

pub use super::fetch::Store;
use super::fetch::Unread;
use crate::identity::Owner;
use crate::operation::context::{Context, Process};
use crate::operation::objects::{self, Target};
use crate::operation::silence;
use crate::results;

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

/// What is known of the results; begins to read them if nobody does.
pub fn read(
    ctx: &Arc<Context<impl Process>>,
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
struct Task<P: Process> {
    ctx: Arc<Context<P>>,
    owner: Owner,
    /// The Velero Restore.
    target: Target,
    store: Arc<Store>,
    end: Instant,
}

impl<P: Process> Task<P> {
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
        match api.create(&request, P::MANAGER).await {
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
}
