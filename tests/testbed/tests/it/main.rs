//! The test bed itself, with everything real. One bed serves all tests but those that need their own.
#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, which leaves out their helpers"
)]

mod bed;
mod faults;
mod process;
mod tools;
mod up;

use std::time::Duration;

use testbed::Bed;
use tokio::sync::OnceCell;

/// Far more than anything takes that is expected to happen.
const SOON: Duration = Duration::from_mins(1);

/// The shared bed: a hub and two members, the first with Velero. It ends with the test process.
async fn bed() -> &'static Bed {
    static BED: OnceCell<Bed> = OnceCell::const_new();
    BED.get_or_init(async || {
        let builder = Bed::builder("it").member("with-velero").velero();
        builder.member("bare").start().await.unwrap()
    })
    .await
}
