//! One of our processes on a bed.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Result;
use testbed::{Bed, Process, Program, wait_ok};

use crate::binaries;
use crate::http;

const READY: Duration = Duration::from_mins(1);
/// Our processes end within 10 s of a SIGTERM; a second more on a machine that is busy.
const GRACE: Duration = Duration::from_secs(11);

/// A process of ours with its health and metrics.
#[derive(Debug)]
pub struct Service {
    process: Process,
    http: SocketAddr,
}

impl Service {
    /// Starts `program` as `name` on the hub of `bed` and waits until it is ready.
    pub(crate) async fn start(
        bed: &Bed,
        name: &str,
        program: &str,
        args: &[String],
    ) -> Result<Self> {
        let service = Self::launch(bed, name, program, args)?;
        service.wait_ready().await?;
        Ok(service)
    }

    fn launch(bed: &Bed, name: &str, program: &str, args: &[String]) -> Result<Self> {
        let http = SocketAddr::from((bed.address(), bed.next_port()));
        let log = bed.dir().join(format!("{name}.log"));
        let program = Program::new(name, binaries::find(program)?, log)
            .arg("--kubeconfig")
            .arg(bed.hub().kubeconfig_path())
            .args(["--http-address", &http.to_string()])
            .args(args)
            .env("RUST_BACKTRACE", "1");
        Ok(Self {
            process: bed.spawn(program)?,
            http,
        })
    }

    /// Where health and metrics are.
    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// Everything that it has written.
    pub fn log_path(&self) -> &Path {
        self.process.log_path()
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends it as `kill -9` does.
    pub async fn kill(&self) -> Result<()> {
        self.process.kill().await
    }

    /// Asks it to end, and waits. One that takes too long is killed, which its exit status shows.
    pub async fn stop(&self) -> Result<ExitStatus> {
        self.process.stop(GRACE).await
    }

    /// Starts it again after its end and waits until it is ready.
    pub async fn start_again(&self) -> Result<()> {
        self.process.start()?;
        self.wait_ready().await
    }

    /// Kills it and starts it again.
    pub async fn restart(&self) -> Result<()> {
        self.kill().await?;
        self.start_again().await
    }

    /// What it measures, as text.
    pub async fn metrics(&self) -> Result<String> {
        http::get(self.http, "/metrics").await
    }

    async fn wait_ready(&self) -> Result<()> {
        let what = format!("{} to be ready", self.process.name());
        let waited = wait_ok(&what, READY, async || {
            // Nothing more can come of a process that has ended: that is an answer, too.
            if let Err(ended) = self.process.check() {
                return Ok(Err(ended));
            }
            http::get(self.http, "/readyz").await?;
            Ok(Ok(()))
        });
        waited.await.map_err(|error| self.process.explain(&error))?
    }
}
