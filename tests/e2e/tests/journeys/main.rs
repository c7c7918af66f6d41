//! The user's journeys on real parts: our processes as they are shipped, real control planes,
//! Velero and object storage. Each test has a namespace of the hub of its own; what disturbs others
//! (a Velero that hangs, an API server that is down) is done to spare members, each of them in turns.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::large_futures,
    reason = "everything here is a test, helpers included"
)]

mod deletion;
mod elsewhere;
mod error_lines;
mod gone;
mod kubectl;
mod locations;
mod main_job;
mod member_access;
mod migrate;
mod moved;
mod otlp;
mod points;
mod premature;
mod quickstart;
mod refused;
mod removal;
mod replicas;
mod restarts;
mod restore;
mod schedule;
mod silent_storage;
mod storage;
mod trace;
mod uninstalled;
mod waiting;
mod world;
mod wrong_keys;
