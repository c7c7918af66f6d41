//! The cluster-proxy process.

use std::io::Write as _;

use anyhow::Context as _;
use clap::Parser;
use cluster_proxy::{args::Args, member_access, run};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if args.print_member_access {
        let manifests = member_access(&args)?;
        return Ok(std::io::stdout().write_all(manifests.as_bytes())?);
    }
    // A core dump would hold the members' credentials.
    nix::sys::prctl::set_dumpable(false).context("switch core dumps off")?;
    controller_kit::install_crypto_provider();
    let _telemetry = controller_kit::telemetry::init(&args.telemetry, "cluster-proxy")?;
    run(args).await
}
