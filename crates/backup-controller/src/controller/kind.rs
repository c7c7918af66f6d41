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

use crate::context::Context;
use crate::operation::Error;
use crate::operation::memory::Remembered;

/// Passes at a time, over different objects of one kind.
const CONCURRENCY: u16 = 16;

/// What a kind of hub object is followed as.
pub(super) trait HubKind:
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
pub(super) struct Kind<K: HubKind, O, T> {
    pub(super) objects: O,
    pub(super) store: Store<K>,
    pub(super) triggers: T,
    pub(super) observer: Observer,
}

impl<K, O, T> Kind<K, O, T>
where
    K: HubKind,
    O: Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
    T: Stream<Item = ObjectRef<K>> + Send + 'static,
{
    /// Runs until `shutdown`; passes under way are finished first.
    pub(super) async fn run<P>(
        self,
        ctx: &Arc<Context>,
        shutdown: CancellationToken,
        reconcile: impl Fn(Arc<Context>, Arc<K>) -> P + Clone + Send + Sync + 'static,
    ) where
        P: Future<Output = Result<Outcome, Error>> + Send + 'static,
    {
        let on_error = self.observer.clone();
        let observer = self.observer;
        Controller::for_stream(self.objects.touched_objects(), self.store)
            .with_config(Config::default().concurrency(CONCURRENCY))
            .reconcile_on(self.triggers)
            .graceful_shutdown_on(shutdown.cancelled_owned())
            .run(
                move |object, ctx: Arc<Context>| {
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
async fn pass<K, P>(
    reconcile: impl Fn(Arc<Context>, Arc<K>) -> P,
    ctx: Arc<Context>,
    object: Arc<K>,
) -> Result<Outcome, Error>
where
    K: HubKind,
    P: Future<Output = Result<Outcome, Error>>,
{
    if ctx.leadership.is_leader() {
        let uid = object.meta().uid.as_deref().unwrap_or_default();
        ctx.memory.amend(uid, Remembered::begin_pass);
        reconcile(ctx, object).await
    } else {
        Ok(Outcome::Done)
    }
}
