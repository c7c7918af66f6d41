//! Waiting for a condition under a deadline: the only kind of waiting that tests do.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

const PAUSE: Duration = Duration::from_millis(25);

/// Asks `probe` until it gives a value. After `deadline` the error names `what` was waited for.
pub async fn wait_for<T, F>(what: &str, deadline: Duration, mut probe: F) -> Result<T>
where
    F: AsyncFnMut() -> Option<T>,
{
    let started = Instant::now();
    let mut tries = 0_u32;
    loop {
        tries += 1;
        // The probe itself may hang, for example on a member that is cut off.
        let left = deadline.saturating_sub(started.elapsed());
        match tokio::time::timeout(left, probe()).await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => {}
            Err(_) => bail!("gave up waiting for {what} after {deadline:?}: try {tries} hangs"),
        }
        if started.elapsed() + PAUSE > deadline {
            bail!("gave up waiting for {what} after {deadline:?} and {tries} tries");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Like [`wait_for`] for a `probe` that says why not yet: the error ends with its last answer.
pub async fn wait_ok<T, F>(what: &str, deadline: Duration, mut probe: F) -> Result<T>
where
    F: AsyncFnMut() -> Result<T>,
{
    let mut last = None;
    let waited = wait_for(what, deadline, async || match probe().await {
        Ok(value) => Some(value),
        Err(error) => {
            last = Some(error);
            None
        }
    })
    .await;
    waited.map_err(|timeout| match last {
        Some(error) => anyhow!("{timeout}; last answer: {error:#}"),
        None => timeout,
    })
}
