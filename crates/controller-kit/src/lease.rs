//! One working replica of several: a Lease on the hub says which.
//!
//! A replica that loses the Lease, or cannot know whether it still has it, ends its [`LeaseTask`]
//! with an error and the process exits; starting anew is simpler to get right than stepping down.

use std::{future::pending, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, Config};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{args::LeaseArgs, text::chain};

/// For how long a renewal holds.
const DURATION_SECONDS: u64 = 20;
/// How long before its end it is renewed.
const RENEW_AHEAD_SECONDS: u64 = 10;
/// A renewal that hangs fails after these two, so that what follows ends before the Lease does.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// After the first failed renewal: how long to try again.
const SECOND_CHANCE: Duration = Duration::from_secs(2);
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// While another replica leads: how often its Lease is read anew. The manager alone would look only
/// when the last renewal that it saw expires, also after a release.
const CANDIDATE_TURN: Duration = Duration::from_secs(5);
const CANDIDATE_PAUSE: Duration = Duration::from_secs(1);
const RETRY_PAUSE: Duration = Duration::from_millis(300);
const RELEASE_TIMEOUT: Duration = Duration::from_secs(3);

/// Why leadership ended or could not be sought.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The client could not be made.
    #[error("no client for the lease {0}")]
    Client(String, #[source] Box<kube::Error>),
    /// The Lease could not be made or read at the start.
    #[error("the lease {0} cannot be used: check the hub and the rights on leases")]
    Start(String, #[source] Box<LeaseManagerError>),
    /// Another replica leads now, or nobody can tell.
    #[error("lost the lease {0}: {1}")]
    Lost(String, String),
    /// The task died.
    #[error("the task that holds the lease {0} failed")]
    Task(String, #[source] tokio::task::JoinError),
}

/// Whether this replica leads. Clones share the answer.
#[derive(Clone, Debug)]
pub struct Leadership {
    leads: watch::Receiver<bool>,
}

impl Leadership {
    /// Whether this replica leads now; ask before each write.
    pub fn is_leader(&self) -> bool {
        *self.leads.borrow()
    }

    /// Waits until this replica leads.
    pub async fn acquired(&mut self) {
        if self.leads.wait_for(|leads| *leads).await.is_err() {
            // the task ended, and with it the process will
            pending::<()>().await;
        }
    }

    /// Waits for the next change and returns whether this replica leads.
    pub async fn changed(&mut self) -> bool {
        self.leads.changed().await.is_ok() && *self.leads.borrow_and_update()
    }
}

/// The task that holds the Lease; `main` waits for it and exits when it ends.
#[derive(Debug)]
#[must_use = "a process whose lease task has ended must exit"]
pub struct LeaseTask {
    lease: String,
    task: JoinHandle<Result<(), LeaseError>>,
}

impl LeaseTask {
    /// `Ok` after the release, an error when leadership was lost.
    pub async fn ended(self) -> Result<(), LeaseError> {
        match self.task.await {
            Ok(result) => result,
            Err(error) => Err(LeaseError::Task(self.lease, error)),
        }
    }
}

/// Seeks leadership; without `--leader-elect` this replica simply leads. `name` is the Lease's
/// unless a flag says otherwise. The Lease is given back when `release` is cancelled, which the
/// process does after its work has ended.
pub async fn seek(
    hub: Config,
    args: &LeaseArgs,
    name: &str,
    release: CancellationToken,
) -> Result<(Leadership, LeaseTask), LeaseError> {
    let name = args.lease_name.as_deref().unwrap_or(name);
    let namespace = args
        .lease_namespace
        .clone()
        .unwrap_or_else(|| hub.default_namespace.clone());
    let lease = format!("{namespace}/{name}");
    let (sender, leads) = watch::channel(!args.leader_elect);
    let task = if args.leader_elect {
        let client =
            client(hub).map_err(|error| LeaseError::Client(lease.clone(), Box::new(error)))?;
        let identity = args.lease_identity.clone();
        let holder = Holder {
            client,
            namespace,
            name: name.to_owned(),
            lease: lease.clone(),
            identity: identity.unwrap_or_else(random_identity),
            sender,
        };
        // an unusable Lease shows at the start, not as a process that waits for ever
        let started = holder.manager().await;
        started.map_err(|error| LeaseError::Start(lease.clone(), Box::new(error)))?;
        tokio::spawn(holder.hold(release))
    } else {
        tokio::spawn(async move {
            release.cancelled().await;
            drop(sender);
            Ok(())
        })
    };
    Ok((Leadership { leads }, LeaseTask { lease, task }))
}

/// Its own client: a busy one must not delay renewals, and a request must fail in time.
fn client(mut hub: Config) -> kube::Result<Client> {
    hub.connect_timeout = Some(CONNECT_TIMEOUT);
    hub.read_timeout = Some(ANSWER_TIMEOUT);
    hub.write_timeout = Some(ANSWER_TIMEOUT);
    hub.default_retry = false;
    Client::try_from(hub)
}

fn random_identity() -> String {
    format!("{:016x}", rand::random::<u64>())
}

struct Holder {
    client: Client,
    namespace: String,
    name: String,
    /// Namespace and name, for people.
    lease: String,
    identity: String,
    sender: watch::Sender<bool>,
}

impl Holder {
    async fn hold(self, release: CancellationToken) -> Result<(), LeaseError> {
        let manager = tokio::select! {
            manager = self.acquire() => manager,
            () = release.cancelled() => return Ok(()),
        };
        tracing::info!(lease = self.lease, identity = self.identity, "leading");
        self.sender.send_replace(true);
        let lost = tokio::select! {
            reason = self.renew(&manager) => Some(reason),
            () = release.cancelled() => None,
        };
        // first nobody may write any more, then another may lead
        self.sender.send_replace(false);
        if let Some(reason) = lost {
            return Err(LeaseError::Lost(self.lease, reason));
        }
        match timeout(RELEASE_TIMEOUT, manager.release()).await {
            Ok(Ok(())) => tracing::info!(lease = self.lease, "lease released"),
            Ok(Err(error)) => tracing::warn!(error = chain(&error), "lease not released"),
            Err(_elapsed) => tracing::warn!("lease not released in time"),
        }
        Ok(())
    }

    async fn manager(&self) -> Result<LeaseManager, LeaseManagerError> {
        LeaseManagerBuilder::new(self.client.clone(), &self.name)
            .with_namespace(&self.namespace)
            .with_identity(&self.identity)
            .with_duration(DURATION_SECONDS)
            .with_grace(RENEW_AHEAD_SECONDS)
            .build()
            .await
    }

    /// Runs until this replica leads. A manager that was dropped after it locked harms nothing: the
    /// next one finds the Lease ours.
    async fn acquire(&self) -> LeaseManager {
        loop {
            let turn = async {
                let manager = self.manager().await?;
                manager
                    .changed()
                    .await
                    .map(|leads| leads.then_some(manager))
            };
            match timeout(CANDIDATE_TURN, turn).await {
                Ok(Ok(Some(manager))) => return manager,
                Ok(Ok(None)) | Err(_) => {}
                Ok(Err(error)) => {
                    tracing::warn!(lease = self.lease, error = chain(&error), "no lease");
                    sleep(CANDIDATE_PAUSE).await;
                }
            }
        }
    }

    /// Runs until leadership is lost, and tells why. The manager reports no successful renewal, so
    /// after a failed one the Lease itself is asked.
    async fn renew(&self, manager: &LeaseManager) -> String {
        let mut give_up_at: Option<Instant> = None;
        loop {
            let change = manager.changed();
            let change = match give_up_at {
                None => Ok(change.await),
                Some(at) => timeout_at(at, change).await,
            };
            match change {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => return "another replica took it".into(),
                Ok(Err(error)) => {
                    tracing::warn!(
                        lease = self.lease,
                        error = chain(&error),
                        "lease not renewed"
                    );
                    give_up_at.get_or_insert_with(|| Instant::now() + SECOND_CHANCE);
                    sleep(RETRY_PAUSE).await;
                }
                Err(_elapsed) if self.still_ours().await => give_up_at = None,
                Err(_elapsed) => return "it could not be renewed".into(),
            }
        }
    }

    async fn still_ours(&self) -> bool {
        let api = Api::<Lease>::namespaced(self.client.clone(), &self.namespace);
        let Ok(Ok(lease)) = timeout(CHECK_TIMEOUT, api.get(&self.name)).await else {
            return false;
        };
        let Some(spec) = lease.spec else { return false };
        let (Some(renewed), Some(seconds)) = (spec.renew_time, spec.lease_duration_seconds) else {
            return false;
        };
        let half = SignedDuration::from_secs(i64::from(seconds) / 2);
        spec.holder_identity.as_deref() == Some(&self.identity)
            && renewed.0 + half > Timestamp::now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_election_this_replica_leads_until_the_release() {
        let hub = Config::new("https://127.0.0.1:1".parse().unwrap());
        let release = CancellationToken::new();
        let args = LeaseArgs::default();
        let (mut leadership, task) = seek(hub, &args, "x", release.clone()).await.unwrap();
        leadership.acquired().await;
        assert!(leadership.is_leader());
        release.cancel();
        task.ended().await.unwrap();
    }
}
