//! Waiting between attempts to reach the proxy: full jitter, doubling from 100 ms to 5 s.

use std::time::Duration;

use rand::RngExt as _;

const BASE: Duration = Duration::from_millis(100);
const CAP: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next wait: at least the base, so that a proxy that accepts and drops is not hammered.
    pub(crate) fn next(&mut self) -> Duration {
        let limit = ceiling(self.failures);
        self.failures = self.failures.saturating_add(1);
        rand::rng().random_range(BASE..=limit.max(BASE))
    }
}

fn ceiling(failures: u32) -> Duration {
    BASE.saturating_mul(1 << failures.min(16)).min(CAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_start_over_after_a_reset() {
        let mut backoff = Backoff::default();
        for _ in 0..50 {
            let wait = backoff.next();
            assert!((BASE..=CAP).contains(&wait), "{wait:?}");
        }
        assert_eq!(ceiling(50), CAP);
        assert_eq!(ceiling(1), Duration::from_millis(200));
        backoff.reset();
        assert_eq!(backoff.next(), BASE);
    }
}
