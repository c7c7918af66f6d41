//! How many calls a member may have at once, and how many a second.
//!
//! Calls of controllers and the pages of lists that watches begin with are counted. Opening a watch is
//! not: the proxy does that by itself, one for each shared watch, and after a connection is lost all
//! of them are due at once and must not stand in line with calls.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, Semaphore, SemaphorePermit},
    time::{Instant, sleep_until, timeout_at},
};
use tonic::Code;

use super::rate::{Bucket, Rate};
use crate::{
    error::{CallError, Retryable},
    request::deadline::Deadline,
};

const IN_FLIGHT: usize = 64;
const IN_FLIGHT_ALL: usize = 2048;
const QUEUED: usize = 256;
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The calls in flight over all members.
#[derive(Debug)]
pub struct AllCalls(Semaphore);

impl Default for AllCalls {
    fn default() -> Self {
        Self(Semaphore::new(IN_FLIGHT_ALL))
    }
}

/// A call's place. Free again when dropped.
#[derive(Debug)]
pub struct CallPlace<'a> {
    _of_member: SemaphorePermit<'a>,
    _of_all: SemaphorePermit<'a>,
}

/// A rate, and behind it 64 calls in flight; 256 wait in order for the one or the other, more are
/// refused at once.
#[derive(Debug)]
pub struct Limiter {
    all: Arc<AllCalls>,
    rate: Rate,
    /// Whoever waits for a token holds it, so that all others wait behind in their order and a caller
    /// that gives up takes no token along.
    bucket: Mutex<Bucket>,
    permits: Semaphore,
    waiting: AtomicUsize,
}

/// Keeps the count of waiting calls right when a caller gives up.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Limiter {
    /// A limiter for one member.
    pub fn new(all: Arc<AllCalls>, rate: Rate) -> Self {
        Self {
            all,
            rate,
            bucket: Mutex::new(Bucket::new(rate)),
            permits: Semaphore::new(IN_FLIGHT),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Waits for a token and a place, in order of arrival. No call waits because of what others do
    /// elsewhere: when the proxy as a whole has too many, it is refused.
    pub async fn enter(&self, deadline: Deadline) -> Result<CallPlace<'_>, CallError> {
        let of_member = self.of_member(deadline).await?;
        let Ok(of_all) = self.all.0.try_acquire() else {
            return Err(full("the proxy", "2048 calls to members are in flight"));
        };
        Ok(CallPlace {
            _of_member: of_member,
            _of_all: of_all,
        })
    }

    async fn of_member(&self, deadline: Deadline) -> Result<SemaphorePermit<'_>, CallError> {
        let token = self.token_now();
        if token && let Ok(permit) = self.permits.try_acquire() {
            return Ok(permit);
        }
        let queued = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if queued >= QUEUED {
            return Err(full("this member", "256 calls are waiting already"));
        }
        let until = deadline.within(WAIT_MAX);
        if !token && timeout_at(until, self.token()).await.is_err() {
            let rate = self.rate.per_second;
            let why = format!("it gets no more than {rate} a second");
            return Err(full("this member", &why));
        }
        match timeout_at(until, self.permits.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(full(
                "this member",
                "64 calls are in flight and none ended in time",
            )),
        }
    }

    /// Takes a token if there is one and nobody waits for it. A retry needs one, and keeps its place.
    pub fn token_now(&self) -> bool {
        let bucket = self.bucket.try_lock();
        bucket.is_ok_and(|mut bucket| bucket.take(Instant::now()).is_ok())
    }

    async fn token(&self) {
        let mut bucket = self.bucket.lock().await;
        while let Err(next) = bucket.take(Instant::now()) {
            sleep_until(next).await;
        }
    }
}

fn full(whom: &str, why: &str) -> CallError {
    CallError::proxy(
        Code::ResourceExhausted,
        "QUEUE_FULL",
        format!("too many calls for {whom}: {why}"),
    )
    .retry(Retryable::Yes, Some(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, pin::Pin};

    use futures::{StreamExt, stream::FuturesUnordered};

    use super::*;
    use crate::error::WriteOutcome;

    const PLENTY: Rate = Rate {
        per_second: NonZeroU32::MAX,
        burst: NonZeroU32::MAX,
    };

    #[tokio::test(start_paused = true)]
    async fn calls_beyond_the_rate_wait_in_order_and_none_is_lost() {
        let limiter = Limiter::new(
            Arc::default(),
            Rate {
                per_second: NonZeroU32::new(50).unwrap(),
                burst: NonZeroU32::new(100).unwrap(),
            },
        );
        let deadline = Deadline::after(Duration::from_mins(1));
        let started = Instant::now();
        let calls = (0..120).map(async |call| {
            drop(limiter.enter(deadline).await.unwrap());
            (call, started.elapsed())
        });
        let done: Vec<_> = calls.collect::<FuturesUnordered<_>>().collect().await;
        let order: Vec<_> = done.iter().map(|(call, _)| *call).collect();
        assert_eq!(order, (0..120).collect::<Vec<_>>());
        assert!(done[..100].iter().all(|(_, at)| at.is_zero()));
        // One each 20 ms, on a timer of 1 ms.
        let last = done[119].1.as_millis();
        assert!((400..=440).contains(&last), "{last}");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_token_is_bounded_in_number_and_time_and_given_up_at_no_cost() {
        let rate = Rate {
            per_second: NonZeroU32::new(1).unwrap(),
            burst: NonZeroU32::MIN,
        };
        let limiter = Limiter::new(Arc::default(), rate);
        let deadline = Deadline::after(Duration::from_mins(1));
        drop(limiter.enter(deadline).await.unwrap());
        let mut waiting: Vec<_> = (0..QUEUED)
            .map(|_| Box::pin(limiter.enter(deadline)))
            .collect();
        for wait in &mut waiting {
            assert!(futures::poll!(wait.as_mut()).is_pending());
        }
        let refused = limiter.enter(deadline).await.unwrap_err();
        assert_eq!(refused.reason, "QUEUE_FULL");
        // All but the last give up; it still gets the first token.
        let mut last = waiting.pop().unwrap();
        drop(waiting);
        drop(last.as_mut().await.unwrap());
        assert_eq!(limiter.waiting.load(Ordering::Relaxed), 0);

        let mut six: Vec<_> = (0..6).map(|_| Box::pin(limiter.enter(deadline))).collect();
        let ends = futures::future::join_all(six.iter_mut().map(Pin::as_mut)).await;
        let passed = ends.iter().filter(|end| end.is_ok()).count();
        assert!((4..=5).contains(&passed), "{passed}");
        let refused = ends[5].as_ref().unwrap_err();
        assert_eq!(refused.reason, "QUEUE_FULL");
        assert_eq!(refused.write_outcome, WriteOutcome::NotSent);
        assert_eq!(refused.retry_after, Some(Duration::from_secs(1)));
        assert!(refused.message.contains("1 a second"), "{refused}");
        let hurried = Deadline::after(Duration::from_millis(10));
        let begun = Instant::now();
        limiter.enter(hurried).await.unwrap_err();
        assert!(begun.elapsed() < Duration::from_millis(20));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_beyond_the_places_wait_in_bounded_number_and_time() {
        let limiter = Limiter::new(Arc::default(), PLENTY);
        let deadline = Deadline::after(Duration::from_mins(1));
        let mut held = Vec::new();
        for _ in 0..IN_FLIGHT {
            held.push(limiter.enter(deadline).await.unwrap());
        }
        let mut waiting: Vec<_> = (0..QUEUED)
            .map(|_| Box::pin(limiter.enter(deadline)))
            .collect();
        for wait in &mut waiting {
            assert!(futures::poll!(wait.as_mut()).is_pending());
        }
        assert_eq!(
            limiter.enter(deadline).await.unwrap_err().reason,
            "QUEUE_FULL"
        );

        held.pop();
        let _first = waiting[0].as_mut().await.unwrap();
        tokio::time::advance(WAIT_MAX).await;
        let late = waiting[1].as_mut().await.unwrap_err();
        assert_eq!(late.retry_after, Some(Duration::from_secs(1)));
        drop(waiting);
        assert_eq!(limiter.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn calls_beyond_those_of_all_members_are_refused_at_once() {
        let all = Arc::default();
        let deadline = Deadline::after(Duration::from_mins(1));
        let members: Vec<_> = (0..=IN_FLIGHT_ALL / IN_FLIGHT)
            .map(|_| Limiter::new(Arc::clone(&all), PLENTY))
            .collect();
        let (last, busy) = members.split_last().unwrap();
        let mut held = Vec::new();
        for limiter in busy {
            for _ in 0..IN_FLIGHT {
                held.push(limiter.enter(deadline).await.unwrap());
            }
        }
        assert_eq!(last.enter(deadline).await.unwrap_err().reason, "QUEUE_FULL");
        held.pop();
        last.enter(deadline).await.unwrap();
    }
}
