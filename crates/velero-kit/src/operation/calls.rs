//! Calls to members that may outlive the pass that made them: a member that does not answer delays
//! nothing that is done and shown for the others.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::identity::Owner;
use crate::problem::Problem;
use api_types::condition::reason;
use api_types::key::ClusterKey;
use futures::future::{BoxFuture, FutureExt, join_all};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tracing::Instrument;

use super::context::{Context, Process};
use super::objects::PARALLEL;

/// What an older answer has decided is looked at once more: it may have changed meanwhile.
pub const FRESH: Duration = Duration::from_secs(5);

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
pub struct Call<A> {
    key: ClusterKey,
    /// What it is for; an answer counts only for the same purpose.
    purpose: String,
    answer: BoxFuture<'static, A>,
}

impl<A> fmt::Debug for Call<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("key", &self.key)
            .field("purpose", &self.purpose)
            .finish_non_exhaustive()
    }
}

impl<A> Call<A> {
    /// A call that begins when it is its turn.
    pub fn new(
        key: ClusterKey,
        purpose: String,
        call: impl Future<Output = A> + Send + 'static,
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
pub enum Slot<A> {
    /// None.
    #[default]
    Free,
    /// Under way.
    Busy(String),
    /// Answered, and not taken yet.
    Answered(Box<Answered<A>>),
}

/// An answer that waits for the pass that needs it.
#[derive(Debug)]
pub struct Answered<A> {
    purpose: String,
    answer: A,
    at: Instant,
    /// The object's pass that was under way, or the last before.
    pass: u64,
}

impl<A> Answered<A> {
    /// An answer is for the next pass, however long that has to wait for its turn. What that one did
    /// not need may be wrong for a later one: it decides by what it has seen since.
    fn counts(&self, purpose: &str, turn: Turn) -> bool {
        self.purpose == purpose
            && self.at.elapsed() < turn.limit
            && turn.pass <= self.pass.saturating_add(1)
    }
}

/// A pass that takes answers.
#[derive(Debug, Clone, Copy)]
struct Turn {
    /// Its number, among those of its object.
    pass: u64,
    /// An answer that is older is worth nothing any more.
    limit: Duration,
}

impl<A> Slot<A> {
    /// The answer for this purpose, and since when it waits, if it counts. It is gone from here then.
    fn take(&mut self, purpose: &str, turn: Turn) -> Option<(A, Instant)> {
        if !matches!(self, Self::Answered(_)) {
            return None;
        }
        match std::mem::take(self) {
            Self::Answered(known) if known.counts(purpose, turn) => Some((known.answer, known.at)),
            _ => None,
        }
    }

    fn is_busy(&self) -> bool {
        matches!(self, Self::Busy(_))
    }

    fn answer(&mut self, purpose: &str, answer: A, pass: u64) {
        if matches!(self, Self::Busy(of) if of == purpose) {
            *self = Self::Answered(Box::new(Answered {
                purpose: purpose.to_owned(),
                answer,
                at: Instant::now(),
                pass,
            }));
        }
    }
}

/// Members whose newest call has outlived its pass. They are not waited for: the objects that work on
/// one of them would keep the passes of all others from their turn.
#[derive(Debug, Default)]
pub struct Slow(Mutex<HashSet<ClusterKey>>);

impl Slow {
    /// More members than a hub has. The set only saves time.
    const MOST: usize = 10_000;

    fn has(&self, key: &ClusterKey) -> bool {
        self.lock().contains(key)
    }

    /// Notes how the newest call to a member went.
    fn note(&self, key: &ClusterKey, slow: bool) {
        let mut members = self.lock();
        if !slow {
            members.remove(key);
        } else if members.len() < Self::MOST {
            members.insert(key.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<ClusterKey>> {
        // Nothing is changed in steps.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the calls, some at a time, and waits a moment for their answers, except for those of members
/// that have taken longer. What is not answered by then goes on beside the passes, and its answer
/// starts the next one.
pub async fn answers<P: Process>(
    ctx: &Arc<Context<P>>,
    owner: &Owner,
    calls: Vec<Call<P::Answer>>,
) -> BTreeMap<ClusterKey, P::Answer> {
    let mut answers = BTreeMap::new();
    let mut old = false;
    let mut take = |key: ClusterKey, (answer, at): (P::Answer, Instant)| {
        old |= at.elapsed() >= FRESH;
        answers.insert(key, answer);
    };
    let mut started = Vec::new();
    let late = Arc::new(AtomicBool::new(false));
    let limit = Arc::new(Semaphore::new(PARALLEL));
    let calls = calls
        .into_iter()
        .map(|call| (ctx.slow.has(&call.key), call));
    let mut calls: Vec<(bool, Call<P::Answer>)> = calls.collect();
    // Who answers at once does not wait behind who does not.
    calls.sort_by_key(|(slow, _)| *slow);
    for (slow, call) in calls {
        let Call { key, purpose, .. } = &call;
        let (known, busy) = slot(ctx, owner, key, |slot, turn| {
            (slot.take(purpose, turn), slot.is_busy())
        });
        if let Some(known) = known {
            take(call.key, known);
        } else if !busy {
            let late = if slow {
                Arc::new(AtomicBool::new(true))
            } else {
                Arc::clone(&late)
            };
            let (key, purpose) = (key.clone(), purpose.clone());
            let task = begin(ctx, owner, call, (late, Arc::clone(&limit)));
            if !slow {
                started.push(((key, purpose), task));
            }
        }
    }
    let (names, tasks): (Vec<_>, Vec<_>) = started.into_iter().unzip();
    let all = timeout(ctx.timings.member_patience, join_all(tasks)).await;
    if all.is_err() {
        // Before the answers are taken: one that comes after is noticed by its own task.
        late.store(true, Ordering::SeqCst);
    }
    for (key, purpose) in names {
        match slot(ctx, owner, &key, |slot, turn| slot.take(&purpose, turn)) {
            Some(known) => take(key, known),
            None => ctx.slow.note(&key, true),
        }
    }
    if old {
        ctx.trigger_owner(owner.kind, &owner.namespace, &owner.name);
    }
    answers
}

/// The clusters that a call for this owner is under way to.
pub fn busy(ctx: &Context<impl Process>, owner: &Owner) -> Vec<ClusterKey> {
    ctx.memory.with(&owner.uid, |memory| {
        let clusters = memory.clusters.iter();
        let busy = clusters.filter(|(_, of)| of.call.is_busy());
        busy.map(|(key, _)| key.clone()).collect()
    })
}

/// Begins a call in a task of its own.
fn begin<P: Process>(
    ctx: &Arc<Context<P>>,
    owner: &Owner,
    call: Call<P::Answer>,
    (late, limit): (Arc<AtomicBool>, Arc<Semaphore>),
) -> JoinHandle<()> {
    let Call {
        key,
        purpose,
        answer,
    } = call;
    slot(ctx, owner, &key, |slot, _| {
        *slot = Slot::Busy(purpose.clone());
    });
    let task = Task {
        ctx: Arc::clone(ctx),
        owner: owner.clone(),
        key,
        purpose,
        late,
    };
    // Its calls belong to the trace of this pass.
    tokio::spawn(task.run(answer, limit).in_current_span())
}

/// What an entry says while its member owes an answer.
pub fn unanswered(key: &ClusterKey) -> Problem {
    Problem::new(
        reason::UNREACHABLE,
        format!("{} has not answered yet", key.name),
    )
}

struct Task<P: Process> {
    ctx: Arc<Context<P>>,
    owner: Owner,
    key: ClusterKey,
    purpose: String,
    /// Whether nobody waits for the answer any more.
    late: Arc<AtomicBool>,
}

impl<P: Process> Task<P> {
    async fn run(self, call: BoxFuture<'static, P::Answer>, limit: Arc<Semaphore>) {
        // The semaphore is never closed.
        let _turn = limit.acquire_owned().await.ok();
        let begun = Instant::now();
        // A panic must not leave the cluster busy for ever: the next pass asks again.
        let answer = AssertUnwindSafe(call).catch_unwind().await;
        let slow = begun.elapsed() >= self.ctx.timings.member_patience;
        self.ctx.slow.note(&self.key, slow);
        self.ctx.memory.amend(&self.owner.uid, |memory| {
            let pass = memory.pass;
            if let Some(of) = memory.clusters.get_mut(&self.key) {
                match answer {
                    Ok(answer) => of.call.answer(&self.purpose, answer, pass),
                    Err(_) => of.call = Slot::Free,
                }
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

fn slot<P: Process, T>(
    ctx: &Context<P>,
    owner: &Owner,
    key: &ClusterKey,
    f: impl FnOnce(&mut Slot<P::Answer>, Turn) -> T,
) -> T {
    ctx.memory.with(&owner.uid, |memory| {
        let turn = Turn {
            pass: memory.pass,
            limit: ctx.timings.pass_limit,
        };
        let of = memory.clusters.entry(key.clone()).or_default();
        f(&mut of.call, turn)
    })
}

#[cfg(test)]
#[path = "calls_tests.rs"]
mod tests;
