//! Deleting every Velero Backup of one owner in one member: those that are known, those that are found,
//! and those that may lie where it has stored before.

use std::collections::{BTreeMap, BTreeSet};

use api_types::common::StoragePlace;
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::names::MemberId;
use jiff::Timestamp;
use kube::ResourceExt;
use proxy_client::{Error as CallError, ListOptions};

use super::backups::OnMember;
use super::places::{Known, at, key_of, label, out_of_sight, shown_in, synced, unsure};
use crate::deletion::{self as steps, Observed, Step};
use crate::identity::Owner;
use crate::location as places;
use crate::operation::context::{Context, Process};
use crate::reading::wanted::location_of;

/// Backups of one owner that are deleted at a time in one member.
const AT_A_TIME: usize = 50;

/// Reads what is there of this owner in one cluster, decides and does the next step for each Velero
/// Backup, the known ones among them whether they are there or not.
pub async fn look_at_all(
    ctx: &Context<impl Process>,
    owner: &Owner,
    place: (&ClusterKey, &MemberId),
    known: Known<'_>,
) -> Result<Vec<(String, Step)>, CallError> {
    let target = OnMember::new(ctx, owner, place);
    target.all_steps(known).await
}

impl<P: Process> OnMember<'_, P> {
    /// Why a backup is not deleted yet that the member shows in a location that was moved: Velero may
    /// not have looked there since, and would find nothing to delete.
    fn not_sure(
        &self,
        backup: Option<&velero::Backup>,
        locations: &[velero::BackupStorageLocation],
        known: &Known<'_>,
    ) -> Option<Step> {
        let found = shown_in(backup, locations)?;
        let is_sure = self.ctx.settled.note(self.key, found)
            || (known.is_stored_at(found) && known.earlier.is_empty());
        (!is_sure).then(|| unsure(&found.name_any()))
    }

    /// What is still to be waited for at places where backups may lie that no object tells of.
    fn place_steps(
        &self,
        locations: &[velero::BackupStorageLocation],
        backups: &BTreeMap<String, velero::Backup>,
        known: &Known<'_>,
    ) -> Vec<(String, Step)> {
        let mut places: Vec<_> = known
            .storage
            .into_iter()
            .chain(known.earlier.iter().copied())
            .map(|place| (place.clone(), at(locations, place, known.location)))
            .collect();
        if known.storage.is_none() {
            let mut all = locations.iter();
            let today = all.find(|location| location.name_any() == known.location);
            places.extend(today.map(|today| (places::storage(today), Some(today))));
        }
        let mut steps = Vec::new();
        for (index, (place, location)) in places.iter().enumerate() {
            // What has names at the present place has steps of its own.
            let nameless = known.left || (index > 0 && known.storage.is_some());
            let step = match location {
                None if nameless || !known.names.is_empty() => out_of_sight(place),
                Some(location) if nameless => self.absence(place, location, backups),
                _ => Step::Done,
            };
            if step != Step::Done {
                steps.push((label(place), step));
            }
        }
        steps
    }

    /// That nothing is shown at a place is proof only once Velero has looked there.
    fn absence(
        &self,
        place: &StoragePlace,
        location: &velero::BackupStorageLocation,
        backups: &BTreeMap<String, velero::Backup>,
    ) -> Step {
        let name = location.name_any();
        let mut there = backups.values();
        let occupied = there.any(|backup| location_of(backup) == name);
        if !occupied && self.ctx.settled.note(self.key, location) {
            return Step::Done;
        }
        let key = key_of(place);
        self.ctx.memory.with(&self.owner.uid, |memory| {
            let of = memory.clusters.entry(self.key.clone()).or_default();
            if occupied {
                // Each of them has steps of its own.
                of.places.remove(&key);
                return Step::Done;
            }
            let observed = Observed {
                last_synced: location.last_synced_time(),
                ..Observed::default()
            };
            let memory = of.places.entry(key).or_default();
            steps::next(memory, observed, Timestamp::now())
        })
    }

    async fn all_steps(&self, known: Known<'_>) -> Result<Vec<(String, Step)>, CallError> {
        // Before the Backups, as above.
        let locations = self.locations().await?;
        let backups = self.backups().list(&self.with_adopted()).await?;
        let requests = self.requests().await?;
        let backups: BTreeMap<String, velero::Backup> = backups
            .into_iter()
            .filter(|found| self.is_ours(found))
            .map(|found| (found.name_any(), found))
            .collect();
        let (remembered, seen_in) = self.ctx.memory.with(&self.owner.uid, |memory| {
            let of = memory.clusters.entry(self.key.clone()).or_default();
            for (name, found) in &backups {
                of.seen_in.insert(name.clone(), location_of(found));
            }
            let names: Vec<String> = of.deletions.keys().cloned().collect();
            (names, of.seen_in.clone())
        });
        let names: BTreeSet<&String> = known
            .names
            .iter()
            .chain(&remembered)
            .chain(backups.keys())
            .collect();
        let mut steps = self.place_steps(&locations, &backups, &known);
        for name in names {
            let last_synced = synced(&locations, seen_in.get(name), &known);
            let backup = backups.get(name);
            let step = match self.not_sure(backup, &locations, &known) {
                Some(step) => step,
                None => self.take_step(name, backup, &requests, last_synced).await?,
            };
            if step != Step::Done {
                steps.push((name.clone(), step));
            }
            if steps.len() >= AT_A_TIME {
                break;
            }
        }
        Ok(steps)
    }

    /// The same and what members have made whose stores it has taken over.
    fn with_adopted(&self) -> ListOptions {
        let members = std::iter::once(&self.member).chain(&self.adopted);
        let members: Vec<&str> = members.map(MemberId::as_str).collect();
        ListOptions {
            labels: Some(format!(
                "{}={},{} in ({})",
                labels::OWNER_UID,
                self.owner.uid,
                labels::MEMBER,
                members.join(",")
            )),
            ..ListOptions::default()
        }
    }
}
