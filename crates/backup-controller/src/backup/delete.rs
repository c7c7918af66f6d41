//! Deleting a Backup: what its policy says, followed to the end in every cluster.

mod member;

use std::sync::Arc;
use std::time::Duration;

use api_types::backup::{Backup, BackupDetail, BackupStatus};
use api_types::common::DeletionPolicy;
use api_types::condition::reason;
use api_types::labels;
use controller_kit::event::{Event, Severity};
use controller_kit::hub::{self, WriteError};
use controller_kit::reconcile::Outcome;
use kube::ResourceExt;
use velero_kit::deletion::Step;
use velero_kit::identity::Owner;

use super::calls::{self, Answer, Call};
use super::{Error, Problem, dereference, sooner, status};
use crate::context::Context;
use member::{look, pending};

/// What is still to do in one cluster.
#[derive(Debug, Clone)]
pub struct Left {
    pub detail: BackupDetail,
    /// What the deletion waits for there; `None`: nothing of ours is there any more.
    pub problem: Option<Problem>,
    again: Duration,
}

#[cfg(test)]
impl Left {
    pub(super) fn new(detail: BackupDetail, problem: Option<Problem>) -> Self {
        Self {
            detail,
            problem,
            again: Duration::ZERO,
        }
    }
}

/// One pass over a Backup that is being deleted.
pub async fn reconcile(
    ctx: &Arc<Context>,
    backup: Backup,
    owner: &Owner,
) -> Result<Outcome, Error> {
    let ours = backup
        .finalizers()
        .iter()
        .any(|f| f == labels::BACKUP_FINALIZER);
    if !ours {
        ctx.memory.forget(&owner.uid);
        return Ok(Outcome::Done);
    }
    let left = if backup.spec.deletion_policy == DeletionPolicy::Delete {
        look_everywhere(ctx, &backup, owner).await
    } else {
        // Velero Backups, running ones too, stay until their ttl: no member is needed.
        Vec::new()
    };
    let open: Vec<&Left> = left.iter().filter(|left| left.problem.is_some()).collect();
    let forced = backup
        .annotations()
        .get(labels::FORCE_DELETE)
        .is_some_and(|v| v == "true");
    if open.is_empty() || forced {
        return finish(ctx, &backup, owner, &open).await;
    }
    let waiting_since = progress_mark(ctx, owner, &open);
    let stalled = waiting_since >= ctx.timings.deletion_stalled;
    let wanted = status::deleting(&backup, &left, stalled, status::now());
    write(ctx, &backup, wanted).await?;
    let again = open
        .iter()
        .fold(None, |again, left| sooner(again, Some(left.again)));
    Ok(Outcome::Waiting {
        reason: "Deletion",
        after: again.unwrap_or(ctx.timings.look_again),
    })
}

/// Since when the deletion has waited for just what it waits for now.
fn progress_mark(ctx: &Context, owner: &Owner, open: &[&Left]) -> Duration {
    let waits = open.iter().map(|left| {
        let why = left
            .problem
            .as_ref()
            .map_or("", |problem| problem.message.as_str());
        format!("{}: {why}", left.detail.cluster_name)
    });
    let waits = waits.collect::<Vec<_>>().join("\n");
    let now = status::now();
    ctx.memory.with(&owner.uid, |memory| {
        let since = match &memory.deletion {
            Some((known, since)) if *known == waits => *since,
            _ => {
                memory.deletion = Some((waits, now));
                now
            }
        };
        Duration::try_from(now.duration_since(since)).unwrap_or_default()
    })
}

/// Lets go of the object, naming what stays behind if somebody forced it.
async fn finish(
    ctx: &Context,
    backup: &Backup,
    owner: &Owner,
    open: &[&Left],
) -> Result<Outcome, Error> {
    if !open.is_empty() {
        let wanted = status::leftovers(backup, open, status::now());
        let note = wanted
            .leftovers
            .iter()
            .map(|left| {
                format!(
                    "{}: {} {} ({})",
                    left.cluster_name, left.kind, left.name, left.message
                )
            })
            .collect::<Vec<_>>()
            .join("; ");
        write(ctx, backup, wanted).await?;
        let event = Event {
            severity: Severity::Warning,
            reason: "ObjectsLeftBehind",
            action: "Delete",
            note,
            related: None,
        };
        ctx.events.publish(backup, event);
    }
    match hub::remove_finalizer(&ctx.client, backup, labels::BACKUP_FINALIZER).await {
        Ok(_) => {}
        Err(WriteError::Conflict(_)) => return Ok(Outcome::Done),
        Err(error) => return Err(error.into()),
    }
    ctx.memory.forget(&owner.uid);
    Ok(Outcome::Done)
}

/// Writes the status of a deletion; a newer version of the object voids it without harm.
async fn write(ctx: &Context, backup: &Backup, wanted: BackupStatus) -> Result<(), Error> {
    let before = backup.status.clone().unwrap_or_default();
    if before == wanted {
        return Ok(());
    }
    let version = backup.metadata.resource_version.as_deref();
    match hub::apply_status(
        &ctx.client,
        backup,
        &wanted,
        labels::BACKUP_MANAGER,
        version,
    )
    .await
    {
        Ok(_) => {
            let mut written = backup.clone();
            written.status = Some(wanted);
            super::events::publish(ctx, &written, &before);
            Ok(())
        }
        Err(WriteError::Conflict(_) | WriteError::Gone(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Takes the next step in each cluster, at the same time.
async fn look_everywhere(ctx: &Arc<Context>, backup: &Backup, owner: &Owner) -> Vec<Left> {
    let details = backup.status.clone().unwrap_or_default().backup_details;
    let location = backup
        .spec
        .policy
        .as_ref()
        .and_then(|policy| policy.storage_location.as_deref())
        .filter(|name| !name.is_empty())
        .unwrap_or(labels::DEFAULT_STORAGE_LOCATION);
    let call = |detail: &BackupDetail| {
        let key = dereference::key_of(&owner.namespace, detail)?;
        let name = detail.backup_name_in_cluster.as_deref().unwrap_or_default();
        let purpose = format!("delete {name}");
        let (ctx, owner, detail, location) = (
            Arc::clone(ctx),
            owner.clone(),
            detail.clone(),
            location.to_owned(),
        );
        Some(Call::new(key.clone(), purpose, async move {
            Answer::Step(look(&ctx, &owner, &key, &detail, &location).await)
        }))
    };
    let calls = details.iter().filter_map(call).collect();
    let mut answers = calls::answers(ctx, owner, calls).await;
    let left = |detail: BackupDetail| {
        let step = match dereference::key_of(&owner.namespace, &detail) {
            Some(key) => match answers.remove(&key) {
                Some(Answer::Step(step)) => step,
                _ => Err(pending(&calls::unanswered(&key))),
            },
            None => Err(Problem::new(
                reason::DELETION_PENDING,
                format!("kind {} is not known to this version", detail.cluster_kind),
            )),
        };
        let (problem, again) = left_by(step, ctx.timings.look_again);
        Left {
            detail,
            problem,
            again,
        }
    };
    details.into_iter().map(left).collect()
}

/// What a step leaves to wait for, and when to look again.
fn left_by(step: Result<Step, Problem>, look_again: Duration) -> (Option<Problem>, Duration) {
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
