//! When a link is given up, and how long until it is tried again.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// No wait between two tries is longer.
pub const BACKOFF_CAP: Duration = Duration::from_mins(1);
const BACKOFF_BASE: Duration = Duration::from_secs(1);
/// Jitter may not turn a wait into a hammer.
const BACKOFF_FLOOR: Duration = Duration::from_millis(100);

const CONSECUTIVE_MAX: u32 = 5;
const WINDOW: usize = 20;
const WINDOW_AGE: Duration = Duration::from_secs(10);

/// The wait before try number `attempt` (from 0): full jitter over 1 s x 2^n, at most 60 s.
/// `random` is in 0..1.
pub fn backoff(attempt: u32, random: f64) -> Duration {
    backoff_within(BACKOFF_CAP, attempt, random)
}

/// The same under another cap.
pub fn backoff_within(cap: Duration, attempt: u32, random: f64) -> Duration {
    let ceiling = BACKOFF_BASE
        .saturating_mul(1_u32.checked_shl(attempt.min(16)).unwrap_or(u32::MAX))
        .min(cap);
    ceiling.mul_f64(random.clamp(0.0, 1.0)).max(BACKOFF_FLOOR)
}

/// A number in 0..1 for [`backoff`].
pub fn jitter() -> f64 {
    rand::random()
}

/// Counts what speaks against a member. Answers that a healthy member gives, such as 404 or 409, are
/// successes here.
#[derive(Debug, Default)]
pub struct Breaker {
    consecutive: u32,
    recent: VecDeque<(Instant, bool)>,
}

impl Breaker {
    /// The member answered.
    pub fn success(&mut self, now: Instant) {
        self.consecutive = 0;
        self.remember(now, true);
    }

    /// It did not, or not usefully; a malformed answer weighs 2. True when the link is to be given
    /// up.
    pub fn failure(&mut self, now: Instant, weight: u32) -> bool {
        self.consecutive += weight;
        for _ in 0..weight {
            self.remember(now, false);
        }
        self.consecutive >= CONSECUTIVE_MAX || self.mostly_failing(now)
    }

    fn remember(&mut self, now: Instant, ok: bool) {
        if self.recent.len() == WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back((now, ok));
    }

    fn mostly_failing(&self, now: Instant) -> bool {
        let recent = |at: &Instant| now.saturating_duration_since(*at) <= WINDOW_AGE;
        let failures = self.recent.iter().filter(|(_, ok)| !ok).count();
        self.recent.len() == WINDOW
            && self.recent.front().is_some_and(|(at, _)| recent(at))
            && failures * 2 > WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_are_spread() {
        let top: Vec<u64> = (0..9).map(|n| backoff(n, 1.0).as_secs()).collect();
        assert_eq!(top, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff(3, 0.5), Duration::from_secs(4));
        assert_eq!(backoff(5, 0.0), BACKOFF_FLOOR);
        assert_eq!(backoff(u32::MAX, 1.0), BACKOFF_CAP);
        let cap = Duration::from_secs(10);
        assert_eq!(backoff_within(cap, 9, 0.5), cap / 2);
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_a_success_starts_anew() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        assert!((0..4).all(|_| !breaker.failure(now, 1)));
        breaker.success(now);
        assert!((0..4).all(|_| !breaker.failure(now, 1)));
        assert!(breaker.failure(now, 1));
    }

    #[test]
    fn malformed_answers_count_double() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        assert!(!breaker.failure(now, 2));
        assert!(!breaker.failure(now, 2));
        assert!(breaker.failure(now, 2));
    }

    #[test]
    fn more_than_half_failing_within_ten_seconds_opens_it() {
        let now = Instant::now();
        let run = |spacing: Duration| {
            let mut breaker = Breaker::default();
            (0..30_u32).any(|i| {
                let at = now + spacing * i;
                // Two failures, one success: never five in a row.
                if i % 3 == 0 {
                    breaker.success(at);
                    false
                } else {
                    breaker.failure(at, 1)
                }
            })
        };
        assert!(run(Duration::from_millis(100)));
        assert!(!run(Duration::from_secs(2)));
    }
}
