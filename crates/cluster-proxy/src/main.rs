//! The cluster-proxy process.

use clap::Parser;
use cluster_proxy::{args::Args, run};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    controller_kit::install_crypto_provider();
    let _telemetry = controller_kit::telemetry::init(&args.telemetry, "cluster-proxy")?;
    run(args).await
}
