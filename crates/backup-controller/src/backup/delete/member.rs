//! Deleting the Velero Backups of one member.

use std::collections::{BTreeMap, BTreeSet};

use api_types::backup::BackupDetail;
use api_types::common::StoragePlace;
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::names::{self, MemberId};
use jiff::Timestamp;
use kube::ResourceExt;
use proxy_client::{Error as CallError, ListOptions, MemberApi, Preconditions};
use velero_kit::deletion::{self as steps, Observed, Step};
use velero_kit::identity::Owner;
use velero_kit::{borrowed, classify, location as places};

use crate::backup::{Problem, apply};
use crate::context::Context;
use crate::operation::{deletion, member as members, objects};
use crate::restore::wanted::location_of;

/// Reads what is there, decides and does the next step in one cluster.
pub(super) async fn look(
    ctx: &Context,
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
        location,
    };
    target
        .step(&known)
        .await
        .map_err(|error| deletion::pending(&Problem::from(&error)))
}

/// Backups of one owner that are deleted at a time in one member.
const AT_A_TIME: usize = 50;

/// What the hub knows of the Velero Backups of one cluster.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    /// Their names, as far as they are known.
    pub(crate) names: Vec<String>,
    /// Where they lie, if that was written down.
    pub(crate) storage: Option<&'a StoragePlace>,
    /// Name of the location that new ones are stored in.
    pub(crate) location: &'a str,
}

/// The same for every Velero Backup of this owner in one cluster, the known ones among them whether
/// they are there or not.
pub(crate) async fn look_at_all(
    ctx: &Context,
    owner: &Owner,
    place: (&ClusterKey, &MemberId),
    known: Known<'_>,
) -> Result<Vec<(String, Step)>, CallError> {
    let target = OnMember::new(ctx, owner, place);
    target.all_steps(known).await
}

/// When Velero last looked at what a Backup lies in: the location that it was `seen_in`, else the one
/// at the place that is written down, else the one of today's spec. In another one its absence proves
/// nothing.
fn synced(
    locations: &[velero::BackupStorageLocation],
    seen_in: Option<&String>,
    known: &Known<'_>,
) -> Option<Timestamp> {
    let named = |name: &str| {
        let mut locations = locations.iter();
        locations.find(|location| location.metadata.name.as_deref() == Some(name))
    };
    let own = |location: &&velero::BackupStorageLocation| {
        !borrowed::is_borrowed(location.metadata.name.as_deref().unwrap_or_default())
    };
    let found = match (seen_in, known.storage) {
        (Some(name), _) => named(name),
        (None, Some(storage)) => {
            let today = named(known.location);
            let is_there =
                |location: &&velero::BackupStorageLocation| places::is_at(location, storage);
            let mut others = locations.iter().filter(own);
            today.filter(is_there).or_else(|| others.find(is_there))
        }
        (None, None) => named(known.location),
    };
    found.and_then(velero::BackupStorageLocation::last_synced_time)
}

/// The Velero Backups of one member that are to go.
struct OnMember<'a> {
    ctx: &'a Context,
    owner: &'a Owner,
    key: &'a ClusterKey,
    member: MemberId,
    /// The members whose stores it has taken over.
    adopted: BTreeSet<MemberId>,
}

/// Whether a Velero Backup is this owner's, and data that its member may delete: its own, or that of a
/// member whose store it has taken over, where it writes to that.
fn is_ours(
    owner: &Owner,
    (member, adopted): (&MemberId, &BTreeSet<MemberId>),
    found: &velero::Backup,
) -> bool {
    let mut adopted = adopted.iter();
    owner.owns(&found.metadata, member)
        || adopted.any(|member| owner.owns(&found.metadata, member))
            && !borrowed::is_borrowed(&location_of(found))
}

impl<'a> OnMember<'a> {
    fn new(ctx: &'a Context, owner: &'a Owner, place: (&'a ClusterKey, &MemberId)) -> Self {
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
                apply::drop_stray(self.ctx, self.key, &stray).await;
            }
        }
        // Before the Backup: what a sync has brought back must be seen with that sync.
        let locations = self.locations().await?;
        let last_synced = synced(&locations, None, known);
        let backup = self.live_backup(name).await?;
        let requests = self.requests().await?;
        self.take_step(name, backup.as_ref(), &requests, last_synced)
            .await
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
        let mut steps = Vec::new();
        for name in names {
            let last_synced = synced(&locations, seen_in.get(name), &known);
            let backup = backups.get(name);
            let step = self.take_step(name, backup, &requests, last_synced).await?;
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
        match api.create(&request, labels::BACKUP_MANAGER).await {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn location(name: &str, bucket: &str, second: i64) -> velero::BackupStorageLocation {
        let object = json!({
            "metadata": { "name": name },
            "spec": { "provider": "aws", "objectStorage": { "bucket": bucket } },
            "status": { "lastSyncedTime": Timestamp::from_second(second).unwrap().to_string() },
        });
        serde_json::from_value(object).unwrap()
    }

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

    #[test]
    fn a_run_is_missed_only_where_it_lay() {
        let locations = [
            location("kurator-from-0123456789", "old", 1),
            location("archive", "old", 2),
            location("default", "new", 3),
        ];
        let at = |bucket: &str| StoragePlace {
            provider: "aws".to_owned(),
            bucket: bucket.to_owned(),
            ..StoragePlace::default()
        };
        let (old, new, none) = (at("old"), at("new"), at("elsewhere"));
        let of = |seen_in: Option<&str>, storage: Option<&StoragePlace>| {
            let seen_in = seen_in.map(str::to_owned);
            let known = Known {
                names: Vec::new(),
                storage,
                location: "default",
            };
            let synced = synced(&locations, seen_in.as_ref(), &known);
            synced.map(Timestamp::as_second)
        };
        assert_eq!(of(Some("archive"), Some(&new)), Some(2));
        assert_eq!(of(Some("removed"), Some(&new)), None);
        assert_eq!(
            of(None, Some(&old)),
            Some(2),
            "never a location that only reads"
        );
        assert_eq!(of(None, Some(&new)), Some(3));
        assert_eq!(of(None, Some(&none)), None, "no location looks there");
        assert_eq!(of(None, None), Some(3));
    }
}
