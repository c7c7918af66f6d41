//! The newest state of each object of one watch, and who wants to know.

mod budget;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicUsize},
};

use jiff::Timestamp;
use proxy_client::proto::{self, link_state};

use self::budget::Budget;
pub(super) use self::budget::{OverBudget, cost};
use super::{Filter, SyncReason, WatchState};
use crate::{
    error::CallError, json::Projected, link::connection::LastRead, subscribe::queue::Lane,
};

/// Namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectId {
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl From<&Projected> for ObjectId {
    fn from(object: &Projected) -> Self {
        Self {
            namespace: object.namespace.clone(),
            name: object.name.clone(),
        }
    }
}

/// What an event did to the cache.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Something new, and passed on.
    Applied,
    /// A duplicate or a step back in time; dropped.
    Stale,
}

#[derive(Debug)]
struct Subscriber {
    lane: Lane,
    filter: Filter,
    /// Has a snapshot, so that changes are enough.
    synced: bool,
}

impl Subscriber {
    fn sync(&self, reason: SyncReason, objects: &Objects, revision: &str) {
        let selected = objects
            .values()
            .filter(|object| self.filter.matches(object));
        self.lane.sync(reason, selected, revision);
    }

    /// To one who selects objects, an object that is no longer selected is gone. False as below.
    fn changed(&self, known: Option<&Projected>, object: &Arc<Projected>) -> bool {
        if self.filter.matches(object) {
            self.lane.upsert(object);
            return true;
        }
        known.is_none_or(|known| self.gone(known, &object.resource_version))
    }

    /// False if the subscriber is so far behind that it is to have a snapshot instead.
    fn gone(&self, known: &Projected, revision: &str) -> bool {
        !self.filter.matches(known) || self.lane.delete(known, revision)
    }
}

pub(super) type Objects = HashMap<ObjectId, Arc<Projected>>;

#[derive(Debug)]
pub(super) struct Cache {
    objects: Objects,
    budget: Budget,
    revision: String,
    synced: bool,
    reason: SyncReason,
    subscribers: HashMap<u64, Subscriber>,
    state: WatchState,
    error: Option<proto::Error>,
    /// Of the connection that the watch stands on; none while it does not stand.
    live: Option<Arc<LastRead>>,
}

impl Cache {
    pub(super) fn new(link_bytes: Arc<AtomicUsize>) -> Self {
        Self {
            objects: HashMap::new(),
            budget: Budget::new(link_bytes),
            revision: String::new(),
            synced: false,
            reason: SyncReason::Initial,
            subscribers: HashMap::new(),
            state: WatchState {
                state: link_state::State::Down,
                reason: "Connecting".to_owned(),
                as_of: Timestamp::now(),
            },
            error: None,
            live: None,
        }
    }

    pub(super) fn attach(&mut self, lane: Lane, filter: Filter) {
        lane.state(self.state_now());
        if let Some(error) = &self.error {
            lane.error(error.clone());
        }
        let subscriber = Subscriber {
            synced: self.synced,
            lane,
            filter,
        };
        if self.synced {
            subscriber.sync(SyncReason::Initial, &self.objects, &self.revision);
        }
        self.subscribers.insert(subscriber.lane.id(), subscriber);
    }

    pub(super) fn detach(&mut self, lane: u64) {
        self.subscribers.remove(&lane);
    }

    pub(super) fn as_of(&self) -> Timestamp {
        match &self.live {
            // Ping answers count: the connection lives, so nothing was missed. Of one that has ended
            // it is the time of its last byte.
            Some(last_read) => {
                let silence = jiff::SignedDuration::try_from(last_read.age());
                Timestamp::now() - silence.unwrap_or(jiff::SignedDuration::ZERO)
            }
            None => self.state.as_of,
        }
    }

    fn state_now(&self) -> WatchState {
        WatchState {
            as_of: self.as_of(),
            ..self.state.clone()
        }
    }

    /// The watch does not stand any more: from here on its data grows old.
    pub(super) fn ended(&mut self) {
        self.state.as_of = self.as_of();
        self.live = None;
    }

    /// Sets how the watch is doing; subscribers hear of it when it changed. `live`: of the connection
    /// that it stands on.
    pub(super) fn set_state(
        &mut self,
        state: link_state::State,
        reason: &str,
        live: Option<Arc<LastRead>>,
    ) {
        self.ended();
        self.live = live;
        if self.state.state == state && self.state.reason == reason {
            return;
        }
        self.state = WatchState {
            state,
            reason: reason.to_owned(),
            as_of: self.state.as_of,
        };
        // It replaces the error for subscribers, who are to hear of that again if it lasts.
        self.error = None;
        self.tell_state();
    }

    /// Tells subscribers of a failure that retrying alone does not mend; once until it changes.
    pub(super) fn set_error(&mut self, error: &CallError) {
        let error = error.to_proto();
        let known = self.error.as_ref();
        if known.is_some_and(|e| e.reason == error.reason && e.message == error.message) {
            return;
        }
        for subscriber in self.subscribers.values() {
            subscriber.lane.error(error.clone());
        }
        self.error = Some(error);
    }

    /// Subscribers take an error for how the watch is doing, until they hear of its state again.
    pub(super) fn clear_error(&mut self) {
        if self.error.take().is_some() {
            self.tell_state();
        }
    }

    fn tell_state(&self) {
        let now = self.state_now();
        for subscriber in self.subscribers.values() {
            subscriber.lane.state(now.clone());
        }
    }

    /// Whether it holds a complete collection, be it an old one.
    pub(super) fn is_synced(&self) -> bool {
        self.synced
    }

    /// What it holds, if that is complete and was not disowned by the member.
    pub(super) fn held(&self) -> Option<(&Objects, &str)> {
        let served = self.state.state != link_state::State::GvrNotServed;
        (self.synced && served).then_some((&self.objects, self.revision.as_str()))
    }

    /// So much of a list has been read, which counts like what is held; gives how much more may come.
    pub(super) fn reading(&mut self, bytes: usize) -> Result<usize, OverBudget> {
        let left = self.budget.share().checked_sub(bytes).ok_or(OverBudget)?;
        self.budget.read(bytes);
        Ok(left)
    }

    /// The list that was read is not taken over.
    pub(super) fn stop_reading(&mut self) {
        self.budget.read(0);
    }

    /// Takes over a complete list. Subscribers that know the old one get the differences.
    pub(super) fn replace(
        &mut self,
        list: Vec<Projected>,
        revision: String,
    ) -> Result<(), OverBudget> {
        let bytes = list.iter().map(cost).sum();
        if !self.budget.fits(bytes) {
            return Err(OverBudget);
        }
        // Said first: who has been sent all there is knows that the member was there. For now: what is
        // read does not stay new without a watch.
        self.set_state(link_state::State::Up, "Connected", None);
        self.budget.set(bytes);
        self.revision = revision;
        self.state.as_of = Timestamp::now();
        let mut old = std::mem::take(&mut self.objects);
        let mut changed = Vec::new();
        for object in list {
            let id = ObjectId::from(&object);
            let object = match old.remove(&id) {
                Some(known) if is_same(&known, &object) => known,
                known => {
                    let object = Arc::new(object);
                    changed.push((known, Arc::clone(&object)));
                    object
                }
            };
            self.objects.insert(id, object);
        }
        for subscriber in self.subscribers.values_mut() {
            if !std::mem::replace(&mut subscriber.synced, true) {
                subscriber.sync(self.reason, &self.objects, &self.revision);
                continue;
            }
            let gone = |gone: &Arc<Projected>| subscriber.gone(gone, &gone.resource_version);
            let keeps_up = old.values().all(gone)
                && changed
                    .iter()
                    .all(|(known, object)| subscriber.changed(known.as_deref(), object));
            if !keeps_up {
                subscriber.sync(SyncReason::Relist, &self.objects, &self.revision);
            }
        }
        self.synced = true;
        self.clear_error();
        Ok(())
    }

    pub(super) fn upsert(&mut self, object: Projected) -> Result<Change, OverBudget> {
        let id = ObjectId::from(&object);
        let known = self.objects.get(&id);
        if known.is_some_and(|known| is_stale(known, &object)) {
            return Ok(Change::Stale);
        }
        let bytes = self.budget.used() + cost(&object) - known.map_or(0, |known| cost(known));
        if !self.budget.fits(bytes) {
            return Err(OverBudget);
        }
        self.budget.set(bytes);
        self.revision.clone_from(&object.resource_version);
        let object = Arc::new(object);
        let known = self.objects.insert(id, Arc::clone(&object));
        for subscriber in self.subscribers.values().filter(|s| s.synced) {
            if !subscriber.changed(known.as_deref(), &object) {
                subscriber.sync(SyncReason::Relist, &self.objects, &self.revision);
            }
        }
        Ok(Change::Applied)
    }

    pub(super) fn delete(&mut self, object: &Projected) -> Change {
        self.revision.clone_from(&object.resource_version);
        let id = ObjectId::from(object);
        let Some(known) = self.objects.remove(&id) else {
            return Change::Stale;
        };
        self.budget.set(self.budget.used() - cost(&known));
        for subscriber in self.subscribers.values().filter(|s| s.synced) {
            if !subscriber.gone(&known, &object.resource_version) {
                subscriber.sync(SyncReason::Relist, &self.objects, &self.revision);
            }
        }
        Change::Applied
    }

    pub(super) fn bookmark(&mut self, revision: String) {
        self.revision = revision;
    }

    /// Forgets everything: the next list is a full snapshot to everyone.
    pub(super) fn reset(&mut self, reason: SyncReason) {
        self.objects.clear();
        self.budget.set(0);
        self.synced = false;
        self.reason = reason;
        for subscriber in self.subscribers.values_mut() {
            subscriber.synced = false;
        }
    }
}

fn is_same(a: &Projected, b: &Projected) -> bool {
    a.uid == b.uid && a.resource_version == b.resource_version
}

/// Duplicates, and what a lagging API server repeats. Versions are compared only where both are
/// integers of one object.
fn is_stale(known: &Projected, new: &Projected) -> bool {
    is_same(known, new)
        || (known.uid == new.uid && is_older(&new.resource_version, &known.resource_version))
}

/// Whether `a` is an earlier version than `b`; false where they cannot be compared.
pub(super) fn is_older(a: &str, b: &str) -> bool {
    is_integer(a) && is_integer(b) && (a.len(), a) < (b.len(), b)
}

/// Whether `a` is no earlier version than `b`; false where they cannot be compared.
pub(super) fn is_at_least(a: &str, b: &str) -> bool {
    is_integer(a) && is_integer(b) && !is_older(a, b)
}

fn is_integer(revision: &str) -> bool {
    !revision.is_empty() && revision.bytes().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests;
