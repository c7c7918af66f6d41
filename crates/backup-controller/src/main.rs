//! The backup-controller process.

use backup_controller::args::Args;
use clap::Parser;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    controller_kit::install_crypto_provider();
    Box::pin(backup_controller::run(Args::parse())).await
}
