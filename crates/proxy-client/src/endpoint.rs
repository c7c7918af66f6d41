//! Where the proxy listens, and the channels to it.

use std::{fmt, str::FromStr, time::Duration};

use tonic::transport::{Channel, Endpoint as Transport};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

const CALL_STREAM_WINDOW: u32 = 1024 * 1024;
const CALL_CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
const WATCH_STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const WATCH_CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// The proxy's address: `http://127.0.0.1:9600` or `unix:/run/kurator/proxy.sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(String);

/// An address that is neither `http://host:port` nor `unix:/path`.
#[derive(Debug, thiserror::Error)]
#[error(
    "{address:?} is no proxy endpoint: write http://HOST:PORT or unix:/ABSOLUTE/PATH ({problem})"
)]
pub struct EndpointError {
    address: String,
    problem: String,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(address: &str) -> Result<Self, EndpointError> {
        match problem(address) {
            None => Ok(Self(address.to_owned())),
            Some(problem) => Err(EndpointError {
                address: address.to_owned(),
                problem,
            }),
        }
    }
}

fn problem(address: &str) -> Option<String> {
    if let Some(path) = address.strip_prefix("unix:") {
        let absolute = path.starts_with('/') && path.len() > 1;
        return (!absolute).then(|| "the path of a socket must be absolute".into());
    }
    let uri: http::Uri = match address.parse() {
        Ok(uri) => uri,
        Err(error) => return Some(error.to_string()),
    };
    if uri.scheme_str() != Some("http") {
        return Some("the scheme must be http or unix".into());
    }
    if uri.port_u16().is_none() {
        return Some("the port is missing".into());
    }
    None
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a channel is used for; it decides the flow-control windows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Calls,
    Watches,
}

impl Endpoint {
    /// A channel that connects on first use and again after each loss.
    pub(crate) fn channel(&self, purpose: Purpose) -> Result<Channel, tonic::transport::Error> {
        let (stream, connection) = match purpose {
            Purpose::Calls => (CALL_STREAM_WINDOW, CALL_CONNECTION_WINDOW),
            Purpose::Watches => (WATCH_STREAM_WINDOW, WATCH_CONNECTION_WINDOW),
        };
        let transport = Transport::from_shared(self.0.clone())?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(stream)
            .initial_connection_window_size(connection);
        Ok(transport.connect_lazy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_when_they_are_read() {
        for good in [
            "http://127.0.0.1:9600",
            "http://[::1]:80",
            "unix:/run/p.sock",
        ] {
            assert_eq!(good.parse::<Endpoint>().unwrap().to_string(), good);
        }
        for bad in [
            "127.0.0.1:9600",
            "https://h:1",
            "http://h",
            "unix:p.sock",
            "unix:/",
            "",
        ] {
            let error = bad.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains("no proxy endpoint"), "{error}");
        }
    }
}
