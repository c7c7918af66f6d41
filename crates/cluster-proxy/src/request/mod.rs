//! From a gRPC request to a request for a member, and from the member's answer back.
//!
//! Nothing here does I/O: names, paths, bodies and answers are checked by pure functions.

pub mod answer;
pub mod body;
pub mod deadline;
pub mod name;
pub mod path;
pub mod selector;
mod status;
