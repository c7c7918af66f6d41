//! Deleting a Migrate: its Velero Restores go first, then its Velero Backup, if the policy says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::backup::BackupDetail;
use api_types::common::{DeletionPolicy, StoragePlace};
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::migrate::Migrate;
use api_types::restore::RestoreDetail;
use controller_kit::reconcile::Outcome;
use velero_kit::borrowed;
use velero_kit::identity::Owner;
use velero_kit::operation::{Error, calls, deletion, entry, inherited};
use velero_kit::problem::Problem;
use velero_kit::removal::{backups, restores};

use super::removal::{self, OfBackup};
use super::{ask, owner_in_source, owner_in_target};
use crate::context::{Answer, Call, Context};

type Left = deletion::Left<RestoreDetail>;

/// One pass over a Migrate that is being deleted. No Fleet is needed.
pub async fn reconcile(ctx: &Arc<Context>, migrate: Migrate) -> Result<Outcome, Error> {
    let owner = owner_in_target(&migrate);
    if !deletion::is_held(ctx, &migrate, &owner) {
        return Ok(Outcome::Done);
    }
    let left = restores_left(ctx, &migrate, &owner).await;
    let status = migrate.status.clone().unwrap_or_default();
    let source = match status.source_cluster_status {
        Some(source) => backup_left(ctx, &migrate, source, &left).await,
        None => None,
    };
    Box::pin(deletion::go_on_with(ctx, migrate, owner, left, source)).await
}

/// Removes what is ours in each target, at the same time.
async fn restores_left(ctx: &Arc<Context>, migrate: &Migrate, owner: &Owner) -> Vec<Left> {
    let status = migrate.status.clone().unwrap_or_default();
    let storage = status
        .source_cluster_status
        .and_then(|source| source.storage);
    let call = |detail: &RestoreDetail| {
        let key = entry::key_of(&owner.namespace, detail)?;
        let (ctx, owner, detail) = (Arc::clone(ctx), owner.clone(), detail.clone());
        let storage = storage.clone();
        Some(Call::new(key, "remove restores".to_owned(), async move {
            Answer::Removed(remove(&ctx, &owner, &detail, storage.as_ref()).await)
        }))
    };
    let details = status.target_cluster_status;
    let calls = details.iter().filter_map(call).collect();
    let mut answers = calls::answers(ctx, owner, calls).await;
    let left = details.into_iter();
    left.map(|detail| restore_left(ctx, owner, detail, &mut answers))
        .collect()
}

fn restore_left(
    ctx: &Context,
    owner: &Owner,
    detail: RestoreDetail,
    answers: &mut BTreeMap<ClusterKey, Answer>,
) -> Left {
    let removed = match entry::key_of(&owner.namespace, &detail) {
        Some(key) => match answers.remove(&key) {
            Some(Answer::Removed(removed)) => removed,
            _ => Err(deletion::pending(&calls::unanswered(&key))),
        },
        None => Err(deletion::unknown_kind(&detail)),
    };
    let abandoned = deletion::is_abandoned(ctx, owner, &detail);
    let removed = of_made(&detail, removed);
    restores::left(detail, removed, abandoned, ctx.timings.look_again)
}

/// What a target without a Restore leaves to wait for: nothing, since the backup is written down before
/// its Restore is made. A mark of use that cannot be taken now goes with the Migrate.
fn of_made(
    detail: &RestoreDetail,
    removed: Result<Option<Problem>, Problem>,
) -> Result<Option<Problem>, Problem> {
    match &detail.backup_name_in_cluster {
        Some(_) => removed,
        None => Ok(None),
    }
}

/// Removes what is ours in one target, and says what is still there.
async fn remove(
    ctx: &Context,
    owner: &Owner,
    detail: &RestoreDetail,
    storage: Option<&StoragePlace>,
) -> Result<Option<Problem>, Problem> {
    let Some(target) = deletion::place(ctx, owner, detail)? else {
        return Ok(None);
    };
    let failed = |error: proxy_client::Error| deletion::pending(&Problem::from(&error));
    let removed = restores::remove(ctx, owner, &target)
        .await
        .map_err(failed)?;
    if let Some(error) = removed.failed {
        return Err(failed(error));
    }
    // What runs still reads.
    if let (None, Some(place)) = (&removed.waits_for, storage) {
        let name = borrowed::name(place);
        let released = ask::release(ctx, &target.key, &name, &owner.uid).await;
        released.map_err(failed)?;
    }
    Ok(removed.waits_for)
}

/// What is still to do about the backup in between; `None`: it is kept as it is.
async fn backup_left(
    ctx: &Arc<Context>,
    migrate: &Migrate,
    detail: BackupDetail,
    targets: &[Left],
) -> Option<deletion::Left<BackupDetail>> {
    let owner = owner_in_source(migrate);
    let again = ctx.timings.look_again;
    let begun = detail.member_uid.is_some();
    let of_targets: Vec<(String, removal::Left)> = targets.iter().map(of_target).collect();
    let of_targets = of_targets.iter().map(|(name, left)| (name.as_str(), left));
    let policy = migrate.spec.deletion_policy;
    let asked_for = policy == DeletionPolicy::Delete;
    let unproven = inherited::left(&detail, "backup").filter(|_| asked_for);
    let (problem, again) = match removal::of_backup(policy, begun, of_targets) {
        OfBackup::Keep if unproven.is_none() => return None,
        OfBackup::Keep => (None, again),
        OfBackup::Await(problem) => (Some(problem), again),
        OfBackup::Remove => remove_backup(ctx, &owner, &detail).await,
    };
    // A member that has taken over the source's store can still remove what lies there.
    let abandoned = deletion::is_abandoned(ctx, &owner, &detail)
        && deletion::place_of_data(ctx, &owner, &detail).is_err();
    Some(deletion::Left {
        let_go: abandoned || unproven.is_some(),
        problem: match unproven.or(problem) {
            Some(problem) if abandoned => Some(deletion::let_go(problem, &detail)),
            other => other,
        },
        detail,
        again,
    })
}

fn of_target(left: &Left) -> (String, removal::Left) {
    let of = match &left.problem {
        None => removal::Left::Nothing,
        Some(problem) if left.let_go => removal::Left::LetGo(problem.clone()),
        Some(problem) => removal::Left::Open(problem.clone()),
    };
    (left.detail.cluster_name.clone(), of)
}

/// Takes the next step of removing the Velero Backup with its data.
async fn remove_backup(
    ctx: &Arc<Context>,
    owner: &Owner,
    detail: &BackupDetail,
) -> (Option<Problem>, std::time::Duration) {
    let again = ctx.timings.look_again;
    let Some(key) = entry::key_of(&owner.namespace, detail) else {
        return (Some(deletion::unknown_kind(detail)), again);
    };
    let (on, by, of) = (Arc::clone(ctx), owner.clone(), detail.clone());
    let call = Call::new(key.clone(), "remove backup".to_owned(), async move {
        let location = labels::DEFAULT_STORAGE_LOCATION;
        Answer::Step(backups::look(&on, &by, &of, location).await)
    });
    let mut answers = calls::answers(ctx, owner, vec![call]).await;
    let step = match answers.remove(&key) {
        Some(Answer::Step(step)) => step,
        _ => Err(deletion::pending(&calls::unanswered(&key))),
    };
    backups::left_by(step, again)
}

#[cfg(test)]
mod tests {
    use api_types::condition::reason;

    use super::super::detail::claim_target;
    use super::super::fixtures::{BACKUP, RESTORE, target, uid_of};
    use super::*;

    #[test]
    fn a_target_that_is_silent_is_waited_for_only_if_it_may_have_a_restore() {
        let silent = || Err(Problem::new(reason::DELETION_PENDING, "it is silent"));
        let mut claimed = target("bergen").stored;
        claim_target(&mut claimed, &uid_of("bergen"), RESTORE);
        assert_eq!(of_made(&claimed, silent()), Ok(None));
        claimed.backup_name_in_cluster = Some(BACKUP.to_owned());
        assert_eq!(of_made(&claimed, silent()), silent());
    }
}
