//! How many collections are read for the first time at once, over all members.
//!
//! After a start, and when a controller comes back, every watch of every member begins at once.
//! Reads that failed before, or whose member did, have places of their own, and no member has more
//! than a few, so that members that hang or trickle do not keep the others waiting.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{error::Elapsed, timeout},
};

use super::Link;
use crate::watch::WatchKey;

const HEALTHY: u32 = 64;
const SUSPECT: u32 = 8;
/// Places of one member.
const OF_MEMBER: u32 = 8;
/// A collection that was larger than this takes one more place for each of these.
const BYTES_PER_PLACE: usize = 1024 * 1024;
/// No read takes longer, nor keeps its places.
pub const LOAD_MAX: Duration = Duration::from_mins(2);
/// So many sizes are remembered for a member.
const SIZES_MAX: usize = 64;

/// A collection that is to be read.
#[derive(Clone, Debug)]
pub struct Load {
    /// Its member's own places.
    pub of_member: Arc<Semaphore>,
    /// How large it was when it was last read, 0 if that is not known.
    pub bytes: usize,
    /// The last try failed, or the member failed recently.
    pub suspect: bool,
}

/// Places for first reads.
#[derive(Debug)]
pub struct LoadGate {
    healthy: Semaphore,
    suspect: Semaphore,
}

impl Default for LoadGate {
    fn default() -> Self {
        Self {
            healthy: Semaphore::new(HEALTHY as usize),
            suspect: Semaphore::new(SUSPECT as usize),
        }
    }
}

impl LoadGate {
    /// Waits for the read's turn, and gives it [`LOAD_MAX`].
    pub async fn run<T>(&self, load: Load, read: impl Future<Output = T>) -> Result<T, Elapsed> {
        let (places, most) = if load.suspect {
            (&self.suspect, SUSPECT)
        } else {
            (&self.healthy, HEALTHY)
        };
        let more = u32::try_from(load.bytes / BYTES_PER_PLACE).unwrap_or(most);
        let weight = more.saturating_add(1).min(most);
        // They are never closed, so there always are some. The member's own come first: whoever waits
        // for those waits behind nobody else.
        let _of_member = load.of_member.acquire_many(weight.min(OF_MEMBER)).await;
        let _places = places.acquire_many(weight).await;
        timeout(LOAD_MAX, read).await
    }
}

/// How large a member's collections were, and the places for reading them.
#[derive(Debug)]
pub(super) struct Sizes {
    known: Mutex<HashMap<WatchKey, usize>>,
    places: Arc<Semaphore>,
    /// Of reads that wait among the suspect ones, so that these hold up no other.
    suspect: Arc<Semaphore>,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            places: Arc::new(Semaphore::new(OF_MEMBER as usize)),
            suspect: Arc::new(Semaphore::new(OF_MEMBER as usize)),
        }
    }
}

impl Sizes {
    fn with<T>(&self, f: impl FnOnce(&mut HashMap<WatchKey, usize>) -> T) -> T {
        f(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn get(&self, key: &WatchKey) -> usize {
        self.with(|sizes| sizes.get(key).copied().unwrap_or(0))
    }

    fn set(&self, key: &WatchKey, bytes: usize) {
        self.with(|sizes| {
            if sizes.len() >= SIZES_MAX && !sizes.contains_key(key) {
                // Not worth more: they only spread the load.
                sizes.clear();
            }
            sizes.insert(key.clone(), bytes);
        });
    }
}

impl Link {
    /// The gate for first reads, and how heavy this one is.
    pub fn first_load(&self, key: &WatchKey, failed: bool) -> (Arc<LoadGate>, Load) {
        let suspect = failed || self.seat.failed_recently();
        let own = if suspect {
            &self.sizes.suspect
        } else {
            &self.sizes.places
        };
        let load = Load {
            of_member: Arc::clone(own),
            bytes: self.sizes.get(key),
            suspect,
        };
        (Arc::clone(&self.context.loads), load)
    }

    /// Remembers how large a collection is.
    pub fn loaded(&self, key: &WatchKey, bytes: usize) {
        self.sizes.set(key, bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        pin::pin,
    };

    use futures::{FutureExt, future::join_all, poll};
    use tokio::time::Instant;

    use super::*;
    use crate::{json::Projection, request::path::Gvr};

    /// The read of a member of its own.
    fn read(bytes: usize, suspect: bool) -> Load {
        Load {
            of_member: Sizes::default().places,
            bytes,
            suspect,
        }
    }

    fn small() -> Load {
        read(0, false)
    }

    fn dead() -> Load {
        read(0, true)
    }

    #[tokio::test(start_paused = true)]
    async fn members_that_hang_do_not_hold_the_places_of_others() {
        let gate = LoadGate::default();
        let mut hanging = pin!(join_all(
            (0..100).map(|_| gate.run(dead(), pending::<()>()))
        ));
        assert!(poll!(hanging.as_mut()).is_pending());
        assert!(gate.run(dead(), ready(())).now_or_never().is_none());
        assert!(gate.run(small(), ready(())).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn one_member_with_many_slow_collections_leaves_most_places_to_others() {
        let gate = LoadGate::default();
        for (bytes, left) in [(0, HEALTHY - OF_MEMBER), (7 * BYTES_PER_PLACE, HEALTHY - 8)] {
            let slow = read(bytes, false);
            let slow = (0..100).map(|_| gate.run(slow.clone(), pending::<()>()));
            let mut slow = pin!(join_all(slow));
            assert!(poll!(slow.as_mut()).is_pending());
            assert_eq!(gate.healthy.available_permits(), left as usize);
        }
        assert_eq!(gate.healthy.available_permits(), HEALTHY as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_hangs_gives_its_place_back() {
        let gate = LoadGate::default();
        let started = Instant::now();
        let hanging = (0..HEALTHY).map(|_| gate.run(small(), pending::<()>()));
        let next = gate.run(small(), async { started.elapsed() });
        let (hung, waited) = tokio::join!(join_all(hanging), next);
        assert!(hung.iter().all(Result::is_err));
        assert_eq!(waited.unwrap(), LOAD_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_collection_takes_more_places_but_never_more_than_there_are() {
        let gate = LoadGate::default();
        let large = || read(15 * BYTES_PER_PLACE, false);
        let mut four = pin!(join_all((0..4).map(|_| gate.run(large(), pending::<()>()))));
        assert!(poll!(four.as_mut()).is_pending());
        assert!(gate.run(small(), ready(())).now_or_never().is_none());
        let _ = four.await;
        for suspect in [false, true] {
            let huge = read(usize::MAX, suspect);
            assert!(gate.run(huge, ready(())).now_or_never().is_some());
        }
    }

    #[test]
    fn sizes_are_remembered_for_a_bounded_number_of_watches() {
        let sizes = Sizes::default();
        let key = |selector: usize| WatchKey {
            gvr: Gvr::new("", "v1", "configmaps").unwrap(),
            namespace: String::new(),
            selector: format!("n={selector}"),
            projection: Projection::Full,
        };
        for n in 0..1000 {
            sizes.set(&key(n), n);
            assert_eq!(sizes.get(&key(n)), n);
        }
        assert_eq!(sizes.get(&key(0)), 0);
        assert!(sizes.with(|sizes| sizes.len()) <= SIZES_MAX);
    }
}
