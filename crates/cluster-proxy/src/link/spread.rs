//! Watches beyond what one connection carries get further connections.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::{
    Link, Session,
    connection::{Connection, WATCH_WINDOWS, WatchPlace},
    gate::Purpose,
    probe,
    status::Condition,
};
use crate::error::{CallError, Retryable};

/// Beside the first one.
const MORE_MAX: usize = 7;

/// The further connections of a session. Each pings for itself; when one ends, its watches resume
/// on another.
#[derive(Debug, Default)]
pub struct MoreConnections {
    /// Held while connecting, so that many watches open one.
    open: Mutex<Vec<Arc<Connection>>>,
}

impl Link {
    /// A connection with room for one more watch, opened if need be.
    pub async fn watch_connection(
        &self,
        session: &Session,
    ) -> Result<(Arc<Connection>, WatchPlace), CallError> {
        if let Some(place) = session.connection.watch_place() {
            return Ok((Arc::clone(&session.connection), place));
        }
        let mut more = session.more.open.lock().await;
        more.retain(|connection| connection.is_open());
        // The first one may have room again after the wait for the lock.
        for connection in std::iter::once(&session.connection).chain(more.iter()) {
            if let Some(place) = connection.watch_place() {
                return Ok((Arc::clone(connection), place));
            }
        }
        if more.len() == MORE_MAX {
            return Err(too_many());
        }
        let credentials = session.connection.credentials();
        let turn = self.seat.enter(Purpose::New).await;
        let opened = Connection::open(credentials, &self.context, WATCH_WINDOWS).await;
        drop(turn);
        let connection = Arc::new(opened.map_err(|e| {
            let condition = Condition::from_connect(&e);
            let mut error = CallError::proxy(
                tonic::Code::Unavailable,
                "CLUSTER_UNREACHABLE",
                format!("{}: {}", self.key, condition.message),
            )
            .retry(Retryable::Yes, None);
            error.weight = 1;
            error
        })?);
        // An answer of any kind will do; with it the member's limit is known.
        if let Err(error) = probe::is_ready(&connection).await
            && error.http_code.is_none()
        {
            return Err(error);
        }
        let place = connection.watch_place().ok_or_else(too_many)?;
        more.push(Arc::clone(&connection));
        Ok((connection, place))
    }
}

fn too_many() -> CallError {
    CallError::proxy(
        tonic::Code::ResourceExhausted,
        "TOO_MANY_WATCHES",
        "the member allows too few streams for all watches, even on eight connections",
    )
    .retry(Retryable::Yes, None)
}
