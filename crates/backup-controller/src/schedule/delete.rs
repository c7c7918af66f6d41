//! Deleting a scheduled Backup: its Schedules stop first, in every cluster that has or had one; then
//! its runs stay or go, as the policy says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::backup::{Backup, BackupDetail, FormerCluster};
use api_types::common::{DeletionPolicy, StoragePlace};
use api_types::condition::reason;
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::names::MemberId;
use controller_kit::reconcile::Outcome;
use velero_kit::deletion::Step;
use velero_kit::identity::Owner;
use velero_kit::location::is_same;

use super::former::written;
use super::{Error, Problem, apply};
use crate::backup::delete::{Left, left_by, location};
use crate::backup::readers;
use crate::context::Context;
use crate::operation::calls::{self, Answer, Call};
use crate::operation::member::{HubObject, Link, hub_object, link};
use crate::operation::objects::Target;
use crate::operation::{deletion, entry};
use velero_kit::removal::all::look_at_all;
use velero_kit::removal::places::Known;

/// What the deletion waits for in one cluster.
#[derive(Debug, Clone)]
pub struct Cleared {
    /// `None`: nothing that has to go is there any more.
    pub waits_for: Option<Problem>,
    /// When to look again.
    pub again: Duration,
}

/// Nothing is left there.
const DONE: Cleared = Cleared {
    waits_for: None,
    again: Duration::ZERO,
};

/// A cluster that has, or had, something of this Backup.
#[derive(Debug, Clone, PartialEq)]
struct Holder {
    detail: BackupDetail,
    /// What is remembered of it, if it has left.
    former: Option<FormerCluster>,
}

/// Where to look.
#[derive(Debug, Clone)]
enum Place {
    /// There.
    Here(Target),
    /// Nowhere: nothing that has to go is there.
    Nothing,
    /// It cannot be asked, for this reason, and is not waited for: `true`; or is.
    Lost(Problem, bool),
}

/// What is to be cleared beside the Schedules.
#[derive(Debug, Clone)]
enum Runs {
    /// They stay until their ttl.
    Stay,
    /// Somebody reads them.
    Held(String),
    /// They go.
    Go,
}

/// One pass over a scheduled Backup that is being deleted.
pub async fn reconcile(ctx: &Arc<Context>, backup: Backup, owner: Owner) -> Result<Outcome, Error> {
    if !deletion::is_held(ctx, &backup, &owner) {
        return Ok(Outcome::Done);
    }
    let runs = match backup.spec.deletion_policy {
        DeletionPolicy::Retain => Runs::Stay,
        DeletionPolicy::Delete => match readers::find(ctx, &owner).await? {
            Some(reader) => Runs::Held(reader),
            None => Runs::Go,
        },
    };
    let left = look_everywhere(ctx, &backup, &owner, &runs).await;
    deletion::go_on(ctx, backup, owner, left).await
}

/// Every cluster that has, or had, something of this Backup, each once for each place.
fn everywhere(backup: &Backup) -> Vec<Holder> {
    let status = backup.status.clone().unwrap_or_default();
    let former = status.former_clusters.into_iter();
    let mut former: BTreeMap<_, FormerCluster> = former
        .map(|former| {
            let FormerCluster {
                cluster_name,
                cluster_kind,
                member_uid,
                ..
            } = former.clone();
            let place = former.storage.as_ref().map(written);
            ((cluster_name, cluster_kind, member_uid, place), former)
        })
        .collect();
    let details = status.backup_details.into_iter();
    let mut all: Vec<Holder> = details
        .map(|detail| {
            let (name, kind) = (detail.cluster_name.clone(), detail.cluster_kind.clone());
            let place = detail.storage.as_ref().map(written);
            Holder {
                former: former.remove(&(name, kind, detail.member_uid.clone(), place)),
                detail,
            }
        })
        .collect();
    all.extend(former.into_values().map(|former| Holder {
        detail: BackupDetail {
            cluster_name: former.cluster_name.clone(),
            cluster_kind: former.cluster_kind.clone(),
            member_uid: former.member_uid.clone(),
            storage: former.storage.clone(),
            ..BackupDetail::default()
        },
        former: Some(former),
    }));
    all
}

/// Takes the next step in each cluster, at the same time.
async fn look_everywhere(
    ctx: &Arc<Context>,
    backup: &Backup,
    owner: &Owner,
    runs: &Runs,
) -> Vec<Left> {
    let places: Vec<(Place, Holder)> = everywhere(backup)
        .into_iter()
        .map(|holder| (place(ctx, owner, &holder, runs), holder))
        .collect();
    // Of the members that one name has had, one answers at most. It is asked once, for all of its
    // places.
    let mut here: BTreeMap<&ClusterKey, (&Target, Vec<Holder>)> = BTreeMap::new();
    for (place, holder) in &places {
        if let Place::Here(target) = place {
            let of = here.entry(&target.key).or_insert((target, Vec::new()));
            of.1.push(holder.clone());
        }
    }
    let call = |(target, holders): (&Target, Vec<Holder>)| {
        let (ctx, owner) = (Arc::clone(ctx), owner.clone());
        let runs = if holders.iter().all(is_inherited) {
            Runs::Stay
        } else {
            runs.clone()
        };
        let (location, target) = (location(backup).to_owned(), target.clone());
        let purpose = format!("clear {runs:?} of {}", target.member);
        Call::new(target.key.clone(), purpose, async move {
            Answer::Cleared(look(&ctx, &owner, (&target, &holders), &runs, &location).await)
        })
    };
    let calls = here.into_values().map(call).collect();
    let answers = calls::answers(ctx, owner, calls).await;
    let left = |(place, holder): (Place, Holder)| {
        let detail = holder.detail;
        let let_go = matches!(place, Place::Lost(_, true));
        let cleared = match place {
            Place::Here(target) => match answers.get(&target.key).cloned() {
                Some(Answer::Cleared(cleared)) => cleared,
                _ => Err(deletion::pending(&calls::unanswered(&target.key))),
            },
            Place::Nothing => Ok(DONE),
            Place::Lost(problem, _) => Err(problem),
        };
        let (problem, again) = match cleared {
            Ok(cleared) => (cleared.waits_for, cleared.again),
            Err(problem) => (Some(problem), ctx.timings.look_again),
        };
        Left {
            detail,
            problem,
            let_go,
            again,
        }
    };
    places.into_iter().map(left).collect()
}

/// Where the Schedule of a cluster is to be looked for: one where no run has begun has it all the
/// same.
fn place(ctx: &Context, owner: &Owner, holder: &Holder, runs: &Runs) -> Place {
    let mut named = holder.detail.clone();
    named.backup_name_in_cluster = Some("the Schedule".to_owned());
    let place = match runs {
        Runs::Stay => deletion::place(ctx, owner, &named),
        Runs::Held(_) | Runs::Go => deletion::place_of_data(ctx, owner, &named),
    };
    match place {
        Ok(Some(target)) => Place::Here(target),
        Ok(None) => not_taken_over(ctx, owner, holder),
        Err(problem) => {
            let key = entry::key_of(&owner.namespace, &holder.detail);
            let hub = key.map_or(HubObject::Present, |key| hub_object(ctx, &key));
            lost(holder, hub, problem, matches!(runs, Runs::Stay))
        }
    }
}

/// Where nothing of ours was ever made, a Schedule of Kurator v0.5.0 may go on.
fn not_taken_over(ctx: &Context, owner: &Owner, holder: &Holder) -> Place {
    let key = entry::key_of(&owner.namespace, &holder.detail).filter(|_| is_inherited(holder));
    let (Some(key), Some(name)) = (key, holder.detail.backup_name_in_cluster.clone()) else {
        return Place::Nothing;
    };
    match link(ctx, &key) {
        Link::Up { member_uid } => Place::Here(Target {
            key,
            member: MemberId::from_uid(&member_uid),
            name,
        }),
        Link::Down { problem, .. } => {
            let message = format!(
                "{}: the Schedule {name} of Kurator v0.5.0 may go on there",
                problem.message
            );
            Place::Lost(Problem::new(problem.reason, message), true)
        }
    }
}

/// Whether an entry is Kurator v0.5.0's, whose runs are never deleted.
fn is_inherited(holder: &Holder) -> bool {
    let detail = &holder.detail;
    detail.member_uid.is_none() && detail.backup_name_in_cluster.is_some()
}

/// What a cluster means to the deletion that cannot be asked. Pure.
fn lost(holder: &Holder, hub: HubObject, problem: Problem, retain: bool) -> Place {
    let released = holder.former.as_ref().is_some_and(|former| former.released);
    let replaced = problem.reason == reason::MEMBER_REPLACED;
    let (name, force) = (&holder.detail.cluster_name, labels::FORCE_DELETE);
    // What it has left was seen to be gone, and the runs stay.
    if retain && released {
        return Place::Nothing;
    }
    let why = if replaced {
        format!("another cluster answers as {name}")
    } else if hub == HubObject::Absent {
        format!("{} {name} is gone", holder.detail.cluster_kind)
    } else {
        return Place::Lost(problem, false);
    };
    let (reason, message) = match (retain, replaced) {
        (true, true) => (
            reason::MEMBER_REPLACED,
            format!("{why}: should the former one still run, its Schedule goes on there"),
        ),
        (true, false) => (
            reason::DELETION_PENDING,
            format!("{why}, and its Schedule may go on: attach it again, or annotate {force}=true"),
        ),
        (false, _) => (
            reason::DELETION_PENDING,
            format!(
                "{why}: what the former one has stored cannot be deleted; bring it back, or \
                 annotate {force}=true to leave it"
            ),
        ),
    };
    Place::Lost(Problem::new(reason, message), retain && replaced)
}

/// Takes the next step in one cluster.
async fn look(
    ctx: &Context,
    owner: &Owner,
    (target, holders): (&Target, &[Holder]),
    runs: &Runs,
    location: &str,
) -> Result<Cleared, Problem> {
    let (key, member) = (&target.key, &target.member);
    let stopped = apply::stop(ctx, owner, key, member).await;
    let stopped = stopped.map_err(|problem| deletion::pending(&problem))?;
    let waits = |why: String| Cleared {
        waits_for: Some(Problem::new(reason::DELETION_PENDING, why)),
        again: ctx.timings.look_again,
    };
    if stopped.schedules {
        return Ok(waits("the Velero Schedule is going away".to_owned()));
    }
    match runs {
        Runs::Stay => return Ok(DONE),
        Runs::Held(reader) => {
            return Ok(waits(format!(
                "{reader} still reads this Backup: wait for it or delete it"
            )));
        }
        Runs::Go => {}
    }
    let known = known(holders, location);
    let steps = look_at_all(ctx, owner, (key, member), known).await;
    let steps = steps.map_err(|error| deletion::pending(&Problem::from(&error)))?;
    Ok(all_of(steps, ctx.timings.look_again))
}

/// What the hub knows of the runs of one member. At a place where it stores no more, nobody knows
/// which they are.
fn known<'a>(holders: &'a [Holder], location: &'a str) -> Known<'a> {
    let mut places: Vec<&StoragePlace> = Vec::new();
    for place in holders.iter().filter_map(|of| of.detail.storage.as_ref()) {
        if !places.iter().any(|known| is_same(known, place)) {
            places.push(place);
        }
    }
    let mut places = places.into_iter();
    Known {
        names: holders.iter().flat_map(|of| names(&of.detail)).collect(),
        storage: places.next(),
        earlier: places.collect(),
        left: holders.iter().any(|of| of.former.is_some()),
        location,
    }
}

/// The runs that the status knows, be they there or not.
fn names(detail: &BackupDetail) -> Vec<String> {
    let older = detail.runs.iter().map(|run| run.name.clone());
    let newest = detail.backup_name_in_cluster.clone();
    newest.into_iter().chain(older).collect()
}

/// What all steps together leave to wait for: a failure is told first.
fn all_of(steps: Vec<(String, Step)>, look_again: Duration) -> Cleared {
    let count = steps.len();
    let mut again = look_again;
    let mut told: Option<Problem> = None;
    for (name, step) in steps {
        let (problem, wait) = left_by(Ok(step), look_again);
        again = again.min(wait);
        let Some(problem) = problem else { continue };
        let worse = problem.reason == reason::DELETION_FAILED;
        if told.is_none() || worse {
            let text = format!("{count} runs are left; {name}: {}", problem.message);
            told = Some(Problem::new(problem.reason, text));
        }
        if worse {
            break;
        }
    }
    Cleared {
        waits_for: told,
        again,
    }
}

#[cfg(test)]
#[path = "delete_tests.rs"]
mod tests;
