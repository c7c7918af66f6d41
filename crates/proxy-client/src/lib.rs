//! How controllers reach member clusters: typed access over cluster-proxy's gRPC API.
//!
//! [`Members`] is the door: [`MemberApi`] reads and writes objects of one member, [`MemberWatch`]
//! follows objects of all members in a local store, [`Inventory`] follows the members themselves.
//! This crate holds no credentials and decides nothing; it carries calls, deadlines and traces, and
//! turns every failure into one typed [`Error`].

mod api;
mod backoff;
mod body;
mod call;
mod endpoint;
mod ensure;
mod error;
#[cfg(feature = "fake")]
pub mod fake;
mod inventory;
mod members;
pub mod trace;
mod watch;
mod wire;

pub use api::{Deleted, ListOptions, MemberApi, MemberResource, PatchKind, Preconditions};
pub use endpoint::{Endpoint, EndpointError};
pub use ensure::{SecretSpec, Served, Written};
pub use error::{Detail, Error, Origin, Retry, WriteOutcome};
pub use inventory::{ClusterState, Inventory, InventoryChange, MemberState};
pub use members::{ConnectError, Members};
pub use watch::{
    Change, Clusters, Found, InvalidObject, Link, MemberWatch, ObjectKey, Selection, WatchState,
};
pub use wire::{cluster_key, cluster_ref};

/// The metadata key that carries the caller's name.
pub const CALLER_METADATA: &str = "x-kurator-caller";

/// The largest message that a client accepts: an object of 4 MiB and its envelope.
pub const MAX_MESSAGE_BYTES: usize = 5 * 1024 * 1024;

/// Generated messages, clients and servers of `clusterproxy.v1`.
#[allow(
    missing_debug_implementations,
    unreachable_pub,
    clippy::pedantic,
    clippy::use_self,
    clippy::or_fun_call
)]
pub mod proto {
    tonic::include_proto!("clusterproxy.v1");
}

#[cfg(test)]
mod tests {
    #[test]
    fn everything_in_the_proto_has_a_comment_above_it() {
        let proto = include_str!("../../../proto/clusterproxy/v1/clusterproxy.proto");
        let mut before = "";
        let mut seen = 0;
        for line in proto
            .lines()
            .map(str::trim)
            .skip_while(|l| !l.starts_with("import"))
        {
            let first = line.split(' ').next().unwrap_or_default();
            let block = ["service", "rpc", "message", "enum", "oneof"].contains(&first);
            let field = line.ends_with(';') && line.contains(" = ");
            if block || field {
                assert!(before.starts_with("//"), "nothing is said about `{line}`");
                seen += 1;
            }
            before = line;
        }
        assert!(seen > 200, "only {seen} found");
    }
}
