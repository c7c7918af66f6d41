//! How many calls a member may have at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout_at,
};
use tonic::Code;

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

/// 64 calls in flight, 256 waiting in order; more are refused at once.
#[derive(Debug)]
pub struct Limiter {
    all: Arc<AllCalls>,
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
    pub fn new(all: Arc<AllCalls>) -> Self {
        Self {
            all,
            permits: Semaphore::new(IN_FLIGHT),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Waits for a place, in order of arrival. No call waits because of what others do elsewhere: when
    /// the proxy as a whole has too many, it is refused.
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
        if let Ok(permit) = self.permits.try_acquire() {
            return Ok(permit);
        }
        let queued = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if queued >= QUEUED {
            return Err(full("this member", "256 calls are waiting already"));
        }
        match timeout_at(deadline.within(WAIT_MAX), self.permits.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(full(
                "this member",
                "64 calls are in flight and none ended in time",
            )),
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
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_beyond_the_places_wait_in_bounded_number_and_time() {
        let limiter = Limiter::new(Arc::default());
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
            .map(|_| Limiter::new(Arc::clone(&all)))
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
