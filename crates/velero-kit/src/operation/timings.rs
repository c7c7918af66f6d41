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
    /// Least time from the writes of one pass over an object to its next pass, twice as long as they took
    /// if that is more.
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
}
