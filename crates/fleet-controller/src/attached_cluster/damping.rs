//! When a status that differs is written: news at once, a flapping member and mere details later.

use std::collections::VecDeque;
use std::time::Duration;

use api_types::cluster::AttachedClusterStatus;
use api_types::condition::{self, reason};
use jiff::Timestamp;

use crate::timings::Timings;

/// How many times a member may change within [`Timings::flap_window`] before changes wait.
const CHANGES_IN_WINDOW: usize = 2;

/// What a new status says beside the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing.
    Nothing,
    /// The member answered once more; all else is as it was.
    Seen,
    /// Details of a member that is as well as before.
    Details,
    /// A member that was known to be one thing is now another: it may be flapping.
    Turn,
    /// What a person or a Fleet did, or the first that is known of the member.
    Plain,
}

/// Compares two states of a status.
pub fn news(old: Option<&AttachedClusterStatus>, new: &AttachedClusterStatus) -> News {
    let Some(old) = old else { return News::Plain };
    if old == new {
        return News::Nothing;
    }
    let but_seen = AttachedClusterStatus {
        last_seen_time: new.last_seen_time.clone(),
        ..old.clone()
    };
    if but_seen == *new {
        return if old.last_seen_time.is_some() {
            News::Seen
        } else {
            News::Plain
        };
    }
    let (was, is) = (ready_reason(old), ready_reason(new));
    let settled = |reason: &str| !["", reason::CONNECTING, reason::IN_USE].contains(&reason);
    if was != is {
        return if settled(was) && settled(is) {
            News::Turn
        } else {
            News::Plain
        };
    }
    let first_known = (old.nodes.is_none() && new.nodes.is_some())
        || (old.cluster_uid.is_none() && new.cluster_uid.is_some())
        || (old.kubernetes_version.is_none() && new.kubernetes_version.is_some());
    let asked = old.fleet != new.fleet
        || old.observed_generation != new.observed_generation
        || is == reason::IN_USE;
    if first_known || asked {
        News::Plain
    } else {
        News::Details
    }
}

fn ready_reason(status: &AttachedClusterStatus) -> &str {
    condition::find(&status.conditions, condition::READY).map_or("", |ready| ready.reason.as_str())
}

/// What was written of one member lately.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    turns: VecDeque<Timestamp>,
    last: Option<Timestamp>,
}

impl Recent {
    /// How long news has to wait; zero means that it is due.
    pub fn wait(
        &self,
        news: News,
        seen: Option<Timestamp>,
        now: Timestamp,
        timings: &Timings,
    ) -> Duration {
        let due = match news {
            News::Nothing | News::Plain => None,
            News::Seen => seen.map(|seen| (seen, timings.last_seen)),
            News::Details => self.last.map(|last| (last, timings.detail_pace)),
            News::Turn if self.turns.len() < CHANGES_IN_WINDOW => None,
            News::Turn => self
                .turns
                .front()
                .map(|first| (*first, timings.flap_window)),
        };
        due.map_or(Duration::ZERO, |(since, pause)| left(since, pause, now))
    }

    /// Takes note of a write.
    pub fn wrote(&mut self, news: News, now: Timestamp) {
        self.last = Some(now);
        if news == News::Turn {
            self.turns.push_back(now);
            while self.turns.len() > CHANGES_IN_WINDOW {
                self.turns.pop_front();
            }
        }
    }
}

/// What is left of a pause that began at `since`; a clock that went back does not prolong it.
pub fn left(since: Timestamp, pause: Duration, now: Timestamp) -> Duration {
    let passed = now.duration_since(since);
    let passed = Duration::try_from(passed).unwrap_or(Duration::ZERO);
    pause.saturating_sub(passed)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::fixture::{at, attached_status};

    type Change = fn(&mut AttachedClusterStatus);

    #[test]
    fn news_is_classed_by_who_made_it() {
        let cases: [(Change, News); 8] = [
            (|_| {}, News::Nothing),
            (
                |status| status.last_seen_time = Some(Time(at(60))),
                News::Seen,
            ),
            (|status| status.nodes = Some(4), News::Details),
            (
                |status| status.conditions[0].message = "still well".into(),
                News::Details,
            ),
            (
                |status| status.conditions[0].reason = reason::UNREACHABLE.into(),
                News::Turn,
            ),
            (
                |status| status.conditions[0].reason = reason::IN_USE.into(),
                News::Plain,
            ),
            (|status| status.fleet = Some("north".into()), News::Plain),
            (|status| status.observed_generation = Some(2), News::Plain),
        ];
        let old = attached_status(reason::CONNECTED);
        for (case, (change, expected)) in cases.into_iter().enumerate() {
            let mut new = old.clone();
            change(&mut new);
            assert_eq!(news(Some(&old), &new), expected, "case {case}");
        }
    }

    #[test]
    fn what_is_learned_first_is_written_at_once() {
        let new = attached_status(reason::CONNECTED);
        assert_eq!(news(None, &new), News::Plain);
        assert_eq!(
            news(Some(&attached_status(reason::CONNECTING)), &new),
            News::Plain
        );
        let mut unknown = new.clone();
        unknown.nodes = None;
        assert_eq!(news(Some(&unknown), &new), News::Plain);
    }

    #[test]
    fn a_member_up_and_down_every_five_seconds_is_written_twice_a_minute() {
        let timings = Timings::default();
        let mut recent = Recent::default();
        let mut written = Vec::new();
        let mut shown = 0;
        for second in 0..600 {
            let state = second / 5 % 2;
            if state != shown
                && recent
                    .wait(News::Turn, None, at(second), &timings)
                    .is_zero()
            {
                recent.wrote(News::Turn, at(second));
                written.push(second);
                shown = state;
            }
        }
        assert_eq!(
            written[..2],
            [5, 10],
            "the first changes are written at once"
        );
        for minute in 0..540 {
            let writes = written
                .iter()
                .filter(|at| (minute..minute + 60).contains(*at))
                .count();
            assert!(
                writes <= 2,
                "{writes} writes in the minute from second {minute}: {written:?}"
            );
        }
        assert!(
            written.len() >= 15,
            "changes go on being shown: {written:?}"
        );
    }

    #[test]
    fn a_change_that_is_held_back_tells_when_it_is_due() {
        let timings = Timings::default();
        let mut recent = Recent::default();
        recent.wrote(News::Turn, at(0));
        recent.wrote(News::Turn, at(10));
        assert_eq!(
            recent.wait(News::Turn, None, at(20), &timings),
            Duration::from_secs(40)
        );
        assert_eq!(
            recent.wait(News::Plain, None, at(20), &timings),
            Duration::ZERO
        );
        assert_eq!(
            recent.wait(News::Details, None, at(20), &timings),
            Duration::from_secs(20)
        );
        assert_eq!(
            recent.wait(News::Turn, None, at(60), &timings),
            Duration::ZERO
        );
    }

    #[test]
    fn contact_alone_is_written_every_half_hour() {
        let timings = Timings::default();
        let recent = Recent::default();
        let wait = |now| recent.wait(News::Seen, Some(at(0)), at(now), &timings);
        assert_eq!(wait(60), Duration::from_mins(29));
        assert_eq!(wait(1800), Duration::ZERO);
    }
}
