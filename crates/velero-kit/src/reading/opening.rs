//! Opens the places where backups lie: a location of the target's own that is there, or one that only
//! reads and is made for it.

use api_types::common::StoragePlace;
use api_types::condition::reason;
use api_types::external::velero::BackupStorageLocation;
use api_types::key::ClusterKey;
use api_types::labels;
use kube::ResourceExt;
use proxy_client::MemberApi;

use super::origin::Origin;
use super::settled;
use crate::borrowed::{self, Use};
use crate::identity::Owner;
use crate::operation::calls::NotNow;
use crate::operation::context::{Context, Process};
use crate::operation::member::is_live;
use crate::operation::objects::{self, Target};
use crate::problem::Problem;
use crate::{NAMESPACE, location};

/// The places that can be read, and why another cannot be; an error if none can.
fn readable<T>(opened: Vec<Result<T, NotNow>>) -> Result<(Vec<T>, Option<NotNow>), NotNow> {
    // Of the members that a name has had, most store in one place.
    let (mut readable, mut closed) = (Vec::new(), None);
    for place in opened {
        match place {
            Ok(location) => readable.push(location),
            Err(why) => closed = closed.or(Some(why)),
        }
    }
    match closed {
        Some(why) if readable.is_empty() => Err(why),
        closed => Ok((readable, closed)),
    }
}

/// Whether what a target shows in a location surely lies there: in one of its own that was moved,
/// Velero may still show what it has made at the place before.
fn is_sure(
    ctx: &Context<impl Process>,
    target: &Target,
    origin: &Origin,
    location: &BackupStorageLocation,
) -> bool {
    let moved = origin.places().len() > 1 || origin.members.iter().any(|of| of.uid.is_empty());
    !moved || settled::is_sure(ctx, &target.key, location)
}

/// Locations of the target at the places of an origin, and why the first of those that cannot be read
/// is none of them. At least one can.
pub async fn open_all(
    ctx: &Context<impl Process>,
    owner: &Owner,
    target: &Target,
    origin: &Origin,
) -> Result<(Vec<BackupStorageLocation>, Option<NotNow>), NotNow> {
    let places = origin.places();
    if places.is_empty() {
        return Err(NotNow::Waits(Problem::new(
            reason::STORAGE_LOCATION_NOT_FOUND,
            format!(
                "it is not known where the backup of {} lies",
                origin.cluster.name
            ),
        )));
    }
    let mut opened = Vec::new();
    for place in places {
        let sure = match open(ctx, owner, &target.key, place).await {
            Ok(location) if !is_sure(ctx, target, origin, &location) => {
                let problem = settled::unsettled(&target.key, &location.name_any());
                Err(NotNow::Waits(problem))
            }
            opened => opened,
        };
        opened.push(sure);
    }
    readable(opened)
}

/// A location of the target at this place: one of its own, or a read-only one that is made for it.
pub async fn open(
    ctx: &Context<impl Process>,
    owner: &Owner,
    key: &ClusterKey,
    place: &StoragePlace,
) -> Result<BackupStorageLocation, NotNow> {
    let api = objects::velero::<BackupStorageLocation>(ctx, key);
    let location = match own_location(ctx, key, place) {
        Some(name) => api.get_opt(&name).await?,
        None => None,
    };
    let location = match location.filter(|location| location::is_at(location, place)) {
        Some(own) => own,
        None => borrow(&api, place, &use_of(ctx, owner)).await?,
    };
    location::available(&location.name_any(), &location).map_err(NotNow::Waits)?;
    Ok(location)
}

/// Name of a location of the target's own at this place.
pub fn own_location(
    ctx: &Context<impl Process>,
    key: &ClusterKey,
    place: &StoragePlace,
) -> Option<String> {
    let locations = ctx.locations.list(key);
    let mut own = locations
        .iter()
        .filter(|location| location::is_at(location, place))
        .map(|location| location.name_any())
        .filter(|name| !borrowed::is_borrowed(name));
    let first = own.next()?;
    // Of several the one that Velero itself prefers.
    let default = own.find(|name| name == labels::DEFAULT_STORAGE_LOCATION);
    Some(default.unwrap_or(first))
}

/// What keeps a target from reading a place, as far as its locations show that without a call.
pub fn cannot_open(
    ctx: &Context<impl Process>,
    key: &ClusterKey,
    place: Option<&StoragePlace>,
) -> Option<Problem> {
    if !is_live(&ctx.locations.state(key)) {
        return None;
    }
    let named = |name: &str| ctx.locations.get(key, NAMESPACE, name);
    let name = |place| own_location(ctx, key, place).unwrap_or_else(|| borrowed::name(place));
    let opened = place.and_then(|place| named(&name(place)));
    let default = named(labels::DEFAULT_STORAGE_LOCATION);
    shut(opened.as_deref(), default.as_deref(), place)
}

/// Why a place cannot be read through the location `opened` for it, or one that is to be made from the
/// target's own.
fn shut(
    opened: Option<&BackupStorageLocation>,
    default: Option<&BackupStorageLocation>,
    place: Option<&StoragePlace>,
) -> Option<Problem> {
    let unusable = |of: &BackupStorageLocation| location::available(&of.name_any(), of).err();
    match (opened, default) {
        // Velero has not looked at it yet.
        (Some(opened), _) if opened.phase().is_empty() => None,
        (Some(opened), _) => unusable(opened),
        (None, Some(default)) => {
            let other = place.and_then(|place| borrowed::build(place, default).err());
            other.or_else(|| unusable(default))
        }
        (None, None) => Some(no_default()),
    }
}

/// What is said of a target without a location of its own.
fn no_default() -> Problem {
    Problem::new(
        reason::STORAGE_LOCATION_NOT_FOUND,
        format!(
            "Velero has no BackupStorageLocation {} here, whose credentials are needed to read the \
             backup: create it in namespace velero",
            labels::DEFAULT_STORAGE_LOCATION
        ),
    )
}

/// The use that this operation makes of a location.
fn use_of(ctx: &Context<impl Process>, owner: &Owner) -> Use {
    Use {
        uid: owner.uid.clone(),
        hub: ctx.hub_uid.clone(),
        kind: owner.kind.to_owned(),
        namespace: owner.namespace.clone(),
        name: owner.name.clone(),
    }
}

/// The read-only location at this place, marked as used.
async fn borrow(
    api: &MemberApi<BackupStorageLocation>,
    place: &StoragePlace,
    by: &Use,
) -> Result<BackupStorageLocation, NotNow> {
    let own = api.get_opt(labels::DEFAULT_STORAGE_LOCATION).await?;
    let own = own.ok_or_else(|| NotNow::Waits(no_default()))?;
    let wanted = borrowed::build(place, &own).map_err(NotNow::Waits)?;
    let location = borrowed::ensure(api, &wanted).await?;
    if borrowed::claim(api, &location, by).await? {
        return Ok(location);
    }
    Err(NotNow::Failed(Problem::new(
        reason::STORAGE_LOCATION_UNAVAILABLE,
        format!(
            "BackupStorageLocation {} was removed by another operation that had ended: it is made \
             again",
            location.name_any()
        ),
    )))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{closed, said};
    use super::*;

    #[test]
    fn a_place_that_cannot_be_read_does_not_hide_the_others() {
        let all = vec![
            Err(closed("first")),
            Ok("north"),
            Err(closed("second")),
            Ok("south"),
        ];
        let (found, why) = readable(all).unwrap();
        assert_eq!(found, ["north", "south"]);
        assert_eq!(said::<()>(why.map_or(Ok(()), Err)), "first");
        let (found, why) = readable(vec![Ok("north")]).unwrap();
        assert!(found.len() == 1 && why.is_none());
        let none: Vec<Result<(), _>> = vec![Err(closed("first")), Err(closed("second"))];
        assert_eq!(said(readable(none)), "first");
    }

    #[test]
    fn a_place_that_cannot_be_read_is_told_before_anybody_asks() {
        let location = |name: &str, phase: &str| -> BackupStorageLocation {
            let object = json!({
                "metadata": { "name": name },
                "spec": { "provider": "aws" },
                "status": { "phase": phase },
            });
            serde_json::from_value(object).unwrap()
        };
        let of = |opened: Option<&str>, default: Option<&str>| {
            let opened = opened.map(|phase| location("kurator-from-0123456789", phase));
            let default = default.map(|phase| location("default", phase));
            shut(opened.as_ref(), default.as_ref(), None).map(|problem| problem.reason)
        };
        let bad = Some("StorageLocationUnavailable");
        assert_eq!(of(None, None), Some("StorageLocationNotFound"));
        assert_eq!(of(None, Some("Available")), None);
        assert_eq!(of(None, Some("Unavailable")), bad);
        assert_eq!(of(Some(""), Some("Unavailable")), None, "not looked at yet");
        assert_eq!(of(Some("Available"), Some("Unavailable")), None);
        assert_eq!(of(Some("Unavailable"), Some("Available")), bad);
        let elsewhere = StoragePlace {
            provider: "gcp".to_owned(),
            ..StoragePlace::default()
        };
        let other = shut(
            None,
            Some(&location("default", "Available")),
            Some(&elsewhere),
        );
        assert!(other.unwrap().message.contains("gcp"));
    }
}
