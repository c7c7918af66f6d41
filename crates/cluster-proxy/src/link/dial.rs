//! The TCP connection below a link.

use std::{net::SocketAddr, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpStream, time::sleep};

use super::connection::{ConnectError, unreachable};
use crate::credentials::address::AddressPolicy;

/// How long an address has before the next one is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);
/// A name with more addresses is not tried at all of them.
const ADDRESSES_MAX: usize = 8;
/// Bytes that the member does not acknowledge for this long end the connection.
const USER_TIMEOUT: Duration = Duration::from_secs(15);
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Resolves, checks, and dials the very addresses that were checked.
pub(super) async fn dial(
    host: &str,
    port: u16,
    addresses: &AddressPolicy,
) -> Result<TcpStream, ConnectError> {
    let resolved = tokio::net::lookup_host((host, port))
        .await
        .map_err(|e| unreachable(format!("cannot resolve {host}: {e}")))?;
    let allowed = allowed(host, resolved.collect(), addresses)?;
    let attempts = alternating(allowed)
        .into_iter()
        .take(ADDRESSES_MAX)
        .map(connect);
    let first = first_success(attempts).await;
    first.unwrap_or_else(|| Err(unreachable(format!("{host} has no address"))))
}

/// The addresses that may be dialled; an error when there are only others.
fn allowed(
    host: &str,
    resolved: Vec<SocketAddr>,
    addresses: &AddressPolicy,
) -> Result<Vec<SocketAddr>, ConnectError> {
    let mut refused = None;
    let mut allowed = Vec::new();
    for address in resolved {
        match addresses.check(address.ip()) {
            Ok(()) => allowed.push(address),
            Err(why) => refused = Some(why),
        }
    }
    match refused {
        Some(why) if allowed.is_empty() => Err(ConnectError::Address {
            host: host.to_owned(),
            why,
        }),
        _ => Ok(allowed),
    }
}

/// The resolver's order, with the two families taking turns: if one does not work, the second
/// address already is of the other.
fn alternating(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut mixed = Vec::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    loop {
        let turn = [first.next(), second.next()];
        if turn == [None, None] {
            return mixed;
        }
        mixed.extend(turn.into_iter().flatten());
    }
}

/// Begins the next attempt when one has failed or a while has passed. The first success wins; the
/// last failure tells why there was none; None if there was nothing to attempt.
async fn first_success<T, E>(
    attempts: impl Iterator<Item = impl Future<Output = Result<T, E>>>,
) -> Option<Result<T, E>> {
    let mut waiting = attempts.fuse().peekable();
    let mut running = FuturesUnordered::new();
    let mut failed = None;
    loop {
        running.extend(waiting.next());
        if running.is_empty() {
            return failed;
        }
        tokio::select! {
            Some(result) = running.next() => match result {
                Ok(success) => return Some(Ok(success)),
                Err(failure) => failed = Some(Err(failure)),
            },
            () = sleep(STAGGER), if waiting.peek().is_some() => {}
        }
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, ConnectError> {
    let connected = TcpStream::connect(address).await;
    let tcp = connected.map_err(|e| unreachable(format!("cannot connect to {address}: {e}")))?;
    set_options(&tcp).map_err(|e| unreachable(format!("{address}: {e}")))?;
    Ok(tcp)
}

fn set_options(tcp: &TcpStream) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(tcp);
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        net::Ipv4Addr,
    };

    use futures::future::{BoxFuture, FutureExt};
    use tokio::{net::TcpListener, time::Instant};

    use super::*;

    type Attempt = BoxFuture<'static, Result<u8, &'static str>>;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_delays_the_next_one_only_a_little() {
        let attempts: [Attempt; 3] = [
            pending().boxed(),
            pending().boxed(),
            ready(Ok(3_u8)).boxed(),
        ];
        let started = Instant::now();
        assert_eq!(first_success(attempts.into_iter()).await, Some(Ok(3)));
        assert_eq!(started.elapsed(), STAGGER * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_address_does_not_delay_the_next_one_and_a_late_one_still_wins() {
        let late = sleep(Duration::from_secs(2)).map(|()| Ok(1));
        let attempts: [Attempt; 2] = [late.boxed(), ready(Err("refused")).boxed()];
        assert_eq!(first_success(attempts.into_iter()).await, Some(Ok(1)));

        let attempts: [Attempt; 2] = [ready(Err("a")).boxed(), ready(Err("b")).boxed()];
        let started = Instant::now();
        assert_eq!(first_success(attempts.into_iter()).await, Some(Err("b")));
        assert_eq!(started.elapsed(), Duration::ZERO);
        let nothing: [Attempt; 0] = [];
        assert_eq!(first_success(nothing.into_iter()).await, None);
    }

    #[test]
    fn families_take_turns_in_the_resolvers_order() {
        let mixed = alternating(addresses(&[
            "[2001:db8::1]:1",
            "[2001:db8::2]:1",
            "[2001:db8::3]:1",
            "10.0.0.1:1",
        ]));
        let wanted = addresses(&[
            "[2001:db8::1]:1",
            "10.0.0.1:1",
            "[2001:db8::2]:1",
            "[2001:db8::3]:1",
        ]);
        assert_eq!(mixed, wanted);
    }

    #[test]
    fn of_a_names_addresses_only_the_allowed_are_dialled() {
        let policy = AddressPolicy::default();
        let both = addresses(&["169.254.169.254:1", "10.0.0.1:1"]);
        assert_eq!(
            allowed("m", both.clone(), &policy).unwrap(),
            addresses(&["10.0.0.1:1"])
        );
        let refused = allowed("m", both[..1].to_vec(), &policy).unwrap_err();
        assert!(matches!(refused, ConnectError::Address { .. }), "{refused}");
        assert!(allowed("m", Vec::new(), &policy).unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_kernel_gives_up_a_member_that_acknowledges_nothing() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let policy = AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()], Vec::new());
        let port = listener.local_addr().unwrap().port();
        let tcp = dial("127.0.0.1", port, &policy).await.unwrap();
        let socket = SockRef::from(&tcp);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE);
        assert!(socket.keepalive().unwrap());
        assert!(tcp.nodelay().unwrap());
    }
}
