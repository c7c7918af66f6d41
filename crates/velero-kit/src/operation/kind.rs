//! The passes over the objects of one kind.

use std::fmt;
use std::sync::Arc;

use controller_kit::reconcile::{self, Observer, Outcome};
use futures::{Stream, StreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::controller::{Config, Controller};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::Error;
use super::context::{Context, Process};
use super::memory::Remembered;

/// Passes at a time, over different objects of one kind.
const CONCURRENCY: u16 = 16;

/// What a kind of hub object is followed as.
pub trait HubKind:
    kube::Resource<DynamicType = ()> + Clone + fmt::Debug + DeserializeOwned + Send + Sync + 'static
{
}

impl<K> HubKind for K where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + fmt::Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// The passes of one kind.
#[allow(missing_debug_implementations)] // streams have none
pub struct Kind<K: HubKind, O, T> {
    /// What its watch tells.
    pub objects: O,
    /// Its objects.
    pub store: Store<K>,
    /// What else starts passes.
    pub triggers: T,
    /// Who reports the passes.
    pub observer: Observer,
}

impl<K, O, T> Kind<K, O, T>
where
    K: HubKind,
    O: Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
    T: Stream<Item = ObjectRef<K>> + Send + 'static,
{
    /// Runs until `shutdown`; passes under way are finished first.
    pub async fn run<P, F>(
        self,
        ctx: &Arc<Context<P>>,
        shutdown: CancellationToken,
        reconcile: impl Fn(Arc<Context<P>>, Arc<K>) -> F + Clone + Send + Sync + 'static,
    ) where
        P: Process,
        F: Future<Output = Result<Outcome, Error>> + Send + 'static,
    {
        let on_error = self.observer.clone();
        let observer = self.observer;
        Controller::for_stream(self.objects.touched_objects(), self.store)
            .with_config(Config::default().concurrency(CONCURRENCY))
            .reconcile_on(self.triggers)
            .graceful_shutdown_on(shutdown.cancelled_owned())
            .run(
                move |object, ctx: Arc<Context<P>>| {
                    let observer = observer.clone();
                    let pass = pass(reconcile.clone(), ctx, Arc::clone(&object));
                    async move { observer.observe(&*object, Box::pin(pass)).await }
                },
                move |object, error, _| on_error.error_policy(&*object, error),
                Arc::clone(ctx),
            )
            .for_each(|result| async move { reconcile::report(result) })
            .await;
    }
}

/// A pass of the replica that leads; the others only watch.
async fn pass<K, P, F>(
    reconcile: impl Fn(Arc<Context<P>>, Arc<K>) -> F,
    ctx: Arc<Context<P>>,
    object: Arc<K>,
) -> Result<Outcome, Error>
where
    K: HubKind,
    P: Process,
    F: Future<Output = Result<Outcome, Error>>,
{
    if ctx.leadership.is_leader() {
        let uid = object.meta().uid.as_deref().unwrap_or_default();
        ctx.memory.amend(uid, Remembered::begin_pass);
        reconcile(ctx, object).await
    } else {
        Ok(Outcome::Done)
    }
}
