//! What a member refuses is asked for again ever later, and at once when it is something else.

use std::time::Duration;

use crate::problem::Problem;
use api_types::condition::reason;
use controller_kit::reconcile::backoff;
use tokio::time::Instant;

/// What one member refused last, if it refuses.
#[derive(Debug, Default)]
pub struct Refusal(Option<Refused>);

#[derive(Debug)]
struct Refused {
    /// What was asked, and of what.
    what: String,
    problem: Problem,
    times: u32,
    next: Instant,
}

/// Whether the same question will have the same answer until a person does something.
fn is_refusal(problem: &Problem) -> bool {
    matches!(
        problem.reason,
        reason::SCHEDULE_REJECTED | reason::BACKUP_REJECTED | reason::ACCESS_DENIED
    )
}

impl Refusal {
    /// What it said, and how long until it may be asked the very same again. `None`: now.
    pub fn stands(&self, what: &str) -> Option<(Problem, Duration)> {
        let refused = self.0.as_ref().filter(|refused| refused.what == what)?;
        let wait = refused.next.checked_duration_since(Instant::now())?;
        (!wait.is_zero()).then(|| (refused.problem.clone(), wait))
    }

    /// Notes why it was not done; returns how long to wait. `retry` is the first wait.
    pub fn note(&mut self, what: String, problem: &Problem, retry: Duration) -> Duration {
        if !is_refusal(problem) {
            self.clear();
            return retry;
        }
        let same = self.0.take().filter(|refused| refused.what == what);
        let times = same.map_or(0, |refused| refused.times).saturating_add(1);
        let wait = backoff(retry, times);
        self.0 = Some(Refused {
            what,
            problem: problem.clone(),
            times,
            next: Instant::now() + wait,
        });
        wait
    }

    /// It refuses nothing any more.
    pub fn clear(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Duration = Duration::from_secs(2);

    fn denied() -> Problem {
        Problem::new(reason::ACCESS_DENIED, "the member says no")
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_is_asked_again_ever_later_and_at_least_once_a_minute() {
        let mut refusal = Refusal::default();
        let mut waits = Vec::new();
        for _ in 0..8 {
            assert!(refusal.stands("a").is_none());
            let wait = refusal.note("a".to_owned(), &denied(), RETRY);
            assert_eq!(refusal.stands("a"), Some((denied(), wait)));
            waits.push(wait.as_secs());
            tokio::time::advance(wait).await;
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[tokio::test(start_paused = true)]
    async fn something_else_is_asked_at_once_and_starts_over() {
        let mut refusal = Refusal::default();
        for _ in 0..5 {
            refusal.note("a".to_owned(), &denied(), RETRY);
        }
        assert!(refusal.stands("b").is_none());
        assert_eq!(refusal.note("b".to_owned(), &denied(), RETRY), RETRY);
        assert!(refusal.stands("a").is_none());
        refusal.clear();
        assert!(refusal.stands("b").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_does_not_answer_refuses_nothing() {
        let mut refusal = Refusal::default();
        refusal.note("a".to_owned(), &denied(), RETRY);
        let silent = Problem::new(reason::UNREACHABLE, "");
        assert_eq!(refusal.note("a".to_owned(), &silent, RETRY), RETRY);
        assert!(refusal.stands("a").is_none());
    }
}
