//! The plugin `backup` of a Fleet, as far as it is the object storage: on each member the Secret and
//! the BackupStorageLocation `default`, kept as the Fleet says. Velero itself is there beforehand.

pub mod apply;
pub mod collision;
pub mod dereference;
pub mod entry;
pub mod known;
pub mod layout;
pub mod leave;
pub mod mark;
pub mod memory;
pub mod status;
pub mod validate;

#[cfg(test)]
mod fixtures;

use std::sync::Arc;
use std::time::Duration;

use api_types::fleet::{Fleet, PLUGIN_BACKUP, PluginStatus};
use api_types::labels;
use controller_kit::hub::{self, WriteError};
use controller_kit::reconcile::Outcome;
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;
use tokio::time::Instant;

use crate::context::Context;
use crate::operation::entry::whole_seconds;
use crate::operation::memory::Written;
use crate::operation::{Error, sooner, stale};
use validate::Plan;

/// Brings the storage of one Fleet up to date.
pub async fn reconcile(ctx: &Arc<Context>, fleet: Arc<Fleet>) -> Result<Outcome, Error> {
    let uid = fleet.uid().unwrap_or_default();
    if !concerns(&fleet) {
        ctx.memory.forget(&uid);
        ctx.stores.forget(&uid);
        return Ok(Outcome::Done);
    }
    let known = dereference::dereference(ctx, fleet).await?;
    let plan = validate::validate(&known, &ctx.timings, Instant::now());
    if plan.needs_finalizer(&known.fleet) {
        return hold(ctx, &known.fleet).await;
    }
    let answers = apply::apply(ctx, &known, &plan).await;
    let now = whole_seconds(Timestamp::now());
    let entry = status::entry(&known, &plan, &answers, now);
    if let Some(after) = write(ctx, &known.fleet, entry.as_ref()).await? {
        return Ok(after);
    }
    leave::report(ctx, &known, &plan);
    if plan.is_over() {
        ctx.memory.forget(&uid);
        ctx.stores.forget(&uid);
        return finish(ctx, &known.fleet).await;
    }
    Ok(Outcome::Waiting {
        reason: "Watching",
        after: next(ctx, &plan, &answers),
    })
}

/// Whether there is anything to do for this Fleet, or anything to give up.
pub fn concerns(fleet: &Fleet) -> bool {
    is_asked_for(fleet) || is_held(fleet) || stored(fleet).is_some()
}

fn is_asked_for(fleet: &Fleet) -> bool {
    let plugins = fleet.spec.plugin.as_ref();
    plugins.is_some_and(|plugins| plugins.backup.is_some())
}

fn is_held(fleet: &Fleet) -> bool {
    let mut finalizers = fleet.finalizers().iter();
    finalizers.any(|held| held == labels::FLEET_BACKUP_FINALIZER)
}

/// Our entry in the status, as it was read.
pub fn stored(fleet: &Fleet) -> Option<&PluginStatus> {
    let mut entries = fleet.status.iter().flat_map(|status| &status.plugins);
    entries.find(|entry| entry.name == PLUGIN_BACKUP)
}

async fn hold(ctx: &Context, fleet: &Fleet) -> Result<Outcome, Error> {
    let held = hub::add_finalizer(&ctx.client, fleet, labels::FLEET_BACKUP_FINALIZER).await;
    match held {
        Ok(_) | Err(WriteError::Conflict(_) | WriteError::Gone(_)) => Ok(stale()),
        Err(error) => Err(error.into()),
    }
}

/// Nothing of ours is left on members.
async fn finish(ctx: &Context, fleet: &Fleet) -> Result<Outcome, Error> {
    let gone = hub::remove_finalizer(&ctx.client, fleet, labels::FLEET_BACKUP_FINALIZER).await;
    match gone {
        Ok(_) | Err(WriteError::Gone(_)) => Ok(Outcome::Done),
        Err(WriteError::Conflict(_)) => Ok(stale()),
        Err(error) => Err(error.into()),
    }
}

/// Writes our entry if it says something new; returns what the pass ends with if it must end.
async fn write(
    ctx: &Context,
    fleet: &Fleet,
    entry: Option<&PluginStatus>,
) -> Result<Option<Outcome>, Error> {
    let before = stored(fleet);
    if before == entry {
        return Ok(None);
    }
    let uid = fleet.uid().unwrap_or_default();
    let count = entry.map_or(0, |entry| entry.clusters.len());
    let pace = ctx.timings.progress_pace_per_entry * u32::try_from(count).unwrap_or(u32::MAX);
    let written = ctx.memory.with(&uid, |memory| memory.written);
    let left = written.map_or(Duration::ZERO, |last| {
        pace.saturating_sub(last.at.elapsed())
    });
    if !left.is_zero() {
        return Ok(Some(Outcome::Waiting {
            reason: "Paced",
            after: left,
        }));
    }
    let entries: Vec<&PluginStatus> = entry.into_iter().collect();
    let body = json!({ "plugins": entries });
    let version = fleet.resource_version();
    let manager = labels::BACKUP_MANAGER;
    let began = Instant::now();
    match hub::apply_status(&ctx.client, fleet, &body, manager, version.as_deref()).await {
        Ok(_) => {}
        Err(WriteError::Conflict(_) | WriteError::Gone(_)) => return Ok(Some(stale())),
        Err(error) => return Err(error.into()),
    }
    let (at, took) = (Instant::now(), began.elapsed());
    ctx.memory
        .with(&uid, |memory| memory.written = Some(Written { at, took }));
    for event in status::events(before, entry) {
        ctx.events.publish(fleet, event);
    }
    Ok(None)
}

/// When to look again, if nothing changes before: no watch tells of Secrets.
fn next(ctx: &Context, plan: &Plan, answers: &apply::Answers) -> Duration {
    let failed = answers.values().any(Result::is_err);
    let retry = failed.then_some(ctx.timings.retry);
    let wait = sooner(retry, plan.again);
    wait.unwrap_or(ctx.timings.credentials_check)
        .min(ctx.timings.credentials_check)
}
