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
    error::CallError,
    inventory::Links,
    json::Projection,
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
    /// Clusters of the set of which the client was told that the policy leaves them out.
    denied: HashSet<ClusterKey>,
}

struct Member {
    link: Arc<Link>,
    /// As much as the policy grants there.
    projection: Projection,
    lane: Lane,
    attachment: Attachment,
}

/// A member that is to be attached.
pub(super) struct Missing {
    pub(super) link: Arc<Link>,
    projection: Projection,
}

/// Members that the policy leaves out, with its word.
type Denied = Vec<(ClusterKey, CallError)>;

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
            denied: HashSet::new(),
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
        self.denied.clear();
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

    /// Drops members that left the set, and those whose link or part of the objects is another one now.
    /// Those that the policy no longer covers go without a word, and are returned.
    pub(super) fn let_go(
        &mut self,
        links: &Links,
        may: &impl Fn(&Link) -> Result<Projection, CallError>,
    ) -> Denied {
        let mut gone = Vec::new();
        for (key, member) in &self.members {
            let wanted = links.get(key).filter(|link| self.wants(key, link));
            let granted = wanted.map(|link| (link, may(link)));
            let denied = match granted {
                Some((link, Ok(projection)))
                    if Arc::ptr_eq(link, &member.link) && projection == member.projection =>
                {
                    continue;
                }
                Some((_, Err(error))) => Some(error),
                _ => None,
            };
            gone.push((key.clone(), denied));
        }
        let mut all_denied = Denied::new();
        for (key, denied) in gone {
            let Some(member) = self.members.remove(&key) else {
                continue;
            };
            if let Some(error) = denied {
                member.lane.close();
                self.denied.insert(key.clone());
                all_denied.push((key, error));
            } else {
                member.lane.remove();
            }
        }
        all_denied
    }

    /// Members that belong to the set and are not attached; and those that the policy leaves out, each
    /// once.
    pub(super) fn missing(
        &mut self,
        links: &Links,
        may: &impl Fn(&Link) -> Result<Projection, CallError>,
    ) -> (Vec<Missing>, Denied) {
        let (mut missing, mut news, mut denied) = (Vec::new(), Denied::new(), HashSet::new());
        for (key, link) in links {
            if self.members.contains_key(key) || !self.wants(key, link) {
                continue;
            }
            match may(link) {
                Ok(projection) => missing.push(Missing {
                    link: Arc::clone(link),
                    projection,
                }),
                Err(error) => {
                    if !self.denied.contains(key) {
                        news.push((key.clone(), error));
                    }
                    denied.insert(key.clone());
                }
            }
        }
        self.denied = denied;
        (missing, news)
    }

    pub(super) fn attach(&mut self, sub_id: u32, missing: Missing, queue: &Arc<Queue>) {
        let Missing { link, projection } = missing;
        let key = link.key().clone();
        let lane = queue.lane(LaneLabel {
            sub_id,
            cluster: key.clone(),
            gvr: self.key.gvr.to_proto(),
        });
        let watch = link.shared_watch(&WatchKey {
            projection,
            ..self.key.clone()
        });
        let attachment = watch.attach(lane.clone(), self.filter.clone());
        let member = Member {
            link,
            projection,
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
