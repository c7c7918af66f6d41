//! Since when is it the next run's turn? Pure.

use jiff::Timestamp;

/// What was seen of the runs that keep Velero from starting the next one. No object says when a run
/// came out of that: not one that plugins still work for, nor one that somebody has deleted.
#[derive(Debug, Default, Clone, Copy)]
pub struct Turn {
    held: bool,
    since: Option<Timestamp>,
}

impl Turn {
    /// Notes what is seen now, and says since when none is in the way; `None` if that was so from the
    /// beginning.
    pub fn note(&mut self, held: bool, now: Timestamp) -> Option<Timestamp> {
        if self.held && !held {
            self.since = Some(now);
        }
        self.held = held;
        self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::fixtures::at;

    #[test]
    fn it_is_the_next_run_s_turn_from_when_the_one_before_was_seen_out_of_the_way() {
        let mut turn = Turn::default();
        assert_eq!(turn.note(false, at(0)), None);
        assert_eq!(turn.note(true, at(10)), None);
        assert_eq!(turn.note(true, at(20)), None);
        assert_eq!(turn.note(false, at(30)), Some(at(30)));
        assert_eq!(turn.note(false, at(40)), Some(at(30)));
        assert_eq!(turn.note(true, at(50)), Some(at(30)));
        assert_eq!(turn.note(false, at(60)), Some(at(60)));
    }
}
