//! Medians and tails of measured times.

use std::time::Duration;

/// The value that a share of all `samples` (0 to 1) does not exceed; none without samples.
pub fn quantile(samples: &[Duration], share: f64) -> Option<Duration> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a rank between 1 and a number of samples that fits into memory"
    )]
    let rank = (share.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_sample_that_its_share_does_not_exceed() {
        let samples: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(quantile(&samples, 0.5), Some(Duration::from_millis(50)));
        assert_eq!(quantile(&samples, 0.99), Some(Duration::from_millis(99)));
        assert_eq!(quantile(&samples, 1.0), Some(Duration::from_millis(100)));
        assert_eq!(quantile(&samples, 0.0), Some(Duration::from_millis(1)));
        assert_eq!(
            quantile(&samples[..1], 0.5),
            Some(Duration::from_millis(100))
        );
        assert_eq!(quantile(&[], 0.5), None);
    }
}
