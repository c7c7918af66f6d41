//! An open watch, line by line.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, timeout_at};

use super::lines::{LINE_MAX, LineSplitter, LineTooLong};
use crate::{
    link::connection::{Connection, WatchPlace},
    metrics::Counted,
};

/// How long after the time that was asked for a member may still end a watch.
const END_GRACE: Duration = Duration::from_secs(30);

pub(super) struct OpenWatch {
    lines: Lines<Incoming>,
    pub(super) connection: Arc<Connection>,
    _place: WatchPlace,
    _counted: Counted,
}

impl OpenWatch {
    /// `lasts`: for how long the member was asked to serve it.
    pub(super) fn new(
        body: Incoming,
        lasts: Duration,
        connection: Arc<Connection>,
        place: WatchPlace,
        counted: Counted,
    ) -> Self {
        Self {
            lines: Lines::new(body, lasts),
            connection,
            _place: place,
            _counted: counted,
        }
    }

    /// None at the end. How a stream ends does not matter: the connection's own end is the
    /// supervisor's.
    pub(super) async fn next_line(&mut self) -> Result<Option<Bytes>, LineTooLong> {
        self.lines.next().await
    }
}

/// The lines of a body. It ends on time: behind something that keeps connections alive on its own, a
/// dead watch is only silent.
struct Lines<B> {
    body: B,
    splitter: LineSplitter,
    end: Instant,
}

impl<B: Body<Data = Bytes> + Unpin> Lines<B> {
    fn new(body: B, lasts: Duration) -> Self {
        Self {
            body,
            splitter: LineSplitter::new(LINE_MAX),
            end: Instant::now() + lasts + END_GRACE,
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, LineTooLong> {
        loop {
            if let Some(line) = self.splitter.next_line()? {
                return Ok(Some(line));
            }
            // A body that always has more would win against the timer each time.
            if Instant::now() >= self.end {
                return Ok(None);
            }
            let Ok(Some(Ok(frame))) = timeout_at(self.end, self.body.frame()).await else {
                return Ok(None);
            };
            if let Some(data) = frame.data_ref() {
                self.splitter.push(data);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, pin::pin};

    use futures::{StreamExt, stream};
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use tokio::time::{sleep, timeout};

    use super::*;

    const LASTS: Duration = Duration::from_mins(4);

    fn frame(text: &'static str) -> Frame<Bytes> {
        Frame::data(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_falls_silent_ends_soon_after_its_time() {
        let silent = stream::iter([Ok::<_, Infallible>(frame("{}\n"))]).chain(stream::pending());
        let mut lines = Lines::new(StreamBody::new(silent), LASTS);
        let opened = Instant::now();
        assert_eq!(lines.next().await.unwrap().unwrap(), "{}");
        let end = timeout(Duration::from_hours(1), lines.next()).await;
        assert_eq!(end.unwrap().unwrap(), None);
        assert!(opened.elapsed() >= LASTS + END_GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_never_falls_silent_ends_as_well() {
        let busy = stream::repeat(" ").then(|text| async move {
            sleep(Duration::from_secs(1)).await;
            Ok::<_, Infallible>(frame(text))
        });
        let busy = pin!(busy);
        let mut lines = Lines::new(StreamBody::new(busy), LASTS);
        let end = timeout(Duration::from_hours(1), lines.next()).await;
        assert_eq!(end.unwrap().unwrap(), None);
    }
}
