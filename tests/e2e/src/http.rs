//! Just enough HTTP to ask one of our processes how it is.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(5);

/// The body that `address` gives for `path`; an error unless the answer is 200.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let answer = tokio::time::timeout(PATIENCE, exchange(address, path)).await;
    let answer = answer.with_context(|| format!("{address}{path} does not answer"))??;
    let (head, body) = answer.split_once("\r\n\r\n").context("not HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(
        status.contains(" 200 "),
        "{path} answers {status}: {}",
        body.trim()
    );
    Ok(body.to_owned())
}

async fn exchange(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
