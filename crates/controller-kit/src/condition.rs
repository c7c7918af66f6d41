//! Conditions as kstatus reads them: `Ready` always there, `Reconciling` and `Stalled` only while
//! they hold, and never both.

use api_types::condition::{Condition, ConditionStatus, READY, RECONCILING, STALLED};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::text::truncate;

/// A message is at most this long.
pub const MESSAGE_BYTES: usize = 256;

/// What one condition is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aspect<'a> {
    /// The condition's type.
    pub type_: &'a str,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// One word that says why.
    pub reason: &'a str,
    /// What is the matter and what to do; cut at [`MESSAGE_BYTES`].
    pub message: &'a str,
}

/// What goes on beside being ready or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Nothing, and nothing is needed.
    Settled,
    /// Work goes on.
    Reconciling,
    /// Nothing will happen until somebody acts.
    Stalled,
}

/// Conditions being updated. The transition time moves only when a status flips.
#[derive(Debug)]
pub struct Conditions<'a> {
    /// The list.
    pub list: &'a mut Vec<Condition>,
    /// The generation of the spec that the conditions speak about.
    pub generation: Option<i64>,
    /// The present time.
    pub now: Timestamp,
}

impl Conditions<'_> {
    /// Sets one condition. True when its status flipped or it is new.
    pub fn set(&mut self, aspect: &Aspect<'_>) -> bool {
        let known = self
            .list
            .iter_mut()
            .find(|known| known.type_ == aspect.type_);
        let since = match &known {
            Some(known) if known.status == aspect.status => {
                Some(known.last_transition_time.clone())
            }
            _ => None,
        };
        let flipped = since.is_none();
        let condition = Condition {
            type_: aspect.type_.to_owned(),
            status: aspect.status,
            last_transition_time: since.unwrap_or(Time(self.now)),
            reason: aspect.reason.to_owned(),
            message: truncate(aspect.message, MESSAGE_BYTES),
            observed_generation: self.generation,
            severity: String::new(),
        };
        match known {
            Some(known) => *known = condition,
            None => self.list.push(condition),
        }
        flipped
    }

    /// Takes a condition away.
    pub fn remove(&mut self, type_: &str) {
        self.list.retain(|known| known.type_ != type_);
    }

    /// Sets `Ready`, and `Reconciling` or `Stalled` with the same words. True when `Ready` flipped.
    pub fn ready(
        &mut self,
        status: ConditionStatus,
        activity: Activity,
        reason: &str,
        message: &str,
    ) -> bool {
        let aspect = |type_, status| Aspect {
            type_,
            status,
            reason,
            message,
        };
        let flipped = self.set(&aspect(READY, status));
        for (type_, holds) in [
            (RECONCILING, activity == Activity::Reconciling),
            (STALLED, activity == Activity::Stalled),
        ] {
            if holds {
                self.set(&aspect(type_, ConditionStatus::True));
            } else {
                self.remove(type_);
            }
        }
        flipped
    }
}

#[cfg(test)]
mod tests {
    use api_types::condition::{find, is_true};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn update(list: &mut Vec<Condition>, second: i64) -> Conditions<'_> {
        Conditions {
            list,
            generation: Some(second),
            now: at(second),
        }
    }

    #[test]
    fn the_transition_time_moves_only_when_the_status_flips() {
        let mut list = Vec::new();
        let (no, yes) = (ConditionStatus::False, ConditionStatus::True);
        assert!(update(&mut list, 1).ready(no, Activity::Reconciling, "InProgress", "1 of 3"));
        assert!(!update(&mut list, 2).ready(no, Activity::Reconciling, "InProgress", "2 of 3"));
        let ready = find(&list, READY).unwrap();
        assert_eq!(ready.last_transition_time, Time(at(1)));
        assert_eq!(
            (ready.message.as_str(), ready.observed_generation),
            ("2 of 3", Some(2))
        );

        assert!(update(&mut list, 3).ready(yes, Activity::Settled, "Completed", ""));
        let ready = find(&list, READY).unwrap();
        assert_eq!(ready.last_transition_time, Time(at(3)));
    }

    #[test]
    fn reconciling_and_stalled_are_present_only_when_true_and_never_both() {
        let mut list = Vec::new();
        let no = ConditionStatus::False;
        for activity in [
            Activity::Reconciling,
            Activity::Stalled,
            Activity::Settled,
            Activity::Stalled,
            Activity::Reconciling,
        ] {
            update(&mut list, 1).ready(no, activity, "R", "m");
            let present = |type_| find(&list, type_).is_some();
            assert_eq!(present(RECONCILING), activity == Activity::Reconciling);
            assert_eq!(present(STALLED), activity == Activity::Stalled);
            assert_eq!(is_true(&list, RECONCILING), present(RECONCILING));
            assert!(present(READY));
        }
    }

    #[test]
    fn other_conditions_are_left_alone_and_messages_are_bounded() {
        let mut list = Vec::new();
        let holds = Aspect {
            type_: "Succeeded",
            status: ConditionStatus::True,
            reason: "Completed",
            message: &"é".repeat(400),
        };
        update(&mut list, 1).set(&holds);
        update(&mut list, 9).ready(ConditionStatus::True, Activity::Settled, "Completed", "");
        let kept = find(&list, "Succeeded").unwrap();
        assert_eq!(kept.last_transition_time, Time(at(1)));
        assert!(kept.message.len() <= MESSAGE_BYTES && kept.message.ends_with('…'));
    }
}
