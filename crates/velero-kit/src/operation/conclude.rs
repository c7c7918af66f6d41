//! The whole status of an operation, from its entries. Pure but for [`now`].

use std::time::Duration;

use crate::problem::Problem;
use api_types::aggregate::{self, Decision, Deletion, Entry as _, Motion, VeleroPhase};
use api_types::backup::BackupDetail;
use api_types::common::Leftover;
use api_types::condition::{self, Condition, ConditionStatus, SUCCEEDED, reason};
use api_types::key::ClusterKey;
use api_types::phase::{EntryPhase, Phase};
use controller_kit::condition::{Activity, Aspect, Conditions};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::deletion::Left;
use super::{Detail, Operation, State, entry, until};

/// The entries of a kind.
type DetailOf<K> = <<K as Operation>::Status as State>::Detail;

/// What holds for an operation as a whole.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Name of the Fleet, for messages.
    pub fleet: &'a str,
    /// Whether it is there.
    pub fleet_found: bool,
    /// When entries that have not begun fail.
    pub deadline: Timestamp,
    /// Why there is no entry, if the Fleet is not the reason.
    pub empty: Option<Problem>,
}

/// The present time as statuses have it: whole seconds, never in the future.
pub fn now() -> Timestamp {
    entry::whole_seconds(Timestamp::now())
}

/// The status of an object that is not being deleted, with these entries.
pub fn whole<K: Operation>(
    object: &K,
    details: Vec<DetailOf<K>>,
    frame: &Frame<'_>,
    now: Timestamp,
) -> K::Status {
    let stored = object.state().cloned().unwrap_or_default();
    let mut status = stored.clone();
    let claimed = details.iter().any(|detail| detail.member_uid().is_some());
    let parts = status.parts();
    *parts.details = details;
    if claimed && parts.start_time.is_none() {
        *parts.start_time = Some(Time(now));
    }
    let decision = aggregate::decide(&aggregate::Operation {
        stored_phase: stored.phase(),
        stored_succeeded: succeeded(stored.conditions()),
        deletion: None,
        spec_valid: true,
        fleet_found: frame.fleet_found,
        deadline_passed: now >= frame.deadline,
        entries: status.details(),
        now,
    });
    let Some(mut decision) = decision else {
        return stored;
    };
    if decision.motion == Motion::Reconciling && nothing_moves(status.details()) {
        decision.motion = Motion::Stalled;
        reason::NO_PROGRESS.clone_into(&mut decision.reason);
    }
    let empty = frame
        .empty
        .as_ref()
        .filter(|_| status.details().is_empty() && frame.fleet_found);
    if let Some(problem) = empty {
        problem.reason.clone_into(&mut decision.reason);
    }
    let message = match empty {
        Some(problem) => problem.message.clone(),
        None => message::<K>(frame.fleet, &decision, status.details()),
    };
    conclude(object, &mut status, &decision, &message, now);
    status
}

/// The status of an object whose spec can never work. `meant`: the clusters that it asks for; `what`: the
/// field and what is wrong with it.
pub fn refused<K: Operation>(
    object: &K,
    meant: &[ClusterKey],
    what: &str,
    now: Timestamp,
) -> K::Status {
    let mut status = object.state().cloned().unwrap_or_default();
    if status.details().is_empty() {
        let problem = Problem::new(reason::INVALID_SPEC, format!("spec.{what}"));
        let never = |key| entry::never(key, &problem, now);
        *status.parts().details = meant.iter().map(never).collect();
    }
    let decision = aggregate::decide(&aggregate::Operation {
        stored_phase: status.phase(),
        stored_succeeded: succeeded(status.conditions()),
        deletion: None,
        spec_valid: false,
        fleet_found: true,
        deadline_passed: false,
        entries: status.details(),
        now,
    });
    let Some(decision) = decision else {
        return status;
    };
    let message = match decision.succeeded {
        Some(_) => format!("spec.{what}: make a new {}", K::Status::KIND),
        // What has begun goes on once the spec can be read again.
        None => format!("spec.{what}: mend it"),
    };
    conclude(object, &mut status, &decision, &message, now);
    status
}

/// The status of an object that is being deleted. `source`: what is apart from the entries.
pub fn deleting<K: Operation>(
    object: &K,
    left: &[Left<DetailOf<K>>],
    source: Option<&Left<BackupDetail>>,
    blocked: bool,
    now: Timestamp,
) -> K::Status {
    let mut status = object.state().cloned().unwrap_or_default();
    let of = |left| deleting_detail(K::Status::KIND, left, now);
    *status.parts().details = left.iter().map(of).collect();
    if let (Some(entry), Some(left)) = (status.source(), source) {
        *entry = Some(deleting_detail(K::Status::KIND, left, now));
    }
    let decision = aggregate::decide(&aggregate::Operation {
        stored_phase: status.phase(),
        stored_succeeded: succeeded(status.conditions()),
        deletion: Some(if blocked {
            Deletion::Blocked
        } else {
            Deletion::Going
        }),
        spec_valid: true,
        fleet_found: true,
        deadline_passed: false,
        entries: status.details(),
        now,
    });
    let Some(decision) = decision else {
        return status;
    };
    let waits = left.iter().filter_map(Left::told);
    let waits: Vec<String> = waits.chain(source.and_then(Left::told)).collect();
    conclude(object, &mut status, &decision, &waits.join("; "), now);
    status
}

fn deleting_detail<D: Detail>(kind: &str, left: &Left<D>, now: Timestamp) -> D {
    let mut detail = left.detail.clone();
    *detail.common().phase = EntryPhase::Deleting;
    if let Some(problem) = &left.problem {
        entry::say(&mut detail, problem);
    } else {
        let common = detail.common();
        *common.reason = None;
        *common.message = Some(format!("nothing of this {kind} is there any more"));
    }
    entry::transition(&mut detail, left.detail.phase(), now);
    detail
}

/// The last status of an object that lets go of members: what stays behind is named.
pub fn leftovers<K: Operation>(
    object: &K,
    named: Vec<Leftover>,
    forced: bool,
    now: Timestamp,
) -> K::Status {
    let mut status = object.state().cloned().unwrap_or_default();
    let how = if forced { "let go by force" } else { "let go" };
    let message = format!("{how}; left behind in {} clusters", named.len());
    *status.parts().leftovers = named;
    status.parts().leftovers.truncate(100);
    let decision = Decision {
        phase: Phase::Deleting,
        ready: ConditionStatus::False,
        reason: reason::DELETING.to_owned(),
        motion: Motion::Reconciling,
        succeeded: succeeded(status.conditions()),
    };
    conclude(object, &mut status, &decision, &message, now);
    status
}

/// The status of an object that has its outcome, for its newest spec: `None` while nothing is to be
/// written. Only the generation moves, since neither kubectl nor kstatus believes a condition that
/// speaks of an older one. What Kurator v0.5.0 has left behind stays as it is.
pub fn observed<K: Operation>(object: &K) -> Option<K::Status> {
    let generation = object.meta().generation;
    let mut status = object.state()?.clone();
    let parts = status.parts();
    if parts.observed_generation.is_none() || *parts.observed_generation == generation {
        return None;
    }
    *parts.observed_generation = generation;
    for condition in parts.conditions {
        condition.observed_generation = generation;
    }
    Some(status)
}

/// Phase, conditions, counts and times of a status whose entries are there.
pub fn conclude<K: Operation>(
    object: &K,
    status: &mut K::Status,
    decision: &Decision,
    message: &str,
    now: Timestamp,
) {
    let generation = object.meta().generation;
    let parts = status.parts();
    *parts.observed_generation = generation;
    *parts.phase = Some(decision.phase);
    *parts.summary = Some(aggregate::summarize(parts.details));
    let activity = match decision.motion {
        Motion::Still => Activity::Settled,
        Motion::Reconciling => Activity::Reconciling,
        Motion::Stalled => Activity::Stalled,
    };
    let mut conditions = Conditions {
        list: parts.conditions,
        generation,
        now,
    };
    conditions.ready(decision.ready, activity, &decision.reason, message);
    // Once there, the outcome stays as it was first written.
    let known = conditions
        .list
        .iter_mut()
        .find(|condition| condition.type_ == SUCCEEDED);
    let outcome = decision.succeeded.filter(|_| known.is_none());
    if let Some(known) = known {
        known.observed_generation = generation;
    }
    if let Some(succeeded) = outcome {
        conditions.set(&Aspect {
            type_: SUCCEEDED,
            status: succeeded.into(),
            reason: &decision.reason,
            message,
        });
        *parts.completion_time = Some(Time(now));
    }
    parts.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    status.finish(outcome == Some(true));
}

/// The condition `Succeeded`, if it is there.
pub fn succeeded(conditions: &[Condition]) -> Option<bool> {
    condition::find(conditions, SUCCEEDED)
        .map(|condition| condition.status == ConditionStatus::True)
}

/// Whether a person has to act before anything goes on.
fn nothing_moves(details: &[impl Detail]) -> bool {
    let mut open = details
        .iter()
        .filter(|detail| !detail.phase().is_final())
        .peekable();
    open.peek().is_some() && open.all(|detail| detail.reason() == Some(reason::NO_PROGRESS))
}

/// One sentence about the whole: what it waits for, or how it went.
fn message<K: Operation>(fleet: &str, decision: &Decision, details: &[DetailOf<K>]) -> String {
    if details.is_empty() {
        return if decision.reason == reason::FLEET_NOT_FOUND {
            format!("there is no Fleet {fleet} in this namespace: create it")
        } else {
            format!(
                "no cluster of Fleet {fleet} is selected: mend the Fleet, or make a new {}",
                K::Status::KIND
            )
        };
    }
    let completed = details
        .iter()
        .filter(|detail| detail.phase() == EntryPhase::Completed)
        .count();
    let total = details.len();
    // Of a completed entry there is something to tell only if it is not plain success.
    let first = details.iter().find(|detail| {
        detail.message().is_some()
            && (detail.phase() != EntryPhase::Completed || decision.phase == Phase::Completed)
    });
    let cause = first.map_or_else(String::new, |detail| {
        format!(
            "; {}: {}",
            detail.cluster_name(),
            detail.message().unwrap_or_default()
        )
    });
    match decision.phase {
        Phase::Completed => format!("completed in all {total} clusters{cause}"),
        _ => format!("{completed} of {total} clusters completed{cause}"),
    }
}

/// Whether two statuses differ only in how far Velero is: such a write may wait for its turn.
pub fn only_progress<S: State>(a: &S, b: &S) -> bool {
    a.clone().without_progress() == b.clone().without_progress()
}

/// Whether Velero will not change an object of this phase any more.
pub fn velero_is_done(phase: &str) -> bool {
    VeleroPhase::of(phase).is_final()
}

/// How long until an unfinished entry has been out of reach for so long that it counts as stalled.
pub fn until_stalled(details: &[impl Detail], now: Timestamp) -> Option<Duration> {
    let open = details.iter().filter(|detail| !detail.phase().is_final());
    open.filter_map(|detail| {
        let stalled = detail.unreachable_since()?.checked_add(unreachable_limit());
        until(stalled.ok()?, now).filter(|wait| !wait.is_zero())
    })
    .min()
}

/// How long an unfinished operation may be out of reach before it counts as stalled.
pub fn unreachable_limit() -> Duration {
    Duration::try_from(aggregate::unreachable_limit()).unwrap_or_default()
}

#[cfg(test)]
#[path = "conclude_tests.rs"]
mod tests;
