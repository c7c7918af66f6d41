//! What is counted. Nothing is labelled by member, so the number of series stays bounded.

use std::sync::{Arc, atomic::Ordering};

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

use crate::{inventory::Registry, link::status::State};

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
    pub fn denied(&self, caller: &str) {
        tracing::warn!(caller, "denied by the policy");
        self.denials.inc();
    }

    /// Whether the policy file is good.
    pub fn policy_valid(&self, valid: bool) {
        self.policy_valid.set(i64::from(valid));
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
        for (name, help, value) in [
            (
                "kurator_proxy_upstream_watches",
                "Upstream watches that run",
                watches,
            ),
            ("kurator_proxy_cached_bytes", "Bytes in watch caches", bytes),
        ] {
            let descriptor = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            gauge(value).encode(descriptor)?;
        }
        Ok(())
    }
}
