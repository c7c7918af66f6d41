//! Whose backups are read? Pure.

use std::collections::BTreeSet;

use api_types::common::StoragePlace;
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::names::MemberId;
use jiff::Timestamp;

use crate::location;

/// The cluster that a target is restored from, as the hub knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub cluster: ClusterKey,
    /// The members that have borne this name and may have what is restored; the present one at its
    /// present place first.
    pub members: Vec<Member>,
}

/// A member that has backed up, at one place: one that has stored in several is there once for each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// The uid of its namespace kube-system.
    pub uid: String,
    /// Where its backups lie, if that was written down.
    pub place: Option<StoragePlace>,
    /// When the last run that is known there is past its ttl, if it stores there no more.
    pub last: Option<Timestamp>,
}

impl Member {
    /// Whether nothing is known beside what `known` says.
    pub fn is_told_by(&self, known: &Self) -> bool {
        let here = match (&known.place, &self.place) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(one), Some(other)) => location::is_same(one, other),
        };
        known.uid == self.uid && here
    }
}

impl Origin {
    /// Whether a member of this uid is one of it.
    pub fn has(&self, uid: &str) -> bool {
        self.members.iter().any(|member| member.uid == uid)
    }

    /// Whether it is this member and no other.
    pub fn is_only(&self, id: &MemberId) -> bool {
        let mut others = self.made_in().into_iter().filter(|member| member != id);
        !self.members.is_empty() && others.next().is_none()
    }

    /// Whether a run of this member that began later than `found` may lie where it stored before. Of
    /// runs with one ttl, what began later expires later. Of what has not completed, Velero may still
    /// show here what lies there.
    pub fn may_hide_newer(&self, uid: &str, found: &velero::Backup) -> bool {
        let complete = found.phase() == "Completed";
        let later = |last: Timestamp| {
            let ends = found.expiration();
            ends.is_some_and(|ends| last > ends || (last == ends && !complete))
        };
        let mut places = self.members.iter().filter(|member| member.uid == uid);
        places.any(|member| member.last.is_some_and(later))
    }

    /// The same, of the members only that `which` selects.
    #[must_use]
    pub fn narrowed(&self, which: impl Fn(&Member) -> bool) -> Self {
        let members = self.members.iter().filter(|member| which(member));
        Self {
            cluster: self.cluster.clone(),
            members: members.cloned().collect(),
        }
    }

    /// What its members write on their backups.
    pub fn made_in(&self) -> BTreeSet<MemberId> {
        let members = self.members.iter();
        members
            .map(|member| MemberId::from_uid(&member.uid))
            .collect()
    }

    /// The places where its backups lie, as far as they are known, each once.
    pub fn places(&self) -> Vec<&StoragePlace> {
        let known = self
            .members
            .iter()
            .filter_map(|member| member.place.as_ref());
        let mut places: Vec<&StoragePlace> = Vec::new();
        for place in known {
            if !places.iter().any(|other| location::is_same(other, place)) {
                places.push(place);
            }
        }
        places
    }
}

/// Whether one of these members made a backup, by its label.
pub fn is_made_in(made_in: &BTreeSet<MemberId>, backup: &velero::Backup) -> bool {
    let labels = backup.metadata.labels.as_ref();
    let label = labels.and_then(|labels| labels.get(labels::MEMBER));
    label.is_some_and(|label| made_in.iter().any(|member| member.as_str() == label))
}
