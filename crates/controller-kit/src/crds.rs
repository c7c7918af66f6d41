//! Waiting for the kinds that the process works on: a missing CRD makes it unready, never exit.

use std::time::Duration;

use kube::{Client, Resource};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::http::Readiness;

/// The name of the readiness check.
pub const CHECK: &str = "crds";

const PAUSE: Duration = Duration::from_secs(2);
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// A kind that must be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    api_version: String,
    plural: String,
}

impl Wanted {
    /// The kind `K`.
    pub fn of<K: Resource<DynamicType = ()>>() -> Self {
        Self {
            api_version: K::api_version(&()).into_owned(),
            plural: K::plural(&()).into_owned(),
        }
    }

    fn name(&self) -> String {
        format!("{}.{}", self.plural, self.api_version)
    }
}

/// Waits until the hub serves all of them; `false`: told to end before.
pub async fn served(
    client: &Client,
    wanted: &[Wanted],
    readiness: &Readiness,
    stop: &CancellationToken,
) -> bool {
    let wait = stop.run_until_cancelled(wait(client, wanted, readiness));
    wait.await.is_some()
}

/// Returns when the hub serves all of them. Until then the check [`CHECK`] lists what is missing.
pub async fn wait(client: &Client, wanted: &[Wanted], readiness: &Readiness) {
    let mut said = String::new();
    loop {
        let missing = missing(client, wanted).await;
        if missing.is_empty() {
            readiness.set(CHECK, Ok(()));
            return;
        }
        let news = format!("waiting for {}: install the CRDs", missing.join(", "));
        if news != said {
            tracing::warn!("{news}");
            said.clone_from(&news);
        }
        readiness.set(CHECK, Err(news));
        sleep(PAUSE).await;
    }
}

async fn missing(client: &Client, wanted: &[Wanted]) -> Vec<String> {
    let mut missing = Vec::new();
    for kind in wanted {
        let ask = client.list_api_group_resources(&kind.api_version);
        match timeout(ASK_TIMEOUT, ask).await {
            Ok(Ok(served))
                if served
                    .resources
                    .iter()
                    .any(|found| found.name == kind.plural) => {}
            Ok(Ok(_)) => missing.push(kind.name()),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => missing.push(kind.name()),
            Ok(Err(error)) => missing.push(format!("{} (hub: {error})", kind.name())),
            Err(_elapsed) => missing.push(format!("{} (the hub does not answer)", kind.name())),
        }
    }
    missing
}
