//! What a reconcile ends with, counted and turned into kube's actions.
//!
//! Reconcilers return an [`Outcome`] or an error and know nothing of metrics, spans or waits; the
//! [`Observer`] around them does.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use kube::{
    Resource, ResourceExt as _,
    runtime::{
        controller::{self, Action},
        reflector::ObjectRef,
    },
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use rand::RngExt as _;
use tracing::Instrument as _;

use crate::text::chain;

/// Changes arrive by watches; this only mends what a watch may have missed.
const RESYNC: Duration = Duration::from_hours(1);
const BACKOFF_BASE: Duration = Duration::from_millis(500);
const BACKOFF_CAP: Duration = Duration::from_mins(1);
/// An object that did not fail again for this long starts over.
const FORGET_AFTER: Duration = Duration::from_mins(10);

/// How a reconcile ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is left to do until something changes.
    Done,
    /// Something must come first. Its arrival usually triggers the next pass; if not, time does.
    Waiting {
        /// One word from a closed list.
        reason: &'static str,
        /// When to look again.
        after: Duration,
    },
}

/// What an error means for the next pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Try again, each time later.
    Backoff,
    /// Try again at this time.
    After(Duration),
    /// Only a change of the object can help.
    OnChange,
}

/// An error of a reconcile.
pub trait ReconcileError: std::error::Error + Send + Sync + 'static {
    /// A bounded name for metrics.
    fn category(&self) -> &'static str;

    /// What it means for the next pass.
    fn retry(&self) -> Retry {
        Retry::Backoff
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

/// The metrics of all reconciles of a process.
#[derive(Clone, Debug)]
pub struct ReconcileMetrics {
    total: Family<OutcomeLabels, Counter>,
    duration: Family<KindLabels, Histogram>,
}

impl ReconcileMetrics {
    /// Makes and registers `kurator_reconcile_total` and `kurator_reconcile_duration_seconds`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            total: Family::default(),
            // from 1 ms to 65 s: a pass without writes takes the former, one with timeouts the latter
            duration: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 4.0, 9))
            }),
        };
        registry.register(
            "kurator_reconcile",
            "Reconciles by outcome: done, waiting or the error's category",
            metrics.total.clone(),
        );
        registry.register(
            "kurator_reconcile_duration_seconds",
            "How long reconciles take",
            metrics.duration.clone(),
        );
        metrics
    }

    fn observe(&self, kind: &'static str, outcome: &'static str, took: Duration) {
        self.total
            .get_or_create(&OutcomeLabels { kind, outcome })
            .inc();
        self.duration
            .get_or_create(&KindLabels { kind })
            .observe(took.as_secs_f64());
    }
}

/// Wraps the reconciles of one kind: span, metrics, log line, and the wait after an error.
#[derive(Clone, Debug)]
pub struct Observer {
    kind: &'static str,
    metrics: ReconcileMetrics,
    backoffs: Arc<Mutex<Backoffs>>,
}

impl Observer {
    /// For objects of this kind, a name such as `Backup`.
    pub fn new(kind: &'static str, metrics: ReconcileMetrics) -> Self {
        Self {
            kind,
            metrics,
            backoffs: Arc::default(),
        }
    }

    /// Runs one pass over an object.
    pub async fn observe<K, E>(
        &self,
        object: &K,
        reconcile: impl Future<Output = Result<Outcome, E>>,
    ) -> Result<Action, E>
    where
        K: Resource<DynamicType = ()>,
        E: ReconcileError,
    {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let span = tracing::info_span!("reconcile", kind = self.kind, namespace, name);
        let started = Instant::now();
        let result = reconcile.instrument(span.clone()).await;
        let _entered = span.entered();
        let label = match &result {
            Ok(Outcome::Done) => "done",
            Ok(Outcome::Waiting { .. }) => "waiting",
            Err(error) => error.category(),
        };
        self.metrics.observe(self.kind, label, started.elapsed());
        match result {
            Ok(outcome) => {
                tracing::debug!(?outcome, "reconciled");
                self.backoffs().succeeded(&key(object));
                Ok(action(&outcome))
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), category = label, "reconcile failed");
                Err(error)
            }
        }
    }

    /// What to do after an error: the `error_policy` of kube's `Controller`.
    pub fn error_policy<K, E>(&self, object: &K, error: &E) -> Action
    where
        K: Resource<DynamicType = ()>,
        E: ReconcileError,
    {
        match error.retry() {
            Retry::OnChange => Action::await_change(),
            Retry::After(wait) => Action::requeue(jittered(wait)),
            Retry::Backoff => {
                let wait = self.backoffs().failed(key(object), Instant::now());
                Action::requeue(jittered(wait))
            }
        }
    }

    fn backoffs(&self) -> std::sync::MutexGuard<'_, Backoffs> {
        self.backoffs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs what a `Controller`'s stream yields beside the reconciles that [`Observer`] has reported:
/// errors of its watches and queues must not pass unseen.
pub fn report<K, E, Q>(result: Result<(ObjectRef<K>, Action), controller::Error<E, Q>>)
where
    K: Resource,
    E: std::error::Error + 'static,
    Q: std::error::Error + 'static,
{
    match result {
        Ok(_) | Err(controller::Error::ReconcilerFailed(..)) => {}
        // a trigger for an object that is not there (yet): its arrival will trigger again
        Err(controller::Error::ObjectNotFound(object)) => {
            tracing::debug!(%object, "trigger for an unknown object");
        }
        Err(error) => tracing::warn!(error = chain(&error), "controller"),
    }
}

fn action(outcome: &Outcome) -> Action {
    match outcome {
        Outcome::Done => Action::requeue(jittered(RESYNC)),
        Outcome::Waiting { after, .. } => Action::requeue(*after),
    }
}

fn key<K: Resource>(object: &K) -> String {
    match object.uid() {
        Some(uid) => uid,
        None => format!(
            "{}/{}",
            object.namespace().unwrap_or_default(),
            object.name_any()
        ),
    }
}

/// Between the full wait and half of it, so that what failed together is not tried together.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// How often objects failed in a row.
#[derive(Debug, Default)]
struct Backoffs {
    failing: HashMap<String, Failing>,
}

#[derive(Debug)]
struct Failing {
    times: u32,
    last: Instant,
}

impl Backoffs {
    fn succeeded(&mut self, object: &str) {
        self.failing.remove(object);
    }

    fn failed(&mut self, object: String, now: Instant) -> Duration {
        // objects may vanish while they fail
        self.failing
            .retain(|_, failing| now.duration_since(failing.last) < FORGET_AFTER);
        let failing = self.failing.entry(object).or_insert(Failing {
            times: 0,
            last: now,
        });
        failing.times = failing.times.saturating_add(1);
        failing.last = now;
        backoff(BACKOFF_BASE, failing.times)
    }
}

/// The wait after so many failures in a row: twice as long each time, a minute at most.
pub fn backoff(base: Duration, times: u32) -> Duration {
    let doublings = times.saturating_sub(1).min(16);
    base.saturating_mul(1 << doublings).min(BACKOFF_CAP)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("hub away")]
    struct Away(Retry);

    impl ReconcileError for Away {
        fn category(&self) -> &'static str {
            "away"
        }

        fn retry(&self) -> Retry {
            self.0
        }
    }

    fn object() -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.uid = Some("1".into());
        object
    }

    #[tokio::test]
    async fn every_pass_is_counted_by_its_outcome() {
        let mut registry = Registry::default();
        let observer = Observer::new("Backup", ReconcileMetrics::register(&mut registry));
        let waiting = Outcome::Waiting {
            reason: "FleetNotFound",
            after: Duration::from_secs(5),
        };
        let pass = |result: Result<Outcome, Away>| async {
            observer.observe(&object(), async { result }).await
        };
        let wait = pass(Ok(waiting)).await.unwrap();
        assert_eq!(wait, Action::requeue(Duration::from_secs(5)));
        pass(Ok(Outcome::Done)).await.unwrap();
        pass(Ok(Outcome::Done)).await.unwrap();
        pass(Err(Away(Retry::Backoff))).await.unwrap_err();

        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            r#"kurator_reconcile_total{kind="Backup",outcome="done"} 2"#,
            r#"kurator_reconcile_total{kind="Backup",outcome="waiting"} 1"#,
            r#"kurator_reconcile_total{kind="Backup",outcome="away"} 1"#,
            r#"kurator_reconcile_duration_seconds_count{kind="Backup"} 4"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[tokio::test]
    async fn a_success_starts_the_waits_over() {
        let observer = Observer::new(
            "Backup",
            ReconcileMetrics::register(&mut Registry::default()),
        );
        for _ in 0..20 {
            observer.error_policy(&object(), &Away(Retry::Backoff));
        }
        assert_eq!(observer.backoffs().failing["1"].times, 20);
        let done = async { Ok::<_, Away>(Outcome::Done) };
        observer.observe(&object(), done).await.unwrap();
        assert!(observer.backoffs().failing.is_empty());
        let wrong = observer.error_policy(&object(), &Away(Retry::OnChange));
        assert_eq!(wrong, Action::await_change());
    }

    #[test]
    fn waits_double_to_the_cap_and_forgotten_objects_start_over() {
        let mut backoffs = Backoffs::default();
        let start = Instant::now();
        let waits: Vec<_> = (0..10)
            .map(|_| backoffs.failed("a".into(), start))
            .collect();
        assert_eq!(waits[0], BACKOFF_BASE);
        assert_eq!(waits[3], BACKOFF_BASE * 8);
        assert_eq!(waits[9], BACKOFF_CAP);
        assert_eq!(
            backoffs.failed("b".into(), start + FORGET_AFTER),
            BACKOFF_BASE
        );
        assert_eq!(
            backoffs.failing.len(),
            1,
            "an object that vanished is not kept"
        );
        for _ in 0..100 {
            let wait = jittered(BACKOFF_CAP);
            assert!(BACKOFF_CAP / 2 <= wait && wait <= BACKOFF_CAP, "{wait:?}");
        }
    }
}
