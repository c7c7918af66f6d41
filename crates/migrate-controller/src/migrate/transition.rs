//! The transition function of a Migrate: what is stored and what is known to what is done next. Pure.
//!
//! A pass asks it, does what it says and asks again with the answers. Nothing that it asks for is done
//! twice, since each step is written down before it is taken: a name before the object (`Claim`), the
//! backup before its restore (`Choose`).

use std::fmt::Debug;
use std::sync::Arc;

use api_types::aggregate::VeleroPhase;
use api_types::backup::BackupDetail;
use api_types::condition::reason;
use api_types::external::velero;
use api_types::restore::RestoreDetail;
use velero_kit::classify;
use velero_kit::operation::outcome::ended;
use velero_kit::problem::Problem;
use velero_kit::reading::wanted::is_for_good;

use super::detail;
use super::facts::{Member, Readable, Seen, Source, Target, Terms};
use super::gate::expired;
pub use super::gate::{Gate, Run, gate};

/// What comes next for an entry.
#[derive(Debug, Clone)]
pub enum Next<O> {
    /// Nothing, for ever.
    Final,
    /// It cannot begin yet; a watch or the deadline will tell.
    Wait(Problem),
    /// A look at the target has shown that it cannot begin yet: look again now and then.
    Look(Problem),
    /// A call to the member failed: try again soon.
    Retry(Problem),
    /// Ask the members what they serve, before anything is created.
    Survey,
    /// It may begin: name and member are to be written down.
    Claim,
    /// The source is being backed up: see to it that the target has a location to read that from.
    Prepare,
    /// See to it that the target has the backup, and look whether it can be read.
    Transfer,
    /// The backup can be read: it is to be written down that it is restored.
    Choose,
    /// The location has been given another place since that was written down: write down the new one.
    Move,
    /// Written down, and nothing is known of its object: create it.
    Create,
    /// Somebody else has the name, or its folder in the bucket, or Velero refused the object too early:
    /// claim the next one.
    Rename,
    /// Ask the member whether the object is there.
    Confirm,
    /// The object, as last seen.
    Follow(Arc<O>),
    /// Keep what was last known.
    Hold,
    /// It ends here.
    Fail(Problem),
}

/// What comes next for a whole Migrate, and what its entries say.
#[derive(Debug, Clone)]
pub struct Step {
    pub source: Next<velero::Backup>,
    pub gate: Gate,
    /// In the order of the targets that were given.
    pub targets: Vec<Next<velero::Restore>>,
    pub source_detail: BackupDetail,
    pub target_details: Vec<RestoreDetail>,
}

/// Decides for a Migrate that is not being deleted and whose spec can work. The same facts give the
/// same answer; no target has a say in what is done about another one.
pub fn step(source: &Source, targets: &[Target], terms: &Terms) -> Step {
    let of_source = next_of_source(source, terms);
    let source_detail = detail::of_source(source, &of_source, terms.now);
    let gate = gate(&source_detail, terms);
    let of_targets: Vec<_> = targets
        .iter()
        .map(|target| next_of_target(target, source, &gate, terms))
        .collect();
    let target_details = targets
        .iter()
        .zip(&of_targets)
        .map(|(target, next)| {
            let from = detail::From {
                source: &source.key.name,
                gate: &gate,
            };
            detail::of_target(target, next, &from, terms.now)
        })
        .collect();
    Step {
        source: of_source,
        gate,
        targets: of_targets,
        source_detail,
        target_details,
    }
}

fn next_of_source(source: &Source, terms: &Terms) -> Next<velero::Backup> {
    let name = &source.key.name;
    let what = format!("the backup of {name}");
    let stored = &source.stored;
    if stored.phase.is_final() {
        return Next::Final;
    }
    let not_now = || {
        let no_velero = source.member.no_velero.clone();
        no_velero.or_else(|| source.location.clone().err())
    };
    if let Seen::NoName(problem) = &source.seen {
        return Next::Fail(problem.clone());
    }
    let Some((member_uid, _)) = source.claimed() else {
        let obstacle = source.member.obstacle();
        let obstacle = obstacle
            .or_else(not_now)
            .or_else(|| terms.no_targets.clone());
        let cause = obstacle.as_ref().map(|problem| problem.message.as_str());
        return match (terms.stop(&what, cause), obstacle) {
            (Some(stop), _) => Next::Fail(stop),
            (None, Some(problem)) => Next::Wait(problem),
            (None, None) if terms.surveyed => Next::Claim,
            (None, None) => Next::Survey,
        };
    };
    if source.member.is_replaced(member_uid) {
        return Next::Fail(replaced(name, "backup"));
    }
    let last = last_problem(stored.reason.as_deref(), stored.message.as_deref());
    let stop = terms.stop(&what, last);
    if let Seen::Present(object) = &source.seen
        && classify::name_in_bucket(object)
    {
        // Nothing was written under that name.
        return stop.map_or(Next::Rename, Next::Fail);
    }
    let before = Claimed {
        member: &source.member,
        seen: stored.backup_status_in_cluster.is_some(),
        cluster: name,
        kind: "Backup",
    };
    if let Some(problem) = source.premature() {
        return before.instead(problem, stop, source.rested);
    }
    let create = || match not_now() {
        Some(problem) => Next::Wait(problem),
        None if source.has_moved() => Next::Move,
        None => Next::Create,
    };
    before.next(&source.seen, velero::Backup::phase, stop, create)
}

fn next_of_target(
    target: &Target,
    from: &Source,
    gate: &Gate,
    terms: &Terms,
) -> Next<velero::Restore> {
    let (name, source) = (&target.key.name, &*from.key.name);
    let what = format!("the restore in {name}");
    let stored = &target.stored;
    if stored.phase.is_final() {
        return Next::Final;
    }
    if let Seen::NoName(problem) = &target.seen {
        return Next::Fail(problem.clone());
    }
    let claimed = target.claimed();
    if let Some((member_uid, _)) = claimed
        && target.member.is_replaced(member_uid)
    {
        return match ended(stored) {
            Some(ended) => Next::Follow(Arc::new(ended)),
            None => Next::Fail(replaced(name, "restore")),
        };
    }
    let never = unreadable(target, source, gate, terms);
    let last = last_problem(stored.reason.as_deref(), stored.message.as_deref());
    if target.has_chosen() {
        let before = Claimed {
            member: &target.member,
            seen: stored.restore_status_in_cluster.is_some(),
            cluster: name,
            kind: "Restore",
        };
        let create = || match gate {
            Gate::Open(_) => transfer(&target.readable, Next::Create),
            _ => Next::Hold,
        };
        let stop = terms.stop(&what, last).or(never);
        let next = match target.premature() {
            Some(problem) => before.instead(problem, stop, target.rested),
            None => before.next(&target.seen, velero::Restore::phase, stop, create),
        };
        return match (ended(stored), next) {
            // However it went since, it ended so.
            (Some(_), next @ Next::Follow(_)) | (None, next) => next,
            (Some(ended), _) => Next::Follow(Arc::new(ended)),
        };
    }
    if let Some(problem) = never {
        return Next::Fail(problem);
    }
    if let Some(why) = &terms.unmoved
        && from.is_same_cluster(&target.member)
    {
        return Next::Fail(onto_itself(name, source, why));
    }
    let obstacle = target.member.obstacle();
    let waits = matches!(gate, Gate::Shut | Gate::Coming);
    let not_ready = waits.then(|| format!("the backup of {source} had not ended"));
    let cause = obstacle.as_ref().map(|problem| problem.message.as_str());
    let cause = cause.or(not_ready.as_deref()).or(last);
    if let Some(stop) = terms.stop(&what, cause) {
        return Next::Fail(stop);
    }
    match (obstacle, gate, claimed) {
        (Some(problem), ..) => Next::Wait(problem),
        (None, Gate::Shut, _) => Next::Wait(detail::waits_for(source)),
        (None, _, None) => Next::Claim,
        (None, Gate::Open(_), Some(_)) => transfer(&target.readable, Next::Choose),
        (None, _, Some(_)) => Next::Prepare,
    }
}

/// Why a target that has no Restore will never have one.
fn unreadable(target: &Target, source: &str, gate: &Gate, terms: &Terms) -> Option<Problem> {
    match (gate, &target.readable) {
        (Gate::Lost(problem), _) => Some(problem.clone()),
        (_, Readable::No(problem)) if is_for_good(problem) => Some(problem.clone()),
        _ => expired(source, gate, terms.now),
    }
}

/// What comes next where the backup must be readable: `go` once it is.
fn transfer(readable: &Readable, go: Next<velero::Restore>) -> Next<velero::Restore> {
    match readable {
        Readable::NotAsked => Next::Transfer,
        Readable::No(problem) => Next::Look(problem.clone()),
        Readable::Yes => go,
    }
}

/// An entry whose object may have been created.
struct Claimed<'a> {
    member: &'a Member,
    /// Its object was seen before.
    seen: bool,
    cluster: &'a str,
    /// Velero's kind.
    kind: &'static str,
}

impl Claimed<'_> {
    /// What comes next; `stop`: why nothing new begins any more; `create`: what is to be done where
    /// there is no object yet.
    fn next<O: Debug>(
        &self,
        seen: &Seen<O>,
        phase: fn(&O) -> &str,
        stop: Option<Problem>,
        create: impl FnOnce() -> Next<O>,
    ) -> Next<O> {
        match (seen, self.member.blinded()) {
            (Seen::Present(object), Some(problem))
                if !VeleroPhase::of(phase(object)).is_final() =>
            {
                blind(problem, stop.is_some())
            }
            (Seen::Present(object), _) => Next::Follow(Arc::clone(object)),
            (Seen::Failed(problem), _) => Next::Retry(problem.clone()),
            (Seen::NoName(problem), _) => Next::Fail(problem.clone()),
            (Seen::Absent | Seen::Taken, _) if self.seen => Next::Fail(self.disappeared()),
            (Seen::Absent | Seen::Taken | Seen::Lost, _) if stop.is_some() => {
                stop.map_or(Next::Hold, Next::Fail)
            }
            (Seen::Taken, _) => Next::Rename,
            (Seen::Absent, _) => create(),
            (Seen::Lost, _) => Next::Retry(self.answer_lost()),
            (_, Some(problem)) => blind(problem, stop.is_some()),
            (Seen::Unknown, _) => Next::Hold,
            (Seen::NotShown, _) if !self.member.is_up() => Next::Hold,
            (Seen::NotShown, _) if self.seen || stop.is_some() => Next::Confirm,
            (Seen::NotShown, _) => create(),
        }
    }

    /// What comes next where Velero refused the object too early, for this; `rested`: another one may be
    /// tried.
    fn instead<O>(&self, refused: Problem, stop: Option<Problem>, rested: bool) -> Next<O> {
        match (stop, self.member.blinded()) {
            (Some(stop), _) => Next::Fail(stop),
            (None, Some(problem)) => Next::Wait(problem.clone()),
            (None, None) if !self.member.is_up() => Next::Hold,
            (None, None) if rested => Next::Rename,
            (None, None) => Next::Retry(refused),
        }
    }

    fn disappeared(&self) -> Problem {
        let Self { cluster, kind, .. } = self;
        Problem::new(
            reason::OBJECT_DISAPPEARED,
            format!(
                "the Velero {kind} was removed in {cluster} before it ended: find who deletes there"
            ),
        )
    }

    fn answer_lost(&self) -> Problem {
        let Self { cluster, kind, .. } = self;
        Problem::new(
            reason::UNREACHABLE,
            format!("the answer of {cluster} to creating the Velero {kind} was lost"),
        )
    }
}

/// What comes next where Velero's objects cannot be seen. With their API the objects went: that is asked
/// once nothing may begin any more, and until then it may come back.
fn blind<O>(problem: &Problem, stopped: bool) -> Next<O> {
    if stopped && problem.reason == reason::VELERO_NOT_INSTALLED {
        Next::Confirm
    } else {
        Next::Wait(problem.clone())
    }
}

fn onto_itself(target: &str, source: &str, why: &str) -> Problem {
    Problem::new(
        reason::INVALID_SPEC,
        format!(
            "{target} is the cluster {source} under another name, so nothing would be moved: {why} \
             in a new Migrate, or take {target} out of its targets"
        ),
    )
}

fn replaced(cluster: &str, what: &str) -> Problem {
    Problem::new(
        reason::MEMBER_REPLACED,
        format!(
            "another cluster answers as {cluster}: the {what} was claimed in the former one; make a \
             new Migrate"
        ),
    )
}

/// What kept an entry from beginning, by its status.
fn last_problem<'a>(why: Option<&str>, message: Option<&'a str>) -> Option<&'a str> {
    let trouble = !matches!(
        why?,
        reason::QUEUED
            | reason::NAME_TAKEN
            | reason::SOURCE_NOT_READY
            | reason::SOURCE_BACKUP_PARTIALLY_FAILED
            | reason::API_VERSION_NOT_SERVED
    );
    message.filter(|_| trouble)
}

#[cfg(test)]
#[path = "transition_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "target_tests.rs"]
mod target_tests;

#[cfg(test)]
#[path = "transition_rules.rs"]
mod rules;

#[cfg(test)]
#[path = "transition_world.rs"]
mod world;

#[cfg(test)]
#[path = "transition_pass.rs"]
mod passes;

#[cfg(test)]
#[path = "transition_properties.rs"]
mod properties;
