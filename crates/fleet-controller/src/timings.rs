//! Every wait of this controller in one place, so that tests can shorten them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use api_types::key::ClusterKey;
use serde::Deserialize;

/// How long this controller waits for what. As JSON: milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Timings {
    /// cluster-proxy may be silent for this long, or a member that was known be connecting again,
    /// before its state is given up: a restart of the proxy changes nothing on the hub.
    #[serde(deserialize_with = "millis")]
    pub proxy_grace: Duration,
    /// A member may become ready or not ready twice in this time; later changes wait.
    #[serde(deserialize_with = "millis")]
    pub flap_window: Duration,
    /// Least time between two writes that only refresh details of a member, such as its nodes.
    #[serde(deserialize_with = "millis")]
    pub detail_pace: Duration,
    /// `lastSeenTime` of a ready member is never older than this.
    #[serde(deserialize_with = "millis")]
    pub last_seen: Duration,
    /// A deletion that makes no progress for this long is reported as blocked.
    #[serde(deserialize_with = "millis")]
    pub deletion_stalled: Duration,
    /// Who holds an object that is being deleted, and was not told by the watches, is looked for again
    /// after this time: nothing may tell when it lets go.
    #[serde(deserialize_with = "millis")]
    pub look_again: Duration,
    /// Least time between two status writes of a Fleet.
    #[serde(deserialize_with = "millis")]
    pub fleet_pace: Duration,
    /// Added to it for each member: a large status costs the hub more.
    #[serde(deserialize_with = "micros")]
    pub fleet_pace_per_member: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            proxy_grace: Duration::from_secs(30),
            flap_window: Duration::from_mins(1),
            detail_pace: Duration::from_secs(30),
            last_seen: Duration::from_mins(30),
            deletion_stalled: Duration::from_mins(10),
            look_again: Duration::from_secs(30),
            fleet_pace: Duration::from_millis(100),
            fleet_pace_per_member: Duration::from_millis(1),
        }
    }
}

impl Timings {
    /// When the last contact of one member is refreshed: between half of [`Timings::last_seen`] and
    /// all of it, so that a thousand members that were connected together are not written together.
    pub fn last_seen_of(&self, cluster: &ClusterKey) -> Duration {
        let mut hasher = DefaultHasher::new();
        cluster.hash(&mut hasher);
        let share = u32::try_from(hasher.finish() % 1000).unwrap_or_default();
        self.last_seen / 2 + self.last_seen / 2000 * share
    }
}

impl std::str::FromStr for Timings {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text)
    }
}

fn millis<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

fn micros<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_keeps_its_default_and_a_wrong_name_is_refused() {
        let timings: Timings = r#"{"proxyGrace": 500}"#.parse().unwrap();
        assert_eq!(timings.proxy_grace, Duration::from_millis(500));
        assert_eq!(timings.last_seen, Timings::default().last_seen);
        assert!(r#"{"proxyGraze": 500}"#.parse::<Timings>().is_err());
    }

    #[test]
    fn signs_of_life_are_spread_over_half_the_time_and_never_late() {
        let timings = Timings::default();
        let mut waits: Vec<Duration> = (0..1000)
            .map(|member| {
                timings.last_seen_of(&ClusterKey::attached("oslo", format!("member{member}")))
            })
            .collect();
        waits.sort();
        assert!(waits[0] >= timings.last_seen / 2 && waits[999] <= timings.last_seen);
        // Not a tenth of them in any of the fifteen minutes.
        for window in waits.windows(100) {
            assert!(
                window[99].saturating_sub(window[0]) > Duration::from_secs(30),
                "{window:?}"
            );
        }
    }
}
