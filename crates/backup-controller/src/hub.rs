//! Following hub objects into local stores, unhindered by objects that cannot be read.

use futures::{Stream, StreamExt, future};
use kube::Resource;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, ResourceExt};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use tokio::sync::watch as flag;

/// Whether a store was filled once. [`Store::wait_until_ready`] is for one task alone: it wakes only
/// the one that asked last, and the controller asks for its own store.
#[derive(Debug)]
pub struct Filled(flag::Receiver<bool>);

impl Filled {
    /// Returns once it was; never if its stream ends before.
    pub async fn wait(&mut self) {
        if self.0.wait_for(|filled| *filled).await.is_err() {
            future::pending::<()>().await;
        }
    }
}

/// A store of all objects of a type, and the stream that keeps it up to date and says what changed.
/// The stream must be polled. It retries with back-off for ever; its errors are for the log.
pub fn follow<K>(
    client: &kube::Client,
) -> (
    Store<K>,
    Filled,
    impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static + use<K>,
)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let api: Api<DeserializeGuard<K>> = Api::all(client.clone());
    let (store, writer) = reflector::store();
    let events = watch(api, watcher::Config::default())
        .default_backoff()
        .filter_map(|event| future::ready(readable(event)));
    let (set, filled) = flag::channel(false);
    let events = reflector::reflector(writer, events).inspect(move |event| {
        if matches!(event, Ok(Event::InitDone)) {
            set.send_replace(true);
        }
    });
    (store, Filled(filled), events)
}

/// The event without the object that cannot be read: it must not hide the others.
fn readable<K>(
    event: Result<Event<DeserializeGuard<K>>, watcher::Error>,
) -> Option<Result<Event<K>, watcher::Error>>
where
    K: Resource<DynamicType = ()> + Clone,
{
    let decode = |guard: DeserializeGuard<K>| match guard.0 {
        Ok(object) => Some(object),
        Err(invalid) => {
            tracing::warn!(
                kind = %K::kind(&()),
                namespace = invalid.metadata.namespace.as_deref().unwrap_or_default(),
                name = invalid.metadata.name.as_deref().unwrap_or_default(),
                error = %invalid.error,
                "this object cannot be read and is left alone: mend or delete it"
            );
            None
        }
    };
    Some(Ok(match event {
        Err(error) => return Some(Err(error)),
        Ok(Event::Apply(guard)) => Event::Apply(decode(guard)?),
        Ok(Event::Delete(guard)) => Event::Delete(decode(guard)?),
        Ok(Event::InitApply(guard)) => Event::InitApply(decode(guard)?),
        Ok(Event::Init) => Event::Init,
        Ok(Event::InitDone) => Event::InitDone,
    }))
}

/// Namespace and name of the object that an event is about.
pub fn subject<K: Resource>(event: &Event<K>) -> Option<(String, String)> {
    match event {
        Event::Apply(object) | Event::Delete(object) | Event::InitApply(object) => {
            Some((object.namespace().unwrap_or_default(), object.name_any()))
        }
        Event::Init | Event::InitDone => None,
    }
}
