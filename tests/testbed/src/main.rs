//! `testbed up`: a bed in the foreground, for people and for scripts.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use testbed::{Bed, BedInfo};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Real control planes, Velero and object storage on loopback.
#[derive(Debug, Parser)]
#[command(name = "testbed", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a bed and keep it until standard input closes or a signal comes.
    ///
    /// Once all is ready, DIR holds hub.kubeconfig, kurator-member1.kubeconfig and so on, the logs,
    /// and bed.json, which has everything that a script needs to know.
    Up(Up),
}

#[derive(Debug, Parser)]
struct Up {
    /// Where kubeconfigs, logs and bed.json go.
    #[arg(long)]
    dir: PathBuf,
    /// How many members there are; they are called kurator-member1, kurator-member2 and so on.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=100))]
    members: u16,
    /// Start an S3 server, and Velero on every member.
    #[arg(long)]
    velero: bool,
    /// Don't end when standard input closes, only on a signal.
    #[arg(long)]
    ignore_stdin: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Args {
        command: Command::Up(args),
    } = Args::parse();
    match up(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "testbed: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

async fn up(args: Up) -> Result<()> {
    let Up {
        dir,
        members,
        velero,
        ignore_stdin,
    } = args;
    let mut end = End::listen(!ignore_stdin)?;
    let info_path = dir.join("bed.json");
    // A script that waits for it must not see that of the run before.
    std::fs::remove_file(&info_path).ok();

    let started = Instant::now();
    let mut builder = Bed::builder("up").dir(dir);
    for number in 1..=members {
        builder = builder.member(&format!("kurator-member{number}"));
    }
    if velero {
        builder = builder.velero();
    }
    let bed = tokio::select! {
        bed = builder.start() => bed?,
        () = end.wait() => return Ok(()),
    };
    let info = bed.write_info()?;
    io::stdout()
        .write_all(summary(&info, started.elapsed()).as_bytes())
        .context("cannot write to standard output")?;

    end.wait().await;
    // Nobody should find the way to what is no longer there.
    std::fs::remove_file(&info_path).ok();
    let stopping = Instant::now();
    bed.stop().await?;
    writeln!(io::stdout(), "stopped in {:.1?}", stopping.elapsed()).ok();
    Ok(())
}

fn summary(info: &BedInfo, took: Duration) -> String {
    let mut lines = vec![format!("ready in {took:.1?}")];
    for cluster in std::iter::once(&info.hub).chain(&info.members) {
        lines.push(format!(
            "  {:16} {}  KUBECONFIG={}",
            cluster.name,
            cluster.url,
            cluster.kubeconfig.display()
        ));
    }
    if let Some(s3) = &info.s3 {
        lines.push(format!(
            "  {:16} {}  bucket {} in {}",
            "s3",
            s3.endpoint,
            s3.bucket,
            s3.data.display()
        ));
    }
    lines.join("\n") + "\n"
}

/// The three ways in which a bed is told to end.
struct End {
    interrupt: Signal,
    terminate: Signal,
    stdin_open: watch::Receiver<bool>,
}

impl End {
    fn listen(stdin: bool) -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        let (open, stdin_open) = watch::channel(true);
        // A thread of its own: tokio's standard input would keep the runtime from ending.
        std::thread::spawn(move || {
            if stdin {
                io::copy(&mut io::stdin(), &mut io::sink()).ok();
                open.send_replace(false);
            }
            // Without standard input the sender stays, so that nothing seems to have closed.
            loop {
                std::thread::park();
            }
        });
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            stdin_open,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.stdin_open.wait_for(|open| !open) => {}
        }
    }
}
