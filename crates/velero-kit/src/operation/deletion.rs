//! How a hub object that is being deleted waits for its clusters, and lets go of them.

use std::sync::Arc;
use std::time::Duration;

use crate::identity::Owner;
use crate::problem::Problem;
use api_types::backup::BackupDetail;
use api_types::common::Leftover;
use api_types::condition::{self, reason};
use api_types::labels;
use api_types::names::MemberId;
use controller_kit::condition::MESSAGE_BYTES;
use controller_kit::event::{Event, Severity};
use controller_kit::hub::{self, WriteError};
use controller_kit::reconcile::Outcome;
use controller_kit::text::truncate;
use jiff::Timestamp;
use kube::ResourceExt;

use super::context::{Context, Process};
use super::draft::Draft;
use super::member::{self, HubObject, Link};
use super::objects::Target;
use super::{Detail, Error, Operation, State, conclude, entry};

/// What is still to do in one cluster.
#[derive(Debug, Clone)]
pub struct Left<D> {
    pub detail: D,
    /// What the deletion waits for there; `None`: nothing of ours is there any more.
    pub problem: Option<Problem>,
    /// It is not waited for, only named.
    pub let_go: bool,
    /// When to look again.
    pub again: Duration,
}

impl<D> Left<D> {
    /// What is waited for in a cluster, to be looked at again at once.
    pub fn new(detail: D, problem: Option<Problem>) -> Self {
        Self {
            detail,
            problem,
            let_go: false,
            again: Duration::ZERO,
        }
    }
}

impl<D: Detail> Left<D> {
    /// What is waited for there, with the cluster's name.
    pub(super) fn told(&self) -> Option<String> {
        let problem = self.problem.as_ref()?;
        Some(format!(
            "{}: {}",
            self.detail.cluster_name(),
            problem.message
        ))
    }

    /// What stays behind there when it is not waited for; `object`: kind and name of that.
    pub fn leftover(&self, object: (&str, String)) -> Option<Leftover> {
        let (kind, name) = object;
        let problem = self.problem.as_ref()?;
        Some(Leftover {
            cluster_name: self.detail.cluster_name().to_owned(),
            cluster_kind: self.detail.cluster_kind().to_owned(),
            kind: kind.to_owned(),
            name,
            message: truncate(&problem.message, MESSAGE_BYTES),
        })
    }

    /// Whether it is to be waited for.
    fn is_awaited(&self) -> bool {
        self.problem.is_some() && !self.let_go
    }
}

type LeftOf<K> = Left<<<K as Operation>::Status as State>::Detail>;

/// Whether this object still holds our finalizer; if not, it is none of our business any more.
pub fn is_held<K: Operation>(ctx: &Context<impl Process>, object: &K, owner: &Owner) -> bool {
    let held = object.finalizers().iter().any(|f| f == K::FINALIZER);
    if !held {
        ctx.memory.forget(&owner.uid);
    }
    held
}

/// Where an entry's object is to be looked for; `None`: it was never claimed, so nothing of ours was
/// ever made there.
pub fn place(
    ctx: &Context<impl Process>,
    owner: &Owner,
    detail: &impl Detail,
) -> Result<Option<Target>, Problem> {
    let (Some(uid), Some(name)) = (detail.member_uid(), detail.object_name()) else {
        return Ok(None);
    };
    let Some(key) = entry::key_of(&owner.namespace, detail) else {
        return Err(unknown_kind(detail));
    };
    match member::link(ctx, &key) {
        Link::Down { problem, .. } => Err(pending(&problem)),
        Link::Up { member_uid } if member_uid != uid => Err(Problem::new(
            reason::MEMBER_REPLACED,
            format!(
                "another cluster answers as {}: {name} lies with the former one; bring it back, or \
                 annotate {}=true to leave it",
                key.name,
                labels::FORCE_DELETE
            ),
        )),
        Link::Up { .. } => Ok(Some(Target {
            key,
            member: MemberId::from_uid(uid),
            name: name.to_owned(),
        })),
    }
}

/// The same for what lies in an object storage: a member that has taken over the store of the one
/// that was claimed has its backups as well.
pub fn place_of_data(
    ctx: &Context<impl Process>,
    owner: &Owner,
    detail: &impl Detail,
) -> Result<Option<Target>, Problem> {
    let place = place(ctx, owner, detail);
    let (Err(problem), Some(uid)) = (&place, detail.member_uid()) else {
        return place;
    };
    let key = entry::key_of(&owner.namespace, detail);
    let Some((key, name)) = key.zip(detail.object_name()) else {
        return place;
    };
    match member::link(ctx, &key) {
        Link::Up { member_uid }
            if problem.reason == reason::MEMBER_REPLACED
                && member::adopted(ctx, &key).contains(&MemberId::from_uid(uid)) =>
        {
            Ok(Some(Target {
                member: MemberId::from_uid(&member_uid),
                name: name.to_owned(),
                key,
            }))
        }
        _ => place,
    }
}

/// Whether an entry's cluster is gone for good: its own object is, or another cluster answers in its
/// place.
pub fn is_abandoned(ctx: &Context<impl Process>, owner: &Owner, detail: &impl Detail) -> bool {
    let absent = |key| member::hub_object(ctx, &key) == HubObject::Absent;
    entry::key_of(&owner.namespace, detail).is_some_and(absent) || is_replaced(ctx, owner, detail)
}

/// Whether another cluster answers in the place of the one that an entry has claimed.
fn is_replaced(ctx: &Context<impl Process>, owner: &Owner, detail: &impl Detail) -> bool {
    entry::key_of(&owner.namespace, detail)
        .is_some_and(|key| is_another(&member::link(ctx, &key), detail.member_uid()))
}

/// A cluster that does not answer may be the one that was claimed.
fn is_another(link: &Link, claimed: Option<&str>) -> bool {
    match (link, claimed) {
        (Link::Up { member_uid }, Some(claimed)) => member_uid != claimed,
        _ => false,
    }
}

/// What keeps an entry that is let go for that: nobody has to mend it.
pub fn let_go(problem: Problem, detail: &impl Detail) -> Problem {
    if problem.reason != reason::MEMBER_REPLACED {
        return problem;
    }
    let name = detail.cluster_name();
    let message = format!("another cluster answers as {name}: it lies with the former one");
    Problem::new(problem.reason, message)
}

/// What is said of a cluster of a kind that only a newer version knows.
pub fn unknown_kind(detail: &impl Detail) -> Problem {
    Problem::new(
        reason::DELETION_PENDING,
        format!(
            "kind {} is not known to this version",
            detail.cluster_kind()
        ),
    )
}

/// A cause as the reason for which a deletion waits.
pub fn pending(cause: &Problem) -> Problem {
    Problem::new(
        reason::DELETION_PENDING,
        format!("{} ({})", cause.message, cause.reason),
    )
}

/// Lets go of the object if nothing is left, or shows what the deletion waits for.
pub async fn go_on<K: Operation>(
    ctx: &Arc<Context<impl Process>>,
    object: K,
    owner: Owner,
    left: Vec<LeftOf<K>>,
) -> Result<Outcome, Error> {
    Box::pin(go_on_with(ctx, object, owner, left, None)).await
}

/// The same for a kind that has a source apart from its entries.
pub async fn go_on_with<K: Operation>(
    ctx: &Arc<Context<impl Process>>,
    object: K,
    owner: Owner,
    left: Vec<LeftOf<K>>,
    source: Option<Left<BackupDetail>>,
) -> Result<Outcome, Error> {
    let source = source.as_ref();
    let awaits = left.iter().any(Left::is_awaited) || source.is_some_and(Left::is_awaited);
    let forced = object
        .annotations()
        .get(labels::FORCE_DELETE)
        .is_some_and(|v| v == "true");
    let mut draft = Draft::new(ctx, object, owner);
    if forced || !awaits {
        let named = left
            .iter()
            .filter_map(|left| left.leftover(draft.object.leftover(&left.detail)));
        let of_source = source.and_then(|left| {
            let name = left.detail.object_name().unwrap_or_default();
            left.leftover(("velero.io/Backup", name.to_owned()))
        });
        let named = named.chain(of_source).collect();
        return finish(draft, named, (forced, awaits)).await;
    }
    let status = |blocked| conclude::deleting(&draft.object, &left, source, blocked, draft.now);
    let going = status(false);
    let waits = left.iter().filter_map(Left::told);
    let waits: Vec<String> = waits.chain(source.and_then(Left::told)).collect();
    let since = waiting_since(&draft, &going, waits.join("\n"));
    let lasts = Duration::try_from(draft.now.duration_since(since)).unwrap_or_default();
    let stalled = lasts >= ctx.timings.deletion_stalled;
    let wanted = if stalled { status(true) } else { going };
    // A newer version of the object voids it without harm.
    draft.write(wanted).await?;
    let open = left.iter().filter(|left| left.problem.is_some());
    let open = open.map(|left| left.again);
    let of_source = source.filter(|left| left.problem.is_some());
    let again = open.chain(of_source.map(|left| left.again)).min();
    Ok(Outcome::Waiting {
        reason: "Deletion",
        after: again.unwrap_or(ctx.timings.look_again),
    })
}

/// Since when the deletion has waited for just what it waits for now; `going` says what that is.
fn waiting_since<P: Process, K: Operation>(
    draft: &Draft<'_, P, K>,
    going: &K::Status,
    waits: String,
) -> Timestamp {
    draft.ctx.memory.with(&draft.owner.uid, |memory| {
        let since = match &memory.deletion {
            Some((known, since)) if *known == waits => return *since,
            Some(_) => draft.now,
            None => stood_still_since(&draft.object, going, P::MANAGER).unwrap_or(draft.now),
        };
        memory.deletion = Some((waits, since));
        since
    })
}

/// For a process that has not seen the wait begin: since when the status says what it is to say now,
/// by the server's account of who wrote what. What stood still before stands still.
fn stood_still_since<K: Operation>(
    object: &K,
    going: &K::Status,
    manager: &str,
) -> Option<Timestamp> {
    let stored = object.state()?;
    let same = stored.phase() == going.phase() && stored.details() == going.details();
    let writes = object.meta().managed_fields.iter().flatten();
    let ours = writes.filter(|write| {
        write.manager.as_deref() == Some(manager) && write.subresource.as_deref() == Some("status")
    });
    let newest = ours.filter_map(|write| write.time.as_ref()).max()?.0;
    let ready = condition::find(stored.conditions(), condition::READY)?;
    same.then_some(match ready.reason.as_str() {
        // Its newest write came only when the time was up.
        reason::DELETION_BLOCKED => Timestamp::MIN,
        _ => newest,
    })
}

/// Lets go of the object, naming what stays behind. `forced`: a person wants that; `awaits`: something
/// is still to be waited for.
async fn finish<P: Process, K: Operation>(
    mut draft: Draft<'_, P, K>,
    named: Vec<Leftover>,
    (forced, awaits): (bool, bool),
) -> Result<Outcome, Error> {
    let ctx = draft.ctx;
    if !named.is_empty() {
        let wanted = conclude::leftovers(&draft.object, named, awaits, draft.now);
        let mut named = wanted.clone();
        let note = named
            .parts()
            .leftovers
            .iter()
            .map(|left| {
                format!(
                    "{}: {} {} ({})",
                    left.cluster_name, left.kind, left.name, left.message
                )
            })
            .collect::<Vec<_>>()
            .join("; ");
        // Who gives up on what cannot be reached does not wait for a status that cannot be written.
        // The event names the same.
        match draft.write(wanted).await {
            Err(error) if forced => {
                let name = &draft.owner.name;
                tracing::warn!(%name, %error, "what is left behind is not in the status");
            }
            written => {
                written?;
            }
        }
        let event = Event {
            severity: Severity::Warning,
            reason: "ObjectsLeftBehind",
            action: "Delete",
            note,
            related: None,
        };
        ctx.events.publish(&draft.object, event);
    }
    match hub::remove_finalizer(&ctx.client, &draft.object, K::FINALIZER).await {
        Ok(_) => {}
        Err(WriteError::Conflict(_)) => return Ok(Outcome::Done),
        Err(error) => return Err(error.into()),
    }
    ctx.memory.forget(&draft.owner.uid);
    Ok(Outcome::Done)
}

#[cfg(test)]
#[path = "deletion_tests.rs"]
mod tests;
