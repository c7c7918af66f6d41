//! Deleting one Velero Backup of one member.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api_types::backup::BackupDetail;
use api_types::condition::reason;
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::names::{self, MemberId};
use jiff::Timestamp;
use kube::ResourceExt;
use proxy_client::{Error as CallError, ListOptions, MemberApi, Preconditions};

use super::drop_stray;
use super::places::{Known, at, is_deletable, is_final, out_of_sight, shown_in, synced, unsure};
use crate::classify;
use crate::deletion::{self as steps, Observed, Step};
use crate::identity::Owner;
use crate::operation::context::{Context, Process};
use crate::operation::{deletion, member as members, objects};
use crate::problem::Problem;

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

/// The Velero Backups of one member that are to go.
pub(super) struct OnMember<'a, P: Process> {
    pub(super) ctx: &'a Context<P>,
    pub(super) owner: &'a Owner,
    pub(super) key: &'a ClusterKey,
    pub(super) member: MemberId,
    /// The members whose stores it has taken over.
    pub(super) adopted: BTreeSet<MemberId>,
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
    pub(super) fn new(
        ctx: &'a Context<P>,
        owner: &'a Owner,
        place: (&'a ClusterKey, &MemberId),
    ) -> Self {
        Self {
            ctx,
            owner,
            key: place.0,
            member: place.1.clone(),
            adopted: members::adopted(ctx, place.0),
        }
    }

    pub(super) fn is_ours(&self, found: &velero::Backup) -> bool {
        is_ours(self.owner, (&self.member, &self.adopted), found)
    }

    async fn step(&self, known: &Known<'_>) -> Result<Step, CallError> {
        let [name] = known.names.as_slice() else {
            return Ok(Step::Done);
        };
        for stray in strays(self.ctx, self.owner, (self.key, &self.member), Some(name)) {
            drop_stray(self.ctx, self.key, &*stray).await;
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

    /// Decides the next step for one Backup, and does it.
    pub(super) async fn take_step(
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

    pub(super) fn backups(&self) -> MemberApi<velero::Backup> {
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

    pub(super) async fn locations(&self) -> Result<Vec<velero::BackupStorageLocation>, CallError> {
        let locations = objects::velero::<velero::BackupStorageLocation>(self.ctx, self.key);
        locations.list(&ListOptions::default()).await
    }

    /// The Backup under our name, if it is ours: another owner's is none of our business.
    async fn live_backup(&self, name: &str) -> Result<Option<velero::Backup>, CallError> {
        let found = self.backups().get_opt(name).await?;
        Ok(found.filter(|found| self.is_ours(found)))
    }

    pub(super) async fn requests(&self) -> Result<Vec<velero::DeleteBackupRequest>, CallError> {
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

/// Objects of ours that Velero refused because the bucket holds their names, or before it had seen what
/// they need, but for the one of the name that is `needed`.
pub fn strays(
    ctx: &Context<impl Process>,
    owner: &Owner,
    (key, member): (&ClusterKey, &MemberId),
    needed: Option<&str>,
) -> Vec<Arc<velero::Backup>> {
    let mut found = ctx.backups.list(key);
    found.retain(|object| {
        owner.owns(&object.metadata, member)
            && object.metadata.name.as_deref() != needed
            && (classify::name_in_bucket(object)
                || classify::premature(&key.name, &object.status).is_some())
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::owner;

    #[test]
    fn another_member_s_backup_is_deleted_only_where_its_store_was_taken_over() {
        let owner = owner();
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
