//! Deleting the Velero Backups of one member.

use std::collections::BTreeSet;

use api_types::backup::BackupDetail;
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::names::{self, MemberId};
use jiff::Timestamp;
use kube::ResourceExt;
use proxy_client::{Error as CallError, ListOptions, MemberApi, Preconditions};
use velero_kit::classify;
use velero_kit::deletion::{self as steps, Observed, Step};
use velero_kit::identity::Owner;

use crate::backup::{Problem, apply};
use crate::context::Context;
use crate::operation::{deletion, objects};

/// Reads what is there, decides and does the next step in one cluster.
pub(super) async fn look(
    ctx: &Context,
    owner: &Owner,
    detail: &BackupDetail,
    location: &str,
) -> Result<Step, Problem> {
    let Some(place) = deletion::place(ctx, owner, detail)? else {
        return Ok(Step::Done);
    };
    let target = OnMember {
        ctx,
        owner,
        key: &place.key,
        member: place.member,
    };
    target
        .step(&place.name, location)
        .await
        .map_err(|error| deletion::pending(&Problem::from(&error)))
}

/// Backups of one owner that are deleted at a time in one member.
const AT_A_TIME: usize = 50;

/// The same for every Velero Backup of this owner in one cluster, those of these names among them
/// whether they are there or not.
pub(crate) async fn look_at_all(
    ctx: &Context,
    owner: &Owner,
    place: (&ClusterKey, &MemberId),
    known: Vec<String>,
    location: &str,
) -> Result<Vec<(String, Step)>, CallError> {
    let target = OnMember {
        ctx,
        owner,
        key: place.0,
        member: place.1.clone(),
    };
    target.all_steps(known, location).await
}

/// The Velero Backups of one member that are to go.
struct OnMember<'a> {
    ctx: &'a Context,
    owner: &'a Owner,
    key: &'a ClusterKey,
    member: MemberId,
}

impl OnMember<'_> {
    async fn step(&self, name: &str, location: &str) -> Result<Step, CallError> {
        for stray in self.ctx.backups.list(self.key) {
            let ours = self.owner.owns(&stray.metadata, &self.member);
            if ours && stray.name_any() != name && classify::name_in_bucket(&stray) {
                apply::drop_stray(self.ctx, self.key, &stray).await;
            }
        }
        // Before the Backup: what a sync has brought back must be seen with that sync.
        let last_synced = self.last_synced(location).await?;
        let backup = self.live_backup(name).await?;
        let requests = self.requests().await?;
        self.take_step(name, backup.as_ref(), &requests, last_synced)
            .await
    }

    async fn all_steps(
        &self,
        known: Vec<String>,
        location: &str,
    ) -> Result<Vec<(String, Step)>, CallError> {
        let last_synced = self.last_synced(location).await?;
        let backups = self.backups().list(&self.ours()).await?;
        let requests = self.requests().await?;
        let remembered = self.ctx.memory.with(&self.owner.uid, |memory| {
            let of = memory.clusters.get(self.key);
            of.map(|of| of.deletions.keys().cloned().collect::<Vec<_>>())
        });
        let names: BTreeSet<String> = known
            .into_iter()
            .chain(remembered.unwrap_or_default())
            .chain(backups.iter().map(ResourceExt::name_any))
            .collect();
        let mut steps = Vec::new();
        for name in names {
            let backup = backups.iter().find(|found| found.name_any() == name);
            let step = self
                .take_step(&name, backup, &requests, last_synced)
                .await?;
            if step != Step::Done {
                steps.push((name, step));
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

    async fn last_synced(&self, location: &str) -> Result<Option<Timestamp>, CallError> {
        let locations = objects::velero::<velero::BackupStorageLocation>(self.ctx, self.key);
        let found = locations.get_opt(location).await?;
        Ok(found.and_then(|location| location.last_synced_time()))
    }

    /// The Backup under our name, if it is ours: another owner's is none of our business.
    async fn live_backup(&self, name: &str) -> Result<Option<velero::Backup>, CallError> {
        let found = self.backups().get_opt(name).await?;
        Ok(found.filter(|found| self.owner.owns(&found.metadata, &self.member)))
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
