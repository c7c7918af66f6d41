//! The passes over the operations of one kind.

use std::sync::Arc;
use std::time::Duration;

use controller_kit::kind::{HubKind, Kind};
use controller_kit::reconcile::Outcome;
use futures::Stream;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::{self, Event};
use tokio_util::sync::CancellationToken;

use super::Error;
use super::context::{Context, Process};
use super::memory::Remembered;

/// Passes at a time, over different objects of one kind.
pub const CONCURRENCY: u16 = 16;

/// Runs the passes of one kind until `shutdown`; those under way are finished first.
pub async fn run<P, K, O, T, F>(
    ctx: &Arc<Context<P>>,
    kind: Kind<K, O, T>,
    shutdown: CancellationToken,
    reconcile: impl Fn(Arc<Context<P>>, Arc<K>) -> F + Clone + Send + Sync + 'static,
) where
    P: Process,
    K: HubKind,
    O: Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
    T: Stream<Item = ObjectRef<K>> + Send + 'static,
    F: Future<Output = Result<Outcome, Error>> + Send + 'static,
{
    let pass = move |ctx: Arc<Context<P>>, object: Arc<K>| {
        let reconcile = reconcile.clone();
        async move {
            match rest(&ctx, &*object) {
                Some(after) => Ok(Outcome::Waiting {
                    reason: "Paced",
                    after,
                }),
                None => reconcile(ctx, object).await,
            }
        }
    };
    Box::pin(kind.run(ctx, ctx.leadership.clone(), shutdown, pass)).await;
}

/// Begins a pass, unless the object rests after its last writes: for so long.
fn rest<P: Process>(ctx: &Context<P>, object: &impl HubKind) -> Option<Duration> {
    let uid = object.meta().uid.as_deref().unwrap_or_default();
    let begin = |known: &mut Remembered<P>| known.begin_pass(ctx.timings.pace);
    ctx.memory.amend(uid, begin).flatten()
}
