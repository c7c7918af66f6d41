//! How controllers reach member clusters: typed access over cluster-proxy's gRPC API.

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
