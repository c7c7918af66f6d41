//! What every process of kurator-rs shares: arguments, start and end, telemetry, health and metrics,
//! leadership, passes and their outcomes, conditions, events, writes to the hub.
//!
//! Nothing here knows a kind of ours or a member; that is the controllers' and proxy-client's job.

pub mod args;
pub mod boot;
pub mod condition;
pub mod crds;
pub mod event;
pub mod follow;
pub mod http;
pub mod hub;
pub mod kind;
pub mod lease;
pub mod reconcile;
pub mod shutdown;
pub mod telemetry;
pub mod text;
pub mod trigger;

/// Makes `ring` the process's TLS provider. Call it first in `main`: with two providers in the
/// build, rustls refuses to choose.
pub fn install_crypto_provider() {
    // an error says that one is installed already, which is as good
    let _ = rustls::crypto::ring::default_provider().install_default();
}
