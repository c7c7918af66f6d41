//! migrate-controller: one Migrate backs up one cluster and restores that into others.
//!
//! All of it here is pure and synchronous: what a spec means, what is to be done next, what is built
//! on members, what the status says.

pub mod migrate;
