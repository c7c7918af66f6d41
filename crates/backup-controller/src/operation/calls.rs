//! Calls to members that may outlive the pass that made them: a member that does not answer delays
//! nothing that is done and shown for the others.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api_types::condition::reason;
use api_types::external::velero;
use api_types::key::ClusterKey;
use futures::future::{BoxFuture, FutureExt, join_all};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tracing::Instrument;
use velero_kit::deletion::Step;
use velero_kit::identity::Owner;
use velero_kit::problem::Problem;

use super::objects::{Applied, PARALLEL};
use crate::context::Context;
use crate::schedule::apply::Placed;
use crate::schedule::delete::Cleared;
use crate::schedule::former::Left;

/// An answer that no pass has taken for this long is worth nothing any more.
const FRESH: Duration = Duration::from_secs(5);

/// What came of a call.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The name that is free.
    Name(Result<String, Problem>),
    /// The Velero Backup that is there under the claimed name.
    Backup(Applied<velero::Backup>),
    /// The Velero Restore that is there, or why none was made.
    Restore(Result<Applied<velero::Restore>, NotNow>),
    /// The Velero Backup that can be restored, or why none can.
    Run(Result<Box<velero::Backup>, NotNow>),
    /// How far the deletion of a Velero Backup is.
    Step(Result<Step, Problem>),
    /// The Schedule, and the run, that are there.
    Placed(Result<Box<Placed>, Problem>),
    /// What a cluster has after its Schedules were removed.
    Stopped(Result<Left, Problem>),
    /// How far the deletion of a Schedule and its runs is: what it waits for, and when to look again.
    Cleared(Result<Cleared, Problem>),
    /// What the deletion of Velero Restores waits for, if anything.
    Removed(Result<Option<Problem>, Problem>),
    /// Whether a Fleet's storage was set up, or given up.
    Stored(Result<(), Problem>),
}

/// Why a member cannot be worked on, as a look at it has shown.
#[derive(Debug, Clone)]
pub enum NotNow {
    /// Something must come first.
    Waits(Problem),
    /// A call failed.
    Failed(Problem),
}

impl From<proxy_client::Error> for NotNow {
    fn from(error: proxy_client::Error) -> Self {
        Self::Failed(Problem::from(&error))
    }
}

/// One call to one member.
pub struct Call {
    key: ClusterKey,
    /// What it is for; an answer counts only for the same purpose.
    purpose: String,
    answer: BoxFuture<'static, Answer>,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("key", &self.key)
            .field("purpose", &self.purpose)
            .finish_non_exhaustive()
    }
}

impl Call {
    /// A call that begins when it is its turn.
    pub fn new(
        key: ClusterKey,
        purpose: String,
        call: impl Future<Output = Answer> + Send + 'static,
    ) -> Self {
        Self {
            key,
            purpose,
            answer: call.boxed(),
        }
    }
}

/// The call of one cluster that is under way or answered, at most one at a time.
#[derive(Debug, Default)]
pub enum Slot {
    /// None.
    #[default]
    Free,
    /// Under way.
    Busy(String),
    /// Answered, then, and not taken yet.
    Answered(String, Box<Answer>, Instant),
}

impl Slot {
    /// The answer for this purpose, if it is fresh; it is gone from here then.
    fn take(&mut self, purpose: &str) -> Option<Answer> {
        let Self::Answered(of, _, at) = self else {
            return None;
        };
        let fits = of == purpose && at.elapsed() < FRESH;
        match std::mem::take(self) {
            Self::Answered(_, answer, _) if fits => Some(*answer),
            _ => None,
        }
    }

    fn is_busy(&self) -> bool {
        matches!(self, Self::Busy(_))
    }

    fn answer(&mut self, purpose: &str, answer: Answer) {
        if matches!(self, Self::Busy(of) if of == purpose) {
            *self = Self::Answered(purpose.to_owned(), Box::new(answer), Instant::now());
        }
    }
}

/// Makes the calls, some at a time, and waits a moment for their answers. What is not answered by
/// then goes on beside the passes, and its answer starts the next one.
pub async fn answers(
    ctx: &Arc<Context>,
    owner: &Owner,
    calls: Vec<Call>,
) -> BTreeMap<ClusterKey, Answer> {
    let mut answers = BTreeMap::new();
    let mut started = Vec::new();
    let late = Arc::new(AtomicBool::new(false));
    let limit = Arc::new(Semaphore::new(PARALLEL));
    for Call {
        key,
        purpose,
        answer,
    } in calls
    {
        let (known, busy) = slot(ctx, owner, &key, |slot| {
            (slot.take(&purpose), slot.is_busy())
        });
        if let Some(answer) = known {
            answers.insert(key, answer);
        } else if !busy {
            slot(ctx, owner, &key, |slot| *slot = Slot::Busy(purpose.clone()));
            let task = Task {
                ctx: Arc::clone(ctx),
                owner: owner.clone(),
                key: key.clone(),
                purpose: purpose.clone(),
                late: Arc::clone(&late),
            };
            started.push((
                key,
                purpose,
                // Its calls belong to the trace of this pass.
                tokio::spawn(task.run(answer, Arc::clone(&limit)).in_current_span()),
            ));
        }
    }
    let (names, tasks): (Vec<_>, Vec<_>) = started
        .into_iter()
        .map(|(key, purpose, task)| ((key, purpose), task))
        .unzip();
    let all = timeout(ctx.timings.member_patience, join_all(tasks)).await;
    if all.is_err() {
        // Before the answers are taken: one that comes after is noticed by its own task.
        late.store(true, Ordering::SeqCst);
    }
    for (key, purpose) in names {
        if let Some(answer) = slot(ctx, owner, &key, |slot| slot.take(&purpose)) {
            answers.insert(key, answer);
        }
    }
    answers
}

/// The clusters that a call for this owner is under way to.
pub fn busy(ctx: &Context, owner: &Owner) -> Vec<ClusterKey> {
    ctx.memory.with(&owner.uid, |memory| {
        let clusters = memory.clusters.iter();
        let busy = clusters.filter(|(_, of)| of.call.is_busy());
        busy.map(|(key, _)| key.clone()).collect()
    })
}

/// What an entry says while its member owes an answer.
pub fn unanswered(key: &ClusterKey) -> Problem {
    Problem::new(
        reason::UNREACHABLE,
        format!("{} has not answered yet", key.name),
    )
}

struct Task {
    ctx: Arc<Context>,
    owner: Owner,
    key: ClusterKey,
    purpose: String,
    late: Arc<AtomicBool>,
}

impl Task {
    async fn run(self, call: BoxFuture<'static, Answer>, limit: Arc<Semaphore>) {
        // The semaphore is never closed.
        let _turn = limit.acquire_owned().await.ok();
        let answer = call.await;
        self.ctx.memory.amend(&self.owner.uid, |memory| {
            if let Some(of) = memory.clusters.get_mut(&self.key) {
                of.call.answer(&self.purpose, answer);
            }
        });
        if self.late.load(Ordering::SeqCst) {
            let Owner {
                kind,
                namespace,
                name,
                ..
            } = &self.owner;
            self.ctx.trigger_owner(kind, namespace, name);
        }
    }
}

fn slot<T>(ctx: &Context, owner: &Owner, key: &ClusterKey, f: impl FnOnce(&mut Slot) -> T) -> T {
    ctx.memory.with(&owner.uid, |memory| {
        f(&mut memory.clusters.entry(key.clone()).or_default().call)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Answer {
        Answer::Name(Ok(text.to_owned()))
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_counts_once_for_its_purpose_and_while_it_is_fresh() {
        let mut slot = Slot::Busy("create a".to_owned());
        assert!(slot.take("create a").is_none() && slot.is_busy());
        slot.answer("create b", name("b"));
        assert!(slot.is_busy(), "an answer to another question is none");
        slot.answer("create a", name("a"));
        assert!(matches!(slot.take("create a"), Some(Answer::Name(Ok(n))) if n == "a"));
        assert!(slot.take("create a").is_none() && !slot.is_busy());

        slot = Slot::Busy("confirm a".to_owned());
        slot.answer("confirm a", name("a"));
        assert!(
            slot.take("create a").is_none(),
            "it was asked for something else"
        );
        assert!(!slot.is_busy());

        slot = Slot::Busy("confirm a".to_owned());
        slot.answer("confirm a", name("a"));
        tokio::time::advance(FRESH).await;
        assert!(slot.take("confirm a").is_none(), "it may be wrong by now");
    }
}
