//! The fleet-controller process.

use clap::Parser;
use controller_kit::{shutdown, telemetry};
use fleet_controller::CALLER;
use fleet_controller::args::Args;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    controller_kit::install_crypto_provider();
    let args = Args::parse();
    let _telemetry = telemetry::init(&args.common.telemetry, CALLER)?;
    fleet_controller::run(args, shutdown::on_signal()?).await
}
