//! Deleting the Velero Backup of one member.

use api_types::backup::BackupDetail;
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::names::{self, MemberId};
use kube::ResourceExt;
use proxy_client::{Error as CallError, ListOptions, Preconditions};
use velero_kit::NAMESPACE;
use velero_kit::classify;
use velero_kit::deletion::{self as steps, Observed, Step};
use velero_kit::identity::Owner;

use crate::backup::{Problem, apply};
use crate::context::Context;
use crate::operation::deletion;

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
        name: &place.name,
    };
    target
        .step(location)
        .await
        .map_err(|error| deletion::pending(&Problem::from(&error)))
}

/// One Velero Backup that is to go.
struct OnMember<'a> {
    ctx: &'a Context,
    owner: &'a Owner,
    key: &'a ClusterKey,
    member: MemberId,
    name: &'a str,
}

impl OnMember<'_> {
    async fn step(&self, location: &str) -> Result<Step, CallError> {
        for stray in self.ctx.backups.list(self.key) {
            let ours = self.owner.owns(&stray.metadata, &self.member);
            if ours && stray.name_any() != self.name && classify::name_in_bucket(&stray) {
                apply::drop_stray(self.ctx, self.key, &stray).await;
            }
        }
        // Before the Backup: what a sync has brought back must be seen with that sync.
        let last_synced = self
            .ctx
            .members
            .api::<velero::BackupStorageLocation>(self.key)
            .namespace(NAMESPACE)
            .get_opt(location)
            .await?
            .and_then(|location| location.last_synced_time());
        let backup = self.live_backup().await?;
        let request = self.newest_request().await?;
        let observed = Observed {
            backup: backup.as_ref(),
            request: request.as_ref(),
            last_synced,
        };
        let now = jiff::Timestamp::now();
        let step = self.ctx.memory.with(&self.owner.uid, |memory| {
            let of = memory.clusters.entry(self.key.clone()).or_default();
            steps::next(&mut of.deletion, observed, now)
        });
        match (&step, &backup) {
            (Step::Request { number }, Some(backup)) => {
                self.request(backup, *number).await?;
                self.ctx.memory.amend(&self.owner.uid, |memory| {
                    memory
                        .clusters
                        .entry(self.key.clone())
                        .or_default()
                        .deletion
                        .requested();
                });
            }
            (Step::DeletePlainly, Some(backup)) => self.delete_plainly(backup).await?,
            _ => {}
        }
        Ok(step)
    }

    /// The Backup under our name, if it is ours: another owner's is none of our business.
    async fn live_backup(&self) -> Result<Option<velero::Backup>, CallError> {
        let api = self
            .ctx
            .members
            .api::<velero::Backup>(self.key)
            .namespace(NAMESPACE);
        let found = api.get_opt(self.name).await?;
        Ok(found.filter(|found| self.owner.owns(&found.metadata, &self.member)))
    }

    async fn newest_request(&self) -> Result<Option<velero::DeleteBackupRequest>, CallError> {
        let options = ListOptions {
            labels: Some(format!(
                "{}={},{}={}",
                labels::OWNER_UID,
                self.owner.uid,
                labels::MEMBER,
                self.member
            )),
            ..ListOptions::default()
        };
        let api = self
            .ctx
            .members
            .api::<velero::DeleteBackupRequest>(self.key)
            .namespace(NAMESPACE);
        let ours = api.list(&options).await?;
        Ok(ours
            .into_iter()
            .filter(|request| request.spec.backup_name == self.name)
            .max_by_key(|request| steps::request_number(&request.name_any())))
    }

    async fn request(&self, backup: &velero::Backup, number: u32) -> Result<(), CallError> {
        let uid = backup.uid().unwrap_or_default();
        let name = steps::request_name(&uid, number);
        let mut metadata = self.owner.metadata(&name, self.key, &self.member);
        metadata.labels.get_or_insert_default().extend([
            (
                labels::VELERO_BACKUP_NAME.to_owned(),
                names::velero_label_value(self.name),
            ),
            (labels::VELERO_BACKUP_UID.to_owned(), uid),
        ]);
        let request = velero::DeleteBackupRequest {
            metadata,
            spec: velero::DeleteBackupRequestSpec {
                backup_name: self.name.to_owned(),
            },
            ..velero::DeleteBackupRequest::default()
        };
        let api = self
            .ctx
            .members
            .api::<velero::DeleteBackupRequest>(self.key)
            .namespace(NAMESPACE);
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
        let api = self
            .ctx
            .members
            .api::<velero::Backup>(self.key)
            .namespace(NAMESPACE);
        match api.delete(self.name, &only_if).await {
            // It changed since it was read: the next look decides anew.
            Ok(_) | Err(CallError::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
