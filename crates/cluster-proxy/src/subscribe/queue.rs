//! A subscriber's queue: the newest state of each object, once.
//!
//! Memory is bounded by the number of live objects, not by the rate of events: a second event for an
//! object that waits overwrites the first, and a snapshot takes the place of too many deletions. Of
//! one lane deletions go out before updates. Frames are taken in turn from the clusters that have
//! something to say, so one busy member does not delay another.

mod lane;

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use api_types::key::ClusterKey;
use proxy_client::proto::{self, SubscribeFrame};
use tokio::{sync::Notify, time::Instant};

use self::lane::{LaneState, News, Pending};
use crate::{
    inventory::cluster_ref,
    json::Projected,
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
    /// When the events of the last frame were read.
    read: Vec<Instant>,
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
        self.lock().by_id.insert(id, LaneState::new(label));
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
        let mut guard = self.lock();
        let lanes = &mut *guard;
        lanes.read.clear();
        loop {
            let id = lanes.turn.pop_front()?;
            let Some(lane) = lanes.by_id.get_mut(&id) else {
                continue;
            };
            let frame = lane.frame(self.frame_max, &mut lanes.read);
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

    /// When each event of the last frame was read.
    pub fn take_read(&self) -> Vec<Instant> {
        std::mem::take(&mut self.lock().read)
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
        self.change(|lane, _| lane.begin(reason, objects, revision));
    }

    /// An object is new or changed.
    pub fn upsert(&self, object: &Arc<Projected>) {
        let id = ObjectId::from(object.as_ref());
        // What lives is bounded by the cache.
        let _ = self.put(id, Pending::Upsert(Arc::clone(object)));
    }

    /// An object is gone. False if too much waits: then a snapshot is due in place of all of it.
    #[must_use]
    pub fn delete(&self, object: &Projected, revision: &str) -> bool {
        let key = proto::ObjectKey {
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            uid: object.uid.clone(),
            resource_version: revision.to_owned(),
        };
        self.put(ObjectId::from(object), Pending::Delete(key))
    }

    /// How the watch is doing.
    pub fn state(&self, state: WatchState) {
        self.change(|lane, _| lane.tell(News::State(state)));
    }

    /// The watch cannot be served.
    pub fn error(&self, error: proto::Error) {
        self.change(|lane, _| lane.tell(News::Error(error)));
    }

    /// The cluster left: nothing but that is said, and the lane closes.
    pub fn remove(&self) {
        self.change(|lane, _| {
            lane.clear();
            lane.removed = true;
        });
    }

    /// Closes the lane without a word.
    pub fn close(&self) {
        self.queue.lock().by_id.remove(&self.id);
    }

    fn put(&self, id: ObjectId, pending: Pending) -> bool {
        let mut fits = true;
        self.change(|lane, coalesced| {
            if lane.put(id, pending) {
                *coalesced += 1;
            }
            fits = !lane.is_full();
        });
        fits
    }

    fn change(&self, change: impl FnOnce(&mut LaneState, &mut u64)) {
        let mut lanes = self.queue.lock();
        let Lanes {
            by_id,
            turn,
            coalesced,
            ..
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
        freshness: None,
    }
}

#[cfg(test)]
mod tests;
