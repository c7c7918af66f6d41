//! Where the Velero Backups of one member lie, and what its locations show of that. Pure.

use std::time::Duration;

use api_types::aggregate::VeleroPhase;
use api_types::common::StoragePlace;
use api_types::external::velero;
use api_types::labels;
use jiff::Timestamp;
use kube::ResourceExt;

use crate::deletion::Step;
use crate::reading::wanted::location_of;
use crate::{borrowed, location as places};

/// What the hub knows of the Velero Backups of one cluster.
#[derive(Debug)]
pub struct Known<'a> {
    /// Their names, as far as they are known.
    pub names: Vec<String>,
    /// Where they lie, if that was written down.
    pub storage: Option<&'a StoragePlace>,
    /// Where the cluster has stored others before.
    pub earlier: Vec<&'a StoragePlace>,
    /// Some may lie there that have no name here, since the cluster has left.
    pub left: bool,
    /// Name of the location that new ones are stored in.
    pub location: &'a str,
}

impl Known<'_> {
    /// Whether a location is where new ones are stored, as far as that was written down.
    pub(super) fn is_stored_at(&self, location: &velero::BackupStorageLocation) -> bool {
        self.storage
            .is_none_or(|storage| places::is_at(location, storage))
    }
}

/// The locations of a member that are its own: through one that only reads, nothing is deleted, and
/// what is shown there lies at a place that counts by itself.
fn is_own(location: &velero::BackupStorageLocation) -> bool {
    !borrowed::is_borrowed(&location.name_any())
}

/// A location of the member's own at a place: `preferred`, if it is there.
pub(super) fn at<'a>(
    locations: &'a [velero::BackupStorageLocation],
    place: &StoragePlace,
    preferred: &str,
) -> Option<&'a velero::BackupStorageLocation> {
    let all = locations.iter();
    let there: Vec<_> = all
        .filter(|location| is_own(location) && places::is_at(location, place))
        .collect();
    let first = there.first().copied();
    let named = there
        .into_iter()
        .find(|location| location.name_any() == preferred);
    named.or(first)
}

/// The location that a member shows a backup in.
pub(super) fn shown_in<'a>(
    backup: Option<&velero::Backup>,
    locations: &'a [velero::BackupStorageLocation],
) -> Option<&'a velero::BackupStorageLocation> {
    let name = location_of(backup?);
    let mut locations = locations.iter();
    locations.find(|location| location.name_any() == name)
}

/// Velero deletes through a location only, and where it finds nothing it says that it has succeeded.
pub(super) fn out_of_sight(place: &StoragePlace) -> Step {
    let StoragePlace { bucket, prefix, .. } = place;
    Step::Wait {
        why: format!(
            "no location of this cluster is at {bucket}/{prefix}, where backups lie: make a \
             BackupStorageLocation there, or annotate {}=true to leave them",
            labels::FORCE_DELETE
        ),
        again: LOOK,
    }
}

/// What is said of a backup that Velero shows in a location that was moved.
pub(super) fn unsure(name: &str) -> Step {
    Step::Wait {
        why: format!(
            "waiting for Velero's next two looks into location {name}, a minute or two apart, to be \
             sure of what lies there"
        ),
        again: LOOK,
    }
}

/// When Velero last looked at what a Backup lies in: the location that it was `seen_in`, else the one
/// at the place that is written down, else the one of today's spec. In another one its absence proves
/// nothing.
pub(super) fn synced(
    locations: &[velero::BackupStorageLocation],
    seen_in: Option<&String>,
    known: &Known<'_>,
) -> Option<Timestamp> {
    let named = |name: &str| {
        let mut locations = locations.iter();
        locations.find(|location| location.metadata.name.as_deref() == Some(name))
    };
    let found = match (seen_in, known.storage) {
        (Some(name), _) => named(name),
        (None, Some(storage)) => at(locations, storage, known.location),
        (None, None) => named(known.location),
    };
    found.and_then(velero::BackupStorageLocation::last_synced_time)
}

/// Whether nothing becomes of a backup any more.
pub(super) fn is_final(backup: &velero::Backup) -> bool {
    VeleroPhase::of(backup.phase()).is_final()
}

/// A place as one text: what two places share is not enough to be one.
pub(super) fn key_of(place: &StoragePlace) -> String {
    let StoragePlace {
        provider,
        endpoint,
        bucket,
        prefix,
    } = places::normal(place);
    format!("{provider} {endpoint} {bucket} {prefix}")
}

/// A place as people write it.
pub(super) fn label(place: &StoragePlace) -> String {
    format!("{}/{}", place.bucket, places::normal(place).prefix)
}

/// Whether a backup is no copy that was made for reading it.
pub(super) fn is_deletable(backup: &velero::Backup) -> bool {
    !borrowed::is_borrowed(&location_of(backup))
}

/// How long until a place is looked at again.
const LOOK: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn location(name: &str, bucket: &str, second: i64) -> velero::BackupStorageLocation {
        let object = json!({
            "metadata": { "name": name },
            "spec": { "provider": "aws", "objectStorage": { "bucket": bucket } },
            "status": { "lastSyncedTime": Timestamp::from_second(second).unwrap().to_string() },
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn a_run_is_missed_only_where_it_lay() {
        let locations = [
            location("kurator-from-0123456789", "old", 1),
            location("archive", "old", 2),
            location("default", "new", 3),
        ];
        let at = |bucket: &str| StoragePlace {
            provider: "aws".to_owned(),
            bucket: bucket.to_owned(),
            ..StoragePlace::default()
        };
        let (old, new, none) = (at("old"), at("new"), at("elsewhere"));
        let of = |seen_in: Option<&str>, storage: Option<&StoragePlace>| {
            let seen_in = seen_in.map(str::to_owned);
            let known = Known {
                names: Vec::new(),
                storage,
                earlier: Vec::new(),
                left: false,
                location: "default",
            };
            let synced = synced(&locations, seen_in.as_ref(), &known);
            synced.map(Timestamp::as_second)
        };
        assert_eq!(of(Some("archive"), Some(&new)), Some(2));
        assert_eq!(of(Some("removed"), Some(&new)), None);
        assert_eq!(
            of(None, Some(&old)),
            Some(2),
            "never a location that only reads"
        );
        assert_eq!(of(None, Some(&new)), Some(3));
        assert_eq!(of(None, Some(&none)), None, "no location looks there");
        assert_eq!(of(None, None), Some(3));
    }
}
