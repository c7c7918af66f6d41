//! fleet-controller as a process on a real hub.
//!
//! Most tests script what cluster-proxy says, since it is what they vary: they show what the
//! controller makes of it. The tests in `real` run the real proxy with real members.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails here fails the test"
)]

mod blind;
mod damping;
mod deletion;
mod fleets;
mod members;
mod outage;
mod real;
mod script;
mod space;
mod world;
