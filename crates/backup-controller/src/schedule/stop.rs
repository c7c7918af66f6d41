//! Taking the Schedules from clusters that left.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::backup::Backup;
use api_types::key::ClusterKey;
use api_types::names::MemberId;

use super::apply;
use super::former::{self, Former, Next};
use crate::operation::calls::{self, Answer, Call};
use crate::operation::draft::Draft;

/// Whether a cluster that left is to be asked what it has.
pub fn is_due(draft: &Draft<'_, Backup>, former: &Former) -> bool {
    former::next(former, is_stopped(draft, former)) == Next::Stop
}

/// Takes the Schedules, and forgets the clusters where nothing of ours is left. Returns when to look
/// again.
pub async fn stop(draft: &Draft<'_, Backup>, former: &mut Vec<Former>) -> Option<Duration> {
    let due = former.iter().filter(|former| is_due(draft, former));
    let calls: Vec<Call> = due.filter_map(|former| call(draft, former)).collect();
    let asked = !calls.is_empty();
    let mut answers = calls::answers(draft.ctx, &draft.owner, calls).await;
    let known = former.len();
    former.retain(|former| is_kept(draft, former, &mut answers));
    let open = former.iter().any(|former| is_due(draft, former));
    (asked && (open || former.len() < known)).then_some(draft.ctx.timings.retry)
}

fn call(draft: &Draft<'_, Backup>, former: &Former) -> Option<Call> {
    let key = former.key.clone()?;
    let member = MemberId::from_uid(former.cluster.member_uid.as_deref()?);
    let (ctx, owner) = (Arc::clone(draft.ctx), draft.owner.clone());
    Some(Call::new(key.clone(), "stop".to_owned(), async move {
        Answer::Stopped(apply::stop(&ctx, &owner, &key, &member).await)
    }))
}

/// Whether a live look has shown that it has no Schedule any more.
fn is_stopped(draft: &Draft<'_, Backup>, former: &Former) -> bool {
    let Some(key) = &former.key else { return false };
    draft.ctx.memory.with(&draft.owner.uid, |memory| {
        memory.clusters.get(key).is_some_and(|of| of.stopped)
    })
}

fn is_kept(
    draft: &Draft<'_, Backup>,
    former: &Former,
    answers: &mut BTreeMap<ClusterKey, Answer>,
) -> bool {
    if former::next(former, is_stopped(draft, former)) == Next::Forget {
        return false;
    }
    let answer = former.key.as_ref().and_then(|key| answers.remove(key));
    let (Some(Answer::Stopped(Ok(left))), Some(key)) = (answer, &former.key) else {
        return true;
    };
    draft.ctx.memory.with(&draft.owner.uid, |memory| {
        let of = memory.clusters.entry(key.clone()).or_default();
        of.stopped = !left.schedules;
    });
    former::after(former, left, draft.object.spec.deletion_policy) != Next::Forget
}
