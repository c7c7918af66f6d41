//! What ends a round of a watch, what subscribers hear of it, and how long until the next.

use std::time::Duration;

use proxy_client::proto::link_state;
use tonic::Code;

use super::{
    SyncReason,
    cache::Cache,
    lines::LineTooLong,
    upstream::{SHORT_WATCH, Upstream},
};
use crate::{
    error::{CallError, Retryable, WriteOutcome},
    link::breaker::{backoff, jitter},
    request::answer::clean,
};

/// The reason of what was not read to its end.
pub(super) const TOO_LARGE: &str = "MEMBER_RESPONSE_TOO_LARGE";
/// A refusal by RBAC or a full cache is tried again this slowly.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// What ended a round.
pub(super) enum Stop {
    /// The resource version is too old: list again, send differences.
    Gone,
    /// The member is not the one it was.
    Reincarnated,
    /// All watches of the link together hold too much.
    OverBudget,
    /// An event of an object that is larger than is read: a list leaves that object out.
    LineTooLong(LineTooLong),
    /// Anything else.
    Failed(CallError),
}

impl From<CallError> for Stop {
    fn from(error: CallError) -> Self {
        Self::Failed(error)
    }
}

impl From<LineTooLong> for Stop {
    fn from(error: LineTooLong) -> Self {
        Self::LineTooLong(error)
    }
}

impl Upstream {
    /// Makes the state fit what happened, and says how long to wait.
    pub(super) fn stopped(&mut self, stop: Stop) -> Duration {
        self.settle();
        self.with(Cache::ended);
        self.failures += 1;
        match stop {
            Stop::Gone => {
                self.revision = None;
                self.down("WATCH_EXPIRED");
                relist_pause(self.failures, jitter())
            }
            Stop::Reincarnated => {
                self.member_uid = None;
                self.revision = None;
                self.with(|cache| cache.reset(SyncReason::MemberReincarnated));
                self.down("MEMBER_REINCARNATED");
                relist_pause(self.failures, jitter()).max(SHORT_WATCH)
            }
            Stop::OverBudget => {
                self.revision = None;
                self.with(|cache| cache.reset(SyncReason::Relist));
                self.report(&over_budget(&self.what));
                REFUSED_PAUSE
            }
            Stop::LineTooLong(error) => {
                self.revision = None;
                self.down(TOO_LARGE);
                // The first may be one of a healthy member. After a new list there should be none.
                if self.failures > 1 {
                    let error = CallError::malformed(error, WriteOutcome::NotSent);
                    self.link.report(Err(&error));
                }
                relist_pause(self.failures, jitter())
            }
            Stop::Failed(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &CallError) -> Duration {
        tracing::debug!(cluster = %self.link.key(), what = %self.what, %error, "watch stopped");
        match (error.reason.as_str(), error.http_code) {
            ("GVR_NOT_SERVED", _) => {
                self.revision = None;
                // It is a question that was answered: what comes begins anew.
                self.failures = 0;
                let state = link_state::State::GvrNotServed;
                self.set_state(state, "GVR_NOT_SERVED", None);
                if std::mem::replace(&mut self.not_served, true) {
                    self.link.compare_catalogue(&self.key.gvr, false);
                } else {
                    self.link.follow_catalogue(&self.key.gvr, false);
                }
                // Soon enough to notice an installation within 10 s.
                Duration::from_secs(4) + Duration::from_secs(4).mul_f64(jitter())
            }
            (_, Some(401)) => {
                if let Some(session) = self.link.sessions().borrow().as_ref() {
                    self.link
                        .unauthorized(session.connection.credentials().digest);
                }
                REFUSED_PAUSE
            }
            (_, Some(400..=499)) | ("NO_MEMBER_IDENTITY", _) => {
                self.report(error);
                error.retry_after.unwrap_or(REFUSED_PAUSE)
            }
            (reason, _) => {
                self.down(reason);
                error
                    .retry_after
                    .unwrap_or_default()
                    .max(backoff(self.failures.min(4), jitter()))
            }
        }
    }

    /// One failure is nothing to speak of; with the next the watch is down, though the link is not.
    fn down(&self, reason: &str) {
        if self.failures > 1 {
            self.set_state(link_state::State::Down, reason, None);
        }
    }
}

/// A list is asked for nearly at once, but a member could make us read all it has again and again.
fn relist_pause(failures: u32, random: f64) -> Duration {
    match failures.saturating_sub(1) {
        0 => backoff(0, random) / 10,
        more => backoff(more, random),
    }
}

/// What an ERROR event means.
pub(super) fn ended(code: u16, message: &str) -> Stop {
    if code == 410 {
        return Stop::Gone;
    }
    let message = clean(message);
    let error = CallError::proxy(Code::Unavailable, "WATCH_ENDED", message);
    Stop::Failed(error.retry(Retryable::Yes, Some(Duration::from_secs(1))))
}

fn over_budget(what: &str) -> CallError {
    CallError::proxy(
        Code::ResourceExhausted,
        "CACHE_BUDGET",
        format!(
            "watching {what} needs more than the 16 MiB that a member may use: watch one namespace, \
             or select by a label of kurator.dev"
        ),
    )
    .retry(Retryable::AfterFix, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_new_list_is_read_nearly_at_once_and_the_next_ones_later_and_later() {
        let most: Vec<u64> = (1..9)
            .map(|failures| relist_pause(failures, 1.0).as_secs())
            .collect();
        assert_eq!(most, [0, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(relist_pause(1, 1.0), Duration::from_millis(100));
    }
}
