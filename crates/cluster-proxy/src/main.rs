//! The cluster-proxy process.

use anyhow::Context as _;
use clap::Parser;
use cluster_proxy::{args::Args, run};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    // A core dump would hold the members' credentials.
    nix::sys::prctl::set_dumpable(false).context("switch core dumps off")?;
    controller_kit::install_crypto_provider();
    let _telemetry = controller_kit::telemetry::init(&args.telemetry, "cluster-proxy")?;
    run(args).await
}
