//! Which members are to be searched for copies that nobody can read, how often, and from when. Pure.

use std::collections::BTreeMap;

use api_types::key::ClusterKey;
use tokio::time::Instant;

/// The searches that are still to be made.
#[derive(Debug, Default)]
pub(super) struct Searches(BTreeMap<ClusterKey, Owed>);

#[derive(Debug)]
struct Owed {
    times: u8,
    /// `None`: whenever it is swept next.
    from: Option<Instant>,
}

impl Searches {
    /// A member is to be searched so often, the first time not before `from`; `None`: whenever it is swept
    /// next. Of what is known and this the more and the sooner holds.
    pub(super) fn owe(&mut self, key: ClusterKey, times: u8, from: Option<Instant>) {
        let owed = self.0.entry(key).or_insert(Owed { times, from });
        owed.times = owed.times.max(times);
        owed.from = owed.from.min(from);
    }

    /// How many searches are left of a member whose turn it is for one, else 0. They are owed again by
    /// whoever makes it.
    pub(super) fn take(&mut self, key: &ClusterKey, now: Instant) -> u8 {
        let is_due = |owed: &Owed| owed.from.is_none_or(|from| from <= now);
        if !self.0.get(key).is_some_and(is_due) {
            return 0;
        }
        self.0.remove(key).map_or(0, |owed| owed.times)
    }

    /// When a member has to be swept for that.
    pub(super) fn due(&self, key: &ClusterKey) -> Option<Instant> {
        self.0.get(key)?.from
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
    }
}
