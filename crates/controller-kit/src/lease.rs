//! One working replica of several: a Lease on the hub says which.
//!
//! A replica that loses the Lease, or cannot know whether it still has it, ends its [`LeaseTask`]
//! with an error and the process exits; starting anew is simpler to get right than stepping down.

mod candidate;
mod term;

use std::{future::pending, pin::pin, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, Config, api::PostParams};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use self::candidate::{Candidate, Step};
use crate::{args::LeaseArgs, text::chain};

/// For how long a renewal holds.
const DURATION: Duration = Duration::from_secs(20);
/// A renewal that hangs fails after these two, and may be tried again before its term ends.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
const RETRY_PAUSE: Duration = Duration::from_millis(300);
/// After an error while another replica leads, or nobody does.
const CANDIDATE_PAUSE: Duration = Duration::from_secs(1);
const RELEASE_TIMEOUT: Duration = Duration::from_secs(3);

/// Why leadership ended or could not be sought.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The client could not be made.
    #[error("no client for the lease {0}")]
    Client(String, #[source] Box<kube::Error>),
    /// The Lease could not be made or read at the start.
    #[error("the lease {0} cannot be used: check the hub and the rights on leases")]
    Start(String, #[source] Box<kube::Error>),
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

    /// Waits for the work, then gives the Lease back by cancelling `release`: nobody else may lead
    /// while something is still being written. Ends at once when leadership is lost.
    pub async fn around<T>(
        self,
        work: impl Future<Output = T>,
        release: &CancellationToken,
    ) -> Result<(), LeaseError> {
        let mut ended = pin!(self.ended());
        tokio::select! {
            _done_or_abandoned = work => {}
            lost = &mut ended => {
                release.cancel();
                return lost;
            }
        }
        release.cancel();
        ended.await
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
            api: Api::namespaced(client, &namespace),
            name: name.to_owned(),
            lease: lease.clone(),
            identity: identity.unwrap_or_else(random_identity),
            sender,
        };
        // an unusable Lease shows at the start, not as a process that waits for ever
        let started = holder.read().await;
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
    api: Api<Lease>,
    name: String,
    /// Namespace and name, for people.
    lease: String,
    identity: String,
    sender: watch::Sender<bool>,
}

/// A Lease as this replica has written it.
struct Held {
    lease: Lease,
    /// When that was begun.
    written: Instant,
}

impl Holder {
    async fn hold(self, release: CancellationToken) -> Result<(), LeaseError> {
        let mut held = tokio::select! {
            held = self.acquire() => held,
            () = release.cancelled() => return Ok(()),
        };
        tracing::info!(lease = self.lease, identity = self.identity, "leading");
        self.sender.send_replace(true);
        let lost = tokio::select! {
            reason = self.renew(&mut held) => Some(reason),
            () = release.cancelled() => None,
        };
        // first nobody may write any more, then another may lead
        self.sender.send_replace(false);
        if let Some(reason) = lost {
            return Err(LeaseError::Lost(self.lease, reason));
        }
        match timeout(RELEASE_TIMEOUT, self.give_back(held.lease)).await {
            Ok(Ok(())) => tracing::info!(lease = self.lease, "lease released"),
            Ok(Err(error)) => tracing::warn!(error = chain(&error), "lease not released"),
            Err(_elapsed) => tracing::warn!("lease not released in time"),
        }
        Ok(())
    }

    /// The Lease as it is, made if it is not there.
    async fn read(&self) -> kube::Result<Lease> {
        if let Some(lease) = self.api.get_opt(&self.name).await? {
            return Ok(lease);
        }
        let mut empty = Lease::default();
        empty.metadata.name = Some(self.name.clone());
        match self.api.create(&PostParams::default(), &empty).await {
            Err(error) if code(&error) == Some(409) => self.api.get(&self.name).await,
            made => made,
        }
    }

    /// Writes over the very version that was read: of several who try, one succeeds.
    async fn write(&self, lease: &Lease) -> kube::Result<Lease> {
        self.api
            .replace(&self.name, &PostParams::default(), lease)
            .await
    }

    /// Runs until this replica leads.
    async fn acquire(&self) -> Held {
        let mut candidate = Candidate::new(&self.identity);
        loop {
            let pause = match self.turn(&mut candidate).await {
                Ok(Ok(held)) => return held,
                Ok(Err(pause)) => pause,
                Err(error) => {
                    tracing::warn!(lease = self.lease, error = chain(&error), "no lease");
                    CANDIDATE_PAUSE
                }
            };
            sleep(pause).await;
        }
    }

    /// Looks at the Lease, and takes it if it may be taken; else says when to look again.
    async fn turn(&self, candidate: &mut Candidate) -> kube::Result<Result<Held, Duration>> {
        let lease = self.read().await?;
        if let Step::Look(pause) = candidate.step(&lease, Instant::now()) {
            return Ok(Err(pause));
        }
        let written = Instant::now();
        match self.write(&term::taken(lease, &self.identity)).await {
            Ok(lease) => Ok(Ok(Held { lease, written })),
            // another candidate was faster, or the holder lives
            Err(error) if code(&error) == Some(409) => Ok(Err(RETRY_PAUSE)),
            Err(error) => Err(error),
        }
    }

    async fn give_back(&self, mut lease: Lease) -> kube::Result<()> {
        loop {
            match self.write(&term::given_back(lease)).await {
                // a renewal was under way
                Err(error) if code(&error) == Some(409) => lease = self.api.get(&self.name).await?,
                other => return other.map(drop),
            }
            if candidate::holder(&lease) != Some(&self.identity) {
                return Ok(());
            }
        }
    }
}

fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
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
