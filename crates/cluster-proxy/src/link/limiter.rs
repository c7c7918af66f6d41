//! How many calls a member may have at once.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
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
const QUEUED: usize = 256;
const WAIT_MAX: Duration = Duration::from_secs(5);

/// 64 calls in flight, 256 waiting in order; more are refused at once.
#[derive(Debug)]
pub struct Limiter {
    permits: Semaphore,
    waiting: AtomicUsize,
}

impl Default for Limiter {
    fn default() -> Self {
        Self {
            permits: Semaphore::new(IN_FLIGHT),
            waiting: AtomicUsize::new(0),
        }
    }
}

/// Keeps the count of waiting calls right when a caller gives up.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Limiter {
    /// Waits for a place, in order of arrival.
    pub async fn enter(&self, deadline: Deadline) -> Result<SemaphorePermit<'_>, CallError> {
        if let Ok(permit) = self.permits.try_acquire() {
            return Ok(permit);
        }
        let queued = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if queued >= QUEUED {
            return Err(full("256 calls are waiting already"));
        }
        match timeout_at(deadline.within(WAIT_MAX), self.permits.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(full("64 calls are in flight and none ended in time")),
        }
    }
}

fn full(why: &str) -> CallError {
    CallError::proxy(
        Code::ResourceExhausted,
        "QUEUE_FULL",
        format!("too many calls for this member: {why}"),
    )
    .retry(Retryable::Yes, Some(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_beyond_the_places_wait_in_bounded_number_and_time() {
        let limiter = Limiter::default();
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
}
