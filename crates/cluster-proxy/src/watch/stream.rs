//! An open watch, line by line.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::lines::{LINE_MAX, LineSplitter};
use crate::{
    error::{CallError, WriteOutcome},
    link::connection::{Connection, WatchPlace},
    metrics::Counted,
};

pub(super) struct OpenWatch {
    body: Incoming,
    lines: LineSplitter,
    pub(super) connection: Arc<Connection>,
    _place: WatchPlace,
    _counted: Counted,
}

impl OpenWatch {
    pub(super) fn new(
        body: Incoming,
        connection: Arc<Connection>,
        place: WatchPlace,
        counted: Counted,
    ) -> Self {
        Self {
            body,
            lines: LineSplitter::new(LINE_MAX),
            connection,
            _place: place,
            _counted: counted,
        }
    }

    /// None at the end. How a stream ends does not matter: the connection's own end is the
    /// supervisor's.
    pub(super) async fn next_line(&mut self) -> Result<Option<Bytes>, CallError> {
        loop {
            let line = self
                .lines
                .next_line()
                .map_err(|e| CallError::malformed(e, WriteOutcome::NotSent))?;
            if line.is_some() {
                return Ok(line);
            }
            let Some(Ok(frame)) = self.body.frame().await else {
                return Ok(None);
            };
            if let Some(data) = frame.data_ref() {
                self.lines.push(data);
            }
        }
    }
}
