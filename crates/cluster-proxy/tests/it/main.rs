//! The proxy on real control planes. Members are reached through relays, so that one test's faults
//! are not another's; each test has a namespace on the hub and a proxy of its own.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy.toml allows it in tests, which leaves out their helpers"
)]
#![allow(
    clippy::unnecessary_wraps,
    reason = "messages of the wire are optional, so their helpers give options"
)]

mod calls;
mod client;
mod clusters;
mod consistency;
mod credentials;
mod details;
mod discovery;
mod fake;
mod faults;
mod hostile;
mod oversized;
mod probes;
mod provisioned;
mod rate;
mod restored;
mod rig;
mod secrets;
mod start;
mod subscribe;
mod view;
mod watching;
