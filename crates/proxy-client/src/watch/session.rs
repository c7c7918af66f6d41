//! One life of the stream: which watches it knows, and where its frames go.

use std::{collections::HashMap, sync::Arc, time::Duration};

use api_types::key::ClusterKey;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Streaming,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

use super::mux::{Shared, Signal, Sink};
use crate::{
    CALLER_METADATA,
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

/// One life of the stream.
#[derive(Default)]
pub(super) struct Session {
    /// Watches by the id that the wire knows them by, which is never used twice.
    on_wire: HashMap<u32, u64>,
    announced: HashMap<u64, Announced>,
    next_wire: u32,
    /// Whether the proxy said anything.
    pub(super) heard: bool,
}

enum Announced {
    As(u32),
    Refused { since: Instant },
}

impl Session {
    /// Runs until the stream is lost, and tells why.
    pub(super) async fn run(
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
        if let Some(key) = cluster.and_then(cluster_key) {
            sink.signal(signal(key));
        } else {
            let name = cluster.map(|cluster| cluster.name.as_str());
            tracing::warn!(name, "frame about a member without usable name");
        }
    }

    fn refuse(&mut self, shared: &Shared, refused: proto::SubError) {
        let error = refused.error.unwrap_or_default();
        let cluster = refused.cluster.as_ref().and_then(cluster_key);
        let Some(sink) = self.sink(shared, refused.sub_id) else {
            return;
        };
        let said = Error::from_proto(&subject(), &error);
        let named = cluster.as_ref().map(tracing::field::display);
        tracing::warn!(error = %said, cluster = named, "member watch refused");
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::watch::mux::Watch;

    /// Counts refusals.
    #[derive(Default)]
    struct Refusals(Mutex<u32>);

    impl Sink for Refusals {
        fn signal(&self, signal: Signal) {
            if matches!(signal, Signal::Refused { .. }) {
                *self.0.lock().unwrap() += 1;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_watch_is_asked_for_again_later_under_another_id() {
        let shared = Shared::default();
        let sink = Arc::new(Refusals::default());
        let watch = Watch {
            add: proto::Add::default(),
            sink: Arc::clone(&sink) as Arc<dyn Sink>,
        };
        shared.registry().watches.insert(1, watch);
        let (sender, mut requests) = mpsc::channel(REQUESTS);
        let mut asked = |session: &mut Session| {
            assert!(session.announce(&shared, &sender));
            requests.try_recv().ok().map(|request| match request.op {
                Some(Op::Add(add)) => add.sub_id,
                other => panic!("{other:?} is no subscription"),
            })
        };
        let mut session = Session::default();
        assert_eq!(asked(&mut session), Some(1));
        assert_eq!(asked(&mut session), None, "once is enough");

        let refused = |sub_id| proto::SubError {
            sub_id,
            ..Default::default()
        };
        session.refuse(&shared, refused(1));
        session.refuse(&shared, refused(1));
        assert_eq!(
            *sink.0.lock().unwrap(),
            1,
            "the second names an id that is over"
        );
        assert_eq!(asked(&mut session), None);
        tokio::time::advance(REFUSED_RETRY).await;
        assert_eq!(asked(&mut session), Some(2));
    }
}
