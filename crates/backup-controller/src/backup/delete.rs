//! Deleting a Backup: what its policy says, followed to the end in every cluster.

use std::sync::Arc;
use std::time::Duration;

use api_types::backup::{Backup, BackupDetail};
use api_types::common::DeletionPolicy;
use api_types::condition::reason;
use api_types::labels;
use controller_kit::reconcile::Outcome;
use velero_kit::identity::Owner;

use super::{Error, Problem, readers};
use crate::context::Context;
use crate::operation::calls::{self, Answer, Call};
use crate::operation::{deletion, entry, inherited};
use member::look;
pub(crate) use velero_kit::removal::backups::{self as member, left_by};

/// What is still to do in one cluster.
pub type Left = deletion::Left<BackupDetail>;

/// One pass over a Backup that is being deleted.
pub async fn reconcile(ctx: &Arc<Context>, backup: Backup, owner: Owner) -> Result<Outcome, Error> {
    if !deletion::is_held(ctx, &backup, &owner) {
        return Ok(Outcome::Done);
    }
    let left = if backup.spec.deletion_policy == DeletionPolicy::Delete {
        match readers::find(ctx, &owner).await? {
            Some(readers) => held_by(&backup, &readers, ctx.timings.look_again),
            None => look_everywhere(ctx, &backup, &owner).await,
        }
    } else {
        // Velero Backups, running ones too, stay until their ttl: no member is needed.
        Vec::new()
    };
    deletion::go_on(ctx, backup, owner, left).await
}

/// Every claimed entry waits for the Restores that read this Backup.
fn held_by(backup: &Backup, reader: &str, again: Duration) -> Vec<Left> {
    let details = backup.status.clone().unwrap_or_default().backup_details;
    details
        .into_iter()
        .map(|detail| Left {
            problem: detail.member_uid.is_some().then(|| {
                Problem::new(
                    reason::DELETION_PENDING,
                    format!("{reader} still reads this Backup: wait for it or delete it"),
                )
            }),
            detail,
            let_go: false,
            again,
        })
        .collect()
}

/// Takes the next step in each cluster, at the same time.
async fn look_everywhere(ctx: &Arc<Context>, backup: &Backup, owner: &Owner) -> Vec<Left> {
    let details = backup.status.clone().unwrap_or_default().backup_details;
    let location = location(backup);
    let call = |detail: &BackupDetail| {
        let key = entry::key_of(&owner.namespace, detail)?;
        let name = detail.backup_name_in_cluster.as_deref().unwrap_or_default();
        let purpose = format!("delete {name}");
        let (ctx, owner, detail, location) = (
            Arc::clone(ctx),
            owner.clone(),
            detail.clone(),
            location.to_owned(),
        );
        Some(Call::new(key, purpose, async move {
            Answer::Step(look(&ctx, &owner, &detail, &location).await)
        }))
    };
    let calls = details.iter().filter_map(call).collect();
    let mut answers = calls::answers(ctx, owner, calls).await;
    let left = |detail: BackupDetail| {
        let step = match entry::key_of(&owner.namespace, &detail) {
            Some(key) => match answers.remove(&key) {
                Some(Answer::Step(step)) => step,
                _ => Err(deletion::pending(&calls::unanswered(&key))),
            },
            None => Err(deletion::unknown_kind(&detail)),
        };
        let (problem, again) = left_by(step, ctx.timings.look_again);
        let unproven = inherited::left(&detail, "backup");
        Left {
            let_go: unproven.is_some(),
            detail,
            problem: unproven.or(problem),
            again,
        }
    };
    details.into_iter().map(left).collect()
}

/// Name of the location that a Backup is stored in.
pub(crate) fn location(backup: &Backup) -> &str {
    let policy = backup.spec.policy.as_ref();
    policy
        .and_then(|policy| policy.storage_location.as_deref())
        .filter(|name| !name.is_empty())
        .unwrap_or(labels::DEFAULT_STORAGE_LOCATION)
}
