//! Which addresses the proxy may connect to.
//!
//! A kubeconfig is data that a hub user wrote, so its server must not make the proxy talk to itself,
//! to its node or to a cloud's metadata service. Names are resolved first and the checked address is
//! the one that is dialled, so DNS cannot change in between.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

/// A range of addresses, such as `127.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

/// A range that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a range such as 10.0.0.0/8 or fd00::/8")]
pub struct CidrError(String);

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let error = || CidrError(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(error)?;
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let prefix: u8 = prefix.parse().map_err(|_| error())?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        if prefix > max {
            return Err(error());
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Cidr {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let shift = 32 - u32::from(self.prefix);
                u32::from(net).checked_shr(shift) == u32::from(ip).checked_shr(shift)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let shift = 128 - u32::from(self.prefix);
                u128::from(net).checked_shr(shift) == u128::from(ip).checked_shr(shift)
            }
            _ => false,
        }
    }
}

/// The ranges that were allowed or refused beyond the built-in rules.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    allowed: Vec<Cidr>,
    refused: Vec<Cidr>,
}

impl AddressPolicy {
    /// `allowed` overrides the built-in refusals; `refused` adds to them, such as the hub's Service
    /// range.
    pub fn new(allowed: Vec<Cidr>, refused: Vec<Cidr>) -> Self {
        Self { allowed, refused }
    }

    /// Says why an address may not be dialled.
    pub fn check(&self, address: IpAddr) -> Result<(), &'static str> {
        let address = plain(address);
        if self.allowed.iter().any(|range| range.contains(address)) {
            return Ok(());
        }
        if self.refused.iter().any(|range| range.contains(address)) {
            return Err("in a refused range");
        }
        let refused = match address {
            IpAddr::V4(ip) => [
                (ip.is_loopback(), "a loopback address"),
                (ip.is_link_local(), "a link-local address"),
                (ip.octets()[0] == 0, "an unspecified address"),
                (ip.is_multicast(), "a multicast address"),
                (ip.is_broadcast(), "a broadcast address"),
            ],
            IpAddr::V6(ip) => [
                (ip.is_loopback(), "a loopback address"),
                (ip.is_unicast_link_local(), "a link-local address"),
                (ip.is_unspecified(), "an unspecified address"),
                (ip.is_multicast(), "a multicast address"),
                (false, ""),
            ],
        };
        match refused.into_iter().find(|(hit, _)| *hit) {
            Some((_, why)) => Err(why),
            None => Ok(()),
        }
    }
}

/// IPv6 forms of an IPv4 address (mapped, compatible, NAT64) are judged as what they reach.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(ip) = address else {
        return address;
    };
    let segments = ip.segments();
    let nat64 = segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
    let compatible = segments[..6] == [0; 6] && ip != Ipv6Addr::LOCALHOST && !ip.is_unspecified();
    if let Some(v4) = ip.to_ipv4_mapped() {
        return IpAddr::V4(v4);
    }
    if nat64 || compatible {
        let [.., a, b, c, d] = ip.octets();
        return IpAddr::from([a, b, c, d]);
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &AddressPolicy, address: &str) -> bool {
        policy.check(address.parse().unwrap()).is_ok()
    }

    #[test]
    fn addresses_that_reach_the_proxy_itself_or_its_node_are_refused() {
        let policy = AddressPolicy::default();
        for address in [
            "127.0.0.1",
            "127.8.9.1",
            "169.254.169.254",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
        ] {
            assert!(!check(&policy, address), "{address} must be refused");
        }
        for address in [
            "10.0.0.1",
            "192.168.1.1",
            "203.0.113.9",
            "2001:db8::1",
            "fd00::1",
        ] {
            assert!(check(&policy, address), "{address} must be allowed");
        }
    }

    #[test]
    fn ranges_allow_and_refuse_exactly_what_they_contain() {
        let policy = AddressPolicy::new(
            vec!["127.8.0.0/16".parse().unwrap()],
            vec!["10.96.0.0/12".parse().unwrap()],
        );
        assert!(check(&policy, "127.8.1.1"));
        assert!(!check(&policy, "127.9.0.1"));
        assert!(!check(&policy, "10.97.0.1"));
        assert!(check(&policy, "10.112.0.1"));
        assert!(check(
            &AddressPolicy::new(vec!["0.0.0.0/0".parse().unwrap()], vec![]),
            "127.0.0.1"
        ));
    }

    #[test]
    fn malformed_ranges_are_refused() {
        for text in [
            "127.0.0.1",
            "127.0.0.0/33",
            "x/8",
            "::/129",
            "10.0.0.0/-1",
            "",
        ] {
            assert!(text.parse::<Cidr>().is_err(), "{text:?}");
        }
    }
}
