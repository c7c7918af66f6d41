//! The client against a small fake of the proxy that misbehaves on command. What is shown here is
//! how the client behaves; that the real proxy behaves as the fake does is shown in its own tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "clippy.toml allows it in tests, which leaves out their helpers"
)]

mod calls;
mod errors;
mod fixture;
mod inventory;
mod watch;
