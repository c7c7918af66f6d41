//! Deleting the Velero Backups of one member.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api_types::backup::BackupDetail;
use api_types::common::StoragePlace;
use api_types::condition::reason;
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::names::{self, MemberId};
use jiff::Timestamp;
use kube::ResourceExt;
use proxy_client::{Error as CallError, ListOptions, MemberApi, Preconditions};

use super::places::{
    Known, at, is_deletable, is_final, key_of, label, out_of_sight, shown_in, synced, unsure,
};
use crate::deletion::{self as steps, Observed, Step};
use crate::identity::Owner;
use crate::operation::context::{Context, Process};
use crate::operation::{deletion, member as members, objects};
use crate::problem::Problem;
use crate::reading::wanted::location_of;
use crate::{classify, location as places};

/// Reads what is there, decides and does the next step in one cluster.
pub async fn look(
    ctx: &Context<impl Process>,
    owner: &Owner,
    detail: &BackupDetail,
    location: &str,
) -> Result<Step, Problem> {
    let Some(place) = deletion::place_of_data(ctx, owner, detail)? else {
        return Ok(Step::Done);
    };
    let target = OnMember::new(ctx, owner, (&place.key, &place.member));
    let known = Known {
        names: vec![place.name],
        storage: detail.storage.as_ref(),
        earlier: Vec::new(),
        left: false,
        location,
    };
    target
        .step(&known)
        .await
        .map_err(|error| deletion::pending(&Problem::from(&error)))
}

/// Backups of one owner that are deleted at a time in one member.
const AT_A_TIME: usize = 50;

/// The same for every Velero Backup of this owner in one cluster, the known ones among them whether
/// they are there or not.
pub async fn look_at_all(
    ctx: &Context<impl Process>,
    owner: &Owner,
    place: (&ClusterKey, &MemberId),
    known: Known<'_>,
) -> Result<Vec<(String, Step)>, CallError> {
    let target = OnMember::new(ctx, owner, place);
    target.all_steps(known).await
}

/// The Velero Backups of one member that are to go.
struct OnMember<'a, P: Process> {
    ctx: &'a Context<P>,
    owner: &'a Owner,
    key: &'a ClusterKey,
    member: MemberId,
    /// The members whose stores it has taken over.
    adopted: BTreeSet<MemberId>,
}

/// Whether a Velero Backup is this owner's, and data that its member may delete: its own, or that of a
/// member whose store it has taken over, and no copy that was made for reading it.
fn is_ours(
    owner: &Owner,
    (member, adopted): (&MemberId, &BTreeSet<MemberId>),
    found: &velero::Backup,
) -> bool {
    let mut members = adopted.iter().chain([member]);
    members.any(|member| owner.owns(&found.metadata, member)) && is_deletable(found)
}

impl<'a, P: Process> OnMember<'a, P> {
    fn new(ctx: &'a Context<P>, owner: &'a Owner, place: (&'a ClusterKey, &MemberId)) -> Self {
        Self {
            ctx,
            owner,
            key: place.0,
            member: place.1.clone(),
            adopted: members::adopted(ctx, place.0),
        }
    }

    fn is_ours(&self, found: &velero::Backup) -> bool {
        is_ours(self.owner, (&self.member, &self.adopted), found)
    }

    async fn step(&self, known: &Known<'_>) -> Result<Step, CallError> {
        let [name] = known.names.as_slice() else {
            return Ok(Step::Done);
        };
        for stray in self.ctx.backups.list(self.key) {
            let ours = self.owner.owns(&stray.metadata, &self.member);
            if ours && stray.name_any() != *name && classify::name_in_bucket(&stray) {
                drop_stray(self.ctx, self.key, &stray).await;
            }
        }
        // Before the Backup: what a sync has brought back must be seen with that sync.
        let locations = self.locations().await?;
        let last_synced = synced(&locations, None, known);
        let backup = self.live_backup(name).await?;
        let hidden = known
            .storage
            .filter(|storage| at(&locations, storage, known.location).is_none());
        let shown_in = shown_in(backup.as_ref(), &locations);
        if let Some((found, backup)) = shown_in
            .filter(|found| !known.is_stored_at(found))
            .zip(backup.as_ref())
        {
            // Its files are not where that is now.
            if let Some(place) = hidden {
                return Ok(out_of_sight(place));
            }
            if self.ctx.settled.note(self.key, found) && is_final(backup) {
                // Velero keeps the object of what has failed, which keeps the stored one from being
                // shown.
                self.delete_plainly(backup).await?;
            }
            return Ok(unsure(&found.name_any()));
        }
        let requests = self.requests().await?;
        let step = self
            .take_step(name, backup.as_ref(), &requests, last_synced)
            .await?;
        Ok(match (step, hidden) {
            (Step::Wait { .. } | Step::Done, Some(place)) if backup.is_none() => {
                out_of_sight(place)
            }
            (step, _) => step,
        })
    }

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

    /// Decides the next step for one Backup, and does it.
    async fn take_step(
        &self,
        name: &str,
        backup: Option<&velero::Backup>,
        requests: &[velero::DeleteBackupRequest],
        last_synced: Option<Timestamp>,
    ) -> Result<Step, CallError> {
        let newest = requests
            .iter()
            .filter(|request| request.spec.backup_name == name)
            .max_by_key(|request| steps::request_number(&request.name_any()));
        let observed = Observed {
            backup,
            request: newest,
            last_synced,
        };
        let now = Timestamp::now();
        let step = self.ctx.memory.with(&self.owner.uid, |memory| {
            let of = memory.clusters.entry(self.key.clone()).or_default();
            steps::next(
                of.deletions.entry(name.to_owned()).or_default(),
                observed,
                now,
            )
        });
        match (&step, backup) {
            (Step::Request { number }, Some(backup)) => {
                self.request(backup, *number).await?;
                self.ctx.memory.amend(&self.owner.uid, |memory| {
                    let of = memory.clusters.entry(self.key.clone()).or_default();
                    of.deletions.entry(name.to_owned()).or_default().requested();
                });
            }
            (Step::DeletePlainly, Some(backup)) => self.delete_plainly(backup).await?,
            _ => {}
        }
        Ok(step)
    }

    fn backups(&self) -> MemberApi<velero::Backup> {
        objects::velero::<velero::Backup>(self.ctx, self.key)
    }

    /// Selects what this owner has on the member, and no copy of another member's.
    fn ours(&self) -> ListOptions {
        ListOptions {
            labels: Some(format!(
                "{}={},{}={}",
                labels::OWNER_UID,
                self.owner.uid,
                labels::MEMBER,
                self.member
            )),
            ..ListOptions::default()
        }
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

    async fn locations(&self) -> Result<Vec<velero::BackupStorageLocation>, CallError> {
        let locations = objects::velero::<velero::BackupStorageLocation>(self.ctx, self.key);
        locations.list(&ListOptions::default()).await
    }

    /// The Backup under our name, if it is ours: another owner's is none of our business.
    async fn live_backup(&self, name: &str) -> Result<Option<velero::Backup>, CallError> {
        let found = self.backups().get_opt(name).await?;
        Ok(found.filter(|found| self.is_ours(found)))
    }

    async fn requests(&self) -> Result<Vec<velero::DeleteBackupRequest>, CallError> {
        let api = objects::velero::<velero::DeleteBackupRequest>(self.ctx, self.key);
        api.list(&self.ours()).await
    }

    async fn request(&self, backup: &velero::Backup, number: u32) -> Result<(), CallError> {
        let uid = backup.uid().unwrap_or_default();
        let name = steps::request_name(&uid, number);
        let mut metadata = self.owner.metadata(&name, self.key, &self.member);
        metadata.labels.get_or_insert_default().extend([
            (
                labels::VELERO_BACKUP_NAME.to_owned(),
                names::velero_label_value(&backup.name_any()),
            ),
            (labels::VELERO_BACKUP_UID.to_owned(), uid),
        ]);
        let request = velero::DeleteBackupRequest {
            metadata,
            spec: velero::DeleteBackupRequestSpec {
                backup_name: backup.name_any(),
            },
            ..velero::DeleteBackupRequest::default()
        };
        let api = objects::velero::<velero::DeleteBackupRequest>(self.ctx, self.key);
        match api.create(&request, P::MANAGER).await {
            Ok(_) | Err(CallError::AlreadyExists(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn delete_plainly(&self, backup: &velero::Backup) -> Result<(), CallError> {
        let only_if = Preconditions {
            uid: backup.uid(),
            resource_version: backup.resource_version(),
        };
        match self.backups().delete(&backup.name_any(), &only_if).await {
            // It changed since it was read: the next look decides anew.
            Ok(_) | Err(CallError::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What a step leaves to wait for, and when to look again.
pub fn left_by(step: Result<Step, Problem>, look_again: Duration) -> (Option<Problem>, Duration) {
    let waits = |why: String| Some(Problem::new(reason::DELETION_PENDING, why));
    match step {
        Ok(Step::Done) => (None, Duration::ZERO),
        Ok(Step::Wait { why, again }) => (waits(why), again),
        Ok(Step::Failed { why, again }) => {
            (Some(Problem::new(reason::DELETION_FAILED, why)), again)
        }
        // Made just now; what becomes of it comes by watch.
        Ok(Step::Request { .. } | Step::DeletePlainly) => (
            waits("Velero is deleting the backup".to_owned()),
            look_again,
        ),
        Err(problem) => (Some(problem), look_again),
    }
}

/// Removes objects of an earlier name of ours that Velero refused because the bucket holds it.
/// Nothing was written under them, so a plain deletion leaves nothing behind.
pub async fn drop_stray(ctx: &Context<impl Process>, key: &ClusterKey, stray: &velero::Backup) {
    let name = stray.metadata.name.clone().unwrap_or_default();
    let only_if = Preconditions {
        uid: stray.metadata.uid.clone(),
        resource_version: None,
    };
    let api = objects::velero::<velero::Backup>(ctx, key);
    if let Err(error) = api.delete(&name, &only_if).await {
        tracing::warn!(cluster = %key, %name, %error, "a refused Velero Backup stays for now");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_member_s_backup_is_deleted_only_where_its_store_was_taken_over() {
        let owner = Owner {
            kind: "Backup",
            name_label: labels::BACKUP_NAME,
            namespace: "team-a".to_owned(),
            name: "nightly-shop".to_owned(),
            uid: "u".to_owned(),
            fleet: "production".to_owned(),
        };
        let id = MemberId::from_uid;
        let (here, former) = (id("here"), id("former"));
        let made = |owner: &Owner, member: &MemberId, location: &str| {
            let mut backup = velero::Backup::new("run", velero::BackupSpec::default());
            backup.metadata = owner.metadata("run", &ClusterKey::attached("a", "oslo"), member);
            backup.spec.storage_location = Some(location.to_owned());
            backup
        };
        let ours = |adopted: &[&MemberId], found: &velero::Backup| {
            let adopted = adopted.iter().map(|id| (*id).clone()).collect();
            is_ours(&owner, (&here, &adopted), found)
        };
        assert!(ours(&[], &made(&owner, &here, "default")));
        let theirs = made(&owner, &former, "default");
        assert!(!ours(&[], &theirs) && !ours(&[&id("another")], &theirs));
        assert!(ours(&[&former], &theirs));
        let copy = made(&owner, &former, "kurator-from-0123456789");
        assert!(!ours(&[&former], &copy), "it can only be read there");
        let other = Owner {
            uid: "another".to_owned(),
            ..owner.clone()
        };
        assert!(!ours(&[&former], &made(&other, &former, "default")));
    }
}
