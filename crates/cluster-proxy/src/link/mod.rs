//! A link: all that the proxy holds for one member.
//!
//! Links share no lock, queue or task; only for the turn to connect, and to read a collection for the
//! first time, do they wait at a gate. A supervisor task keeps the connection for watches and the
//! state; calls use a second connection that is opened when it is first needed; each shared watch is
//! a task of its own.

pub mod breaker;
pub mod call;
pub mod catalogue;
pub mod connection;
mod dial;
pub mod discovery;
pub mod exchange;
pub mod gate;
pub mod latency;
pub mod limiter;
pub mod load;
mod probe;
pub mod rate;
pub mod spread;
pub mod status;
mod supervisor;
mod watches;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use api_types::key::ClusterKey;
use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use self::{
    breaker::Breaker,
    call::Unary,
    connection::Connection,
    discovery::Discovery,
    gate::{ConnectGate, Seat},
    latency::Latency,
    limiter::{AllCalls, Limiter},
    load::{LoadGate, Sizes},
    rate::Rate,
    spread::MoreConnections,
    status::LinkStatus,
};
use crate::{
    credentials::{address::AddressPolicy, source::SecretSource},
    error::CallError,
    metrics::Metrics,
    watch::{SharedWatch, WatchKey},
};

/// What the hub says about a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkSpec {
    /// Name and key of the Secret with the kubeconfig.
    pub secret: Option<(String, String)>,
    /// The hub object says that the member's certificate need not be verified.
    pub insecure: bool,
    /// The hub object is being deleted.
    pub deleting: bool,
    /// Grows with each change of the Secret.
    pub secret_revision: u64,
}

/// A proven connection for watches. A new one takes its place after each loss or rotation.
#[derive(Debug)]
pub struct Session {
    /// Counts the link's sessions from 1.
    pub generation: u64,
    /// The first connection.
    pub connection: Arc<Connection>,
    /// Opened when the first one is full of watches.
    pub more: MoreConnections,
    /// Uid of the member's `kube-system` as read on it.
    pub member_uid: Arc<str>,
}

/// What a link needs of the rest of the proxy.
#[derive(Clone)]
pub struct LinkContext {
    /// Reads kubeconfigs.
    pub source: Arc<dyn SecretSource>,
    /// Which addresses may be dialled.
    pub addresses: Arc<AddressPolicy>,
    /// Where connects wait for their turn.
    pub gate: Arc<ConnectGate>,
    /// Where first reads of collections wait for theirs.
    pub loads: Arc<LoadGate>,
    /// The calls to all members.
    pub calls: Arc<AllCalls>,
    /// The most calls that each member gets.
    pub rate: Rate,
    /// Members that ask for it may go unverified.
    pub allow_insecure: bool,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl std::fmt::Debug for LinkContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkContext").finish_non_exhaustive()
    }
}

/// What other tasks tell the supervisor.
#[derive(Debug)]
enum Signal {
    /// Too much speaks against the member.
    Tripped {
        /// On which session that was found.
        generation: u64,
        /// What.
        message: String,
    },
    /// The member answered 401 to these credentials.
    Unauthorized([u8; 32]),
    /// Try now.
    Probe,
}

/// A link to one member.
#[derive(Debug)]
pub struct Link {
    key: ClusterKey,
    hub_uid: String,
    labels: ArcSwap<BTreeMap<String, String>>,
    context: LinkContext,
    spec: watch::Sender<LinkSpec>,
    status: watch::Sender<LinkStatus>,
    session: watch::Sender<Option<Arc<Session>>>,
    signals: mpsc::Sender<Signal>,
    breaker: Mutex<Breaker>,
    limiter: Limiter,
    seat: Seat,
    unary: Unary,
    discovery: Discovery,
    watches: Mutex<HashMap<WatchKey, Weak<SharedWatch>>>,
    sizes: Sizes,
    latency: Latency,
    cached_bytes: Arc<AtomicUsize>,
    last_ok: AtomicI64,
    last_probe: Mutex<Option<Instant>>,
    /// When it turned out that the member has no `WatchList`.
    no_watch_list: Mutex<Option<Instant>>,
    stop: CancellationToken,
}

impl Link {
    /// Starts a link and its supervisor; [`Link::stop`] ends all its tasks.
    pub fn start(
        key: ClusterKey,
        hub_uid: String,
        labels: BTreeMap<String, String>,
        spec: LinkSpec,
        context: LinkContext,
    ) -> Arc<Self> {
        let (signals, inbox) = mpsc::channel(8);
        let link = Arc::new(Self {
            key,
            hub_uid,
            labels: ArcSwap::from_pointee(labels),
            seat: context.gate.join(),
            limiter: Limiter::new(Arc::clone(&context.calls), context.rate),
            context,
            spec: watch::Sender::new(spec),
            status: watch::Sender::new(LinkStatus::connecting()),
            session: watch::Sender::new(None),
            signals,
            breaker: Mutex::default(),
            unary: Unary::default(),
            discovery: Discovery::default(),
            watches: Mutex::default(),
            sizes: Sizes::default(),
            latency: Latency::default(),
            cached_bytes: Arc::default(),
            last_ok: AtomicI64::new(i64::MIN),
            last_probe: Mutex::default(),
            no_watch_list: Mutex::default(),
            stop: CancellationToken::new(),
        });
        tokio::spawn(supervisor::run(Arc::clone(&link), inbox));
        link
    }

    /// The member's key.
    pub fn key(&self) -> &ClusterKey {
        &self.key
    }

    /// Uid of the hub object; another uid is another member.
    pub fn hub_uid(&self) -> &str {
        &self.hub_uid
    }

    /// Labels of the hub object.
    pub fn labels(&self) -> Arc<BTreeMap<String, String>> {
        self.labels.load_full()
    }

    /// Takes over what the hub object says now.
    pub fn update(&self, labels: BTreeMap<String, String>, spec: LinkSpec) {
        self.labels.store(Arc::new(labels));
        self.spec.send_if_modified(|known| {
            let spec = LinkSpec {
                secret_revision: known.secret_revision,
                ..spec
            };
            let changed = *known != spec;
            *known = spec;
            changed
        });
    }

    /// The Secret may have changed: read it again.
    pub fn secret_changed(&self) {
        self.spec.send_modify(|spec| spec.secret_revision += 1);
    }

    /// The name of the Secret in use.
    pub fn secret_name(&self) -> Option<String> {
        self.spec
            .borrow()
            .secret
            .as_ref()
            .map(|(name, _)| name.clone())
    }

    /// What is known now.
    pub fn status(&self) -> LinkStatus {
        self.status.borrow().clone()
    }

    /// Follows the status.
    pub fn follow(&self) -> watch::Receiver<LinkStatus> {
        self.status.subscribe()
    }

    /// Follows the connection for watches.
    pub fn sessions(&self) -> watch::Receiver<Option<Arc<Session>>> {
        self.session.subscribe()
    }

    /// The member's last sign of life.
    pub fn last_ok(&self) -> Option<Timestamp> {
        let answered = self.last_ok.load(Ordering::Relaxed);
        let heard = self.session.borrow().as_ref().map(|session| {
            let silence = i64::try_from(session.connection.silence().as_millis());
            Timestamp::now().as_millisecond() - silence.unwrap_or(i64::MAX)
        });
        let last = answered.max(heard.unwrap_or(i64::MIN));
        Timestamp::from_millisecond(last).ok()
    }

    /// Counters.
    pub fn metrics(&self) -> &Metrics {
        &self.context.metrics
    }

    /// Cancelled when the link is drained.
    pub fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    /// Ends the link: its hub object is gone.
    pub fn stop(&self) {
        self.stop.cancel();
        self.session.send_replace(None);
    }

    /// Bytes in all watch caches of this link.
    pub fn cached_bytes(&self) -> &Arc<AtomicUsize> {
        &self.cached_bytes
    }

    /// Counts an answer for the breaker and for "last seen".
    pub fn report(&self, result: Result<(), &CallError>) {
        self.report_on(self.generation(), result);
    }

    /// The same for what was asked during a session. What failed during an earlier one, or while there
    /// was none, says nothing about the connection of now.
    fn report_on(&self, generation: u64, result: Result<(), &CallError>) {
        let now = Instant::now();
        let current = self.generation() == generation;
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Err(error) if error.weight > 0 => {
                if current && breaker.failure(now, error.weight) {
                    *breaker = Breaker::default();
                    let message = error.message.clone();
                    self.signal(Signal::Tripped {
                        generation,
                        message,
                    });
                }
            }
            // Neither for nor against it: it was not asked, or was not given the time to answer.
            Err(error) if error.http_code.is_none() => {}
            _ => {
                breaker.success(now);
                drop(breaker);
                self.seen();
            }
        }
    }

    /// Of the session of now, 0 while there is none.
    fn generation(&self) -> u64 {
        let session = self.session.borrow();
        session.as_ref().map_or(0, |session| session.generation)
    }

    /// Puts a session into the place of the last one, with which all that spoke against it goes.
    fn renew(&self, session: Session) {
        self.session.send_replace(Some(Arc::new(session)));
        *self.breaker.lock().unwrap_or_else(PoisonError::into_inner) = Breaker::default();
    }

    /// How long ago the member answered, if that is within `limit`.
    fn answered_within(&self, limit: Duration) -> Option<Duration> {
        let last = self.last_ok.load(Ordering::Relaxed);
        let age = Timestamp::now().as_millisecond().saturating_sub(last);
        let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
        (age <= limit).then_some(age)
    }

    /// The member showed a sign of life.
    pub fn seen(&self) {
        let now = Timestamp::now().as_millisecond();
        self.last_ok.store(now, Ordering::Relaxed);
    }

    /// The member answered 401: the Secret is read again before anything else is tried.
    pub fn unauthorized(&self, digest: [u8; 32]) {
        self.signal(Signal::Unauthorized(digest));
    }

    /// Asks the supervisor to try now; true at most once a second.
    pub fn probe(&self) -> bool {
        let mut last = self
            .last_probe
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let allowed = last.is_none_or(|at| now.duration_since(at).as_secs() >= 1);
        if allowed {
            *last = Some(now);
            self.signal(Signal::Probe);
        }
        allowed
    }

    /// How long the member takes to answer; None before its first answer.
    pub fn latency(&self) -> Option<Duration> {
        self.latency.average()
    }

    fn signal(&self, signal: Signal) {
        // A full inbox means that the supervisor has enough to act on already.
        let _ = self.signals.try_send(signal);
    }
}
