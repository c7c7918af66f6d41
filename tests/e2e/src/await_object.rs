//! Waiting for a state of one object, by watching it.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Result, anyhow};
use futures::{Stream, StreamExt, pin_mut};
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watch_object};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Waits until the object is there and `holds` of it. After `deadline` the error ends with the
/// object as it was last seen.
pub async fn await_object<K>(
    api: &Api<K>,
    name: &str,
    what: &str,
    deadline: Duration,
    mut holds: impl FnMut(&K) -> bool,
) -> Result<K>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned + Send + 'static,
{
    let mut last = None;
    let found = tokio::time::timeout(
        deadline,
        Box::pin(async {
            let states = watch_object(api.clone(), name).default_backoff();
            follow(states, &mut last, |object| {
                object.filter(|object| holds(object)).cloned()
            })
            .await
        }),
    )
    .await;
    match found {
        Ok(Some(object)) => Ok(object),
        _ => Err(anyhow!(
            "gave up waiting for {what} of {name} after {deadline:?}; {}",
            seen(last.as_ref())
        )),
    }
}

/// Waits until there is no such object.
pub async fn await_gone<K>(api: &Api<K>, name: &str, deadline: Duration) -> Result<()>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned + Send + 'static,
{
    let mut last = None;
    let gone = tokio::time::timeout(
        deadline,
        Box::pin(async {
            let states = watch_object(api.clone(), name).default_backoff();
            follow(states, &mut last, |object| object.is_none().then_some(())).await
        }),
    )
    .await;
    match gone {
        Ok(Some(())) => Ok(()),
        _ => Err(anyhow!(
            "{name} is still there after {deadline:?}; {}",
            seen(last.as_ref())
        )),
    }
}

/// The last thing that was seen, kept outside of the future that a deadline may drop.
type Last<K> = Option<Result<Option<K>, String>>;

async fn follow<K: Clone, T>(
    states: impl Stream<Item = watcher::Result<Option<K>>>,
    last: &mut Last<K>,
    mut found: impl FnMut(Option<&K>) -> Option<T>,
) -> Option<T> {
    pin_mut!(states);
    while let Some(state) = states.next().await {
        let seen = last.insert(state.map_err(|error| error.to_string()));
        if let Ok(object) = seen
            && let Some(value) = found(object.as_ref())
        {
            return Some(value);
        }
    }
    None
}

fn seen<K: Resource + Clone + Serialize>(last: Option<&Result<Option<K>, String>>) -> String {
    match last {
        None => "nothing was seen".to_owned(),
        Some(Err(error)) => format!("watching it failed: {error}"),
        Some(Ok(None)) => "there is no such object".to_owned(),
        Some(Ok(Some(object))) => {
            let mut object = object.clone();
            object.managed_fields_mut().clear();
            let yaml = serde_saphyr::to_string(&object).unwrap_or_default();
            format!("last seen as\n{yaml}")
        }
    }
}
