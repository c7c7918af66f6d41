//! Starts passes for what happens outside the hub's own watch.
//!
//! What waits is a set, not a queue: it is bounded by the number of Backups, nothing is ever lost,
//! and a burst of changes of one Backup is one pass.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use api_types::backup::Backup;
use futures::{Stream, stream};
use kube::runtime::reflector::ObjectRef;
use tokio::sync::Notify;

/// Names the Backups that are to be looked at. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Trigger(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// (namespace, name)
    waiting: Mutex<BTreeSet<(String, String)>>,
    more: Notify,
}

impl Trigger {
    /// Starts a pass over one Backup.
    pub fn backup(&self, namespace: &str, name: &str) {
        let new = self
            .0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((namespace.to_owned(), name.to_owned()));
        if new {
            self.0.more.notify_one();
        }
    }

    /// The Backups to look at, as they come. For one reader.
    pub fn stream(&self) -> impl Stream<Item = ObjectRef<Backup>> + Send + 'static {
        stream::unfold(Arc::clone(&self.0), |shared| async move {
            loop {
                let next = shared
                    .waiting
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .pop_first();
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
    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn many_triggers_of_one_backup_are_one_pass_and_none_is_lost() {
        let trigger = Trigger::default();
        for _ in 0..1000 {
            trigger.backup("default", "a");
        }
        trigger.backup("default", "b");
        let mut stream = std::pin::pin!(trigger.stream());
        let names = [
            stream.next().await.unwrap().name,
            stream.next().await.unwrap().name,
        ];
        assert_eq!(names, ["a", "b"]);
        trigger.backup("default", "c");
        assert_eq!(stream.next().await.unwrap().name, "c");
    }
}
