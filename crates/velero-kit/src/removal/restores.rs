//! Deleting the Velero Restores of one member. What they restored stays.

use std::sync::Arc;
use std::time::Duration;

use api_types::condition::reason;
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::names::MemberId;
use api_types::restore::RestoreDetail;
use kube::ResourceExt;
use proxy_client::{Error as CallError, ListOptions, Preconditions};

use crate::classify;
use crate::identity::Owner;
use crate::operation::context::{Context, Process};
use crate::operation::deletion::{self, Left};
use crate::operation::inherited;
use crate::operation::objects::{self, Target};
use crate::problem::Problem;

/// What became of the Velero Restores of one owner in a member.
#[derive(Debug, Default)]
pub struct Removed {
    /// Those that were deleted just now.
    pub deleted: Vec<velero::Restore>,
    /// What is waited for, if any is still there.
    pub waits_for: Option<Problem>,
    /// Why one could not be deleted now. The others were.
    pub failed: Option<CallError>,
}

/// What a look at one cluster leaves to do there; `abandoned`: the cluster is gone for good.
pub fn left(
    detail: RestoreDetail,
    removed: Result<Option<Problem>, Problem>,
    abandoned: bool,
    again: Duration,
) -> Left<RestoreDetail> {
    let unproven = inherited::left(&detail, "restore");
    Left {
        let_go: abandoned || unproven.is_some(),
        problem: match unproven.or_else(|| removed.unwrap_or_else(Some)) {
            Some(problem) if abandoned => Some(deletion::let_go(problem, &detail)),
            other => other,
        },
        detail,
        again,
    }
}

/// Deletes every Velero Restore that carries our uid. Velero removes its logs from the bucket first,
/// and one that runs is removed once it has ended.
pub async fn remove(
    ctx: &Context<impl Process>,
    owner: &Owner,
    target: &Target,
) -> Result<Removed, CallError> {
    let api = objects::velero::<velero::Restore>(ctx, &target.key);
    let ours = ListOptions {
        labels: Some(format!(
            "{}={},{}={}",
            labels::OWNER_UID,
            owner.uid,
            labels::MEMBER,
            target.member
        )),
        ..ListOptions::default()
    };
    let found = match api.list(&ours).await {
        Ok(found) => found,
        // With the type all objects of it went.
        Err(CallError::NotServed(_)) => return Ok(Removed::default()),
        Err(error) => return Err(error),
    };
    let waits_for = found.first().map(|restore| {
        Problem::new(
            reason::DELETION_PENDING,
            format!(
                "Velero in {} is removing the Velero Restore {}; one that runs is removed when it \
                 has ended",
                target.key.name,
                restore.name_any()
            ),
        )
    });
    let mut removed = Removed {
        waits_for,
        ..Removed::default()
    };
    for restore in found {
        if restore.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let only_if = Preconditions {
            uid: restore.uid(),
            resource_version: None,
        };
        match api.delete(&restore.name_any(), &only_if).await {
            Ok(_) => removed.deleted.push(restore),
            Err(error) => removed.failed = Some(error),
        }
    }
    Ok(removed)
}

/// Restores of ours that Velero refused before it had seen what they need, but for the one of the name
/// that is claimed.
pub fn strays(
    ctx: &Context<impl Process>,
    owner: &Owner,
    (key, member): (&ClusterKey, &MemberId),
    claimed: &str,
) -> Vec<Arc<velero::Restore>> {
    let mut found = ctx.restores.list(key);
    found.retain(|object| {
        owner.owns(&object.metadata, member)
            && object.metadata.deletion_timestamp.is_none()
            && object.metadata.name.as_deref() != Some(claimed)
            && classify::premature(&key.name, &object.status).is_some()
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::MEMBER_UID;

    #[test]
    fn a_restore_of_v0_5_0_is_let_go_and_named_and_one_of_ours_is_waited_for() {
        let mut detail = RestoreDetail {
            cluster_name: "oslo".to_owned(),
            restore_name_in_cluster: Some("a-restore".to_owned()),
            ..RestoreDetail::default()
        };
        let again = Duration::from_secs(10);
        // It has no member, so that nothing was looked for.
        let theirs = left(detail.clone(), Ok(None), false, again);
        let said = theirs.problem.unwrap().message;
        assert!(
            theirs.let_go && said.contains("velero restore delete"),
            "{said}"
        );

        detail.member_uid = Some(MEMBER_UID.to_owned());
        let gone = left(detail.clone(), Ok(None), false, again);
        assert!(gone.problem.is_none());
        let problem = Problem::new(reason::DELETION_PENDING, "Velero is removing it");
        let ours = left(detail, Ok(Some(problem)), false, again);
        assert!(!ours.let_go && ours.problem.is_some());
    }
}
