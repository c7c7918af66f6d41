//! All that two controllers know about Velero: which objects to make, what their outcomes mean,
//! where they lie and how to get rid of them. Rules about Velero's behaviour come from Velero 1.18.

pub mod borrowed;
pub mod carry;
pub mod classify;
pub mod copy;
pub mod cron;
pub mod deletion;
pub mod identity;
pub mod location;
pub mod owned;
pub mod point;
pub mod probe;
pub mod problem;
pub mod results;
pub mod schedule;

/// The namespace that Velero and all its objects live in, on every member.
pub use api_types::labels::VELERO_NAMESPACE as NAMESPACE;
