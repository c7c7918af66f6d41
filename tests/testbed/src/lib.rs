//! Real control planes, Velero and object storage as child processes on loopback, for tests and for
//! the quickstart. No containers, no root, nothing outside 127/8.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use testbed::Bed;
//!
//! let bed = Bed::builder("my-tests")
//!     .member("kurator-member1")
//!     .velero()
//!     .start()
//!     .await?;
//! let hub = bed.hub().client()?;
//! let member = bed.member("kurator-member1")?;
//! member.relay().cut(); // its API server seems gone to whoever uses `relayed_kubeconfig`
//! # Ok(())
//! # }
//! ```
//!
//! A bed may live in a `static`: nothing in it depends on the runtime that started it, and its
//! processes end with ours, however ours ends. Make one [`kube::Client`] per test, since a client
//! does belong to the runtime that made it.
//!
//! The programs of the bed come from `hack/tools/build.sh`; our own services are started on it with
//! [`Bed::spawn`].

mod address;
mod apply;
mod bed;
mod control_plane;
mod folder;
mod info;
mod kubeconfig;
mod member;
mod pki;
mod process;
mod relay;
mod s3;
mod site;
mod supervisor;
mod tools;
mod velero;
mod wait;

pub use apply::{apply_yaml, install_crds};
pub use bed::{Bed, BedBuilder};
pub use control_plane::ControlPlane;
pub use info::{BedInfo, ClusterInfo, S3Info};
pub use kubeconfig::{Access, client_from};
pub use member::Member;
pub use process::{Process, Program, process_is_gone};
pub use relay::Relay;
pub use s3::S3;
pub use tools::Tools;
pub use velero::Velero;
pub use wait::{wait_for, wait_ok};
