//! Deleting a Restore: its Velero Restores go, what they restored stays.

use std::sync::Arc;

use api_types::restore::{Restore, RestoreDetail};
use controller_kit::reconcile::Outcome;
use velero_kit::identity::Owner;
use velero_kit::removal::restores;

use super::{Problem, apply};
use crate::context::Context;
use crate::operation::calls::{self, Answer, Call};
use crate::operation::{Error, deletion, entry};

type Left = deletion::Left<RestoreDetail>;

/// One pass over a Restore that is being deleted. Neither its Backup nor its Fleet is needed.
pub async fn reconcile(
    ctx: &Arc<Context>,
    restore: Restore,
    owner: Owner,
) -> Result<Outcome, Error> {
    if !deletion::is_held(ctx, &restore, &owner) {
        return Ok(Outcome::Done);
    }
    let left = look_everywhere(ctx, &restore, &owner).await;
    deletion::go_on(ctx, restore, owner, left).await
}

/// Removes what is ours in each cluster, at the same time.
async fn look_everywhere(ctx: &Arc<Context>, restore: &Restore, owner: &Owner) -> Vec<Left> {
    let details = restore.status.clone().unwrap_or_default().restore_details;
    let call = |detail: &RestoreDetail| {
        let key = entry::key_of(&owner.namespace, detail)?;
        let (ctx, owner, detail) = (Arc::clone(ctx), owner.clone(), detail.clone());
        Some(Call::new(key, "remove".to_owned(), async move {
            Answer::Removed(look(&ctx, &owner, &detail).await)
        }))
    };
    let calls = details.iter().filter_map(call).collect();
    let mut answers = calls::answers(ctx, owner, calls).await;
    let of_cluster = |detail: RestoreDetail| {
        let removed = match entry::key_of(&owner.namespace, &detail) {
            Some(key) => match answers.remove(&key) {
                Some(Answer::Removed(removed)) => removed,
                _ => Err(deletion::pending(&calls::unanswered(&key))),
            },
            None => Err(deletion::unknown_kind(&detail)),
        };
        let abandoned = deletion::is_abandoned(ctx, owner, &detail);
        restores::left(detail, removed, abandoned, ctx.timings.look_again)
    };
    details.into_iter().map(of_cluster).collect()
}

/// Removes what is ours in one cluster, and says what is still there.
async fn look(
    ctx: &Context,
    owner: &Owner,
    detail: &RestoreDetail,
) -> Result<Option<Problem>, Problem> {
    let Some(target) = deletion::place(ctx, owner, detail)? else {
        return Ok(None);
    };
    let failed = |error| deletion::pending(&Problem::from(&error));
    let removed = restores::remove(ctx, owner, &target).await;
    let removed = removed.map_err(failed)?;
    for restore in &removed.deleted {
        apply::drop_carried(ctx, &target.key, restore).await;
    }
    removed
        .failed
        .map_or(Ok(removed.waits_for), |error| Err(failed(error)))
}
