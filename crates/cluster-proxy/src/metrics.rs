//! What is counted. The number of series stays bounded: only the slowest members are named, and no
//! more of them than `--metrics-cluster-limit`.

mod links;

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry as MetricRegistry,
};

pub use self::links::LinkCollector;
use crate::{error::CallError, link::status::State};

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
    connections: Gauge,
    member_streams: Gauge,
    queue_wait: Histogram,
    member_time: Histogram,
    added: Durations,
    event_delay: Histogram,
}

/// One of what a gauge counts, until it is dropped.
#[derive(Debug)]
#[must_use = "it counts for as long as it is held"]
pub struct Counted(Gauge);

impl Counted {
    fn one_of(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Loopback calls take fractions of a millisecond, an etcd write some, a slow member up to 60 s.
fn buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.5, 14))
}

/// What the proxy itself adds is some 100 microseconds; with a full queue it is seconds.
fn fine_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 3.0, 14))
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
            connections: Gauge::default(),
            member_streams: Gauge::default(),
            queue_wait: buckets(),
            member_time: buckets(),
            added: Family::new_with_constructor(fine_buckets as fn() -> Histogram),
            event_delay: fine_buckets(),
        };
        metrics.policy_valid.set(1);
        let registry = registry.sub_registry_with_prefix("kurator_proxy");
        metrics.register_counts(registry);
        metrics.register_levels(registry);
        metrics.register_times(registry);
        Arc::new(metrics)
    }

    fn register_counts(&self, registry: &mut MetricRegistry) {
        registry.register("calls", "gRPC calls by result", self.calls.clone());
        registry.register(
            "link_transitions",
            "Changes of a link's state, by the new state",
            self.transitions.clone(),
        );
        registry.register(
            "watch_events",
            "Events of upstream watches",
            self.events.clone(),
        );
        registry.register(
            "upstream_watches_started",
            "Upstream watches that were opened or resumed",
            self.watches.clone(),
        );
        registry.register(
            "upstream_lists",
            "Collections read by LIST, where the member has no WatchList",
            self.lists.clone(),
        );
        registry.register(
            "coalesced_events",
            "Events overwritten by a later one before they were sent",
            self.coalesced.clone(),
        );
        registry.register(
            "denials",
            "Calls that the policy denied",
            self.denials.clone(),
        );
    }

    fn register_levels(&self, registry: &mut MetricRegistry) {
        registry.register(
            "policy_valid",
            "0 while a broken policy file is ignored",
            self.policy_valid.clone(),
        );
        registry.register(
            "subscribe_streams",
            "Open Subscribe streams",
            self.streams.clone(),
        );
        registry.register(
            "member_connections",
            "Open connections to members",
            self.connections.clone(),
        );
        registry.register(
            "member_streams",
            "Requests and watches at members that have not ended",
            self.member_streams.clone(),
        );
    }

    fn register_times(&self, registry: &mut MetricRegistry) {
        registry.register(
            "call_duration_seconds",
            "Time from the request to the answer",
            self.durations.clone(),
        );
        registry.register(
            "queue_wait_seconds",
            "Time that calls waited for a place at their member",
            self.queue_wait.clone(),
        );
        registry.register(
            "member_request_duration_seconds",
            "Time from a request to a member to the end of its answer",
            self.member_time.clone(),
        );
        registry.register(
            "added_latency_seconds",
            "Time of calls that reached a member, without the member's part",
            self.added.clone(),
        );
        registry.register(
            "event_delay_seconds",
            "Time from a member's event until a subscriber's connection took it, by subscriber",
            self.event_delay.clone(),
        );
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

    /// What the proxy added to a call that its member took part in.
    pub fn added(&self, rpc: &'static str, time: Duration) {
        self.added
            .get_or_create(&RpcLabels { rpc })
            .observe(time.as_secs_f64());
    }

    /// A subscriber's connection took an event that was read this long ago.
    pub fn delivered(&self, delay: Duration) {
        self.event_delay.observe(delay.as_secs_f64());
    }

    /// A connection to a member is open while this is held.
    pub fn connection(&self) -> Counted {
        Counted::one_of(&self.connections)
    }

    /// A request or watch at a member runs while this is held.
    pub fn member_stream(&self) -> Counted {
        Counted::one_of(&self.member_streams)
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
