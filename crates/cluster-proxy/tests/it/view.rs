//! A subscriber that plays frames into a view, as a client would.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proxy_client::proto::{
    self, SubscribeFrame, SubscribeRequest, link_state, subscribe_frame::F, subscribe_request::Op,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::rig::{Rig, gvr, request_as};

pub(crate) struct View {
    requests: mpsc::Sender<SubscribeRequest>,
    frames: Streaming<SubscribeFrame>,
    /// (cluster, object) to body.
    pub(crate) objects: BTreeMap<(String, String), serde_json::Value>,
    pub(crate) synced: BTreeSet<String>,
    pub(crate) links: BTreeMap<String, link_state::State>,
    /// Of the states.
    pub(crate) reasons: BTreeMap<String, String>,
    pub(crate) errors: Vec<(String, String)>,
    pub(crate) removed: BTreeSet<String>,
    /// Reasons of all snapshots by cluster.
    pub(crate) snapshots: Vec<(String, String)>,
    pub(crate) heartbeats: usize,
}

impl View {
    /// Opens a stream with one subscription.
    pub(crate) async fn open(
        rig: &Rig,
        caller: &str,
        resource: (&str, &str),
        labels: &str,
    ) -> Self {
        let (requests, input) = mpsc::channel(16);
        let open = proto::Open {
            client_name: "view".into(),
            max_frame_bytes: 0,
        };
        requests.send(op(Op::Open(open))).await.unwrap();
        let mut request = request_as(caller, ReceiverStream::new(input));
        // A stream has no deadline.
        request.metadata_mut().remove("grpc-timeout");
        let frames = rig.watch().subscribe(request).await.unwrap().into_inner();
        let view = Self {
            requests,
            frames,
            objects: BTreeMap::new(),
            synced: BTreeSet::new(),
            links: BTreeMap::new(),
            reasons: BTreeMap::new(),
            errors: Vec::new(),
            removed: BTreeSet::new(),
            snapshots: Vec::new(),
            heartbeats: 0,
        };
        view.add(rig, 1, resource, labels).await;
        view
    }

    /// Adds a subscription over all clusters of the test's namespace.
    pub(crate) async fn add(&self, rig: &Rig, sub_id: u32, resource: (&str, &str), labels: &str) {
        let selected: Vec<proto::ClusterRef> = ["m1", "m2"]
            .into_iter()
            .filter_map(|name| rig.cluster(name))
            .collect();
        let add = proto::Add {
            sub_id,
            gvr: gvr(resource.0, "v1", resource.1),
            namespace: "default".into(),
            label_selector: labels.into(),
            projection: None,
            clusters: Some(proto::ClusterSet {
                clusters: selected,
                ..Default::default()
            }),
        };
        self.send(Op::Add(add)).await;
    }

    pub(crate) async fn send(&self, message: Op) {
        self.requests.send(op(message)).await.unwrap();
    }

    /// Reads frames until the condition holds.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        deadline: Duration,
        condition: impl Fn(&Self) -> bool,
    ) {
        let deadline = Instant::now() + deadline;
        while !condition(self) {
            match timeout_at(deadline, self.frames.message()).await {
                Ok(Ok(Some(frame))) => self.play(frame.f.unwrap()),
                Ok(other) => panic!("the stream ended while waiting for {what}: {other:?}"),
                Err(late) => panic!(
                    "no {what} ({late}): objects {:?}, synced {:?}, links {:?}, errors {:?}",
                    self.objects.keys(),
                    self.synced,
                    self.links,
                    self.errors
                ),
            }
        }
    }

    pub(crate) fn has(&self, cluster: &str, object: &str) -> bool {
        self.value(cluster, object).is_some()
    }

    pub(crate) fn value(&self, cluster: &str, object: &str) -> Option<&str> {
        let key = (cluster.to_owned(), object.to_owned());
        self.objects.get(&key)?["data"]["k"].as_str()
    }

    fn play(&mut self, frame: F) {
        let name = |c: Option<proto::ClusterRef>| c.unwrap_or_default().name;
        match frame {
            F::SyncStart(start) => {
                let cluster = name(start.cluster);
                self.objects.retain(|(known, _), _| *known != cluster);
                self.synced.remove(&cluster);
                self.snapshots.push((cluster, start.reason));
            }
            F::SyncEnd(end) => {
                self.synced.insert(name(end.cluster));
            }
            F::Batch(batch) => {
                let cluster = name(batch.cluster);
                for object in batch.upserts {
                    let json = serde_json::from_slice(&object.json).unwrap();
                    self.objects.insert((cluster.clone(), object.name), json);
                }
                for gone in batch.deletes {
                    self.objects.remove(&(cluster.clone(), gone.name));
                }
            }
            F::Link(link) => {
                let (state, cluster) = (link.state(), name(link.cluster));
                self.reasons.insert(cluster.clone(), link.reason);
                self.links.insert(cluster, state);
            }
            F::Error(error) => {
                let reason = error.error.unwrap_or_default().reason;
                self.errors.push((name(error.cluster), reason));
            }
            F::Removed(removed) => {
                let cluster = name(removed.cluster);
                self.objects.retain(|(known, _), _| *known != cluster);
                self.synced.remove(&cluster);
                self.removed.insert(cluster);
            }
            F::Heartbeat(_) => self.heartbeats += 1,
        }
    }
}

fn op(op: Op) -> SubscribeRequest {
    SubscribeRequest { op: Some(op) }
}
