//! The migrate-controller process.

use clap::Parser;
use migrate_controller::args::Args;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    controller_kit::install_crypto_provider();
    Box::pin(migrate_controller::run(Args::parse())).await
}
