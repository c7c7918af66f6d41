//! One sweep of one member.

use std::sync::Arc;

use api_types::external::velero::{Backup, BackupStorageLocation};
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::names::velero_label_value;
use api_types::restore::{Restore, RestoreStatus};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use proxy_client::{Error as CallError, ListOptions, Preconditions};
use velero_kit::borrowed::{self, Use};
use velero_kit::copy;

use super::Swept;
use super::plan::{self, Need};
use crate::context::Context;
use crate::operation::member::{self, Link};
use crate::operation::{State, objects, sooner};

/// Ends uses, removes what is not used, and with `search` looks for copies that nobody can read.
pub(super) async fn sweep(ctx: &Context, key: &ClusterKey, search: bool) -> Swept {
    let reachable = matches!(member::link(ctx, key), Link::Up { .. })
        && member::is_live(&ctx.locations.state(key));
    // Its state is told when it changes.
    if !ctx.leadership.is_leader() || !reachable {
        return Swept {
            again: None,
            searched: !search,
        };
    }
    let mut swept = Swept {
        again: None,
        searched: true,
    };
    let mut locations = ctx.locations.list(key);
    locations.retain(|location| borrowed::is_borrowed(&location.name_any()));
    for location in &locations {
        if let Err(error) = tidy(ctx, key, location, &mut swept).await {
            tracing::warn!(cluster = %key, location = %location.name_any(), %error,
                "a read-only location stays for now");
            swept.again = sooner(swept.again, Some(ctx.timings.look_again));
        }
    }
    if search && let Err(error) = drop_orphans(ctx, key).await {
        // Without Velero there are no copies.
        swept.searched = matches!(error, CallError::NotServed(_));
        if !swept.searched {
            tracing::debug!(cluster = %key, %error, "cannot look for copies");
            swept.again = sooner(swept.again, Some(ctx.timings.look_again));
        }
    }
    swept
}

/// Ends the uses of one location, or removes it. What has changed meanwhile is told by the watch.
async fn tidy(
    ctx: &Context,
    key: &ClusterKey,
    location: &Arc<BackupStorageLocation>,
    swept: &mut Swept,
) -> Result<(), CallError> {
    let now = Timestamp::now();
    let decision = plan::decide(location, |by| need(ctx, by, now), now, &ctx.timings);
    swept.again = sooner(swept.again, decision.again);
    let api = objects::velero::<BackupStorageLocation>(ctx, key);
    for uid in &decision.release {
        borrowed::release(&api, location, uid).await?;
    }
    if !decision.delete {
        return Ok(());
    }
    let only_if = Preconditions {
        uid: location.uid(),
        resource_version: location.resource_version(),
    };
    match api.delete(&location.name_any(), &only_if).await {
        Ok(_) | Err(CallError::Conflict(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether an operation still needs what it uses. Only what this hub made can be told from here, and
/// of that only Restores.
fn need(ctx: &Context, by: &Use, now: Timestamp) -> Need {
    if by.hub != ctx.hub_uid || by.kind != RestoreStatus::KIND {
        return Need::Yes;
    }
    let known = ctx
        .hub_restores
        .get(&ObjectRef::<Restore>::new(&by.name).within(&by.namespace));
    plan::need(by, known.as_deref(), now, &ctx.timings)
}

/// Removes the copies of locations that are not there any more. The copies are read before the
/// locations: one whose location is made anew meanwhile is kept.
async fn drop_orphans(ctx: &Context, key: &ClusterKey) -> Result<(), CallError> {
    let backups = objects::velero::<Backup>(ctx, key);
    let copies = ListOptions {
        labels: Some(foreign(ctx, key)),
        ..ListOptions::default()
    };
    let mut copies = backups.clone().metadata_only().list(&copies).await?;
    copies.retain(|found| copy::borrowed_from(found).is_some());
    if copies.is_empty() {
        return Ok(());
    }
    let locations = objects::velero::<BackupStorageLocation>(ctx, key).metadata_only();
    let locations = locations.list(&ListOptions::default()).await?;
    let there: Vec<String> = locations.iter().map(ResourceExt::name_any).collect();
    for orphan in copies {
        let gone = copy::borrowed_from(&orphan)
            .is_some_and(|location| !there.iter().any(|name| name == location));
        if !gone {
            continue;
        }
        let only_if = Preconditions {
            uid: orphan.uid(),
            resource_version: None,
        };
        match backups.delete(&orphan.name_any(), &only_if).await {
            Ok(_) | Err(CallError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Selects what does not lie in a location of the member's own.
fn foreign(ctx: &Context, key: &ClusterKey) -> String {
    let label = labels::VELERO_STORAGE_LOCATION;
    let names = ctx.locations.list(key);
    let names = names.iter().map(|location| location.name_any());
    let own: Vec<String> = names
        .filter(|name| !borrowed::is_borrowed(name))
        .map(|name| velero_label_value(&name))
        .collect();
    if own.is_empty() {
        return label.to_owned();
    }
    format!("{label},{label} notin ({})", own.join(","))
}
