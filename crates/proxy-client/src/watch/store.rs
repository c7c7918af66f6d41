//! The store of one watch: a plain state machine, driven by what arrives on the stream.

mod content;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use api_types::key::ClusterKey;
use jiff::Timestamp;

use self::content::{Content, Stored};
use super::{Change, Found, InvalidObject, Link, ObjectKey, WatchState, mux::Signal};
use crate::{
    api::MemberResource,
    proto::{self, link_state::State},
    wire::timestamp,
};

pub(super) struct Store<K> {
    /// For the log.
    resource: String,
    clusters: HashMap<ClusterKey, Member<K>>,
    /// What is said about members of which nothing was heard.
    unheard: WatchState,
    invalid_total: u64,
}

struct Member<K> {
    objects: BTreeMap<ObjectKey, Stored<K>>,
    /// What the snapshot brought so far, while one arrives.
    snapshot: Option<HashSet<ObjectKey>>,
    state: WatchState,
    /// Whether anything was heard since the stream was opened.
    heard: bool,
}

impl<K> Default for Member<K> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            snapshot: None,
            state: WatchState::default(),
            heard: false,
        }
    }
}

impl<K: MemberResource> Store<K> {
    pub(super) fn new(resource: String) -> Self {
        Self {
            resource,
            clusters: HashMap::new(),
            unheard: WatchState::default(),
            invalid_total: 0,
        }
    }

    pub(super) fn lookup(&self, cluster: &ClusterKey, key: &ObjectKey) -> Found<K> {
        let Some(member) = self.clusters.get(cluster) else {
            return Found::Unknown;
        };
        let stored = member.objects.get(key);
        match stored.map(|stored| &stored.content) {
            Some(Content::Readable(object)) => Found::Object(Arc::clone(object)),
            Some(Content::Invalid(object)) => Found::Invalid(Arc::clone(object)),
            None if member.state.synced => Found::Absent,
            None => Found::Unknown,
        }
    }

    pub(super) fn list(&self, cluster: &ClusterKey) -> Vec<Arc<K>> {
        self.stored(cluster)
            .filter_map(|stored| stored.content.readable())
            .collect()
    }

    pub(super) fn invalid(&self, cluster: &ClusterKey) -> Vec<Arc<InvalidObject>> {
        self.stored(cluster)
            .filter_map(|stored| match &stored.content {
                Content::Readable(_) => None,
                Content::Invalid(object) => Some(Arc::clone(object)),
            })
            .collect()
    }

    fn stored(&self, cluster: &ClusterKey) -> impl Iterator<Item = &Stored<K>> {
        self.clusters
            .get(cluster)
            .into_iter()
            .flat_map(|member| member.objects.values())
    }

    pub(super) fn clusters(&self) -> Vec<ClusterKey> {
        let mut clusters: Vec<_> = self.clusters.keys().cloned().collect();
        clusters.sort();
        clusters
    }

    pub(super) fn state(&self, cluster: &ClusterKey) -> WatchState {
        match self.clusters.get(cluster) {
            Some(member) => member.state.clone(),
            None => self.unheard.clone(),
        }
    }

    pub(super) fn invalid_total(&self) -> u64 {
        self.invalid_total
    }

    /// Takes in what arrived and tells what changed by it.
    pub(super) fn apply(&mut self, signal: Signal) -> Vec<Change<K>> {
        match signal {
            Signal::SyncStart { cluster } => {
                self.member(&cluster).snapshot = Some(HashSet::new());
                Vec::new()
            }
            Signal::Batch { cluster, batch } => self.batch(&cluster, batch),
            Signal::SyncEnd { cluster } => self.sync_end(&cluster),
            Signal::Link { cluster, state } => {
                let as_of = timestamp(state.as_of);
                let link = link(state.state());
                self.set_state(&cluster, |known| {
                    known.link = link;
                    known.reason = state.reason;
                    known.message.clear();
                    known.as_of = as_of.or(known.as_of);
                })
            }
            Signal::Heartbeat { time, stale } => self.heartbeat(time, &stale),
            Signal::Refused { cluster, error } => self.refused(cluster, &error),
            Signal::Removed { cluster } => match self.clusters.remove(&cluster) {
                Some(_) => vec![Change::State { cluster }],
                None => Vec::new(),
            },
            Signal::Connected => {
                self.unheard = WatchState::default();
                Vec::new()
            }
            Signal::Disconnected { message } => self.disconnected(&message),
            Signal::ForgetUnheard => self.forget_unheard(),
        }
    }

    fn member(&mut self, cluster: &ClusterKey) -> &mut Member<K> {
        let member = self.clusters.entry(cluster.clone()).or_default();
        member.heard = true;
        member
    }

    fn batch(&mut self, cluster: &ClusterKey, batch: proto::Batch) -> Vec<Change<K>> {
        let mut changes = Vec::new();
        for object in batch.upserts {
            self.upsert(cluster, object, &mut changes);
        }
        let member = self.member(cluster);
        for gone in batch.deletes {
            let key = ObjectKey {
                namespace: gone.namespace,
                name: gone.name,
            };
            if let Some(snapshot) = &mut member.snapshot {
                snapshot.remove(&key);
            }
            changes.extend(member.delete(cluster, key));
        }
        member.state.as_of = Some(Timestamp::now());
        changes
    }

    fn upsert(
        &mut self,
        cluster: &ClusterKey,
        object: proto::Object,
        changes: &mut Vec<Change<K>>,
    ) {
        let member = self.member(cluster);
        let key = ObjectKey {
            namespace: object.namespace.clone(),
            name: object.name.clone(),
        };
        if let Some(snapshot) = &mut member.snapshot {
            snapshot.insert(key.clone());
        }
        let known = member.objects.get(&key);
        if known.is_some_and(|known| known.is(&object)) {
            return;
        }
        if known.is_some_and(|known| known.uid != object.uid) {
            changes.extend(member.delete(cluster, key.clone()));
        }
        let stored = Stored::new(object);
        let content = stored.content.clone();
        let known = member.objects.insert(key.clone(), stored);
        let was_invalid = known
            .as_ref()
            .is_some_and(|known| known.content.readable().is_none());
        if let Content::Invalid(invalid) = &content {
            self.invalid_total += 1;
            // once an object, not once a version: a member may send these without end
            if !was_invalid {
                let (resource, error) = (&self.resource, &invalid.error);
                tracing::warn!(%cluster, resource, object = %key, error, "unreadable member object");
            }
        }
        let old = known.and_then(|known| known.content.readable());
        changes.push(content.arrived(cluster.clone(), key, old));
    }

    fn sync_end(&mut self, cluster: &ClusterKey) -> Vec<Change<K>> {
        let member = self.member(cluster);
        let Some(snapshot) = member.snapshot.take() else {
            // without its start there is nothing to compare with
            return Vec::new();
        };
        let gone: Vec<_> = member
            .objects
            .keys()
            .filter(|key| !snapshot.contains(key))
            .cloned()
            .collect();
        let mut changes: Vec<_> = gone
            .into_iter()
            .filter_map(|key| member.delete(cluster, key))
            .collect();
        changes.extend(self.set_state(cluster, |state| {
            state.synced = true;
            state.link = Link::Up;
            state.reason.clear();
            state.message.clear();
            state.as_of = Some(Timestamp::now());
        }));
        changes
    }

    fn set_state(
        &mut self,
        cluster: &ClusterKey,
        set: impl FnOnce(&mut WatchState),
    ) -> Vec<Change<K>> {
        let state = &mut self.member(cluster).state;
        let before = state.clone();
        set(state);
        // the passing of time alone is no change
        let changed = WatchState {
            as_of: before.as_of,
            ..state.clone()
        } != before;
        if changed {
            vec![Change::State {
                cluster: cluster.clone(),
            }]
        } else {
            Vec::new()
        }
    }

    fn heartbeat(
        &mut self,
        time: Option<Timestamp>,
        stale: &HashMap<ClusterKey, Option<Timestamp>>,
    ) -> Vec<Change<K>> {
        for (cluster, member) in &mut self.clusters {
            let fresh = member.state.link == Link::Up && member.state.synced;
            let as_of = match stale.get(cluster) {
                Some(as_of) => *as_of,
                None if fresh => time,
                None => None,
            };
            member.state.as_of = as_of.or(member.state.as_of);
        }
        Vec::new()
    }

    fn refused(&mut self, cluster: Option<ClusterKey>, error: &proto::Error) -> Vec<Change<K>> {
        let refuse = |state: &mut WatchState| {
            state.link = Link::Refused;
            state.reason.clone_from(&error.reason);
            state.message.clone_from(&error.message);
        };
        if let Some(cluster) = cluster {
            return self.set_state(&cluster, refuse);
        }
        refuse(&mut self.unheard);
        let clusters = self.clusters();
        clusters
            .iter()
            .flat_map(|cluster| self.set_state(cluster, refuse))
            .collect()
    }

    /// What was received stays; a snapshot that was arriving is not whole and proves nothing gone.
    fn disconnected(&mut self, message: &str) -> Vec<Change<K>> {
        let lost = |state: &mut WatchState| {
            state.link = Link::ProxyLost;
            "ProxyUnavailable".clone_into(&mut state.reason);
            message.clone_into(&mut state.message);
        };
        lost(&mut self.unheard);
        let clusters = self.clusters();
        clusters
            .iter()
            .flat_map(|cluster| {
                let changes = self.set_state(cluster, lost);
                let member = self.member(cluster);
                (member.snapshot, member.heard) = (None, false);
                changes
            })
            .collect()
    }

    /// A member that left while the stream was down is never mentioned again.
    fn forget_unheard(&mut self) -> Vec<Change<K>> {
        self.clusters
            .extract_if(|_, member| !member.heard)
            .map(|(cluster, _)| Change::State { cluster })
            .collect()
    }
}

impl<K> Member<K> {
    fn delete(&mut self, cluster: &ClusterKey, key: ObjectKey) -> Option<Change<K>> {
        let stored = self.objects.remove(&key)?;
        let cluster = cluster.clone();
        Some(match stored.content {
            Content::Readable(old) => Change::Object {
                cluster,
                key,
                old: Some(old),
                new: None,
            },
            Content::Invalid(object) => Change::Invalid {
                cluster,
                key,
                old: None,
                object,
                gone: true,
            },
        })
    }
}

fn link(state: State) -> Link {
    match state {
        State::Up => Link::Up,
        State::Down => Link::Down,
        State::BreakerOpen => Link::BreakerOpen,
        State::CredentialsInvalid => Link::CredentialsInvalid,
        State::GvrNotServed => Link::NotServed,
    }
}
