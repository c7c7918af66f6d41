//! Deleting the Velero Restores of one member. What they restored stays.

use api_types::condition::reason;
use api_types::external::velero;
use api_types::labels;
use kube::ResourceExt;
use proxy_client::{Error as CallError, ListOptions, Preconditions};

use crate::identity::Owner;
use crate::operation::context::{Context, Process};
use crate::operation::objects::{self, Target};
use crate::problem::Problem;

/// What became of the Velero Restores of one owner in a member.
#[derive(Debug, Default)]
pub struct Removed {
    /// Those that were deleted just now.
    pub deleted: Vec<velero::Restore>,
    /// What is waited for, if any is still there.
    pub waits_for: Option<Problem>,
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
    let mut deleted = Vec::new();
    for restore in found {
        if restore.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let only_if = Preconditions {
            uid: restore.uid(),
            resource_version: None,
        };
        api.delete(&restore.name_any(), &only_if).await?;
        deleted.push(restore);
    }
    Ok(Removed { deleted, waits_for })
}
