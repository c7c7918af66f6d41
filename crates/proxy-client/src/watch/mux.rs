//! The one stream that all watches of a process share, and the task that keeps it up.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use api_types::key::ClusterKey;
use jiff::Timestamp;
use tokio::{sync::Notify, task::JoinHandle, time::sleep};
use tonic::{
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

use super::session::Session;
use crate::{
    MAX_MESSAGE_BYTES,
    backoff::Backoff,
    proto::{self, member_watch_client::MemberWatchClient},
};

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

/// The watches that there are, and word of each that comes or goes.
#[derive(Default)]
pub(super) struct Shared {
    registry: Mutex<Registry>,
    pub(super) changed: Notify,
}

#[derive(Default)]
pub(super) struct Registry {
    next: u64,
    pub(super) watches: BTreeMap<u64, Watch>,
}

#[derive(Clone)]
pub(super) struct Watch {
    pub(super) add: proto::Add,
    pub(super) sink: Arc<dyn Sink>,
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
    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn watches(&self) -> BTreeMap<u64, Watch> {
        self.registry().watches.clone()
    }

    pub(super) fn tell_all(&self, signal: &Signal) {
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
