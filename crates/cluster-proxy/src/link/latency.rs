//! How long members take: each one on average, and all of them within a call.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A new answer weighs one eighth.
const WEIGHT: u64 = 8;

tokio::task_local! {
    static AT_MEMBER: Cell<Duration>;
}

/// A moving average of a member's answers, in microseconds; 0 before the first.
#[derive(Debug, Default)]
pub(super) struct Latency(AtomicU64);

impl Latency {
    pub(super) fn record(&self, time: Duration) {
        let new = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
        let average = |old: u64| match old {
            0 => Some(new),
            old => Some((old - old / WEIGHT).saturating_add(new / WEIGHT).max(1)),
        };
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, average);
    }

    pub(super) fn average(&self) -> Option<Duration> {
        let micros = self.0.load(Ordering::Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros))
    }
}

/// Runs a call, and tells how much of its time members took.
pub async fn measured<F: Future>(call: F) -> (F::Output, Duration) {
    let call = async {
        let output = call.await;
        (output, AT_MEMBER.with(Cell::get))
    };
    AT_MEMBER.scope(Cell::default(), call).await
}

/// A member took part in the present call for so long. Outside of calls, as in watches, nobody asks.
pub(super) fn at_member(time: Duration) {
    let _ = AT_MEMBER.try_with(|sum| sum.set(sum.get() + time));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_begins_with_the_first_answer_and_follows_the_later_ones() {
        let latency = Latency::default();
        assert_eq!(latency.average(), None);
        latency.record(Duration::from_millis(8));
        assert_eq!(latency.average(), Some(Duration::from_millis(8)));
        latency.record(Duration::from_millis(16));
        assert_eq!(latency.average(), Some(Duration::from_millis(9)));
        for _ in 0..100 {
            latency.record(Duration::ZERO);
        }
        assert!(latency.average() < Some(Duration::from_micros(10)));
    }

    #[tokio::test]
    async fn a_call_knows_what_its_members_took_and_no_other_calls_part() {
        at_member(Duration::from_secs(9));
        let call = async {
            at_member(Duration::from_millis(1));
            tokio::task::yield_now().await;
            at_member(Duration::from_millis(2));
            "done"
        };
        let (one, other) = tokio::join!(measured(call), measured(async {}));
        assert_eq!(one, ("done", Duration::from_millis(3)));
        assert_eq!(other.1, Duration::ZERO);
    }
}
