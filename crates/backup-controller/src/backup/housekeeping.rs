//! Around a pass: noticing that Velero is silent, and clearing up what is no longer needed.

use std::sync::Arc;
use std::time::Duration;

use api_types::backup::Backup;
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::names::MemberId;
use api_types::phase::EntryPhase;
use futures::{StreamExt, stream};
use velero_kit::identity::{Owner, owner_uid};
use velero_kit::removal;

use super::pass::Row;
use super::plan::{Link, Next};
use super::{apply, status};
use crate::context::Context;
use crate::operation::draft::Draft;
use crate::operation::{objects, silence, sooner};

/// For each object that does not move: asks Velero whether it lives, and notes on the row what is
/// known of it. Returns when to look again.
pub fn watch_silence(ctx: &Arc<Context>, owner: &Owner, rows: &mut [Row]) -> Option<Duration> {
    let mut again = None;
    for row in rows {
        let (Next::Follow(object), Link::Up { member_uid }) = (&row.next, &row.entry.facts.link)
        else {
            continue;
        };
        if status::velero_is_done(object) {
            continue;
        }
        let (stuck, wait) = silence::watch(ctx, owner, (&row.entry.key, member_uid), &**object);
        again = sooner(again, Some(wait));
        row.entry.stuck = stuck;
    }
    again
}

/// Removes what no entry needs any more: refused objects of earlier names, and each `ConfigMap` of
/// backups that have just ended, as that is written on the hub. Beside the passes, since nothing waits
/// for it.
pub fn tidy(draft: &Draft<'_, Backup>, rows: &[Row]) {
    let Some(status) = &draft.object.status else {
        return;
    };
    let (ctx, owner) = (draft.ctx, &draft.owner);
    let jobs: Vec<Job> = rows
        .iter()
        .zip(&status.backup_details)
        .filter(|(row, _)| row.entry.facts.is_up())
        .map(|(row, detail)| Job::of(ctx, owner, row, detail.phase.is_final()))
        .filter(|job| !job.strays.is_empty() || job.ended.is_some())
        .collect();
    if jobs.is_empty() {
        return;
    }
    let ctx = Arc::clone(ctx);
    tokio::spawn(
        stream::iter(jobs).for_each_concurrent(objects::PARALLEL, move |job| {
            let ctx = Arc::clone(&ctx);
            async move {
                for stray in &job.strays {
                    removal::drop_stray(&ctx, &job.key, &**stray).await;
                }
                if let Some(ended) = &job.ended
                    && let Some(name) = apply::carried(ended)
                {
                    let owner = owner_uid(&ended.metadata).unwrap_or_default();
                    apply::drop_carried(&ctx, &job.key, owner, name).await;
                }
            }
        }),
    );
}

/// What is to be removed on one member.
struct Job {
    key: ClusterKey,
    strays: Vec<Arc<velero::Backup>>,
    ended: Option<Arc<velero::Backup>>,
}

impl Job {
    fn of(ctx: &Context, owner: &Owner, row: &Row, ended: bool) -> Self {
        let key = &row.entry.key;
        let claimed = row.entry.stored.member_uid.as_deref();
        let claimed = claimed.zip(row.entry.claimed_name());
        let strays = claimed.map(|(uid, name)| {
            let member = MemberId::from_uid(uid);
            // One that has failed so hides what the bucket has under its name.
            let failed = row.entry.stored.phase == EntryPhase::Failed;
            let over = matches!(row.next, Next::Fail(_)) || failed;
            let needed = (!over).then_some(name);
            removal::backups::strays(ctx, owner, (key, &member), needed)
        });
        let ended = match &row.next {
            Next::Follow(object) if ended => Some(Arc::clone(object)),
            _ => None,
        };
        Self {
            key: key.clone(),
            strays: strays.unwrap_or_default(),
            ended,
        }
    }
}
