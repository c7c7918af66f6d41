//! Taking the Schedules from clusters that left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use api_types::backup::Backup;
use api_types::key::ClusterKey;
use api_types::names::MemberId;

use super::apply;
use super::former::{Former, Keep, Next};
use crate::operation::calls::{self, Answer, Call};
use crate::operation::draft::Draft;

/// Whether a cluster that left is to be asked what it has.
pub fn is_due(draft: &Draft<'_, Backup>, former: &Former) -> bool {
    next(draft, former) == Next::Stop
}

fn next(draft: &Draft<'_, Backup>, former: &Former) -> Next {
    former.next(keep(draft), is_stopped(draft, former))
}

fn keep(draft: &Draft<'_, Backup>) -> Keep {
    Keep::new(&draft.object, draft.now)
}

/// Takes the Schedules, and forgets the clusters of which nothing is to be remembered. Returns when to
/// look again.
pub async fn stop(draft: &Draft<'_, Backup>, former: &mut Vec<Former>) -> Option<Duration> {
    for former in former.iter_mut() {
        former.refresh(keep(draft), is_stopped(draft, former));
    }
    let due = former.iter().filter(|former| is_due(draft, former));
    // One that has stored in several places is asked once.
    let mut keys = BTreeSet::new();
    let due = due.filter(|former| keys.insert(former.key.clone()));
    let calls: Vec<Call> = due.filter_map(|former| call(draft, former)).collect();
    let asked = !calls.is_empty();
    let answers = calls::answers(draft.ctx, &draft.owner, calls).await;
    let known = former.len();
    former.retain_mut(|former| is_kept(draft, former, &answers));
    let open = former.iter().any(|former| is_due(draft, former));
    (asked && (open || former.len() < known)).then_some(draft.ctx.timings.retry)
}

fn call(draft: &Draft<'_, Backup>, former: &Former) -> Option<Call> {
    let key = former.key.clone()?;
    let member = MemberId::from_uid(former.cluster.member_uid.as_deref()?);
    let (ctx, owner) = (Arc::clone(draft.ctx), draft.owner.clone());
    let purpose = format!("stop {member}");
    Some(Call::new(key.clone(), purpose, async move {
        Answer::Stopped(apply::stop(&ctx, &owner, &key, &member).await)
    }))
}

/// Whether a live look has shown that it has no Schedule any more.
fn is_stopped(draft: &Draft<'_, Backup>, former: &Former) -> bool {
    let (Some(key), Some(uid)) = (&former.key, &former.cluster.member_uid) else {
        return false;
    };
    draft.ctx.memory.with(&draft.owner.uid, |memory| {
        let of = memory.clusters.get(key);
        of.is_some_and(|of| of.own.stopped.as_ref() == Some(uid))
    })
}

/// Of the members that one name has had, one answers at most: the answer is that of the one that was
/// due.
fn is_kept(
    draft: &Draft<'_, Backup>,
    former: &mut Former,
    answers: &BTreeMap<ClusterKey, Answer>,
) -> bool {
    match next(draft, former) {
        Next::Keep => return true,
        Next::Forget => return false,
        Next::Stop => {}
    }
    let Some(key) = former.key.clone() else {
        return true;
    };
    let Some(Answer::Stopped(Ok(left))) = answers.get(&key).cloned() else {
        return true;
    };
    draft.ctx.memory.with(&draft.owner.uid, |memory| {
        let of = memory.clusters.entry(key).or_default();
        of.own.stopped = former
            .cluster
            .member_uid
            .clone()
            .filter(|_| !left.schedules);
    });
    former.after(left, draft.object.spec.deletion_policy) != Next::Forget
}
