//! When a candidate takes a Lease. Pure: it is told the time, by a clock that nobody can set.
//!
//! A holder's `renewTime` is only compared with what it was before, never with a clock: the clocks of
//! two machines may be hours apart. A holder gives up 17 s after it has *begun* to write
//! its last renewal, and a candidate starts to count after it has *read* it, so that it never takes
//! what somebody still holds.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::Instant;

/// How often a Lease of somebody else is looked at: one that was given back is taken this soon.
const LOOK: Duration = Duration::from_secs(2);
/// A holder that claims more is not waited for any longer.
const LONGEST: Duration = Duration::from_mins(10);

/// What a candidate does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Takes the Lease in the version that it has read.
    Take,
    /// Looks again after this.
    Look(Duration),
}

/// A replica that does not lead, and what it has seen so far.
#[derive(Debug)]
pub(super) struct Candidate {
    identity: String,
    seen: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    holder: String,
    renewed: Option<MicroTime>,
    /// When this renewal was read for the first time.
    since: Instant,
}

impl Candidate {
    /// One that has seen nothing yet.
    pub(super) fn new(identity: &str) -> Self {
        Self {
            identity: identity.to_owned(),
            seen: None,
        }
    }

    /// What to do about a Lease that was read just before `now`.
    pub(super) fn step(&mut self, lease: &Lease, now: Instant) -> Step {
        let absent = LeaseSpec::default();
        let spec = lease.spec.as_ref().unwrap_or(&absent);
        let Some(holder) = holder(lease).filter(|holder| *holder != self.identity) else {
            // Nobody's, or what an earlier try of ours has left.
            self.seen = None;
            return Step::Take;
        };
        let seen = self
            .seen
            .take()
            .filter(|seen| seen.holder == holder && seen.renewed == spec.renew_time);
        let seen = self.seen.insert(seen.unwrap_or_else(|| Seen {
            holder: holder.to_owned(),
            renewed: spec.renew_time.clone(),
            since: now,
        }));
        let left = lasts(spec).saturating_sub(now.duration_since(seen.since));
        if left.is_zero() {
            return Step::Take;
        }
        Step::Look(left.min(LOOK))
    }
}

/// Who holds a Lease; one that was given back names nobody.
pub(super) fn holder(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref();
    holder.filter(|holder| !holder.is_empty())
}

/// For how long a renewal holds, as the holder says.
fn lasts(spec: &LeaseSpec) -> Duration {
    let seconds = spec.lease_duration_seconds.unwrap_or_default();
    match u64::try_from(seconds) {
        Ok(seconds @ 1..) => Duration::from_secs(seconds).min(LONGEST),
        _ => super::DURATION,
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn lease(holder: Option<&str>, renewed: Timestamp, seconds: i32) -> Lease {
        Lease {
            spec: Some(LeaseSpec {
                holder_identity: holder.map(str::to_owned),
                renew_time: Some(MicroTime(renewed)),
                lease_duration_seconds: Some(seconds),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        }
    }

    #[test]
    fn a_lease_of_nobody_or_of_its_own_is_taken_at_once() {
        let (now, today) = (Instant::now(), Timestamp::now());
        for free in [
            Lease::default(),
            lease(None, today, 20),
            lease(Some(""), today, 20),
            lease(Some("me"), today, 20),
        ] {
            assert_eq!(Candidate::new("me").step(&free, now), Step::Take);
        }
    }

    #[test]
    fn a_renewal_holds_for_its_time_since_it_was_first_read_whatever_the_clocks_say() {
        let start = Instant::now();
        for skew in [-3600, -30, 0, 30, 3600] {
            let renewed = Timestamp::now() + SignedDuration::from_secs(skew);
            let mut candidate = Candidate::new("me");
            let dead = lease(Some("other"), renewed, 20);
            assert_eq!(candidate.step(&dead, start), Step::Look(LOOK), "{skew}");
            let almost = start + 19 * SECOND;
            assert_eq!(candidate.step(&dead, almost), Step::Look(SECOND), "{skew}");
            assert_eq!(candidate.step(&dead, start + 20 * SECOND), Step::Take);
        }
    }

    #[test]
    fn a_holder_that_renews_is_never_overtaken_also_when_its_clock_steps_back() {
        let start = Instant::now();
        let mut candidate = Candidate::new("me");
        let mut renewed = Timestamp::now();
        for turn in 0..100 {
            let step = if turn % 7 == 0 { -3600 } else { 10 };
            renewed += SignedDuration::from_secs(step);
            let living = lease(Some("other"), renewed, 20);
            let now = start + turn * 19 * SECOND;
            assert_eq!(candidate.step(&living, now), Step::Look(LOOK), "{turn}");
        }
    }

    #[test]
    fn another_holder_has_its_own_time() {
        let (start, today) = (Instant::now(), Timestamp::now());
        let mut candidate = Candidate::new("me");
        candidate.step(&lease(Some("first"), today, 20), start);
        let later = start + 20 * SECOND;
        let second = lease(Some("second"), today, 20);
        assert_eq!(candidate.step(&second, later), Step::Look(LOOK));
        // Given back and taken again between two looks.
        candidate.step(&lease(None, today, 20), later);
        assert_eq!(
            candidate.step(&second, later + 20 * SECOND),
            Step::Look(LOOK)
        );
    }

    #[test]
    fn a_claim_without_a_sane_duration_is_waited_for_as_one_of_ours_or_ten_minutes_at_most() {
        let (start, today) = (Instant::now(), Timestamp::now());
        for (seconds, lasts) in [(0, 20 * SECOND), (-5, 20 * SECOND), (i32::MAX, LONGEST)] {
            let mut candidate = Candidate::new("me");
            let odd = lease(Some("other"), today, seconds);
            candidate.step(&odd, start);
            let almost = candidate.step(&odd, start + lasts - SECOND);
            assert_eq!(almost, Step::Look(SECOND));
            assert_eq!(candidate.step(&odd, start + lasts), Step::Take);
        }
    }
}
