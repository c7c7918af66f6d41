//! One lane's part of the queue: what waits, and in which order it is said.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use proxy_client::proto::{self, ObjectKey, subscribe_frame::F};
use tokio::time::Instant;

use super::{LaneLabel, to_proto};
use crate::{
    inventory::cluster_ref,
    json::Projected,
    link::status::timestamp,
    watch::{ObjectId, SyncReason, WatchState},
};

/// The newest that is known of an object.
#[derive(Debug)]
pub(super) enum Pending {
    Upsert(Arc<Projected>),
    Delete(ObjectKey),
}

impl Pending {
    /// About how many bytes of a frame it takes.
    fn cost(&self) -> usize {
        match self {
            Self::Upsert(object) => object.json.len() + 256,
            Self::Delete(key) => {
                let ObjectKey {
                    namespace,
                    name,
                    uid,
                    resource_version,
                } = key;
                64 + namespace.len() + name.len() + uid.len() + resource_version.len()
            }
        }
    }
}

/// Deletions that may wait: they are of objects that live no more, so nothing else bounds them.
pub(super) const DELETES_MAX: usize = 10_000;

/// What is said first: deletions are urgent, but a snapshot has to end before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Snapshot,
    Delete,
    Update,
}

/// Within a rank the oldest comes first.
type Place = (Rank, u64);

#[derive(Debug)]
struct Waiting {
    what: Pending,
    place: Place,
    /// When the first event that was not said yet was read; none for objects of a snapshot.
    read: Option<Instant>,
}

/// What is said of the watch itself. The one that came last is what holds, so their order is kept.
#[derive(Debug)]
pub(super) enum News {
    State(WatchState),
    Error(proto::Error),
}

#[derive(Debug)]
struct Sync {
    reason: SyncReason,
    started: bool,
    revision: String,
}

#[derive(Debug)]
pub(super) struct LaneState {
    label: LaneLabel,
    pending: HashMap<ObjectId, Waiting>,
    /// One entry for each that is pending.
    order: BTreeMap<Place, ObjectId>,
    /// How many of those that are pending are deletions.
    deletes: usize,
    last_place: u64,
    sync: Option<Sync>,
    /// At most one of each kind.
    news: Vec<News>,
    pub(super) removed: bool,
    /// Has its turn in the queue.
    pub(super) queued: bool,
}

impl LaneState {
    pub(super) fn new(label: LaneLabel) -> Self {
        Self {
            label,
            pending: HashMap::new(),
            order: BTreeMap::new(),
            deletes: 0,
            last_place: 0,
            sync: None,
            news: Vec::new(),
            removed: false,
            queued: false,
        }
    }

    /// Nothing that waited is said any more.
    pub(super) fn clear(&mut self) {
        self.drop_objects();
        self.news.clear();
        self.sync = None;
    }

    fn drop_objects(&mut self) {
        self.pending.clear();
        self.order.clear();
        self.deletes = 0;
    }

    /// More deletions wait than may: a snapshot has to take the place of all.
    pub(super) fn is_full(&self) -> bool {
        self.deletes > DELETES_MAX
    }

    /// Takes the place of older news of its kind.
    pub(super) fn tell(&mut self, news: News) {
        let kind = std::mem::discriminant(&news);
        self.news
            .retain(|known| std::mem::discriminant(known) != kind);
        self.news.push(news);
    }

    /// A snapshot takes the place of all objects that waited.
    pub(super) fn begin<'a>(
        &mut self,
        reason: SyncReason,
        objects: impl Iterator<Item = &'a Arc<Projected>>,
        revision: &str,
    ) {
        self.drop_objects();
        for object in objects {
            let id = ObjectId::from(object.as_ref());
            let place = self.place(Rank::Snapshot);
            self.order.insert(place, id.clone());
            let what = Pending::Upsert(Arc::clone(object));
            let waiting = Waiting {
                what,
                place,
                read: None,
            };
            self.pending.insert(id, waiting);
        }
        self.sync = Some(Sync {
            reason,
            started: false,
            revision: revision.to_owned(),
        });
    }

    /// The newest state of an object, which was read just now; true if an older one was waiting.
    pub(super) fn put(&mut self, id: ObjectId, what: Pending) -> bool {
        let rank = match what {
            Pending::Upsert(_) => Rank::Update,
            Pending::Delete(_) => Rank::Delete,
        };
        if matches!(what, Pending::Delete(_)) {
            self.deletes += 1;
        }
        let now = Instant::now();
        let Some(waiting) = self.pending.get_mut(&id) else {
            let place = self.place(rank);
            self.order.insert(place, id.clone());
            let read = Some(now);
            self.pending.insert(id, Waiting { what, place, read });
            return false;
        };
        let known = std::mem::replace(&mut waiting.what, what);
        if matches!(known, Pending::Delete(_)) {
            self.deletes -= 1;
        }
        waiting.read.get_or_insert(now);
        // It never falls back, so an object that changes all the time is said all the same.
        if rank < waiting.place.0 {
            self.order.remove(&waiting.place);
            waiting.place.0 = rank;
            self.order.insert(waiting.place, id);
        }
        true
    }

    pub(super) fn has_more(&self) -> bool {
        !self.news.is_empty() || self.sync.is_some() || !self.order.is_empty()
    }

    /// The lane's next frame: its state, then the snapshot's start, objects, end, then changes.
    pub(super) fn frame(&mut self, max: usize, read: &mut Vec<Instant>) -> Option<F> {
        let cluster = Some(cluster_ref(&self.label.cluster));
        let sub_id = self.label.sub_id;
        if self.removed {
            return Some(F::Removed(proto::ClusterRemoved { sub_id, cluster }));
        }
        if !self.news.is_empty() {
            return Some(match self.news.remove(0) {
                News::State(state) => F::Link(proto::LinkState {
                    cluster,
                    state: state.state.into(),
                    reason: state.reason,
                    as_of: Some(timestamp(state.as_of)),
                    sub_id,
                }),
                News::Error(error) => F::Error(proto::SubError {
                    sub_id,
                    cluster,
                    error: Some(error),
                }),
            });
        }
        let snapshot_left = self.snapshot_left();
        if let Some(sync) = &mut self.sync {
            if !std::mem::replace(&mut sync.started, true) {
                return Some(F::SyncStart(proto::SyncStart {
                    sub_id,
                    cluster,
                    reason: sync.reason.as_str().to_owned(),
                }));
            }
            if !snapshot_left {
                let resource_version = std::mem::take(&mut sync.revision);
                self.sync = None;
                return Some(F::SyncEnd(proto::SyncEnd {
                    sub_id,
                    cluster,
                    resource_version,
                }));
            }
        }
        let (upserts, deletes) = self.batch(max, read);
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

    fn batch(
        &mut self,
        max: usize,
        read: &mut Vec<Instant>,
    ) -> (Vec<proto::Object>, Vec<ObjectKey>) {
        let (mut upserts, mut deletes, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(next) = self.order.first_entry() {
            // What is not of the snapshot comes after its end.
            if self.sync.is_some() && next.key().0 != Rank::Snapshot {
                break;
            }
            let cost = self
                .pending
                .get(next.get())
                .map_or(0, |waiting| waiting.what.cost());
            if bytes > 0 && bytes + cost > max {
                break;
            }
            bytes += cost;
            let Some(waiting) = self.pending.remove(&next.remove()) else {
                continue;
            };
            read.extend(waiting.read);
            match waiting.what {
                Pending::Upsert(object) => {
                    upserts.push(to_proto(&object, &self.label.cluster, &self.label.gvr));
                }
                Pending::Delete(key) => {
                    self.deletes -= 1;
                    deletes.push(key);
                }
            }
        }
        (upserts, deletes)
    }

    fn snapshot_left(&self) -> bool {
        let first = self.order.first_key_value();
        first.is_some_and(|((rank, _), _)| *rank == Rank::Snapshot)
    }

    fn place(&mut self, rank: Rank) -> Place {
        self.last_place += 1;
        (rank, self.last_place)
    }
}
