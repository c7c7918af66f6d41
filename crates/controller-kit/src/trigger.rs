//! Starts passes for what happens outside an object's own watch.
//!
//! What waits is a set, not a queue: it is bounded by the number of objects, nothing is ever lost,
//! and a burst of changes around one object is one pass.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, stream};
use kube::Resource;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::Notify;

/// Names the objects of type `K` that are to be looked at. Clones share one set.
#[derive(Debug)]
pub struct Trigger<K> {
    shared: Arc<Shared>,
    kind: PhantomData<fn() -> K>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Namespace and name.
    waiting: Mutex<BTreeSet<(String, String)>>,
    more: Notify,
}

impl<K> Default for Trigger<K> {
    fn default() -> Self {
        Self {
            shared: Arc::default(),
            kind: PhantomData,
        }
    }
}

impl<K> Clone for Trigger<K> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            kind: PhantomData,
        }
    }
}

impl Shared {
    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeSet<(String, String)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Resource<DynamicType = ()> + 'static> Trigger<K> {
    /// Starts a pass over one object.
    pub fn fire(&self, namespace: &str, name: &str) {
        let object = (namespace.to_owned(), name.to_owned());
        if self.shared.waiting().insert(object) {
            self.shared.more.notify_one();
        }
    }

    /// The objects to look at, as they come. For one reader.
    pub fn stream(&self) -> impl Stream<Item = ObjectRef<K>> + Send + use<K> {
        stream::unfold(Arc::clone(&self.shared), |shared| async move {
            loop {
                let next = shared.waiting().pop_first();
                if let Some((namespace, name)) = next {
                    return Some((ObjectRef::new(&name).within(&namespace), shared));
                }
                shared.more.notified().await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use api_types::fleet::Fleet;
    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn many_triggers_of_one_object_are_one_pass_and_none_is_lost() {
        let trigger = Trigger::<Fleet>::default();
        for _ in 0..1000 {
            trigger.fire("oslo", "north");
        }
        trigger.fire("oslo", "south");
        let mut stream = std::pin::pin!(trigger.stream());
        let names = [
            stream.next().await.unwrap().name,
            stream.next().await.unwrap().name,
        ];
        assert_eq!(names, ["north", "south"]);
        trigger.fire("oslo", "west");
        assert_eq!(stream.next().await.unwrap().name, "west");
    }
}
