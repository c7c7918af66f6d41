//! One sweep of one member.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use api_types::external::velero::{Backup, BackupStorageLocation};
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::migrate::Migrate;
use api_types::names::velero_label_value;
use api_types::restore::{Restore, RestoreStatus};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::Api;
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::ObjectRef;
use proxy_client::{Error as CallError, ListOptions, Preconditions};
use serde::de::DeserializeOwned;
use velero_kit::borrowed::{self, Mark, Use};
use velero_kit::{NAMESPACE, copy};

use super::Swept;
use super::plan::{self, Known, Need};
use crate::context::Context;
use crate::operation::member::{self, Link};
use crate::operation::{State, objects, sooner};

/// The kind whose operations another controller works on.
const MIGRATE: &str = "Migrate";

/// Ends uses, removes what is not used, and if there is a search to do looks for copies that nobody
/// can read.
pub(super) async fn sweep(ctx: &Context, key: &ClusterKey, searches: u8) -> Swept {
    let mut swept = Swept {
        searches,
        ..Swept::default()
    };
    let reachable = matches!(member::link(ctx, key), Link::Up { .. })
        && member::is_live(&ctx.locations.state(key));
    // Its state is told when it changes.
    if !ctx.leadership.is_leader() || !reachable {
        return swept;
    }
    let mut locations = ctx.locations.list(key);
    locations.retain(|location| borrowed::is_borrowed(&location.name_any()));
    for location in &locations {
        if let Err(error) = tidy(ctx, key, location, &mut swept).await {
            tracing::warn!(cluster = %key, location = %location.name_any(), %error,
                "a read-only location stays for now");
            swept.again = sooner(swept.again, Some(ctx.timings.look_again));
        }
    }
    if searches > 0 {
        match drop_orphans(ctx, key).await {
            Ok(Found::Nothing) => swept.searches = searches - 1,
            Ok(Found::Copies) => {}
            // Without Velero there are no copies.
            Err(CallError::NotServed(_)) => swept.searches = 0,
            Err(error) => tracing::debug!(cluster = %key, %error, "cannot look for copies"),
        }
        if swept.searches > 0 {
            swept.again = sooner(swept.again, Some(ctx.timings.look_again));
        }
    }
    swept
}

/// What a search for copies that nobody can read has found.
enum Found {
    Nothing,
    /// Some, which are gone now. A sync of Velero's that brought them may bring more.
    Copies,
}

/// Ends the uses of one location, or removes it. What has changed meanwhile is told by the watch.
async fn tidy(
    ctx: &Context,
    key: &ClusterKey,
    location: &Arc<BackupStorageLocation>,
    swept: &mut Swept,
) -> Result<(), CallError> {
    let now = Timestamp::now();
    let mut needs = BTreeMap::new();
    for mark in borrowed::uses(&location.metadata) {
        match mark {
            Mark::By(by) => match need(ctx, &by, now).await {
                Ok(need) => {
                    needs.insert(by.uid, need);
                }
                Err(error) => {
                    tracing::warn!(cluster = %key, user = %by.name, %error,
                        "cannot tell whether a read-only location is still needed");
                    swept.again = sooner(swept.again, Some(ctx.timings.look_again));
                }
            },
            Mark::Unreadable(uid) => {
                let mark = format!(
                    "{}{uid} of {}",
                    labels::LOCATION_USE_PREFIX,
                    location.name_any()
                );
                swept.unreadable.insert(mark);
            }
        }
    }
    let known = |by: &Use| needs.get(&by.uid).copied().unwrap_or(Need::Yes);
    let decision = plan::decide(location, known, now, &ctx.timings);
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

/// Whether an operation still needs what it uses. Only what this hub made can be told from here.
async fn need(ctx: &Context, by: &Use, now: Timestamp) -> Result<Need, kube::Error> {
    if by.hub != ctx.hub_uid {
        return Ok(Need::Yes);
    }
    let known = match by.kind.as_str() {
        RestoreStatus::KIND => {
            let object = ObjectRef::<Restore>::new(&by.name).within(&by.namespace);
            let stored = ctx.hub_restores.get(&object);
            match stored.filter(|stored| stored.metadata.uid.as_ref() == Some(&by.uid)) {
                Some(stored) => Some(Known::from(&*stored)),
                // A former leader may have marked it for one that is not in this store yet.
                None => live::<Restore>(ctx, by).await?,
            }
        }
        MIGRATE => live::<Migrate>(ctx, by).await?,
        _ => return Ok(Need::Yes),
    };
    Ok(plan::need(by, known.as_ref(), now, &ctx.timings))
}

/// What the hub itself has under the name of a user.
async fn live<K>(ctx: &Context, by: &Use) -> Result<Option<Known>, kube::Error>
where
    K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + DeserializeOwned + Debug,
    Known: for<'a> From<&'a K>,
{
    let found = Api::<K>::namespaced(ctx.client.clone(), &by.namespace)
        .get_opt(&by.name)
        .await?;
    Ok(found.as_ref().map(Known::from))
}

/// Removes the copies of locations that are not there any more, and gives those of ours to Velero's
/// syncs whose location it has looked into since. The copies are read before the locations, and a
/// location once more before each of its copies goes: one whose location is made anew meanwhile is
/// kept.
async fn drop_orphans(ctx: &Context, key: &ClusterKey) -> Result<Found, CallError> {
    let backups = objects::velero::<Backup>(ctx, key);
    let mut copies = Vec::new();
    // Those that Velero's syncs see, and ours.
    let (ours, seen) = (labels::COPIED_INTO, labels::VELERO_STORAGE_LOCATION);
    for labels in [foreign(ctx, key), format!("{ours},!{seen}")] {
        let selected = ListOptions {
            labels: Some(labels),
            ..ListOptions::default()
        };
        copies.extend(backups.clone().metadata_only().list(&selected).await?);
    }
    copies.retain(|found| {
        copy::borrowed_from(found).is_some() && found.metadata.deletion_timestamp.is_none()
    });
    let mut result = Found::Nothing;
    if copies.is_empty() {
        return Ok(result);
    }
    let locations = objects::velero::<BackupStorageLocation>(ctx, key).metadata_only();
    let listed = locations.list(&ListOptions::default()).await?;
    let there: BTreeSet<String> = listed.iter().map(ResourceExt::name_any).collect();
    for found in copies {
        let Some(of) = copy::borrowed_from(&found) else {
            continue;
        };
        if there.contains(of) || locations.get_opt(of).await?.is_some() {
            if is_safe_from_syncs(ctx, key, &found, of) {
                let manager = ctx.manager();
                copy::hand_over(&backups.clone().metadata_only(), &found, manager).await?;
            }
            continue;
        }
        result = Found::Copies;
        let only_if = Preconditions {
            uid: found.uid(),
            resource_version: None,
        };
        match backups.delete(&found.name_any(), &only_if).await {
            Ok(_) | Err(CallError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(result)
}

/// Whether no sync of its location can be under way any more that began before a copy of ours was made.
fn is_safe_from_syncs(ctx: &Context, key: &ClusterKey, copy: &Backup, location: &str) -> bool {
    let made = copy.metadata.creation_timestamp.as_ref();
    let location = ctx.locations.get(key, NAMESPACE, location);
    copy::is_unseen(copy)
        && location
            .zip(made)
            .is_some_and(|(location, made)| ctx.settled.has_looked_since(key, &location, made.0))
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
