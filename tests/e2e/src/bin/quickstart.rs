//! The main job on this machine: a hub, two members, our processes, one Backup, and with `--full` its
//! restore and a Migrate. `hack/quickstart.sh` builds what this needs and starts it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use e2e::Stack;
use e2e::examples;
use e2e::journey;
use e2e::screen::Screen;
use tokio::signal::unix::{SignalKind, signal};

/// One Backup on two real member clusters, on this machine.
#[derive(Debug, Parser)]
#[command(name = "quickstart", version)]
struct Args {
    /// End everything when all is done; without it, all keeps running until Ctrl-C
    #[arg(long)]
    once: bool,
    /// Go on after the Backup: lose the application and restore it, also at a point in time, and
    /// migrate it from one member to the other
    #[arg(long)]
    full: bool,
    /// Where kubeconfigs and logs go; what an earlier run left there is replaced
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let mut screen = Screen::default();
    let ended = tokio::select! {
        ended = quickstart(args, &mut screen) => ended,
        // All that runs ends when the future is dropped.
        signal = interrupted() => signal.map(|()| false),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            Screen::default().text("\nstopped");
            ExitCode::from(130)
        }
        Err(error) => {
            Screen::default().text(&format!("\nquickstart failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether it came to its end; it is interrupted otherwise.
async fn quickstart(args: Args, screen: &mut Screen) -> Result<bool> {
    let Args { once, full, dir } = args;
    let dir = dir.unwrap_or_else(|| examples::root().join("target/quickstart"));
    let stack = journey::start(screen, &dir).await?;
    let result = run(screen, &stack, full).await;
    result.with_context(|| format!("logs are in {}", stack.dir().display()))?;
    if once {
        stack.stop().await?;
        screen.step("stopped");
        return Ok(true);
    }
    screen.text(&journey::next_steps(&stack)?);
    screen.text("\nEverything keeps running until Ctrl-C.");
    std::future::pending::<()>().await;
    Ok(true)
}

async fn run(screen: &mut Screen, stack: &Stack, full: bool) -> Result<()> {
    let shop = journey::run(screen, stack).await?;
    if full {
        journey::run_full(screen, &shop).await?;
    }
    Ok(())
}

async fn interrupted() -> Result<()> {
    let listen = |kind| signal(kind).context("cannot listen for signals");
    let (mut interrupt, mut terminate) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
    );
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
