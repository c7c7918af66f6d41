//! The task that keeps a link: reads the kubeconfig, connects, proves the connection, watches over it
//! and says how it is.

mod identity;
mod kubeconfig;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use self::kubeconfig::UNVERIFIED;
use super::{
    Link, LinkSpec, Session, Signal,
    breaker::{BACKOFF_CAP, backoff, backoff_within, jitter},
    connection::{Connection, End, WATCH_WINDOWS},
    gate::{Place, Purpose},
    probe::{self, Unproven},
    spread::MoreConnections,
    status::{Condition, State, reason},
};
use crate::credentials::Credentials;

const TICK: Duration = Duration::from_secs(5);
/// Without an answer for this long the member is asked whether it is well.
const QUIET: Duration = Duration::from_secs(30);
/// A connection that held for this long starts the back-off anew.
const STABLE: Duration = Duration::from_secs(30);
/// Refused credentials are tried again slowly; a changed Secret is tried at once.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);

/// Runs until the link is stopped.
pub(super) async fn run(link: Arc<Link>, inbox: mpsc::Receiver<Signal>) {
    let stop = link.stopped().clone();
    let supervisor = Supervisor {
        spec: link.spec.subscribe(),
        link,
        inbox,
        credentials: None,
        unusable: None,
        secret_problem: None,
        warning: None,
        identified: None,
        unidentified: 0,
        generation: 0,
        attempt: 0,
        suspect: false,
        catalogued: false,
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = supervisor.supervise() => {}
    }
}

struct Supervisor {
    link: Arc<Link>,
    inbox: mpsc::Receiver<Signal>,
    spec: watch::Receiver<LinkSpec>,
    /// The last good credentials; they outlive their Secret.
    credentials: Option<Arc<Credentials>>,
    /// Why there are none.
    unusable: Option<Condition>,
    /// The Secret is gone, while its last content still works.
    secret_problem: Option<(&'static str, String)>,
    /// The member answers, but not as it should.
    warning: Option<String>,
    /// The credentials with which the member's identity was read last.
    identified: Option<[u8; 32]>,
    /// So often in a row a member that was known could not be asked who it is.
    unidentified: u32,
    /// Of the last session.
    generation: u64,
    attempt: u32,
    /// The last try to connect failed.
    suspect: bool,
    /// What the member serves was read while connecting.
    catalogued: bool,
}

/// Why the supervisor stopped watching over a connection.
enum Ended {
    Reload,
    /// The session has another in its place, on the same connection.
    Replaced,
    Lost(End),
    Tripped(String),
    Unauthorized,
}

impl Supervisor {
    async fn supervise(mut self) {
        let mut reload = true;
        loop {
            if std::mem::take(&mut reload) {
                self.load().await;
            }
            let Some(credentials) = self.credentials.clone() else {
                self.link.session.send_replace(None);
                let condition = self
                    .unusable
                    .clone()
                    .unwrap_or_else(Condition::unauthorized);
                self.set(condition);
                reload = true;
                self.pause_backoff().await;
                continue;
            };
            if !self.is_live(&credentials) {
                let Some(place) = self.place().await else {
                    reload = true;
                    continue;
                };
                match self.establish(&credentials, place).await {
                    Ok(session) => self.publish(session, &credentials),
                    Err(Unproven::Unauthorized) => {
                        reload = self.refused(&credentials).await;
                        continue;
                    }
                    Err(Unproven::Condition(condition)) => {
                        reload = self.failed(condition).await;
                        continue;
                    }
                }
            }
            let started = Instant::now();
            let ended = self.hold().await;
            if started.elapsed() >= STABLE {
                self.attempt = 0;
            }
            reload = match ended {
                Ended::Reload => true,
                Ended::Replaced => false,
                Ended::Unauthorized => self.refused(&credentials).await,
                // A restarted API server is back at once: first try, then complain.
                Ended::Lost(End::Closed) if self.attempt == 0 => {
                    self.link.session.send_replace(None);
                    self.attempt = 1;
                    false
                }
                Ended::Lost(End::Closed) => {
                    self.give_up("it closes the connection again and again")
                        .await
                }
                Ended::Lost(End::Silent) => {
                    self.give_up("it does not answer on an open connection")
                        .await
                }
                Ended::Tripped(message) => self.give_up(&message).await,
            };
        }
    }

    fn is_live(&self, credentials: &Credentials) -> bool {
        self.link.session.borrow().as_ref().is_some_and(|session| {
            session.connection.is_open()
                && session.connection.credentials().digest == credentials.digest
        })
    }

    /// Waits for the turn to connect; None when the Secret is to be read first.
    async fn place(&mut self) -> Option<Place> {
        let known = !self.link.status.borrow().version.is_empty();
        let purpose = match (self.suspect, known) {
            (true, _) => Purpose::Suspect,
            (false, true) => Purpose::Again,
            (false, false) => Purpose::New,
        };
        tokio::select! {
            place = self.link.seat.enter(purpose) => Some(place),
            _ = self.spec.changed() => None,
        }
    }

    /// Opens a connection and proves it: version, identity of the member, what it serves.
    async fn establish(
        &mut self,
        credentials: &Arc<Credentials>,
        place: Place,
    ) -> Result<Session, Unproven> {
        let connection = Connection::open(credentials, &self.link.context, WATCH_WINDOWS)
            .await
            .map_err(|e| Unproven::Condition(Condition::from_connect(&e)))?;
        drop(place);
        let proof = probe::prove(&connection).await?;
        self.judge(proof.member_uid.as_deref(), credentials)?;
        self.catalogued = self.link.first_catalogue(&connection).await;
        self.link.seen();
        self.link.latency.record(proof.rtt);
        self.link.status.send_modify(|status| {
            status.version = Arc::from(proof.version);
            status.rtt = proof.rtt;
            status.expiry = credentials.expiry;
        });
        Ok(self.session(Arc::new(connection), proof.member_uid.as_deref()))
    }

    fn session(&mut self, connection: Arc<Connection>, uid: Option<&str>) -> Session {
        self.generation += 1;
        Session {
            generation: self.generation,
            connection,
            more: MoreConnections::default(),
            member_uid: Arc::from(uid.unwrap_or_default()),
        }
    }

    fn publish(&mut self, session: Session, credentials: &Credentials) {
        self.suspect = false;
        let uid = Arc::clone(&session.member_uid);
        // What the same credentials reach is the same cluster, also while it does not tell.
        let stays = uid.is_empty() && self.identified == Some(credentials.digest);
        tracing::info!(cluster = %self.link.key, host = %credentials.host, "connected");
        self.link.status.send_modify(|status| {
            status.next_probe = None;
            if stays {
                return;
            }
            if !status.member_uid.is_empty() && status.member_uid != uid {
                tracing::warn!(
                    cluster = %self.link.key, old = %status.member_uid, new = %uid,
                    "another cluster answers under this name"
                );
            }
            status.member_uid = uid;
        });
        // First: who is woken by the session may call at once.
        self.set_up();
        self.link.renew(session);
        if !self.catalogued {
            self.link.refresh_catalogue();
        }
    }

    /// Watches over the connection until something must be done about it.
    async fn hold(&mut self) -> Ended {
        let Some(session) = self.link.session.borrow().clone() else {
            return Ended::Lost(End::Closed);
        };
        let digest = session.connection.credentials().digest;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let check = tokio::select! {
                // First: when the connection is gone, what calls say about it is no news.
                biased;
                end = session.connection.ended() => return Ended::Lost(end),
                changed = self.spec.changed() => match changed {
                    Ok(()) => return Ended::Reload,
                    Err(_) => return Ended::Tripped("the link is being closed".to_owned()),
                },
                signal = self.inbox.recv() => match signal {
                    Some(Signal::Tripped { generation, message })
                        if generation == session.generation =>
                    {
                        return Ended::Tripped(message);
                    }
                    Some(Signal::Unauthorized(refused)) if refused == digest => {
                        return Ended::Unauthorized;
                    }
                    Some(Signal::Tripped { .. } | Signal::Unauthorized(_)) => false,
                    Some(Signal::Probe) => true,
                    None => return Ended::Tripped("the link is being closed".to_owned()),
                },
                _ = tick.tick() => {
                    self.link.unary.close_idle();
                    self.link.answered_within(QUIET).is_none() || self.warning.is_some()
                }
            };
            if check && let Some(ended) = self.check(&session).await {
                return ended;
            }
        }
    }

    /// The member answered 401: reads the Secret once more, and waits if that changes nothing.
    async fn refused(&mut self, credentials: &Credentials) -> bool {
        self.load().await;
        let renewed = self
            .credentials
            .as_ref()
            .is_none_or(|now| now.digest != credentials.digest);
        if renewed {
            return false;
        }
        self.link.session.send_replace(None);
        self.set(Condition::unauthorized());
        let pause = REFUSED_PAUSE + backoff(self.attempt + 2, jitter());
        self.attempt += 1;
        self.pause(pause.min(BACKOFF_CAP)).await
    }

    async fn give_up(&mut self, message: &str) -> bool {
        self.failed(Condition::unreachable(message)).await
    }

    async fn failed(&mut self, condition: Condition) -> bool {
        self.link.session.send_replace(None);
        self.suspect = true;
        if condition.state == State::Unreachable {
            self.link.seat.failed();
        }
        self.set(condition);
        self.pause_backoff().await
    }

    async fn pause_backoff(&mut self) -> bool {
        let cap = self.link.seat.backoff_cap();
        let pause = backoff_within(cap, self.attempt, jitter());
        self.attempt += 1;
        self.pause(pause).await
    }

    /// Waits for the next try; true when the Secret is to be read first.
    async fn pause(&mut self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        self.link.status.send_if_modified(|status| {
            status.next_probe = Some(until);
            false
        });
        let wait = sleep(pause);
        tokio::pin!(wait);
        loop {
            tokio::select! {
                () = &mut wait => return false,
                changed = self.spec.changed() => {
                    if changed.is_ok() {
                        self.attempt = 0;
                    }
                    return true;
                }
                // What calls found out before the link was given up is no news.
                signal = self.inbox.recv() => if matches!(signal, Some(Signal::Probe) | None) {
                    return true;
                }
            }
        }
    }

    fn refresh_overlay(&self) {
        if self.link.status.borrow().is_up() {
            self.set_up();
        }
    }

    fn set_up(&self) {
        let deleting = self.spec.borrow().deleting;
        let problem = self.problem();
        self.set(match (deleting, problem) {
            (true, problem) => {
                let message = problem.map(|(_, message)| message).unwrap_or_default();
                Condition::new(State::Draining, reason::DRAINING, message)
            }
            (false, Some((reason, message))) => Condition::new(State::Degraded, reason, message),
            (false, None) => Condition::new(State::Ready, reason::CONNECTED, ""),
        });
    }

    /// What is wrong with a member that answers. That it goes unverified is always said.
    fn problem(&self) -> Option<(&'static str, String)> {
        let warning = || Some((reason::DEGRADED, self.warning.clone()?));
        let problem = self.secret_problem.clone().or_else(warning);
        if !self.credentials.as_ref().is_some_and(|c| c.insecure) {
            return problem;
        }
        let unverified = format!("the member is not verified: {UNVERIFIED}");
        Some(match problem {
            Some((reason, message)) => (reason, format!("{message}; {unverified}")),
            None => (reason::NOT_VERIFIED, unverified),
        })
    }

    fn set(&self, condition: Condition) {
        self.link.status.send_if_modified(|status| {
            if status.condition == condition {
                return false;
            }
            if status.condition.state != condition.state {
                status.since = jiff::Timestamp::now();
                self.link.metrics().transition(condition.state);
                tracing::info!(
                    cluster = %self.link.key, from = status.condition.state.as_str(),
                    to = condition.state.as_str(), reason = condition.reason,
                    message = %condition.message, "link state"
                );
            }
            status.condition = condition;
            true
        });
    }
}
