//! Asks a member whether a Velero Backup can be restored there now: Velero fails a Restore for good
//! when it cannot.

use api_types::condition::reason;
use api_types::external::velero;
use api_types::key::ClusterKey;
use jiff::Timestamp;
use kube::ResourceExt;
use proxy_client::ListOptions;
use velero_kit::identity::Owner;
use velero_kit::{location, point};

use super::source::{Origin, Which};
use super::wanted::{Wanted, location_of, restorable};
use super::{Problem, elsewhere};
use crate::context::Context;
use crate::operation::calls::NotNow;
use crate::operation::objects::{self, Target};

/// Looks for the backup on the target. What another member has stored is made to be seen there.
pub async fn look(
    ctx: &Context,
    owner: &Owner,
    target: &Target,
    origin: &Origin,
    wanted: &Wanted,
) -> Result<velero::Backup, NotNow> {
    if wanted.made_in == target.member {
        own(ctx, &target.key, wanted).await
    } else {
        elsewhere::look(ctx, owner, target, origin, wanted).await
    }
}

/// A backup in the member that made it.
async fn own(ctx: &Context, key: &ClusterKey, wanted: &Wanted) -> Result<velero::Backup, NotNow> {
    let api = objects::velero::<velero::Backup>(ctx, key);
    let now = Timestamp::now();
    let backup = match &wanted.which {
        Which::Named(name) => {
            let found = api.get_opt(name).await?;
            restorable(wanted, name, key, found, now)
        }
        Which::Newest(not_after) => {
            let ours = ListOptions {
                labels: wanted.selector(),
                ..ListOptions::default()
            };
            let found = api.list(&ours).await?;
            newest(wanted, key, &found, *not_after)
        }
    };
    let backup = backup.map_err(NotNow::Waits)?;
    let name = location_of(&backup);
    let place = objects::velero::<velero::BackupStorageLocation>(ctx, key)
        .get_opt(&name)
        .await?;
    let usable = match place {
        Some(place) => location::available(&name, &place),
        None => Err(Problem::new(
            reason::STORAGE_LOCATION_NOT_FOUND,
            format!(
                "BackupStorageLocation {name}, where the backup lies, is not in {}: create it in \
                 namespace velero",
                key.name
            ),
        )),
    };
    usable.map_err(NotNow::Waits)?;
    Ok(backup)
}

/// The newest of these that is the wanted Backup's.
pub(super) fn newest(
    wanted: &Wanted,
    place: &ClusterKey,
    found: &[velero::Backup],
    not_after: Option<Timestamp>,
) -> Result<velero::Backup, Problem> {
    let now = Timestamp::now();
    let runs: Vec<&velero::Backup> = found.iter().filter(|found| wanted.is(found)).collect();
    let newest = point::newest(&runs, not_after, now).map_err(|problem| {
        Problem::new(
            problem.reason,
            format!(
                "Backup {} as seen in {}: {}",
                wanted.backup, place.name, problem.message
            ),
        )
    })?;
    restorable(wanted, &newest.name_any(), place, Some(newest.clone()), now)
}
