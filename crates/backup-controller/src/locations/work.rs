//! One task a member at a time. A member whose task panics is free again.

use std::collections::BTreeMap;

use api_types::key::ClusterKey;
use tokio::task::{Id, JoinSet};

/// The tasks that are at work.
#[derive(Debug)]
pub struct Work<T> {
    tasks: JoinSet<T>,
    busy: BTreeMap<ClusterKey, Id>,
}

impl<T> Default for Work<T> {
    fn default() -> Self {
        Self {
            tasks: JoinSet::new(),
            busy: BTreeMap::new(),
        }
    }
}

impl<T: Send + 'static> Work<T> {
    /// Whether a member has a task at work.
    pub fn is_busy(&self, key: &ClusterKey) -> bool {
        self.busy.contains_key(key)
    }

    /// Starts the task of a member that is not busy.
    pub fn start(&mut self, key: ClusterKey, task: impl Future<Output = T> + Send + 'static) {
        let id = self.tasks.spawn(task).id();
        self.busy.insert(key, id);
    }

    /// The next member whose task has ended, and with what; `None` if it panicked. Without a task at
    /// work it never comes.
    pub async fn ended(&mut self) -> (ClusterKey, Option<T>) {
        loop {
            let (id, result) = match self.tasks.join_next_with_id().await {
                Some(Ok((id, result))) => (id, Some(result)),
                Some(Err(error)) => (error.id(), None),
                None => std::future::pending().await,
            };
            let key = self.busy.iter().find(|(_, busy)| **busy == id);
            if let Some(key) = key.map(|(key, _)| key.clone()) {
                self.busy.remove(&key);
                return (key, result);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::fixtures::key;

    #[tokio::test]
    async fn a_member_is_busy_until_its_task_ends_be_it_by_a_panic() {
        let mut work: Work<u8> = Work::default();
        work.start(key("oslo"), async { panic!("as a bug would") });
        assert!(work.is_busy(&key("oslo")) && !work.is_busy(&key("bergen")));
        assert_eq!(work.ended().await, (key("oslo"), None));
        assert!(!work.is_busy(&key("oslo")));

        work.start(key("oslo"), async { 7 });
        assert_eq!(work.ended().await, (key("oslo"), Some(7)));
        assert!(!work.is_busy(&key("oslo")));
    }
}
