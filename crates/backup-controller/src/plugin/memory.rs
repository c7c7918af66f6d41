//! What this process remembers of each member's store. Losing it costs a write and a look.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use api_types::common::StoragePlace;
use api_types::key::ClusterKey;
use jiff::Timestamp;
use tokio::time::Instant;

/// Memory of all Fleets, by uid.
#[derive(Debug, Default)]
pub struct Stores(Mutex<HashMap<String, HashMap<ClusterKey, Store>>>);

/// Memory of one member.
#[derive(Debug, Default, Clone)]
pub struct Store {
    /// Uid of the member's `kube-system`: another one has nothing of this.
    pub member_uid: String,
    /// Which credential was written there last, and when.
    pub credential: Option<(String, Instant)>,
    /// When the location was applied last.
    pub applied: Option<Instant>,
    /// What became of our marks on it.
    pub marks: Marks,
    /// Whose backups lie there.
    pub survey: Survey,
}

/// What is certain of our marks on a member's location. What a watch shows may be older than a write
/// that has just ended, or is still under way.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Marks {
    /// Nothing: another process may have made them.
    #[default]
    Unknown,
    /// Nothing, while a call to the member is under way.
    UnderWay,
    /// A write that makes them has begun.
    Begun,
    /// A live look since the last of those has shown, or brought about, that there are none.
    Released,
}

/// Whose backups lie where a location points, as Velero's sync shows them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The place, and the time of the last sync when the location was first seen to point there:
    /// what that sync brought may be of another place.
    began: Option<(StoragePlace, Option<Timestamp>)>,
    found: Option<Found>,
}

/// What the looks after syncs have shown.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    /// The sync whose result was looked at last.
    at: Timestamp,
    /// The ids of the members whose backups lay there then.
    last: BTreeSet<String>,
    /// Those of the look before it as well.
    foreign: BTreeSet<String>,
    /// Whether there was a look before it.
    again: bool,
}

impl Survey {
    /// Takes note of where the location points and of Velero's newest sync. `Some`: that sync is to
    /// be looked at.
    pub fn sight(&mut self, place: &StoragePlace, synced: Option<Timestamp>) -> Option<Timestamp> {
        match &self.began {
            Some((known, _)) if known == place => {}
            _ => {
                *self = Self {
                    began: Some((place.clone(), synced)),
                    found: None,
                };
            }
        }
        let before = self.began.as_ref().and_then(|(_, synced)| *synced);
        let looked = self.found.as_ref().map(|found| found.at);
        synced.filter(|at| Some(*at) != before && Some(*at) != looked)
    }

    /// The members whose backups lie there; `None` while that is not known. A sync that ends may have
    /// begun before the last change, so one look is enough to find somebody, and two in a row are
    /// needed to miss him.
    pub fn foreign(&self) -> Option<&BTreeSet<String>> {
        self.found.as_ref().map(|found| &found.foreign)
    }

    /// Whether it is certain that nobody else's lie there than [`Survey::foreign`] names.
    pub fn is_certain(&self) -> bool {
        self.found.as_ref().is_some_and(|found| found.again)
    }

    /// Takes over what a look has shown. `true`: something else than before.
    pub fn looked(&mut self, at: Timestamp, foreign: BTreeSet<String>) -> bool {
        let known = (self.foreign().cloned(), self.is_certain());
        let before = self.found.take();
        let last = before.as_ref().map(|found| found.last.clone());
        self.found = Some(Found {
            at,
            foreign: foreign
                .iter()
                .cloned()
                .chain(last.into_iter().flatten())
                .collect(),
            last: foreign,
            again: before.is_some(),
        });
        known != (self.foreign().cloned(), self.is_certain())
    }
}

impl Stores {
    /// Reads or changes the memory of one member. Never held across an await.
    pub fn with<T>(
        &self,
        fleet: &str,
        key: &ClusterKey,
        member_uid: &str,
        f: impl FnOnce(&mut Store) -> T,
    ) -> T {
        let mut all = self.lock();
        let fleet = all.entry(fleet.to_owned()).or_default();
        let store = fleet.entry(key.clone()).or_default();
        if store.member_uid != member_uid {
            *store = Store {
                member_uid: member_uid.to_owned(),
                ..Store::default()
            };
        }
        f(store)
    }

    /// What is remembered of a member that cannot be asked who it is.
    pub fn peek(&self, fleet: &str, key: &ClusterKey) -> Store {
        let all = self.lock();
        let store = all.get(fleet).and_then(|fleet| fleet.get(key));
        store.cloned().unwrap_or_default()
    }

    /// The clusters where a Fleet may have made marks that nobody has seen yet.
    pub fn begun(&self, fleet: &str) -> Vec<ClusterKey> {
        let all = self.lock();
        let stores = all.get(fleet).into_iter().flatten();
        let begun = stores.filter(|(_, store)| store.marks == Marks::Begun);
        begun.map(|(key, _)| key.clone()).collect()
    }

    /// Forgets a Fleet.
    pub fn forget(&self, fleet: &str) {
        self.lock().remove(fleet);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, HashMap<ClusterKey, Store>>> {
        // A panic while it was held leaves at worst an entry out of date.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use velero_kit::fixtures::place;

    use super::super::fixtures::at;
    use super::*;

    #[test]
    fn only_a_sync_after_the_location_points_there_is_looked_at_and_once() {
        let mut survey = Survey::default();
        assert_eq!(survey.sight(&place("a"), Some(at(1))), None, "of before");
        assert_eq!(survey.foreign(), None);
        assert_eq!(survey.sight(&place("a"), Some(at(2))), Some(at(2)));
        assert!(survey.looked(at(2), ["x".to_owned()].into()));
        assert_eq!(survey.sight(&place("a"), Some(at(2))), None);
        assert_eq!(survey.sight(&place("a"), Some(at(3))), Some(at(3)));
        assert!(!survey.is_certain());
        assert!(
            survey.looked(at(3), ["x".to_owned()].into()),
            "it is certain"
        );
        assert!(survey.is_certain());
        assert!(!survey.looked(at(4), BTreeSet::new()));
        let still: BTreeSet<String> = ["x".to_owned()].into();
        assert_eq!(survey.foreign(), Some(&still), "one look misses nobody");
        assert!(survey.looked(at(5), BTreeSet::new()));
        assert_eq!(survey.foreign(), Some(&BTreeSet::new()));

        assert_eq!(survey.sight(&place("b"), Some(at(4))), None);
        assert_eq!(survey.foreign(), None, "it is another place");
        let mut new = Survey::default();
        assert_eq!(new.sight(&place("a"), None), None);
        assert_eq!(new.sight(&place("a"), Some(at(9))), Some(at(9)));
    }

    #[test]
    fn where_marks_may_be_is_remembered_until_they_were_taken_off() {
        let stores = Stores::default();
        let key = ClusterKey::attached("team-a", "oslo");
        let set = |marks| stores.with("fleet", &key, "u", |store| store.marks = marks);
        set(Marks::Unknown);
        assert_eq!(stores.begun("fleet"), []);
        set(Marks::Begun);
        assert_eq!(stores.begun("fleet"), std::slice::from_ref(&key));
        assert_eq!(stores.begun("other"), []);
        assert_eq!(stores.peek("fleet", &key).marks, Marks::Begun);
        set(Marks::Released);
        assert_eq!(stores.begun("fleet"), []);
    }

    #[test]
    fn another_cluster_under_the_name_is_not_taken_for_the_former_one() {
        let stores = Stores::default();
        let key = ClusterKey::attached("team-a", "oslo");
        let write = |uid: &str| {
            stores.with("fleet", &key, uid, |store| {
                let known = store.applied.is_some();
                store.applied = Some(Instant::now());
                known
            })
        };
        assert!(!write("first") && write("first"));
        assert!(!write("second"));
        stores.forget("fleet");
        assert!(!write("second"));
    }
}
