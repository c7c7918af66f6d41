//! The fields that the source's entry and a target's have in common.

use api_types::backup::BackupDetail;
use api_types::condition::reason;
use api_types::phase::EntryPhase;
use api_types::restore::RestoreDetail;
use controller_kit::condition::MESSAGE_BYTES;
use controller_kit::text::truncate;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use velero_kit::problem::Problem;

use super::facts::Link;

/// What changes in the same way in both kinds of entry.
#[derive(Debug)]
pub(super) struct Common<'a> {
    pub(super) phase: &'a mut EntryPhase,
    pub(super) reason: &'a mut Option<String>,
    pub(super) message: &'a mut Option<String>,
    pub(super) last_transition_time: &'a mut Option<Time>,
    pub(super) unreachable_since: &'a mut Option<Time>,
}

// The two types have fields of the same names.
macro_rules! common {
    ($detail:ident) => {
        Self {
            phase: &mut $detail.phase,
            reason: &mut $detail.reason,
            message: &mut $detail.message,
            last_transition_time: &mut $detail.last_transition_time,
            unreachable_since: &mut $detail.unreachable_since,
        }
    };
}

impl<'a> Common<'a> {
    pub(super) fn of_backup(detail: &'a mut BackupDetail) -> Self {
        common!(detail)
    }

    pub(super) fn of_restore(detail: &'a mut RestoreDetail) -> Self {
        common!(detail)
    }

    /// Whether nothing was ever said of it.
    pub(super) fn is_new(&self) -> bool {
        *self.phase == EntryPhase::Pending && self.reason.is_none()
    }

    pub(super) fn say(&mut self, problem: &Problem) {
        *self.reason = Some(problem.reason.to_owned());
        *self.message = Some(truncate(&problem.message, MESSAGE_BYTES));
    }

    pub(super) fn fail(&mut self, problem: &Problem) {
        *self.phase = EntryPhase::Failed;
        self.say(problem);
    }

    /// What was said of a member that did not answer is over once it does.
    pub(super) fn wake(&mut self, link: &Link) {
        if matches!(link, Link::Up { .. }) && self.unreachable_since.take().is_some() {
            (*self.reason, *self.message) = (None, None);
        }
    }

    /// An unfinished entry of a member that does not answer keeps what was last known, and says so;
    /// a change from the phase `before` is dated.
    pub(super) fn settle(
        &mut self,
        link: &Link,
        claimed: bool,
        before: EntryPhase,
        now: Timestamp,
    ) {
        if self.phase.is_final() {
            *self.unreachable_since = None;
        } else if let Link::Down { problem, since } = link
            && (claimed || self.reason.as_deref() == Some(problem.reason))
        {
            self.say(problem);
            let since = since.map_or(now, whole_seconds);
            self.unreachable_since.get_or_insert(Time(since));
        }
        if *self.phase != before || self.last_transition_time.is_none() {
            *self.last_transition_time = Some(Time(now));
        }
    }

    /// What is wrong with an object that is followed. It takes nothing back of how that ended.
    pub(super) fn say_trouble(&mut self, invalid: &[&str], stuck: Option<&Problem>) {
        let is_final = self.phase.is_final();
        if !invalid.is_empty() && (self.reason.is_none() || !is_final) {
            let fields = invalid.join(", ");
            let text = format!("Velero's status has wrong types in {fields}: check its version");
            self.say(&Problem::new(reason::MEMBER_ANSWER_INVALID, text));
        }
        if let Some(stuck) = stuck.filter(|_| !is_final) {
            self.say(stuck);
        }
    }
}

/// What to say of an entry whose Velero object waits, or is in a phase that is too new.
pub(super) fn waiting_message(phase: &str, why: Option<&str>) -> Option<String> {
    match why? {
        reason::QUEUED => Some("Velero has not started it yet".to_owned()),
        reason::UNKNOWN_PHASE => Some(format!(
            "Velero's phase {phase} is newer than this version: upgrade kurator-rs"
        )),
        _ => None,
    }
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
