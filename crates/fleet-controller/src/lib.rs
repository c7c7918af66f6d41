//! fleet-controller: says how every member cluster is, which Fleet has it, and how each Fleet is.
//!
//! It owns the status of `AttachedClusters` and Fleets, the label that joins the two, and the
//! finalizers that keep a cluster while a Fleet or an operation needs it, and a Fleet while an
//! operation or a plugin does. It asks members for nothing but the names of their nodes.

pub mod args;
pub mod attached_cluster;
pub mod claim;
pub mod context;
pub mod controller;
pub mod error;
#[cfg(test)]
mod fixture;
pub mod fleet;
pub mod hub;
pub mod memory;
pub mod operation;
pub mod operations;
mod run;
pub mod text;
pub mod timings;

pub use run::run;

/// The name that cluster-proxy's policy knows this process by, also that of its Lease.
pub const CALLER: &str = "fleet-controller";
