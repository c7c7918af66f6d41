//! The policy in force: the built-in one, or that of a file, which is followed.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::Policy;
use crate::metrics::Metrics;

const POLL: Duration = Duration::from_secs(5);

/// Holds the policy in force.
#[derive(Debug)]
pub struct PolicyStore {
    current: ArcSwap<Policy>,
}

impl PolicyStore {
    /// Loads the policy; a broken one at start is an error.
    pub fn load(file: Option<&Path>) -> anyhow::Result<(Arc<Self>, Option<Follower>)> {
        let (policy, text) = match file {
            None => (Policy::builtin()?, String::new()),
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("read the policy {}", file.display()))?;
                (Policy::parse(&text)?, text)
            }
        };
        let store = Arc::new(Self {
            current: ArcSwap::from_pointee(policy),
        });
        let follower = file.map(|file| Follower {
            store: Arc::clone(&store),
            file: file.to_owned(),
            text,
        });
        Ok((store, follower))
    }

    /// The policy in force.
    pub fn current(&self) -> Arc<Policy> {
        self.current.load_full()
    }
}

/// Follows a policy file. A broken or missing file keeps the last good policy in force.
#[derive(Debug)]
pub struct Follower {
    store: Arc<PolicyStore>,
    file: PathBuf,
    text: String,
}

impl Follower {
    /// Looks at the file until stopped.
    pub async fn run(mut self, metrics: Arc<Metrics>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(POLL);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            self.look(&metrics).await;
        }
    }

    async fn look(&mut self, metrics: &Metrics) {
        let outcome = match tokio::fs::read_to_string(&self.file).await {
            // Also one that was broken meanwhile, and is as it was again.
            Ok(text) if text == self.text => return metrics.policy_valid(true),
            Ok(text) => self.take(text),
            Err(error) => Err(anyhow::Error::new(error)),
        };
        metrics.policy_valid(outcome.is_ok());
        match outcome {
            Ok(()) => tracing::info!(file = %self.file.display(), "policy loaded"),
            Err(error) => tracing::error!(
                file = %self.file.display(), error = %format_args!("{error:#}"),
                "the policy cannot be used; the last good one stays in force"
            ),
        }
    }

    fn take(&mut self, text: String) -> anyhow::Result<()> {
        let policy = Policy::parse(&text)?;
        self.store.current.store(Arc::new(policy));
        self.text = text;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;

    const GOOD: &str = "policies: [{subjects: [a], rules: []}]";

    #[test]
    fn a_broken_policy_keeps_the_last_good_one_and_an_empty_one_denies_all() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy.yaml");
        std::fs::write(&file, GOOD).unwrap();
        let (store, follower) = PolicyStore::load(Some(&file)).unwrap();
        let mut follower = follower.unwrap();
        assert!(store.current().knows("a").is_ok());
        assert!(follower.take("policies: nonsense".to_owned()).is_err());
        assert!(store.current().knows("a").is_ok());
        follower.take(String::new()).unwrap();
        assert!(store.current().knows("a").is_err());
    }

    #[tokio::test]
    async fn a_file_that_is_broken_and_then_as_it_was_is_valid_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("policy.yaml");
        std::fs::write(&file, GOOD).unwrap();
        let (_store, follower) = PolicyStore::load(Some(&file)).unwrap();
        let mut follower = follower.unwrap();
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        for (text, valid) in [(GOOD, 1), ("policies: nonsense", 0), (GOOD, 1)] {
            std::fs::write(&file, text).unwrap();
            follower.look(&metrics).await;
            let mut told = String::new();
            encode(&mut told, &registry).unwrap();
            let line = format!("kurator_proxy_policy_valid {valid}");
            assert!(told.lines().any(|told| told == line), "{told}");
        }
    }

    #[test]
    fn a_missing_policy_at_start_is_an_error() {
        assert!(PolicyStore::load(Some(Path::new("/nonexistent/policy"))).is_err());
    }
}
