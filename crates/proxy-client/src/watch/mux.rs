//! The one stream that all watches of a process share, and the task that keeps it up.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use api_types::key::ClusterKey;
use jiff::Timestamp;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Streaming,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

use crate::{
    CALLER_METADATA, MAX_MESSAGE_BYTES,
    backoff::Backoff,
    call::Subject,
    error::Error,
    proto::{
        self, SubscribeFrame, SubscribeRequest, member_watch_client::MemberWatchClient,
        subscribe_frame::F, subscribe_request::Op,
    },
    wire::{cluster_key, timestamp},
};

/// The proxy sends a heartbeat every 10 s; after three missing ones the stream is dead.
const SILENCE: Duration = Duration::from_secs(35);
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a refused subscription waits before it is asked for again.
const REFUSED_RETRY: Duration = Duration::from_secs(30);
/// After this time the proxy has mentioned every member that it still knows.
const MENTIONED: Duration = Duration::from_secs(30);
/// Requests on their way; a proxy that takes none of them is as good as gone.
const REQUESTS: usize = 256;

/// What a watch learns from the stream.
#[derive(Clone, Debug)]
pub(super) enum Signal {
    /// The stream is open.
    Connected,
    /// The stream broke.
    Disconnected { message: String },
    /// A snapshot begins.
    SyncStart { cluster: ClusterKey },
    /// Objects came, changed or went.
    Batch {
        cluster: ClusterKey,
        batch: proto::Batch,
    },
    /// The snapshot is whole.
    SyncEnd { cluster: ClusterKey },
    /// The link to a member changed.
    Link {
        cluster: ClusterKey,
        state: proto::LinkState,
    },
    /// The proxy's time, and the members whose data is old.
    Heartbeat {
        time: Option<Timestamp>,
        stale: HashMap<ClusterKey, Option<Timestamp>>,
    },
    /// The watch, or one member of it, cannot be served.
    Refused {
        cluster: Option<ClusterKey>,
        error: proto::Error,
    },
    /// The member left the selection.
    Removed { cluster: ClusterKey },
    /// Members not mentioned since the stream was opened are gone.
    ForgetUnheard,
}

/// Where a watch's signals go. Must be quick: all watches wait for it.
pub(super) trait Sink: Send + Sync {
    fn signal(&self, signal: Signal);
}

pub(crate) struct Mux {
    shared: Arc<Shared>,
    caller: MetadataValue<Ascii>,
    channel: Channel,
    task: OnceLock<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    registry: Mutex<Registry>,
    changed: Notify,
}

#[derive(Default)]
struct Registry {
    next: u64,
    watches: BTreeMap<u64, Watch>,
}

#[derive(Clone)]
struct Watch {
    add: proto::Add,
    sink: Arc<dyn Sink>,
}

/// Keeps a watch on the stream until it is dropped.
pub(super) struct Registration {
    mux: Arc<Mux>,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.mux.shared.registry().watches.remove(&self.id);
        self.mux.shared.changed.notify_one();
    }
}

impl Drop for Mux {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

impl fmt::Debug for Mux {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mux").finish_non_exhaustive()
    }
}

impl Shared {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watches(&self) -> BTreeMap<u64, Watch> {
        self.registry().watches.clone()
    }

    fn tell_all(&self, signal: &Signal) {
        for watch in self.watches().values() {
            watch.sink.signal(signal.clone());
        }
    }
}

impl Mux {
    pub(crate) fn new(caller: MetadataValue<Ascii>, channel: Channel) -> Self {
        Self {
            shared: Arc::default(),
            caller,
            channel,
            task: OnceLock::new(),
        }
    }

    pub(super) fn register(self: &Arc<Self>, add: proto::Add, sink: Arc<dyn Sink>) -> Registration {
        let id = {
            let mut registry = self.shared.registry();
            registry.next += 1;
            let id = registry.next;
            registry.watches.insert(id, Watch { add, sink });
            id
        };
        self.shared.changed.notify_one();
        self.task.get_or_init(|| {
            let client = MemberWatchClient::new(self.channel.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES);
            tokio::spawn(keep_up(
                Arc::clone(&self.shared),
                client,
                self.caller.clone(),
            ))
        });
        Registration {
            mux: Arc::clone(self),
            id,
        }
    }
}

/// Opens the stream whenever there is a watch and it is not open.
async fn keep_up(
    shared: Arc<Shared>,
    client: MemberWatchClient<Channel>,
    caller: MetadataValue<Ascii>,
) {
    let mut backoff = Backoff::default();
    loop {
        while shared.registry().watches.is_empty() {
            shared.changed.notified().await;
        }
        let mut session = Session::default();
        let lost = session
            .run(&shared, client.clone(), caller.clone())
            .await
            .unwrap_or_else(|error| error.to_string());
        if session.heard {
            backoff.reset();
        }
        let wait = backoff.next();
        tracing::warn!(error = lost, ?wait, "stream of member watches is down");
        shared.tell_all(&Signal::Disconnected { message: lost });
        sleep(wait).await;
    }
}

/// One life of the stream.
#[derive(Default)]
struct Session {
    /// Watches by the id that the wire knows them by, which is never used twice.
    on_wire: HashMap<u32, u64>,
    announced: HashMap<u64, Announced>,
    next_wire: u32,
    heard: bool,
}

enum Announced {
    As(u32),
    Refused { since: Instant },
}

impl Session {
    /// Runs until the stream is lost, and tells why.
    async fn run(
        &mut self,
        shared: &Shared,
        mut client: MemberWatchClient<Channel>,
        caller: MetadataValue<Ascii>,
    ) -> Result<String, Box<Error>> {
        let (requests, receiver) = mpsc::channel(REQUESTS);
        let open = proto::Open {
            client_name: std::env::var("HOSTNAME").unwrap_or_default(),
            max_frame_bytes: 0,
        };
        let open = SubscribeRequest {
            op: Some(Op::Open(open)),
        };
        if requests.try_send(open).is_err() || !self.announce(shared, &requests) {
            return Ok("too many watches at once".into());
        }
        let mut request = Request::new(ReceiverStream::new(receiver));
        request.metadata_mut().insert(CALLER_METADATA, caller);
        let mut frames = match timeout(OPEN_TIMEOUT, client.subscribe(request)).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return Err(Box::new(Error::from_status(&subject(), &status))),
            Err(_) => {
                return Ok(format!(
                    "cluster-proxy did not open it within {OPEN_TIMEOUT:?}"
                ));
            }
        };
        shared.tell_all(&Signal::Connected);
        self.follow(shared, &requests, &mut frames).await
    }

    async fn follow(
        &mut self,
        shared: &Shared,
        requests: &mpsc::Sender<SubscribeRequest>,
        frames: &mut Streaming<SubscribeFrame>,
    ) -> Result<String, Box<Error>> {
        let opened = Instant::now();
        let mut deaf_at = opened + SILENCE;
        loop {
            tokio::select! {
                frame = frames.message() => match frame {
                    Ok(Some(SubscribeFrame { f })) => {
                        (self.heard, deaf_at) = (true, Instant::now() + SILENCE);
                        let Some(frame) = f else { continue };
                        let beat = matches!(frame, F::Heartbeat(_));
                        self.dispatch(shared, frame);
                        if !beat {
                            continue;
                        }
                        if opened.elapsed() > MENTIONED {
                            shared.tell_all(&Signal::ForgetUnheard);
                        }
                    }
                    Ok(None) => return Ok("cluster-proxy closed it".into()),
                    Err(status) => return Err(Box::new(Error::from_status(&subject(), &status))),
                },
                () = shared.changed.notified() => {}
                () = sleep_until(deaf_at) => return Ok(format!("nothing was heard for {SILENCE:?}")),
            }
            // a watch came or went, or a heartbeat: time to ask for refused ones again
            if !self.announce(shared, requests) {
                return Ok("cluster-proxy takes no more requests".into());
            }
        }
    }

    /// Tells the proxy about watches that came or went. False when it takes no more requests.
    fn announce(&mut self, shared: &Shared, requests: &mpsc::Sender<SubscribeRequest>) -> bool {
        let send = |op| requests.try_send(SubscribeRequest { op: Some(op) }).is_ok();
        let watches = shared.watches();
        let mut all_sent = true;
        self.announced.retain(|id, announced| match announced {
            Announced::Refused { since } => {
                watches.contains_key(id) && since.elapsed() < REFUSED_RETRY
            }
            Announced::As(sub_id) if !watches.contains_key(id) => {
                self.on_wire.remove(sub_id);
                all_sent &= send(Op::Remove(proto::Remove {
                    sub_id: *sub_id,
                    clusters: Vec::new(),
                }));
                false
            }
            Announced::As(_) => true,
        });
        for (id, watch) in watches {
            if self.announced.contains_key(&id) {
                continue;
            }
            self.next_wire += 1;
            self.on_wire.insert(self.next_wire, id);
            self.announced.insert(id, Announced::As(self.next_wire));
            all_sent &= send(Op::Add(proto::Add {
                sub_id: self.next_wire,
                ..watch.add
            }));
        }
        all_sent
    }

    fn dispatch(&mut self, shared: &Shared, frame: F) {
        match frame {
            F::SyncStart(proto::SyncStart {
                sub_id, cluster, ..
            }) => {
                self.tell(shared, sub_id, cluster.as_ref(), |cluster| {
                    Signal::SyncStart { cluster }
                });
            }
            F::Batch(mut batch) => {
                let cluster = batch.cluster.take();
                self.tell(shared, batch.sub_id, cluster.as_ref(), |cluster| {
                    Signal::Batch { cluster, batch }
                });
            }
            F::SyncEnd(proto::SyncEnd {
                sub_id, cluster, ..
            }) => {
                self.tell(shared, sub_id, cluster.as_ref(), |cluster| {
                    Signal::SyncEnd { cluster }
                });
            }
            F::Link(mut state) => {
                let cluster = state.cluster.take();
                self.tell(shared, state.sub_id, cluster.as_ref(), |cluster| {
                    Signal::Link { cluster, state }
                });
            }
            F::Removed(proto::ClusterRemoved { sub_id, cluster }) => {
                self.tell(shared, sub_id, cluster.as_ref(), |cluster| {
                    Signal::Removed { cluster }
                });
            }
            F::Error(refused) => self.refuse(shared, refused),
            F::Heartbeat(beat) => shared.tell_all(&heartbeat(beat)),
        }
    }

    /// Passes a signal about one member on. Frames of a watch that was just dropped are late, not
    /// wrong.
    fn tell(
        &self,
        shared: &Shared,
        sub_id: u32,
        cluster: Option<&proto::ClusterRef>,
        signal: impl FnOnce(ClusterKey) -> Signal,
    ) {
        let Some(sink) = self.sink(shared, sub_id) else {
            return;
        };
        if let Some(cluster) = cluster.and_then(cluster_key) {
            sink.signal(signal(cluster));
        } else {
            tracing::warn!(?cluster, "frame about a member without usable name");
        }
    }

    fn refuse(&mut self, shared: &Shared, refused: proto::SubError) {
        let error = refused.error.unwrap_or_default();
        let cluster = refused.cluster.as_ref().and_then(cluster_key);
        let Some(sink) = self.sink(shared, refused.sub_id) else {
            return;
        };
        let said = Error::from_proto(&subject(), &error);
        tracing::warn!(error = %said, ?cluster, "member watch refused");
        if cluster.is_none()
            && let Some(id) = self.on_wire.remove(&refused.sub_id)
        {
            let since = Instant::now();
            self.announced.insert(id, Announced::Refused { since });
        }
        sink.signal(Signal::Refused { cluster, error });
    }

    fn sink(&self, shared: &Shared, sub_id: u32) -> Option<Arc<dyn Sink>> {
        let id = self.on_wire.get(&sub_id)?;
        let registry = shared.registry();
        registry
            .watches
            .get(id)
            .map(|watch| Arc::clone(&watch.sink))
    }
}

fn heartbeat(beat: proto::Heartbeat) -> Signal {
    let stale = beat.stale.into_iter().filter_map(|stale| {
        let cluster = cluster_key(stale.cluster.as_ref()?)?;
        Some((cluster, timestamp(stale.as_of)))
    });
    Signal::Heartbeat {
        time: timestamp(beat.server_time),
        stale: stale.collect(),
    }
}

fn subject() -> Subject {
    Subject {
        verb: "subscribe",
        cluster: None,
        resource: String::new(),
        object: String::new(),
        writes: false,
    }
}
