//! What is counted about links at the moment of asking.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jiff::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

use crate::{
    inventory::{Links, Registry},
    link::status::State,
};

/// Counts links when it is asked.
#[derive(Debug)]
pub struct LinkCollector {
    registry: Arc<Registry>,
    cluster_limit: usize,
}

impl LinkCollector {
    /// Names the slowest members, at most `cluster_limit` of them.
    pub fn new(registry: Arc<Registry>, cluster_limit: usize) -> Self {
        Self {
            registry,
            cluster_limit,
        }
    }
}

impl Collector for LinkCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let links = self.registry.links();
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
        encode_totals(&mut encoder, &links)?;
        let answers = links
            .iter()
            .filter_map(|(key, link)| Some((link.latency()?, key)))
            .collect();
        let mut members = encoder.encode_descriptor(
            "kurator_proxy_member_latency_seconds",
            "How long a member takes to answer, as a moving average; only the slowest members",
            None,
            MetricType::Gauge,
        )?;
        for (latency, key) in slowest(answers, self.cluster_limit) {
            let cluster = key.to_string();
            let labels = [("cluster", cluster.as_str())];
            let gauge = ConstGauge::new(latency.as_secs_f64());
            gauge.encode(members.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn gauge(value: usize) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

/// The first `limit`, slowest first.
fn slowest<T: Ord>(mut all: Vec<(Duration, T)>, limit: usize) -> Vec<(Duration, T)> {
    all.sort_unstable_by(|(a, one), (b, other)| b.cmp(a).then_with(|| one.cmp(other)));
    all.truncate(limit);
    all
}

fn encode_totals(
    encoder: &mut DescriptorEncoder<'_>,
    links: &Links,
) -> Result<(), std::fmt::Error> {
    let watches: usize = links.values().map(|link| link.watch_count()).sum();
    let bytes: usize = links
        .values()
        .map(|link| link.cached_bytes().load(Ordering::Relaxed))
        .sum();
    let now = Timestamp::now();
    let age = |time: Timestamp| usize::try_from(now.duration_since(time).as_secs()).unwrap_or(0);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_slowest_members_are_named() {
        let of = |ms| Duration::from_millis(ms);
        let all = vec![(of(5), "b"), (of(90), "c"), (of(5), "a"), (of(1), "d")];
        assert_eq!(slowest(all.clone(), 2), [(of(90), "c"), (of(5), "a")]);
        assert_eq!(slowest(all.clone(), 200).len(), 4);
        assert!(slowest(all, 0).is_empty());
    }
}
