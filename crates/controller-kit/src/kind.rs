//! The passes over the objects of one kind.

use std::fmt;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::controller::{Config, Controller};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::lease::Leadership;
use crate::reconcile::{self, Observer, Outcome, ReconcileError};

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
    /// Passes at a time, over different objects.
    pub concurrency: u16,
    /// Who reports the passes.
    pub observer: Observer,
}

impl<K, O, T> Kind<K, O, T>
where
    K: HubKind,
    O: Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
    T: Stream<Item = ObjectRef<K>> + Send + 'static,
{
    /// Runs until `shutdown`; passes under way are finished first. Only the replica that leads makes
    /// any, the others just watch.
    pub async fn run<C, E, F>(
        self,
        ctx: &Arc<C>,
        leadership: Leadership,
        shutdown: CancellationToken,
        reconcile: impl Fn(Arc<C>, Arc<K>) -> F + Clone + Send + Sync + 'static,
    ) where
        C: Send + Sync + 'static,
        E: ReconcileError,
        F: Future<Output = Result<Outcome, E>> + Send + 'static,
    {
        let on_error = self.observer.clone();
        let observer = self.observer;
        Controller::for_stream(self.objects.touched_objects(), self.store)
            .with_config(Config::default().concurrency(self.concurrency))
            .reconcile_on(self.triggers)
            .graceful_shutdown_on(shutdown.cancelled_owned())
            .run(
                move |object: Arc<K>, ctx: Arc<C>| {
                    let (observer, leadership) = (observer.clone(), leadership.clone());
                    let reconcile = reconcile.clone();
                    async move {
                        let pass = async {
                            if leadership.is_leader() {
                                reconcile(ctx, Arc::clone(&object)).await
                            } else {
                                Ok(Outcome::Done)
                            }
                        };
                        observer.observe(&*object, Box::pin(pass)).await
                    }
                },
                move |object, error, _| on_error.error_policy(&*object, error),
                Arc::clone(ctx),
            )
            .for_each(|result| async move { reconcile::report(result) })
            .await;
    }
}
