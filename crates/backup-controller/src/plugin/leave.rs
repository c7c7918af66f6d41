//! What becomes of a cluster's storage that is not asked for any more: it stays as it is, and is
//! nobody's. Backups that lie there stay readable, and nothing in the bucket is touched.

use api_types::labels;
use controller_kit::event::Severity;
use velero_kit::problem::Problem;

use super::known::{Known, Member};
use super::memory::Marks;
use super::status;
use super::validate::{Plan, Stand};
use crate::context::Context;
use crate::operation::calls;
use crate::operation::member::{HubObject, Link, Served};

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leave {
    /// Nothing of ours is marked there.
    Gone,
    /// Our marks are to be taken off.
    Release,
    /// The member cannot be reached; it is waited for.
    Waits(Problem),
    /// It cannot be reached, and is not waited for any more; why.
    LetGo(String),
}

/// Decides for one cluster.
pub fn decide(known: &Known, member: &Member) -> Leave {
    let is_up = matches!(member.link, Link::Up { .. });
    // What is under way may make our marks, whatever a watch shows: its end is awaited.
    let is_busy = member.memory.marks == Marks::UnderWay;
    if is_busy && is_up {
        return Leave::Release;
    }
    if member.velero == Served::No && !is_busy {
        return Leave::Gone;
    }
    if member.live && is_up {
        let ours = member.default_location();
        let ours = ours.is_some_and(|found| known.marks().are_on(&found.metadata));
        let released = member.memory.marks == Marks::Released;
        return if ours || !released {
            Leave::Release
        } else {
            Leave::Gone
        };
    }
    if is_wish(member) {
        return Leave::Gone;
    }
    match (&member.link, member.hub) {
        _ if known.forced && known.fleet.metadata.deletion_timestamp.is_some() => {
            Leave::LetGo("given up by force".to_owned())
        }
        (_, HubObject::Absent) => Leave::LetGo("its object on the hub is gone".to_owned()),
        (_, HubObject::Terminating) => {
            Leave::LetGo("its object on the hub is being deleted".to_owned())
        }
        (Link::Down { problem, .. }, _) => Leave::Waits(problem.clone()),
        (Link::Up { .. }, _) => Leave::Waits(calls::unanswered(&member.key)),
    }
}

/// What is only a wish yet has left nothing.
fn is_wish(member: &Member) -> bool {
    let entry = member.entry.as_ref();
    entry.is_none_or(|entry| entry.details.is_empty())
        && member.default_location().is_none()
        && matches!(member.memory.marks, Marks::Unknown | Marks::Released)
}

/// Tells what stays where nobody could take our marks off.
pub fn report(ctx: &Context, known: &Known, plan: &Plan) {
    for planned in &plan.clusters {
        let (Stand::Leaving(Leave::LetGo(why)), Some(_)) = (&planned.stand, &planned.member.entry)
        else {
            continue;
        };
        let key = &planned.member.key;
        let note = format!(
            "{}: location {} and its Secret stay there with the labels of this Fleet: {why}",
            key.name,
            labels::DEFAULT_STORAGE_LOCATION
        );
        let event = status::of_cluster(key, Severity::Warning, "ObjectsLeftBehind", note);
        ctx.events.publish_cluster(&*known.fleet, event);
    }
}

#[cfg(test)]
#[path = "leave_tests.rs"]
mod tests;
