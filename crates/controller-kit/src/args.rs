//! Groups of command line flags that processes have in common; each flag has an environment
//! variable. Nothing else reads the environment.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, ValueEnum};
use proxy_client::Endpoint;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Logs and traces.
#[derive(Args, Clone, Debug)]
pub struct TelemetryArgs {
    /// How log lines are written
    #[arg(long, env = "KURATOR_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// What is logged, such as `info` or `info,proxy_client=debug`
    #[arg(long, env = "KURATOR_LOG", default_value = "info")]
    pub log: String,
    /// Where traces are sent by OTLP over gRPC, such as `http://collector:4317`; nowhere when absent
    #[arg(long, env = "KURATOR_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
}

/// How the hub is reached.
#[derive(Args, Clone, Debug)]
pub struct HubArgs {
    /// The hub's kubeconfig; when absent, the usual places and the pod's service account
    #[arg(long, env = "KURATOR_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
}

/// Health and metrics.
#[derive(Args, Clone, Debug)]
pub struct HttpArgs {
    /// Where /livez, /readyz and /metrics are served
    #[arg(long, env = "KURATOR_HTTP_ADDRESS", default_value = "0.0.0.0:8080")]
    pub http_address: SocketAddr,
}

/// Leader election, for more than one replica.
#[derive(Args, Clone, Debug, Default)]
pub struct LeaseArgs {
    /// Work only while holding the Lease
    #[arg(long, env = "KURATOR_LEADER_ELECT")]
    pub leader_elect: bool,
    /// The Lease's namespace; when absent, that of the kubeconfig or the pod
    #[arg(long, env = "KURATOR_LEASE_NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// The Lease's name; when absent, that of the process
    #[arg(long, env = "KURATOR_LEASE_NAME")]
    pub lease_name: Option<String>,
    /// This replica's name in the Lease, unique; when absent, a random one
    #[arg(long, env = "KURATOR_LEASE_IDENTITY")]
    pub lease_identity: Option<String>,
}

/// How members are reached.
#[derive(Args, Clone, Debug)]
pub struct ProxyArgs {
    /// Address of cluster-proxy, `http://HOST:PORT` or `unix:/PATH`
    #[arg(
        long,
        env = "KURATOR_PROXY_ENDPOINT",
        default_value = "http://127.0.0.1:9600"
    )]
    pub proxy_endpoint: Endpoint,
}

/// What every controller is told.
#[derive(Args, Clone, Debug)]
pub struct ControllerArgs {
    /// The hub.
    #[command(flatten)]
    pub hub: HubArgs,
    /// cluster-proxy.
    #[command(flatten)]
    pub proxy: ProxyArgs,
    /// Health and metrics.
    #[command(flatten)]
    pub http: HttpArgs,
    /// Leader election.
    #[command(flatten)]
    pub lease: LeaseArgs,
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct All {
        #[command(flatten)]
        common: ControllerArgs,
    }

    #[test]
    fn all_groups_fit_together() {
        All::command().debug_assert();
    }

    #[test]
    fn every_flag_has_a_prefixed_variable() {
        for arg in All::command()
            .get_arguments()
            .filter(|arg| arg.get_id() != "help")
        {
            let env = arg
                .get_env()
                .and_then(|env| env.to_str())
                .unwrap_or_default();
            assert!(env.starts_with("KURATOR_"), "{arg:?}");
        }
    }

    #[test]
    fn leader_election_is_off_unless_asked_for() {
        let quiet = All::try_parse_from(["x"]).unwrap().common;
        assert!(!quiet.lease.leader_elect);
        let args = [
            "x",
            "--leader-elect",
            "--http-address",
            "127.0.0.1:0",
            "--log-format",
            "json",
        ];
        let loud = All::try_parse_from(args).unwrap().common;
        assert!(loud.lease.leader_elect);
        assert_eq!(loud.telemetry.log_format, LogFormat::Json);
        assert!(loud.hub.kubeconfig.is_none());
    }

    #[test]
    fn a_wrong_endpoint_is_refused_with_a_hint() {
        let error = All::try_parse_from(["x", "--proxy-endpoint", "https://h:1"]).unwrap_err();
        assert!(error.to_string().contains("http://HOST:PORT"), "{error}");
        let args = ["x", "--proxy-endpoint", "unix:/run/p.sock"];
        assert_eq!(
            All::try_parse_from(args)
                .unwrap()
                .common
                .proxy
                .proxy_endpoint
                .to_string(),
            "unix:/run/p.sock"
        );
    }
}
