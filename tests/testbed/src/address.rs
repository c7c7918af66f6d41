//! One loopback address a bed, so that several beds run side by side with the same fixed ports.

use std::fs::{self, File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use nix::unistd::getuid;

/// The ports of a bed; all lie below those that the kernel gives to outgoing connections.
pub(crate) mod port {
    pub(crate) const S3: u16 = 20_000;
    /// From here on, [`CLUSTER_STEP`] for the hub and for each member.
    const CLUSTERS: u16 = 20_100;
    const CLUSTER_STEP: u16 = 10;
    /// What [`crate::Bed::next_port`] hands out.
    pub(crate) const SERVICES: std::ops::Range<u16> = 28_000..32_000;
    pub(crate) const MAX_MEMBERS: usize = 700;

    /// The first port of cluster `index`; the hub is 0.
    pub(crate) fn cluster(index: usize) -> u16 {
        let index = u16::try_from(index.min(MAX_MEMBERS)).unwrap_or_default();
        CLUSTERS + CLUSTER_STEP * index
    }
}

/// A loopback address that is ours as long as this value, or the supervisor, lives.
#[derive(Debug)]
pub(crate) struct Address {
    pub(crate) ip: Ipv4Addr,
    pub(crate) lock: File,
    /// Data that the supervisor removes in the end (etcd, temporary folders). Unix sockets, which
    /// Velero's plugins use, want a short path.
    pub(crate) scratch: PathBuf,
}

impl Address {
    pub(crate) fn take() -> Result<Self> {
        let root = std::env::temp_dir().join(format!("kurator-rs-beds-{}", getuid()));
        fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        for third in 1..=254_u8 {
            let ip = Ipv4Addr::new(127, 71, third, 1);
            let lock = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(root.join(format!("{third}.lock")))
                .with_context(|| format!("cannot open a lock file in {}", root.display()))?;
            if lock.try_lock().is_err() || !is_free(ip) {
                continue;
            }
            let scratch = root.join(third.to_string());
            // A machine that went down leaves it behind.
            if scratch.exists() {
                fs::remove_dir_all(&scratch)
                    .with_context(|| format!("cannot clear {}", scratch.display()))?;
            }
            fs::create_dir(&scratch)
                .with_context(|| format!("cannot make {}", scratch.display()))?;
            return Ok(Self { ip, lock, scratch });
        }
        bail!(
            "all 254 loopback addresses for beds are taken: see the lock files in {}",
            root.display()
        )
    }
}

/// Another user's bed holds another lock file, but the same ports.
fn is_free(ip: Ipv4Addr) -> bool {
    [port::S3, port::cluster(0), port::cluster(0) + 1]
        .iter()
        .all(|port| TcpListener::bind((ip, *port)).is_ok())
}
