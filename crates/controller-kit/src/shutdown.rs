//! Ending in good order: a signal cancels a token, work gets 10 s to finish.

use std::{io, pin::pin, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// How long work may take to end after the signal.
pub const GRACE: Duration = Duration::from_secs(10);

/// A token that SIGTERM and SIGINT cancel.
pub fn on_signal() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "shutting down");
        cancelled.cancel();
    });
    Ok(token)
}

/// Runs work that watches the token itself, and stops waiting for it [`GRACE`] after the
/// cancellation. None when it had to be abandoned.
pub async fn graceful<T>(token: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    tokio::select! {
        done = &mut work => return Some(done),
        () = token.cancelled() => {}
    }
    let ended = timeout(GRACE, work).await.ok();
    if ended.is_none() {
        tracing::warn!(grace = ?GRACE, "work did not end in time and is abandoned");
    }
    ended
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_that_ends_is_waited_for_and_work_that_hangs_is_abandoned() {
        let token = CancellationToken::new();
        assert_eq!(graceful(&token, ready(1)).await, Some(1));

        let heeds = async {
            token.cancelled().await;
            tokio::time::sleep(GRACE / 2).await;
            2
        };
        let cancel = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            token.cancel();
        };
        assert_eq!(tokio::join!(graceful(&token, heeds), cancel).0, Some(2));

        let before = tokio::time::Instant::now();
        assert_eq!(graceful(&token, pending::<()>()).await, None);
        assert!(before.elapsed() >= GRACE);
    }
}
