//! Asks a member whether a Velero Backup can be restored there now: Velero fails a Restore for good
//! when it cannot.

use std::sync::Arc;
use std::time::Duration;

use api_types::condition::reason;
use api_types::external::velero;
use api_types::key::ClusterKey;
use jiff::Timestamp;
use kube::ResourceExt;
use proxy_client::ListOptions;
use tokio::time::Instant;

use super::origin::{Origin, is_made_in};
use super::wanted::{Wanted, Which, location_of, restorable};
use super::{elsewhere, opening, settled};
use crate::identity::Owner;
use crate::operation::calls::{NotNow, Slot};
use crate::operation::context::{Context, Process};
use crate::operation::member::is_live;
use crate::operation::objects::{self, Target};
use crate::problem::Problem;
use crate::{location, point};

/// What a look for another member's backup depends on, as far as it is seen without asking.
#[derive(Debug, Clone)]
pub struct Sight {
    origin: Origin,
    which: Which,
    /// The origin answers.
    answers: bool,
    /// The target's locations.
    locations: Vec<Arc<velero::BackupStorageLocation>>,
    /// Uid and version of each backup of the origin that the target has.
    copies: Vec<(Option<String>, Option<String>)>,
}

impl Sight {
    /// What is seen now.
    fn of(ctx: &Context<impl Process>, key: &ClusterKey, origin: &Origin, which: &Which) -> Self {
        let made_in = origin.made_in();
        let mut copies = ctx.backups.list(key);
        copies.retain(|copy| is_made_in(&made_in, copy));
        Self {
            origin: origin.clone(),
            which: which.clone(),
            answers: elsewhere::up_member(ctx, origin).is_some(),
            locations: ctx.locations.list(key),
            copies: copies
                .iter()
                .map(|copy| (copy.uid(), copy.resource_version()))
                .collect(),
        }
    }

    /// Whether a look would find what it found then. That Velero has checked a location once more
    /// changes nothing.
    fn is_like(&self, then: &Self) -> bool {
        let locations = self.locations.iter().zip(&then.locations);
        let mut changes = locations.map(|(now, then)| location::change(Some(then), Some(now)));
        (&self.origin, &self.which, self.answers) == (&then.origin, &then.which, then.answers)
            && self.copies == then.copies
            && self.locations.len() == then.locations.len()
            && changes.all(|change| change == location::Change::Nothing)
    }
}

/// A look that has shown what must come first.
#[derive(Debug)]
pub struct Looked {
    /// What was seen when it began.
    sight: Sight,
    at: Instant,
    problem: Problem,
}

impl Looked {
    /// What it has shown, if that holds by what is seen now, and for how long.
    fn holds(&self, now: &Sight, look_again: Duration) -> Option<(Problem, Duration)> {
        let left = look_again.saturating_sub(self.at.elapsed());
        (!left.is_zero() && now.is_like(&self.sight)).then(|| (self.problem.clone(), left))
    }
}

/// What the newest look at a target has shown, while that holds: a member with many Restores that
/// wait is not asked by each of them whenever one of them moves.
pub fn recall(
    ctx: &Context<impl Process>,
    owner: &Owner,
    key: &ClusterKey,
    (origin, which): (&Origin, &Which),
) -> Option<(Problem, Duration)> {
    let looked = ctx.memory.with(&owner.uid, |memory| {
        let of = memory.clusters.get(key)?;
        // An answer that nobody has taken yet comes first: left there, it would pass for a later one.
        matches!(of.call, Slot::Free)
            .then(|| of.looked.clone())
            .flatten()
    })?;
    let now = Sight::of(ctx, key, origin, which);
    looked.holds(&now, ctx.timings.look_again)
}

/// Looks for the backup on the target. What another member has stored, or this one at a place where it
/// stores no more, is made to be seen there.
pub async fn look(
    ctx: &Context<impl Process>,
    owner: &Owner,
    target: &Target,
    origin: &Origin,
    wanted: &Wanted,
) -> Result<velero::Backup, NotNow> {
    if origin.is_only(&target.member) && !lies_elsewhere(ctx, &target.key, origin) {
        return own(ctx, &target.key, origin, wanted).await;
    }
    // Taken first: what changes while it looks is a reason for the next look.
    let sight = Sight::of(ctx, &target.key, origin, &wanted.which);
    let at = Instant::now();
    let found = elsewhere::look(ctx, owner, target, origin, wanted).await;
    let looked = match &found {
        Err(NotNow::Waits(problem)) => Some(Arc::new(Looked {
            sight,
            at,
            problem: problem.clone(),
        })),
        _ => None,
    };
    ctx.memory.amend(&owner.uid, |memory| {
        if let Some(of) = memory.clusters.get_mut(&target.key) {
            of.looked = looked;
        }
    });
    found
}

/// Whether a member has no location of its own at a place that is to be read.
fn lies_elsewhere(ctx: &Context<impl Process>, key: &ClusterKey, origin: &Origin) -> bool {
    let mut places = origin.places().into_iter();
    let has_none = |place| opening::own_location(ctx, key, place).is_none();
    is_live(&ctx.locations.state(key)) && places.any(has_none)
}

/// A backup in the member that made it, and that has locations at all the places where it may lie.
async fn own(
    ctx: &Context<impl Process>,
    key: &ClusterKey,
    origin: &Origin,
    wanted: &Wanted,
) -> Result<velero::Backup, NotNow> {
    // Before the backups: what a sync has brought back must be seen with that sync.
    let locations = objects::velero::<velero::BackupStorageLocation>(ctx, key);
    let locations = locations.list(&ListOptions::default()).await?;
    let api = objects::velero::<velero::Backup>(ctx, key);
    let now = Timestamp::now();
    let backup = match &wanted.which {
        Which::Named(name) => {
            let found = api.get_opt(name).await?;
            all_whole(key, &locations, found.iter())?;
            restorable(wanted, name, key, found, now)
        }
        Which::Newest(not_after) => {
            let ours = ListOptions {
                labels: wanted.selector(),
                ..ListOptions::default()
            };
            let found = api.list(&ours).await?;
            // What comes back comes in no order of time.
            all_whole(key, &locations, found.iter().filter(|run| wanted.is(run)))?;
            newest(wanted, key, &found, *not_after)
        }
    };
    let backup = backup.map_err(NotNow::Waits)?;
    let name = location_of(&backup);
    let mut locations = locations.into_iter();
    let place = locations.find(|location| location.name_any() == name);
    let usable = match place {
        Some(place) => {
            is_there(ctx, key, origin, &place).and_then(|()| location::available(&name, &place))
        }
        None => Err(Problem::new(
            reason::STORAGE_LOCATION_NOT_FOUND,
            format!(
                "BackupStorageLocation {name}, where the backup lies, is not in {}: create it in \
                 namespace velero",
                key.name
            ),
        )),
    };
    usable.map_err(NotNow::Waits)?;
    Ok(backup)
}

/// Whether all that belongs to these backups is there, in a member that made them.
fn all_whole<'a>(
    key: &ClusterKey,
    locations: &[velero::BackupStorageLocation],
    mut found: impl Iterator<Item = &'a velero::Backup>,
) -> Result<(), NotNow> {
    let is_partial = |found: &&velero::Backup| {
        let name = location_of(found);
        let mut locations = locations.iter();
        let location = locations.find(|location| location.name_any() == name);
        location.is_some_and(|location| !elsewhere::is_whole(found, location))
    };
    match found.find(is_partial) {
        Some(partial) => Err(NotNow::Waits(elsewhere::not_whole(
            key,
            &partial.name_any(),
        ))),
        None => Ok(()),
    }
}

/// Whether what a member shows in a location surely lies there.
fn is_there(
    ctx: &Context<impl Process>,
    key: &ClusterKey,
    origin: &Origin,
    found: &velero::BackupStorageLocation,
) -> Result<(), Problem> {
    let places = origin.places();
    let is_known = places.is_empty() || places.iter().any(|place| location::is_at(found, place));
    if is_known && (places.len() < 2 || settled::is_sure(ctx, key, found)) {
        return Ok(());
    }
    Err(settled::unsettled(key, &found.name_any()))
}

/// The newest of these that is the wanted Backup's.
pub(super) fn newest(
    wanted: &Wanted,
    place: &ClusterKey,
    found: &[velero::Backup],
    not_after: Option<Timestamp>,
) -> Result<velero::Backup, Problem> {
    let now = Timestamp::now();
    let runs: Vec<&velero::Backup> = found.iter().filter(|found| wanted.is(found)).collect();
    let newest = point::newest(&runs, not_after, now).map_err(|problem| {
        Problem::new(
            problem.reason,
            format!(
                "{} {} as seen in {}: {}",
                wanted.kind, wanted.name, place.name, problem.message
            ),
        )
    })?;
    restorable(wanted, &newest.name_any(), place, Some(newest.clone()), now)
}

#[cfg(test)]
#[path = "look_tests.rs"]
mod tests;
