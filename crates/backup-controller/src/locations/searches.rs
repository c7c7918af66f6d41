//! Which members are to be searched for copies that nobody can read, how often, and from when. Pure.

use std::collections::BTreeMap;

use api_types::key::ClusterKey;
use tokio::time::Instant;

/// The searches that are still to be made.
#[derive(Debug, Default)]
pub(super) struct Searches(BTreeMap<ClusterKey, Owed>);

#[derive(Debug, Default)]
struct Owed {
    /// So many, the first whenever it is swept next.
    now: u8,
    /// So many, the first not before then.
    later: Option<(u8, Instant)>,
}

impl Searches {
    /// A member is to be searched so often, the first time not before `from`; `None`: whenever it is swept
    /// next, which is none of those that are to come later. Of what is known and this the more and the
    /// sooner holds.
    pub(super) fn owe(&mut self, key: ClusterKey, times: u8, from: Option<Instant>) {
        let owed = self.0.entry(key).or_default();
        match (from, owed.later) {
            (None, _) => owed.now = owed.now.max(times),
            (Some(from), None) => owed.later = Some((times, from)),
            (Some(from), Some((known, at))) => owed.later = Some((known.max(times), at.min(from))),
        }
    }

    /// How many searches are left of a member whose turn it is for one, else 0. They are owed again by
    /// whoever makes it.
    pub(super) fn take(&mut self, key: &ClusterKey, now: Instant) -> u8 {
        let Some(owed) = self.0.get_mut(key) else {
            return 0;
        };
        let mut times = std::mem::take(&mut owed.now);
        if let Some((later, _)) = owed.later.take_if(|(_, from)| *from <= now) {
            times = times.max(later);
        }
        if owed.later.is_none() {
            self.0.remove(key);
        }
        times
    }

    /// When a member has to be swept for one that is to come later.
    pub(super) fn due(&self, key: &ClusterKey) -> Option<Instant> {
        self.0.get(key)?.later.map(|(_, from)| from)
    }

    /// Forgets the members that are not known any more.
    pub(super) fn keep(&mut self, known: &[ClusterKey]) {
        self.0.retain(|key, _| known.contains(key));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backup::fixtures::key;

    #[test]
    fn a_sweep_for_another_reason_does_not_use_up_a_search_that_is_to_come_later() {
        let now = Instant::now();
        let later = now + Duration::from_secs(10);
        let (oslo, bergen) = (key("oslo"), key("bergen"));
        let mut searches = Searches::default();
        searches.owe(oslo.clone(), 2, None);
        assert_eq!(searches.take(&bergen, now), 0);
        assert_eq!(searches.due(&oslo), None);
        assert_eq!(searches.take(&oslo, now), 2);
        // The first has found nothing.
        searches.owe(oslo.clone(), 1, Some(later));
        assert_eq!(searches.take(&oslo, now), 0);
        assert_eq!(searches.due(&oslo), Some(later));
        assert_eq!(searches.take(&oslo, later), 1);
        assert_eq!(searches.take(&oslo, later), 0);
        // Another location goes while the second one is waited for.
        searches.owe(oslo.clone(), 1, Some(later));
        searches.owe(oslo.clone(), 2, None);
        assert_eq!(searches.take(&oslo, now), 2);
        assert_eq!(searches.take(&oslo, now), 0);
        assert_eq!(searches.take(&oslo, later), 1);
        // A member that is gone.
        searches.owe(oslo.clone(), 2, None);
        searches.keep(std::slice::from_ref(&bergen));
        assert_eq!(searches.take(&oslo, later), 0);
    }
}
