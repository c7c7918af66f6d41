//! How long a call may take.

use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::MetadataMap;

const DEFAULT: Duration = Duration::from_secs(10);
/// The longest deadline of a single call.
pub const MAX: Duration = Duration::from_mins(1);
/// The longest deadline of a List.
pub const MAX_LIST: Duration = Duration::from_mins(2);
/// Kept back so that our answer still reaches the caller: a twentieth, within these bounds.
const MARGIN_MIN: Duration = Duration::from_millis(10);
const MARGIN_MAX: Duration = Duration::from_millis(100);

/// The instant by which a call must be answered.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// From `grpc-timeout`: 10 s when absent, never more than `max`.
    pub fn from_metadata(metadata: &MetadataMap, max: Duration) -> Self {
        let asked = metadata
            .get("grpc-timeout")
            .and_then(|value| value.to_str().ok())
            .and_then(parse)
            .unwrap_or(DEFAULT);
        let allowed = asked.min(max);
        let margin = (allowed / 20).clamp(MARGIN_MIN, MARGIN_MAX);
        Self::after(allowed.saturating_sub(margin))
    }

    /// A deadline of the proxy's own.
    pub fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration)
    }

    /// The earlier of this deadline and `duration` from now.
    pub fn within(self, duration: Duration) -> Instant {
        self.0.min(Instant::now() + duration)
    }

    /// The instant itself.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// What is left.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// Reads gRPC's timeout syntax: up to eight digits and a unit.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts_are_read_in_every_unit() {
        assert_eq!(parse("3H"), Some(Duration::from_hours(3)));
        assert_eq!(parse("2S"), Some(Duration::from_secs(2)));
        assert_eq!(parse("250m"), Some(Duration::from_millis(250)));
        for wrong in ["", "S", "1", "1x", "123456789S", "-1S", "ä"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_or_huge_timeout_is_bounded() {
        let none = Deadline::from_metadata(&MetadataMap::new(), MAX);
        assert_eq!(none.remaining() + MARGIN_MAX, DEFAULT);
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", "5H".parse().unwrap());
        let huge = Deadline::from_metadata(&metadata, MAX);
        assert_eq!(huge.remaining() + MARGIN_MAX, MAX);
    }
}
