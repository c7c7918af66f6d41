//! Gives members their Schedules and makes the runs that they owe, each on its own.

use std::sync::Arc;

use api_types::backup::Backup;
use api_types::names::MemberId;
use k8s_openapi::api::core::v1::ConfigMap;

use super::apply::{self, Order, Placed};
use super::pass::Row;
use super::plan::{self, Next, Terms};
use super::run_now;
use crate::operation::calls::{self, Answer, Call};
use crate::operation::draft::Draft;
use crate::operation::refusal::Refusal;

/// Writes Schedules and makes the runs that are owed, each on its own.
pub async fn carry_out(
    draft: &Draft<'_, Backup>,
    rows: &mut [Row],
    source: Option<&ConfigMap>,
    terms: &Terms<'_>,
) {
    let mut asked = Vec::new();
    let mut calls = Vec::new();
    for row in rows {
        let order = row.touches_member().then(|| order(row, source, terms));
        let Some(order) = order.flatten() else {
            refusal(draft, row, Refusal::clear);
            continue;
        };
        let what = what(&order, row);
        if let Some((problem, wait)) = refusal(draft, row, |of| of.stands(&what)) {
            (row.next, row.retry) = (Next::Retry(problem), Some(wait));
        } else {
            calls.push(order_call(draft, order));
            asked.push((row, what));
        }
    }
    let mut answers = calls::answers(draft.ctx, &draft.owner, calls).await;
    let retry = draft.ctx.timings.retry;
    for (row, what) in asked {
        match answers.remove(&row.entry.key) {
            Some(Answer::Placed(Ok(placed))) => {
                refusal(draft, row, Refusal::clear);
                settle(draft, row, *placed);
            }
            Some(Answer::Placed(Err(problem))) => {
                row.retry = Some(refusal(draft, row, |of| of.note(what, &problem, retry)));
                row.next = Next::Retry(problem);
            }
            _ => row.next = Next::Wait(calls::unanswered(&row.entry.key)),
        }
    }
}

fn refusal<T>(draft: &Draft<'_, Backup>, row: &Row, then: impl FnOnce(&mut Refusal) -> T) -> T {
    draft.ctx.memory.with(&draft.owner.uid, |memory| {
        let of = memory.clusters.entry(row.entry.key.clone()).or_default();
        then(&mut of.refusal)
    })
}

fn order_call(draft: &Draft<'_, Backup>, order: Order) -> Call {
    // An answer counts only for the very same order.
    let purpose = format!("place {:?} {:?}", order.schedule.spec, order.run);
    let (ctx, owner) = (Arc::clone(draft.ctx), draft.owner.clone());
    Call::new(order.key.clone(), purpose, async move {
        let placed = apply::carry_out(&ctx, &owner, &order).await;
        Answer::Placed(placed.map(Box::new))
    })
}

/// Notes what the member has now.
fn settle(draft: &Draft<'_, Backup>, row: &mut Row, placed: Placed) {
    let Placed {
        schedule,
        accepted,
        run,
    } = placed;
    draft.ctx.memory.with(&draft.owner.uid, |memory| {
        let of = memory.clusters.entry(row.entry.key.clone()).or_default();
        (of.own.accepted, of.own.stopped) = (accepted, None);
    });
    row.keep(schedule);
    row.runs.add(run.map(Arc::new));
    run_now::note(row, row.owed);
}

fn order(row: &Row, source: Option<&ConfigMap>, terms: &Terms<'_>) -> Option<Order> {
    Some(Order {
        key: row.entry.key.clone(),
        member: MemberId::from_uid(row.entry.facts.member_uid()?),
        schedule: plan::wanted(&row.entry, terms)?,
        config_map: source.cloned(),
        run: row.owed,
    })
}

/// What is asked of a member, and what is known of it: a refusal stands while both are the same.
fn what(order: &Order, row: &Row) -> String {
    let facts = &row.entry.facts;
    let there: Vec<_> = facts
        .schedules
        .iter()
        .map(|live| (&live.metadata.uid, &live.metadata.resource_version))
        .collect();
    let map = order
        .config_map
        .as_ref()
        .map(|map| &map.metadata.resource_version);
    format!(
        "{} {:?} {:?} {map:?} {there:?} {:?}",
        order.member, order.schedule.spec, order.run, facts.velero
    )
}
