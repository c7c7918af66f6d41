//! The Velero Backup that a Backup wants in one member.

pub use velero_kit::build::{Place, backup as build};

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
