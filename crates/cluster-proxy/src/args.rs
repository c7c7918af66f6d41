//! Command line flags.

use std::{fmt, net::SocketAddr, num::NonZeroU32, path::PathBuf, str::FromStr};

use clap::Parser;
use controller_kit::args::{HttpArgs, HubArgs, TelemetryArgs};

use crate::{credentials::address::Cidr, link::rate::Rate};

/// Gives Kurator's controllers access to member clusters, each to what its job needs.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Args {
    /// Where the gRPC API is served: a loopback address with port, or `unix:/PATH`
    #[arg(long, env = "KURATOR_LISTEN", default_value = "127.0.0.1:9600")]
    pub listen: Listen,
    /// The policy file; the built-in policy of Kurator's controllers when absent
    #[arg(long, env = "KURATOR_POLICY")]
    pub policy: Option<PathBuf>,
    /// Prints the account that members need for this policy, as manifests, and ends
    #[arg(long)]
    pub print_member_access: bool,
    /// A range of addresses that members may have although it is refused by default, such as
    /// 127.0.0.0/8 on a test rig
    #[arg(long, env = "KURATOR_ALLOW_ADDRESS", value_delimiter = ',')]
    pub allow_address: Vec<Cidr>,
    /// A range of addresses that members may not have, such as the hub's Service range
    #[arg(long, env = "KURATOR_REFUSE_ADDRESS", value_delimiter = ',')]
    pub refuse_address: Vec<Cidr>,
    /// Lets a member go unverified whose kubeconfig says insecure-skip-tls-verify and whose object on
    /// the hub is annotated with cluster.kurator.dev/insecure-skip-tls-verify=true
    #[arg(long, env = "KURATOR_ALLOW_INSECURE_MEMBERS")]
    pub allow_insecure_members: bool,
    /// How fast each member is called.
    #[command(flatten)]
    pub rate: RateArgs,
    /// The most members that metrics name; the slowest are
    #[arg(long, env = "KURATOR_METRICS_CLUSTER_LIMIT", default_value_t = 200)]
    pub metrics_cluster_limit: usize,
    /// Health and metrics.
    #[command(flatten)]
    pub http: HttpArgs,
    /// The hub.
    #[command(flatten)]
    pub hub: HubArgs,
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

/// How fast each member is called.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct RateArgs {
    /// Calls a second that each member gets at most
    #[arg(long, env = "KURATOR_MEMBER_RATE", default_value = "50")]
    pub member_rate: NonZeroU32,
    /// Calls that a member gets at once after a pause
    #[arg(long, env = "KURATOR_MEMBER_BURST", default_value = "100")]
    pub member_burst: NonZeroU32,
}

impl From<RateArgs> for Rate {
    fn from(args: RateArgs) -> Self {
        Self {
            per_second: args.member_rate,
            burst: args.member_burst,
        }
    }
}

/// Where the API is served. Callers are not authenticated, so only this machine may reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A loopback address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// An address that is not served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Not an address.
    #[error("{0:?} is neither ADDRESS:PORT nor unix:/PATH")]
    Syntax(String),
    /// Others could reach it.
    #[error(
        "{0} is not a loopback address: callers are not authenticated yet, so the API is served \
         only on 127.0.0.0/8, [::1] or a unix:/PATH socket"
    )]
    NotLoopback(SocketAddr),
}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with('/') {
                return Err(ListenError::Syntax(text.to_owned()));
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let address: SocketAddr = text
            .parse()
            .map_err(|_| ListenError::Syntax(text.to_owned()))?;
        if !address.ip().to_canonical().is_loopback() {
            return Err(ListenError::NotLoopback(address));
        }
        Ok(Self::Tcp(address))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn members_get_fifty_calls_a_second_and_are_verified_unless_told_otherwise() {
        let rate = |flags: &[&str]| {
            let args = Args::try_parse_from([&["cluster-proxy"], flags].concat())?;
            let rate = Rate::from(args.rate);
            let insecure = args.allow_insecure_members;
            Ok::<_, clap::Error>((rate.per_second.get(), rate.burst.get(), insecure))
        };
        assert_eq!(rate(&[]).unwrap(), (50, 100, false));
        let set = [
            "--member-rate=5",
            "--member-burst=7",
            "--allow-insecure-members",
        ];
        assert_eq!(rate(&set).unwrap(), (5, 7, true));
        assert!(rate(&["--member-rate=0"]).is_err());
    }

    #[test]
    fn only_this_machine_may_reach_the_api() {
        for good in [
            "127.0.0.1:9600",
            "127.8.1.1:0",
            "[::1]:1",
            "unix:/run/proxy.sock",
        ] {
            let listen: Listen = good.parse().unwrap();
            assert_eq!(listen.to_string(), good);
        }
        for bad in [
            "0.0.0.0:9600",
            "10.0.0.1:9600",
            "[::]:9600",
            "[::ffff:10.0.0.1]:1",
        ] {
            let error = bad.parse::<Listen>().unwrap_err().to_string();
            assert!(error.contains("not authenticated"), "{error}");
        }
        assert!("localhost".parse::<Listen>().is_err());
        assert!("unix:relative".parse::<Listen>().is_err());
    }
}
