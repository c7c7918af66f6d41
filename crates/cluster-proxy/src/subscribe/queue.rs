//! A subscriber's queue: the newest state of each object, once.
//!
//! Memory is bounded by the number of live objects, not by the rate of events: a second event for an
//! object that waits overwrites the first. Frames are taken in turn from the clusters that have
//! something to say, so one busy member does not delay another.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use api_types::key::ClusterKey;
use proxy_client::proto::{self, SubscribeFrame, subscribe_frame::F};
use tokio::sync::Notify;

use crate::{
    inventory::cluster_ref,
    json::Projected,
    link::status::timestamp,
    watch::{ObjectId, SyncReason, WatchState},
};

/// Frames aim at this size; a single larger object travels alone.
pub const FRAME_MAX: usize = 256 * 1024;
const FRAME_MIN: usize = 4 * 1024;

/// Lanes of several queues meet at one shared watch, so their ids are unique in the process.
static NEXT_LANE: AtomicU64 = AtomicU64::new(1);

/// One subscriber's queue.
#[derive(Debug)]
pub struct Queue {
    lanes: Mutex<Lanes>,
    ready: Notify,
    frame_max: usize,
}

#[derive(Debug, Default)]
struct Lanes {
    by_id: HashMap<u64, LaneState>,
    /// Lanes with something to say, in turn.
    turn: VecDeque<u64>,
    coalesced: u64,
}

/// One cluster's part in one subscription.
#[derive(Clone, Debug)]
pub struct Lane {
    id: u64,
    queue: Arc<Queue>,
}

/// What a lane says in all its frames.
#[derive(Clone, Debug)]
pub struct LaneLabel {
    /// The subscription.
    pub sub_id: u32,
    /// The member.
    pub cluster: ClusterKey,
    /// The type.
    pub gvr: proto::Gvr,
}

#[derive(Debug)]
enum Pending {
    Upsert(Arc<Projected>),
    Delete(proto::ObjectKey),
}

#[derive(Debug)]
struct Sync {
    reason: SyncReason,
    started: bool,
    /// How many of the waiting objects belong to the snapshot; they are first in order.
    left: usize,
    revision: String,
}

#[derive(Debug)]
struct LaneState {
    label: LaneLabel,
    pending: HashMap<ObjectId, Pending>,
    order: VecDeque<ObjectId>,
    sync: Option<Sync>,
    state: Option<WatchState>,
    error: Option<proto::Error>,
    removed: bool,
    queued: bool,
}

impl Queue {
    /// A queue whose frames aim at `frame_max` bytes, 0 for the default.
    pub fn new(frame_max: usize) -> Arc<Self> {
        let frame_max = match frame_max {
            0 => FRAME_MAX,
            asked => asked.clamp(FRAME_MIN, FRAME_MAX),
        };
        Arc::new(Self {
            lanes: Mutex::default(),
            ready: Notify::new(),
            frame_max,
        })
    }

    /// Opens a lane.
    pub fn lane(self: &Arc<Self>, label: LaneLabel) -> Lane {
        let id = NEXT_LANE.fetch_add(1, Ordering::Relaxed);
        let state = LaneState {
            label,
            pending: HashMap::new(),
            order: VecDeque::new(),
            sync: None,
            state: None,
            error: None,
            removed: false,
            queued: false,
        };
        self.lock().by_id.insert(id, state);
        Lane {
            id,
            queue: Arc::clone(self),
        }
    }

    /// Waits for the next frame.
    pub async fn next(&self) -> SubscribeFrame {
        loop {
            if let Some(frame) = self.try_next() {
                return frame;
            }
            // A permit is kept when a lane spoke in between, so nothing is missed.
            self.ready.notified().await;
        }
    }

    /// The next frame, if any lane has something to say.
    pub fn try_next(&self) -> Option<SubscribeFrame> {
        let mut lanes = self.lock();
        loop {
            let id = lanes.turn.pop_front()?;
            let Some(lane) = lanes.by_id.get_mut(&id) else {
                continue;
            };
            let frame = lane.frame(self.frame_max);
            lane.queued = lane.has_more();
            let (queued, done) = (lane.queued, lane.removed && !lane.queued);
            if done {
                lanes.by_id.remove(&id);
            } else if queued {
                lanes.turn.push_back(id);
            }
            if let Some(f) = frame {
                return Some(SubscribeFrame { f: Some(f) });
            }
        }
    }

    /// How many events were overwritten by later ones since the last call.
    pub fn take_coalesced(&self) -> u64 {
        std::mem::take(&mut self.lock().coalesced)
    }

    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    /// Unique in the process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// A snapshot: everything that waited is replaced by it.
    pub fn sync<'a>(
        &self,
        reason: SyncReason,
        objects: impl Iterator<Item = &'a Arc<Projected>>,
        revision: &str,
    ) {
        self.change(|lane, _| {
            lane.pending.clear();
            lane.order.clear();
            for object in objects {
                let id = ObjectId::from(object.as_ref());
                lane.order.push_back(id.clone());
                lane.pending.insert(id, Pending::Upsert(Arc::clone(object)));
            }
            lane.sync = Some(Sync {
                reason,
                started: false,
                left: lane.order.len(),
                revision: revision.to_owned(),
            });
        });
    }

    /// An object is new or changed.
    pub fn upsert(&self, object: &Arc<Projected>) {
        let id = ObjectId::from(object.as_ref());
        self.put(id, Pending::Upsert(Arc::clone(object)));
    }

    /// An object is gone.
    pub fn delete(&self, object: &Projected, revision: &str) {
        let key = proto::ObjectKey {
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            uid: object.uid.clone(),
            resource_version: revision.to_owned(),
        };
        self.put(ObjectId::from(object), Pending::Delete(key));
    }

    /// How the watch is doing.
    pub fn state(&self, state: WatchState) {
        self.change(|lane, _| lane.state = Some(state));
    }

    /// The watch cannot be served.
    pub fn error(&self, error: proto::Error) {
        self.change(|lane, _| lane.error = Some(error));
    }

    /// The cluster left: nothing but that is said, and the lane closes.
    pub fn remove(&self) {
        self.change(|lane, _| {
            lane.pending.clear();
            lane.order.clear();
            (lane.sync, lane.state, lane.error) = (None, None, None);
            lane.removed = true;
        });
    }

    /// Closes the lane without a word.
    pub fn close(&self) {
        self.queue.lock().by_id.remove(&self.id);
    }

    fn put(&self, id: ObjectId, pending: Pending) {
        self.change(|lane, coalesced| {
            if lane.pending.insert(id.clone(), pending).is_some() {
                *coalesced += 1;
            } else {
                lane.order.push_back(id);
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut LaneState, &mut u64)) {
        let mut lanes = self.queue.lock();
        let Lanes {
            by_id,
            turn,
            coalesced,
        } = &mut *lanes;
        let Some(lane) = by_id.get_mut(&self.id).filter(|lane| !lane.removed) else {
            return;
        };
        change(lane, coalesced);
        if !std::mem::replace(&mut lane.queued, true) {
            turn.push_back(self.id);
        }
        drop(lanes);
        self.queue.ready.notify_one();
    }
}

impl LaneState {
    fn has_more(&self) -> bool {
        self.state.is_some()
            || self.error.is_some()
            || self.sync.is_some()
            || !self.order.is_empty()
    }

    /// The lane's next frame: its state, then the snapshot's start, objects, end, then changes.
    fn frame(&mut self, max: usize) -> Option<F> {
        let cluster = Some(cluster_ref(&self.label.cluster));
        let sub_id = self.label.sub_id;
        if self.removed {
            return Some(F::Removed(proto::ClusterRemoved { sub_id, cluster }));
        }
        if let Some(state) = self.state.take() {
            return Some(F::Link(proto::LinkState {
                cluster,
                state: state.state.into(),
                reason: state.reason,
                as_of: Some(timestamp(state.as_of)),
                sub_id,
            }));
        }
        if let Some(error) = self.error.take() {
            return Some(F::Error(proto::SubError {
                sub_id,
                cluster,
                error: Some(error),
            }));
        }
        if let Some(sync) = &mut self.sync {
            if !std::mem::replace(&mut sync.started, true) {
                return Some(F::SyncStart(proto::SyncStart {
                    sub_id,
                    cluster,
                    reason: sync.reason.as_str().to_owned(),
                }));
            }
            if sync.left == 0 {
                let resource_version = std::mem::take(&mut sync.revision);
                self.sync = None;
                return Some(F::SyncEnd(proto::SyncEnd {
                    sub_id,
                    cluster,
                    resource_version,
                }));
            }
        }
        let (upserts, deletes) = self.batch(max);
        if upserts.is_empty() && deletes.is_empty() {
            return None;
        }
        Some(F::Batch(proto::Batch {
            sub_id,
            cluster,
            upserts,
            deletes,
        }))
    }

    fn batch(&mut self, max: usize) -> (Vec<proto::Object>, Vec<proto::ObjectKey>) {
        let (mut upserts, mut deletes, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(id) = self.order.front() {
            if self.sync.as_ref().is_some_and(|sync| sync.left == 0) {
                break;
            }
            let cost = match self.pending.get(id) {
                Some(Pending::Upsert(object)) => object.json.len() + 256,
                Some(Pending::Delete(_)) => 128,
                None => 0,
            };
            if bytes > 0 && bytes + cost > max {
                break;
            }
            bytes += cost;
            let Some(id) = self.order.pop_front() else {
                break;
            };
            if let Some(sync) = &mut self.sync {
                sync.left -= 1;
            }
            match self.pending.remove(&id) {
                Some(Pending::Upsert(object)) => {
                    upserts.push(to_proto(&object, &self.label.cluster, &self.label.gvr));
                }
                Some(Pending::Delete(key)) => deletes.push(key),
                None => {}
            }
        }
        (upserts, deletes)
    }
}

/// The envelope and body of an object.
pub fn to_proto(object: &Projected, cluster: &ClusterKey, gvr: &proto::Gvr) -> proto::Object {
    proto::Object {
        cluster: Some(cluster_ref(cluster)),
        gvr: Some(gvr.clone()),
        kind: object.kind.clone(),
        namespace: object.namespace.clone(),
        name: object.name.clone(),
        uid: object.uid.clone(),
        resource_version: object.resource_version.clone(),
        generation: object.generation,
        json: object.json.clone().into(),
        content_type: "application/json".to_owned(),
    }
}

#[cfg(test)]
mod tests;
