//! An S3 server whose buckets are directories.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::net::TcpStream;

use crate::address::port;
use crate::folder;
use crate::process::{Process, Program};
use crate::site::Site;
use crate::wait::wait_ok;

/// Its folder in the bed's.
pub(crate) const FOLDER: &str = "s3";
const READY: Duration = Duration::from_secs(20);

/// The object store of a bed.
#[derive(Debug)]
pub struct S3 {
    process: Process,
    address: String,
    data: PathBuf,
}

impl S3 {
    /// The access key of every bed's store.
    pub const ACCESS_KEY: &'static str = "kurator";
    /// The secret key of every bed's store; it is reachable on loopback only.
    pub const SECRET_KEY: &'static str = "kurator-secret";
    /// The region that it says it is in.
    pub const REGION: &'static str = "us-east-1";

    pub(crate) async fn start(bed: &Site) -> Result<Self> {
        let site = bed.part(FOLDER)?;
        let data = site.dir.join("data");
        folder::make(&data)?;
        let address = format!("{}:{}", site.ip, port::S3);
        let log = site.dir.join("versitygw.log");
        let program = Program::new("versitygw", site.tools.path("versitygw")?, log)
            .env("ROOT_ACCESS_KEY_ID", Self::ACCESS_KEY)
            .env("ROOT_SECRET_ACCESS_KEY", Self::SECRET_KEY)
            .env("HOME", &site.scratch)
            .args(["--port", &address, "--region", Self::REGION, "--quiet"])
            .arg("posix")
            .arg(&data);
        let s3 = Self {
            process: site.spawn(program)?,
            address,
            data,
        };
        s3.wait_ready().await?;
        Ok(s3)
    }

    /// Where it listens: `http://127.x.y.1:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The directory whose sub-directories are the buckets.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Makes a bucket; it may exist.
    pub fn create_bucket(&self, bucket: &str) -> Result<()> {
        folder::make(&self.data.join(bucket))
    }

    /// The keys in `bucket` that start with `prefix`, sorted. Empty for a bucket that is not there.
    pub fn objects(&self, bucket: &str, prefix: &str) -> Result<Vec<String>> {
        let root = self.data.join(bucket);
        let mut keys = Vec::new();
        walk(&root, &root, &mut keys)?;
        keys.retain(|key| key.starts_with(prefix));
        keys.sort();
        Ok(keys)
    }

    /// Kills the server: clients get `connection refused`.
    pub async fn stop(&self) -> Result<()> {
        self.process.kill().await
    }

    /// Starts the server again, with its data.
    pub async fn start_again(&self) -> Result<()> {
        self.process.start()?;
        self.wait_ready().await
    }

    async fn wait_ready(&self) -> Result<()> {
        let waited = wait_ok("the S3 server", READY, async || {
            if let Err(ended) = self.process.check() {
                return Ok(Err(ended));
            }
            TcpStream::connect(&self.address).await?;
            Ok(Ok(()))
        });
        waited.await.map_err(|error| self.process.explain(&error))?
    }
}

fn walk(root: &Path, folder: &Path, keys: &mut Vec<String>) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // Never made, or just removed with its last object.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => bail!("cannot list {}: {error}", folder.display()),
    };
    for entry in entries.flatten() {
        let path = entry.path();
        // The server's own: uploads that are under way.
        if entry.file_name().to_string_lossy().starts_with(".sgwtmp") {
            continue;
        }
        if path.is_dir() {
            walk(root, &path, keys)?;
        } else if let Ok(key) = path.strip_prefix(root) {
            keys.push(key.display().to_string());
        }
    }
    Ok(())
}
