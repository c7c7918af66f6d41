//! One subscription of a stream: its set of clusters, and its place at each one's watch.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use api_types::key::ClusterKey;
use jiff::Timestamp;

use super::{
    queue::{Lane, LaneLabel, Queue},
    selection::Selection,
};
use crate::{
    inventory::Links,
    link::Link,
    watch::{Attachment, Filter, WatchKey},
};

/// What is watched, where, and with which attachments.
pub(super) struct Subscription {
    key: WatchKey,
    filter: Filter,
    selection: Selection,
    excluded: HashSet<ClusterKey>,
    members: HashMap<ClusterKey, Member>,
    /// Named clusters of which the client was told that nobody knows them.
    unknown: HashSet<ClusterKey>,
}

struct Member {
    link: Arc<Link>,
    lane: Lane,
    attachment: Attachment,
}

impl Subscription {
    /// Attached to nothing yet.
    pub(super) fn new(key: WatchKey, filter: Filter, selection: Selection) -> Self {
        Self {
            key,
            filter,
            selection,
            excluded: HashSet::new(),
            members: HashMap::new(),
            unknown: HashSet::new(),
        }
    }

    /// What is watched.
    pub(super) fn key(&self) -> &WatchKey {
        &self.key
    }

    /// To how many members it is attached.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Of which time the data of each member is.
    pub(super) fn as_of(&self) -> impl Iterator<Item = (&ClusterKey, Timestamp)> {
        let members = self.members.iter();
        members.map(|(key, member)| (key, member.attachment.as_of()))
    }

    /// Takes members out of the set.
    pub(super) fn exclude(&mut self, gone: HashSet<ClusterKey>) {
        self.selection.without(&gone);
        self.excluded.extend(gone);
    }

    /// Replaces the set; members in both are not disturbed.
    pub(super) fn retarget(&mut self, selection: Selection) {
        self.selection = selection;
        self.excluded.clear();
        self.unknown.clear();
    }

    /// Ends it without a word.
    pub(super) fn close(self) {
        for member in self.members.into_values() {
            member.lane.close();
        }
    }

    fn wants(&self, key: &ClusterKey, link: &Link) -> bool {
        self.selection.matches(key, &link.labels()) && !self.excluded.contains(key)
    }

    /// Drops members that left the set, and those whose link is another one now.
    pub(super) fn let_go(&mut self, links: &Links) {
        let gone: Vec<ClusterKey> = self
            .members
            .iter()
            .filter(|(key, member)| {
                let same = |link: &Arc<Link>| Arc::ptr_eq(link, &member.link);
                !links
                    .get(*key)
                    .is_some_and(|link| same(link) && self.wants(key, link))
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            if let Some(member) = self.members.remove(&key) {
                member.lane.remove();
            }
        }
    }

    /// Members that belong to the set and are not attached.
    pub(super) fn missing(&self, links: &Links) -> Vec<(ClusterKey, Arc<Link>)> {
        links
            .iter()
            .filter(|(key, link)| !self.members.contains_key(*key) && self.wants(key, link))
            .map(|(key, link)| (key.clone(), Arc::clone(link)))
            .collect()
    }

    pub(super) fn attach(
        &mut self,
        sub_id: u32,
        key: ClusterKey,
        link: Arc<Link>,
        queue: &Arc<Queue>,
    ) {
        let lane = queue.lane(LaneLabel {
            sub_id,
            cluster: key.clone(),
            gvr: self.key.gvr.to_proto(),
        });
        let watch = link.shared_watch(&self.key);
        let attachment = watch.attach(lane.clone(), self.filter.clone());
        let member = Member {
            link,
            lane,
            attachment,
        };
        self.members.insert(key, member);
    }

    /// Named clusters that the hub does not have, each once.
    pub(super) fn newly_unknown(&mut self, links: &Links) -> Vec<ClusterKey> {
        let unknown: HashSet<ClusterKey> = self
            .selection
            .named()
            .filter(|key| !links.contains_key(*key))
            .cloned()
            .collect();
        let news = unknown.difference(&self.unknown).cloned().collect();
        self.unknown = unknown;
        news
    }
}
