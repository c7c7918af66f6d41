//! What is counted. Nothing is labelled by member, so the number of series stays bounded.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jiff::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry as MetricRegistry,
};

use crate::{error::CallError, inventory::Registry, link::status::State};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    rpc: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RpcLabels {
    rpc: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    outcome: &'static str,
}

type Durations = Family<RpcLabels, Histogram, fn() -> Histogram>;

/// All counters of the proxy.
#[derive(Debug)]
pub struct Metrics {
    calls: Family<CallLabels, Counter>,
    durations: Durations,
    transitions: Family<StateLabels, Counter>,
    events: Family<EventLabels, Counter>,
    watches: Counter,
    lists: Counter,
    coalesced: Counter,
    denials: Counter,
    policy_valid: Gauge,
    streams: Gauge,
    queue_wait: Histogram,
    member_time: Histogram,
}

/// Loopback calls take fractions of a millisecond, an etcd write some, a slow member up to 60 s.
fn buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.5, 14))
}

impl Metrics {
    /// Registers all counters.
    pub fn register(registry: &mut MetricRegistry) -> Arc<Self> {
        let metrics = Self {
            calls: Family::default(),
            durations: Family::new_with_constructor(buckets as fn() -> Histogram),
            transitions: Family::default(),
            events: Family::default(),
            watches: Counter::default(),
            lists: Counter::default(),
            coalesced: Counter::default(),
            denials: Counter::default(),
            policy_valid: Gauge::default(),
            streams: Gauge::default(),
            queue_wait: buckets(),
            member_time: buckets(),
        };
        metrics.policy_valid.set(1);
        let registry = registry.sub_registry_with_prefix("kurator_proxy");
        registry.register("calls", "gRPC calls by result", metrics.calls.clone());
        registry.register(
            "call_duration_seconds",
            "Time from the request to the answer",
            metrics.durations.clone(),
        );
        registry.register(
            "link_transitions",
            "Changes of a link's state, by the new state",
            metrics.transitions.clone(),
        );
        registry.register(
            "watch_events",
            "Events of upstream watches",
            metrics.events.clone(),
        );
        registry.register(
            "upstream_watches_started",
            "Upstream watches that were opened or resumed",
            metrics.watches.clone(),
        );
        registry.register(
            "upstream_lists",
            "Collections read by LIST, where the member has no WatchList",
            metrics.lists.clone(),
        );
        registry.register(
            "coalesced_events",
            "Events overwritten by a later one before they were sent",
            metrics.coalesced.clone(),
        );
        registry.register(
            "denials",
            "Calls that the policy denied",
            metrics.denials.clone(),
        );
        registry.register(
            "policy_valid",
            "0 while a broken policy file is ignored",
            metrics.policy_valid.clone(),
        );
        registry.register(
            "subscribe_streams",
            "Open Subscribe streams",
            metrics.streams.clone(),
        );
        registry.register(
            "queue_wait_seconds",
            "Time that calls waited for a place at their member",
            metrics.queue_wait.clone(),
        );
        registry.register(
            "member_request_duration_seconds",
            "Time from a request to a member to the end of its answer",
            metrics.member_time.clone(),
        );
        Arc::new(metrics)
    }

    /// A call ended.
    pub fn call(&self, rpc: &'static str, code: &'static str, seconds: f64) {
        self.calls.get_or_create(&CallLabels { rpc, code }).inc();
        self.durations
            .get_or_create(&RpcLabels { rpc })
            .observe(seconds);
    }

    /// A link changed its state.
    pub fn transition(&self, state: State) {
        let state = state.as_str();
        self.transitions.get_or_create(&StateLabels { state }).inc();
    }

    /// An event of an upstream watch.
    pub fn event(&self, stale: bool) {
        let outcome = if stale { "stale" } else { "applied" };
        self.events.get_or_create(&EventLabels { outcome }).inc();
    }

    /// A member sent an object from outside of the subscription.
    pub fn foreign_event(&self) {
        let outcome = "foreign";
        self.events.get_or_create(&EventLabels { outcome }).inc();
    }

    /// An upstream watch stands.
    pub fn upstream_watch(&self) {
        self.watches.inc();
    }

    /// How many upstream watches were opened so far.
    pub fn upstream_watches(&self) -> u64 {
        self.watches.get()
    }

    /// A collection was read by LIST.
    pub fn list(&self) {
        self.lists.inc();
    }

    /// How many collections were read by LIST so far.
    pub fn lists(&self) -> u64 {
        self.lists.get()
    }

    /// Events that were overwritten.
    pub fn coalesced(&self, count: u64) {
        self.coalesced.inc_by(count);
    }

    /// The policy said no.
    pub fn denied(&self, caller: &str, error: &CallError) {
        tracing::warn!(caller, %error, "denied by the policy");
        self.denials.inc();
    }

    /// Whether the policy file is good.
    pub fn policy_valid(&self, valid: bool) {
        self.policy_valid.set(i64::from(valid));
    }

    /// A call waited for its place.
    pub fn queued(&self, time: Duration) {
        self.queue_wait.observe(time.as_secs_f64());
    }

    /// A member answered, or failed to.
    pub fn asked_member(&self, time: Duration) {
        self.member_time.observe(time.as_secs_f64());
    }

    /// A stream was opened or closed.
    pub fn stream(&self, opened: bool) {
        if opened {
            self.streams.inc();
        } else {
            self.streams.dec();
        }
    }
}

/// Counts links when it is asked.
#[derive(Debug)]
pub struct LinkCollector(pub Arc<Registry>);

impl Collector for LinkCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let links = self.0.links();
        let gauge = |value: usize| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        let mut states = encoder.encode_descriptor(
            "kurator_proxy_links",
            "Members by state",
            None,
            MetricType::Gauge,
        )?;
        for state in State::ALL {
            let count = links
                .values()
                .filter(|link| link.follow().borrow().condition.state == state)
                .count();
            let labels = [("state", state.as_str())];
            gauge(count).encode(states.encode_family(&labels)?)?;
        }
        let watches: usize = links.values().map(|link| link.watch_count()).sum();
        let bytes: usize = links
            .values()
            .map(|link| link.cached_bytes().load(Ordering::Relaxed))
            .sum();
        let now = Timestamp::now();
        let age =
            |time: Timestamp| usize::try_from(now.duration_since(time).as_secs()).unwrap_or(0);
        let oldest = links.values().filter_map(|link| link.oldest_data()).min();
        for (name, help, value) in [
            (
                "kurator_proxy_upstream_watches",
                "Upstream watches that run",
                watches,
            ),
            ("kurator_proxy_cached_bytes", "Bytes in watch caches", bytes),
            (
                "kurator_proxy_oldest_data_seconds",
                "Age of the oldest data that any watch holds",
                oldest.map_or(0, age),
            ),
        ] {
            let descriptor = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            gauge(value).encode(descriptor)?;
        }
        let expiry = links.values().filter_map(|link| link.status().expiry).min();
        if let Some(expiry) = expiry {
            let descriptor = encoder.encode_descriptor(
                "kurator_proxy_credential_lifetime_seconds",
                "What is left of the credentials that expire first; negative when they have",
                None,
                MetricType::Gauge,
            )?;
            ConstGauge::new(expiry.duration_since(now).as_secs()).encode(descriptor)?;
        }
        Ok(())
    }
}
