//! How many calls a second a member may get.

use std::{num::NonZeroU32, time::Duration};

use tokio::time::Instant;

/// The most calls that a member gets: so many a second, and so many at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that come back in a second.
    pub per_second: NonZeroU32,
    /// Tokens of a full bucket.
    pub burst: NonZeroU32,
}

/// A token bucket. It is told the time, and never waits.
#[derive(Debug)]
pub struct Bucket {
    /// Between two tokens.
    spacing: Duration,
    /// From empty to full.
    depth: Duration,
    /// When it is full again; None while no token was taken.
    full_at: Option<Instant>,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: Rate) -> Self {
        let spacing = Duration::from_secs(1) / rate.per_second.get();
        Self {
            spacing,
            depth: spacing * rate.burst.get(),
            full_at: None,
        }
    }

    /// Takes a token, or says when there is one.
    pub fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let full_at = self.full_at.map_or(now, |full| full.max(now)) + self.spacing;
        // The pause is 0 or less while there are tokens.
        let empty_for = full_at.duration_since(now).saturating_sub(self.depth);
        if empty_for > Duration::ZERO {
            return Err(now + empty_for);
        }
        self.full_at = Some(full_at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(per_second: u32, burst: u32) -> Bucket {
        Bucket::new(Rate {
            per_second: NonZeroU32::new(per_second).unwrap(),
            burst: NonZeroU32::new(burst).unwrap(),
        })
    }

    /// How many tokens there are at a time.
    fn drain(bucket: &mut Bucket, now: Instant) -> usize {
        std::iter::from_fn(|| bucket.take(now).ok()).count()
    }

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_says_when_the_next_token_comes() {
        let (mut bucket, now) = (bucket(50, 100), Instant::now());
        assert_eq!(drain(&mut bucket, now), 100);
        let next = now + Duration::from_millis(20);
        assert_eq!(bucket.take(now), Err(next));
        // Asking takes nothing away.
        assert_eq!(bucket.take(now), Err(next));
        assert_eq!(
            bucket.take(next.checked_sub(Duration::from_millis(1)).unwrap()),
            Err(next)
        );
        assert_eq!(bucket.take(next), Ok(()));
        assert_eq!(bucket.take(next), Err(next + Duration::from_millis(20)));
    }

    #[test]
    fn tokens_come_back_at_the_rate_and_no_further_than_the_burst() {
        let (mut bucket, start) = (bucket(50, 100), Instant::now());
        assert_eq!(drain(&mut bucket, start), 100);
        let second = start + Duration::from_secs(1);
        assert_eq!(drain(&mut bucket, second), 50);
        let day = second + Duration::from_hours(24);
        assert_eq!(drain(&mut bucket, day), 100);
    }

    #[test]
    fn over_a_long_time_exactly_the_rate_passes() {
        let (mut bucket, start) = (bucket(3, 1), Instant::now());
        let (mut now, mut passed) = (start, 0);
        while now < start + Duration::from_mins(1) {
            match bucket.take(now) {
                Ok(()) => passed += 1,
                Err(next) => now = next,
            }
        }
        assert!((180..=181).contains(&passed), "{passed}");
    }

    #[test]
    fn a_clock_that_stands_or_steps_back_neither_panics_nor_gives_more() {
        let (mut bucket, start) = (bucket(1000, 2), Instant::now() + Duration::from_mins(1));
        assert_eq!(drain(&mut bucket, start), 2);
        let before = start.checked_sub(Duration::from_secs(30)).unwrap();
        assert_eq!(bucket.take(before), Err(start + Duration::from_millis(1)));
    }
}
