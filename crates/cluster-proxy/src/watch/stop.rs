//! What ends a round of a watch, what subscribers hear of it, and how long until the next.

use std::time::Duration;

use proxy_client::proto::link_state;
use tonic::Code;

use super::{
    SyncReason,
    cache::Cache,
    upstream::{SHORT_WATCH, Upstream},
};
use crate::{
    error::{CallError, Retryable},
    link::breaker::{backoff, jitter},
    request::answer::clean,
};

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
    /// Anything else.
    Failed(CallError),
}

impl From<CallError> for Stop {
    fn from(error: CallError) -> Self {
        Self::Failed(error)
    }
}

impl Upstream {
    /// Makes the state fit what happened, and says how long to wait.
    pub(super) fn stopped(&mut self, stop: Stop) -> Duration {
        self.with(Cache::ended);
        self.failures += 1;
        match stop {
            Stop::Gone => {
                self.revision = None;
                self.down("WATCH_EXPIRED");
                match self.failures {
                    1 => backoff(0, jitter()) / 10,
                    more => backoff(more - 1, jitter()),
                }
            }
            Stop::Reincarnated => {
                self.member_uid = None;
                self.revision = None;
                self.with(|cache| cache.reset(SyncReason::MemberReincarnated));
                self.down("MEMBER_REINCARNATED");
                match self.failures {
                    1 => SHORT_WATCH,
                    // A member could do this again and again.
                    more => backoff(more - 1, jitter()).max(SHORT_WATCH),
                }
            }
            Stop::OverBudget => {
                self.revision = None;
                self.with(|cache| cache.reset(SyncReason::Relist));
                self.report(&over_budget(&self.what));
                REFUSED_PAUSE
            }
            Stop::Failed(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &CallError) -> Duration {
        tracing::debug!(cluster = %self.link.key(), what = %self.what, %error, "watch stopped");
        match (error.reason.as_str(), error.http_code) {
            ("GVR_NOT_SERVED", _) => {
                self.revision = None;
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
