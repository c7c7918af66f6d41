//! Every wait of the reconcile loop in one place, so that tests can shorten them.

use std::time::Duration;

use serde::Deserialize;

/// How long the controllers wait for what (`DESIGN.md` 6). As JSON: milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Timings {
    /// cluster-proxy may be silent for this long before members count as out of reach: a restart of
    /// the proxy changes nothing on the hub.
    #[serde(deserialize_with = "millis")]
    pub proxy_grace: Duration,
    /// A Velero object untouched for this long makes us ask whether Velero lives.
    #[serde(deserialize_with = "millis")]
    pub velero_silence: Duration,
    /// A running Velero object without change for this long is reported as `NoProgress`.
    #[serde(deserialize_with = "millis")]
    pub no_progress: Duration,
    /// Velero answers a `ServerStatusRequest` within this time, or counts as not responding.
    #[serde(deserialize_with = "millis")]
    pub probe_answer: Duration,
    /// Time between two such questions while nothing moves.
    #[serde(deserialize_with = "millis")]
    pub probe_again: Duration,
    /// A deletion without progress for this long: `Stalled`, `DeletionBlocked`.
    #[serde(deserialize_with = "millis")]
    pub deletion_stalled: Duration,
    /// Least time between two writes of one status, twice as long as the former took if that is more. What
    /// has to be on the hub before a member is written to does not wait for it.
    #[serde(deserialize_with = "millis")]
    pub pace: Duration,
    /// Least time between two writes that only show progress.
    #[serde(deserialize_with = "millis")]
    pub progress_pace: Duration,
    /// Added to it for each entry of the object: a large status costs the hub more.
    #[serde(deserialize_with = "millis")]
    pub progress_pace_per_entry: Duration,
    /// Look again at what no watch tells about, such as a ConfigMap of the hub that is missing.
    #[serde(deserialize_with = "millis")]
    pub look_again: Duration,
    /// A pass waits this long for members; what is not answered by then goes on beside it.
    #[serde(deserialize_with = "millis")]
    pub member_patience: Duration,
    /// Before anything is made, this long is waited for members to tell what they serve.
    #[serde(deserialize_with = "millis")]
    pub survey: Duration,
    /// A run of a schedule that is due and has not appeared for this long was missed.
    #[serde(deserialize_with = "millis")]
    pub run_missed: Duration,
    /// A run that was asked for is begun within this time, or never.
    #[serde(deserialize_with = "millis")]
    pub run_now_window: Duration,
    /// Try a call to a member again that failed.
    #[serde(deserialize_with = "millis")]
    pub retry: Duration,
    /// A read-only location that nobody uses is removed once it is this old.
    #[serde(deserialize_with = "millis")]
    pub location_age: Duration,
    /// An operation that did not complete keeps the location that it reads from for this long.
    #[serde(deserialize_with = "millis")]
    pub location_kept: Duration,
    /// Look for what was left behind on members at least this often.
    #[serde(deserialize_with = "millis")]
    pub location_sweep: Duration,
    /// Look at the Secret of a Fleet's storage at least this often.
    #[serde(deserialize_with = "millis")]
    pub credentials_check: Duration,
    /// Write a member's Secret again after this time: it cannot be read.
    #[serde(deserialize_with = "millis")]
    pub credentials_written: Duration,
    /// What Velero wrote down of a restore that went wrong is read within this time, or not at all.
    #[serde(deserialize_with = "millis")]
    pub results: Duration,
    /// A pass that took longer than this to come to its writes is thrown away: its view is old.
    #[serde(deserialize_with = "millis")]
    pub pass_limit: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            proxy_grace: Duration::from_secs(30),
            velero_silence: Duration::from_secs(30),
            no_progress: Duration::from_mins(30),
            probe_answer: Duration::from_secs(15),
            probe_again: Duration::from_mins(1),
            deletion_stalled: Duration::from_mins(10),
            pace: Duration::from_millis(100),
            progress_pace: Duration::from_secs(1),
            progress_pace_per_entry: Duration::from_millis(10),
            look_again: Duration::from_secs(10),
            member_patience: Duration::from_secs(1),
            survey: Duration::from_secs(5),
            run_missed: Duration::from_mins(5),
            run_now_window: Duration::from_mins(10),
            retry: Duration::from_secs(2),
            location_age: Duration::from_mins(1),
            location_kept: Duration::from_hours(24),
            location_sweep: Duration::from_mins(10),
            credentials_check: Duration::from_secs(30),
            credentials_written: Duration::from_mins(10),
            results: Duration::from_secs(10),
            pass_limit: Duration::from_secs(30),
        }
    }
}

impl Timings {
    /// Least time after a write that took so long (`api.md` 3.6).
    pub fn pace_of_changes(&self, took: Duration) -> Duration {
        self.pace.max(took.saturating_mul(2))
    }

    /// Least time after such a write to one that only shows progress, with so many entries.
    pub fn pace_of_progress(&self, entries: usize, took: Duration) -> Duration {
        let entries = u32::try_from(entries).unwrap_or(u32::MAX);
        let of_entries = self.progress_pace_per_entry.saturating_mul(entries);
        let pace = self.progress_pace.max(of_entries);
        pace.max(self.pace_of_changes(took))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_keeps_its_default_and_a_wrong_name_is_refused() {
        let timings: Timings = r#"{"veleroSilence": 500}"#.parse().unwrap();
        assert_eq!(timings.velero_silence, Duration::from_millis(500));
        assert_eq!(timings.no_progress, Timings::default().no_progress);
        assert!(r#"{"veleroSilenze": 500}"#.parse::<Timings>().is_err());
    }

    #[test]
    fn a_large_status_is_written_more_seldom_and_a_slow_hub_is_given_time() {
        let timings = Timings::default();
        let pace = |took| {
            timings
                .pace_of_changes(Duration::from_millis(took))
                .as_millis()
        };
        assert_eq!((pace(1), pace(50), pace(700)), (100, 100, 1400));
        let progress = |entries| {
            let took = Duration::from_millis(700);
            timings.pace_of_progress(entries, took).as_millis()
        };
        assert_eq!(
            (progress(2), progress(100), progress(1000)),
            (1400, 1400, 10_000)
        );
    }
}
