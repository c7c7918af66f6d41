//! All that two controllers know about Velero: which objects to make, what their outcomes mean,
//! where they lie and how to get rid of them. Rules about Velero's behaviour come from Velero 1.18.
//!
//! Most rooms are pure. Those that call members, or write to the hub, for a process that gives them a
//! [`Context`](operation::context::Context):
//!
//! - [`operation`]: what operations have in common, from the claim to the end;
//! - [`reading`]: how a target comes to see the backup that it restores;
//! - [`removal`]: how Velero's objects are got rid of, with proof;
//! - [`results::read`]: the error lines of a restore that went wrong.

pub mod borrowed;
pub mod build;
pub mod carry;
pub mod classify;
pub mod copy;
pub mod cron;
pub mod deletion;
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
pub mod identity;
pub mod location;
pub mod operation;
pub mod owned;
pub mod point;
pub mod probe;
pub mod problem;
pub mod reading;
pub mod removal;
pub mod results;
pub mod schedule;
pub mod scope;

/// The namespace that Velero and all its objects live in, on every member.
pub use api_types::labels::VELERO_NAMESPACE as NAMESPACE;
