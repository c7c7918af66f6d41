//! Which locations Velero has surely looked into since they are at their place.
//!
//! When a location is given another place, Velero still shows in it what lies at the one before, until
//! it has looked: a restore of that would fail for good, and a deletion would find nothing to delete
//! and call that a success.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use api_types::common::StoragePlace;
use api_types::condition::reason;
use api_types::external::velero::BackupStorageLocation;
use api_types::key::ClusterKey;
use jiff::Timestamp;
use kube::ResourceExt;

use crate::operation::context::{Context, Process};
use crate::problem::Problem;
use crate::{borrowed, location};

/// Velero writes the time at the end of a look. The first one that ends may have begun before the
/// location was where it is; the second one has not.
const PROOF: u8 = 2;

/// What this process has seen of all locations. Losing it costs two of Velero's looks.
#[derive(Debug, Default)]
pub struct Settled(Mutex<BTreeMap<(ClusterKey, String), Seen>>);

#[derive(Debug)]
struct Seen {
    uid: Option<String>,
    place: StoragePlace,
    /// The newest `lastSyncedTime`.
    synced: Option<Timestamp>,
    /// The one before.
    before: Option<Timestamp>,
    /// How often it has moved since the location is at this place.
    syncs: u8,
    /// Whether [`Settled::proves`] has said so.
    told: bool,
}

impl Seen {
    fn of(location: &BackupStorageLocation) -> Self {
        Self {
            uid: location.uid(),
            place: location::storage(location),
            synced: location.last_synced_time(),
            before: None,
            syncs: 0,
            told: false,
        }
    }
}

impl Settled {
    /// Takes in a location as it is now. Returns whether what Velero shows in it lies at its place.
    pub fn note(&self, key: &ClusterKey, location: &BackupStorageLocation) -> bool {
        let mut all = self.lock();
        let seen = all
            .entry((key.clone(), location.name_any()))
            .or_insert_with(|| Seen::of(location));
        if seen.uid != location.uid() || !location::is_at(location, &seen.place) {
            *seen = Seen::of(location);
        }
        let synced = location.last_synced_time();
        if synced > seen.synced {
            seen.before = std::mem::replace(&mut seen.synced, synced);
            seen.syncs = seen.syncs.saturating_add(1);
        }
        seen.syncs >= PROOF
    }

    /// The same, true only the first time: nothing else tells those who wait for it.
    pub fn proves(&self, key: &ClusterKey, location: &BackupStorageLocation) -> bool {
        if !self.note(key, location) {
            return false;
        }
        let mut all = self.lock();
        let seen = all.get_mut(&(key.clone(), location.name_any()));
        seen.is_some_and(|seen| !std::mem::replace(&mut seen.told, true))
    }

    /// Whether Velero has begun and ended a look into a location after `then`: the look that ends next
    /// may have begun before.
    pub fn has_looked_since(
        &self,
        key: &ClusterKey,
        location: &BackupStorageLocation,
        then: Timestamp,
    ) -> bool {
        self.note(key, location);
        let all = self.lock();
        let seen = all.get(&(key.clone(), location.name_any()));
        let before = seen.and_then(|seen| seen.before);
        before.is_some_and(|before| before > then)
    }

    /// A location that is gone.
    pub fn forget(&self, key: &ClusterKey, name: &str) {
        self.lock().remove(&(key.clone(), name.to_owned()));
    }

    /// Forgets the members that are not known any more.
    pub fn keep(&self, known: &[ClusterKey]) {
        self.lock().retain(|(key, _), _| known.contains(key));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(ClusterKey, String), Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether what Velero shows in a location lies at its place: one that only reads is never moved.
pub fn is_sure(
    ctx: &Context<impl Process>,
    key: &ClusterKey,
    found: &BackupStorageLocation,
) -> bool {
    borrowed::is_borrowed(&found.name_any()) || ctx.settled.note(key, found)
}

/// What is said of a location that is not settled.
pub fn unsettled(key: &ClusterKey, name: &str) -> Problem {
    Problem::new(
        reason::BACKUP_NOT_SYNCED,
        format!(
            "whether Velero shows in location {name} of {} what lies at its present place is certain \
             after its next two looks, a minute or two apart",
            key.name
        ),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::key;

    fn location(prefix: &str, second: i64) -> BackupStorageLocation {
        let object = json!({
            "metadata": { "name": "default", "uid": "l" },
            "spec": { "provider": "aws", "objectStorage": { "bucket": "b", "prefix": prefix } },
            "status": { "lastSyncedTime": Timestamp::from_second(second).unwrap().to_string() },
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn what_a_location_shows_is_there_once_velero_has_looked_twice_at_its_place() {
        let settled = Settled::default();
        let oslo = key("oslo");
        assert!(!settled.note(&oslo, &location("old", 1)), "a new process");
        assert!(!settled.note(&oslo, &location("old", 1)), "nothing new");
        assert!(!settled.note(&oslo, &location("old", 60)));
        assert!(settled.note(&oslo, &location("old", 120)));
        assert!(settled.note(&oslo, &location("old/", 120)), "the same");
        assert!(!settled.note(&key("bergen"), &location("old", 120)));

        assert!(settled.proves(&oslo, &location("old", 120)));
        assert!(!settled.proves(&oslo, &location("old", 180)), "it was told");

        // It moves: what was seen at the old place proves nothing.
        assert!(!settled.note(&oslo, &location("new", 120)));
        assert!(!settled.note(&oslo, &location("new", 180)));
        assert!(!settled.proves(&oslo, &location("new", 120)), "a late news");
        assert!(settled.proves(&oslo, &location("new", 240)));
        let mut anew = location("new", 300);
        anew.metadata.uid = Some("another".to_owned());
        assert!(!settled.note(&oslo, &anew));
        assert!(!settled.note(&oslo, &{
            anew.status["lastSyncedTime"] = json!("2026-11-23T09:00:00Z");
            anew.clone()
        }));
        settled.forget(&oslo, "default");
        assert!(!settled.note(&oslo, &anew));
        settled.keep(&[key("bergen")]);
        assert_eq!(settled.lock().len(), 1);
    }

    #[test]
    fn the_second_look_that_ends_after_a_time_has_begun_after_it() {
        let settled = Settled::default();
        let oslo = key("oslo");
        let looked = |synced: i64, then: i64| {
            let then = Timestamp::from_second(then).unwrap();
            settled.has_looked_since(&oslo, &location("p", synced), then)
        };
        assert!(!looked(60, 50), "a new process");
        assert!(looked(120, 50));
        assert!(!looked(120, 60), "one may end as another begins");
        assert!(!looked(120, 100));
        assert!(looked(180, 100));
        assert!(!looked(180, 150));
    }
}
