//! The user's journeys on real parts: the three processes of kurator-rs on a bed of real control
//! planes, Velero and object storage.
//!
//! [`Stack`] is a bed with our processes on it, [`Tenant`] a namespace of the hub with clusters and a
//! fleet of its own, so that tests run side by side without touching each other. The quickstart and
//! the benchmark stand on the same parts.

mod await_object;
mod binaries;
mod cluster;
mod detach;
pub mod examples;
pub mod follow;
mod http;
pub mod journey;
pub mod operation;
pub mod quantile;
pub mod screen;
mod service;
pub mod specs;
mod stack;
mod status;
mod tenant;

pub use await_object::{await_gone, await_object};
pub use cluster::{Attached, MemberView};
pub use service::Service;
pub use stack::{Stack, StackBuilder};
pub use status::{condition_reason, condition_status, entry, is_phase, is_succeeded_known, reason};
pub use tenant::{FLEET, PATIENCE, Tenant};
