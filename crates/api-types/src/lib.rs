//! The API of kurator-rs: the five kinds, the external types that it drives, and the pure rules that
//! every process shares. Nothing here does I/O.

#![allow(
    clippy::doc_markdown,
    reason = "the comments are what `kubectl explain` shows, where backticks are noise"
)]
#![allow(
    clippy::duplicated_attributes,
    reason = "each printcolumn has a type, and the lint takes the second one for a slip"
)]
#![allow(
    unreachable_pub,
    reason = "kube's KubeSchema repeats each struct, with its visibility, inside a function"
)]

pub mod aggregate;
pub mod backup;
pub mod cluster;
pub mod common;
pub mod condition;
pub mod external;
pub mod fleet;
pub mod key;
pub mod labels;
pub mod migrate;
pub mod names;
pub mod phase;
pub mod restore;
pub mod rules;
pub mod schema;
mod text;
pub mod velero_status;

#[cfg(test)]
mod examples;
