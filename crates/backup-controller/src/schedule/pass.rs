//! One pass over a scheduled Backup that is not being deleted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::backup::{Backup, BackupStatus};
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::names::MemberId;
use controller_kit::reconcile::Outcome;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use velero_kit::carry;
use velero_kit::identity::{Labels, Owner};

use super::apply::{self, Order, Placed};
use super::detail::{self, View};
use super::former::{self, Former};
use super::plan::{self, Entry, Next, Terms, plan};
use super::status::Notes;
use super::validate::Validated;
use super::{Error, Problem, agenda, dereference, events, history, run_now, status};
use crate::backup::pass::config_map;
use crate::context::Context;
use crate::operation::calls::{self, Answer, Call};
use crate::operation::draft::Draft;
use crate::operation::{silence, sooner, stale};

/// Look at a scheduled Backup at least this often, should a trigger ever be lost.
const LEVEL_CHECK: Duration = Duration::from_mins(10);

/// A cluster and what comes next for it.
#[derive(Debug)]
pub struct Row {
    pub entry: Entry,
    pub next: Next,
    /// When a run was asked for that it owes.
    pub owed: Option<Timestamp>,
    /// The run that was made in this pass.
    pub run: Option<Arc<velero::Backup>>,
}

impl Row {
    /// A cluster, and what comes next for it.
    pub fn new(entry: Entry, next: Next) -> Self {
        Self {
            entry,
            next,
            owed: None,
            run: None,
        }
    }

    fn touches_member(&self) -> bool {
        matches!(self.next, Next::Put) || self.owed.is_some()
    }
}

/// One pass.
#[derive(Debug)]
pub struct Pass<'a>(Draft<'a, Backup>);

/// What is decided for the whole before any member is called.
struct Plan {
    rows: Vec<Row>,
    former: Vec<Former>,
    notes: Notes,
    /// Something must be written down before members are called.
    is_news: bool,
}

impl<'a> Pass<'a> {
    /// A pass over this version of the object.
    pub fn new(ctx: &'a Arc<Context>, backup: Backup, owner: Owner) -> Self {
        Self(Draft::new(ctx, backup, owner))
    }

    /// The whole pass for a spec that can work.
    pub async fn run(&mut self, spec: &Validated) -> Result<Outcome, Error> {
        let named = spec.resource_policy.as_deref();
        let found = config_map(self.0.ctx, &self.0.owner, named).await?;
        let (source, hold) = match found {
            Some(Ok(source)) => (Some(source), None),
            Some(Err(problem)) => (None, Some(problem)),
            None => (None, None),
        };
        let (carried, hold) = match source.as_ref().map(carried_name) {
            Some(Ok(name)) => (Some(name), hold),
            Some(Err(problem)) => (None, Some(problem)),
            None => (None, hold),
        };
        let owner = self.0.owner.clone();
        let policy = self.0.object.spec.policy.clone();
        let terms = Terms {
            owner: &owner,
            spec,
            policy: policy.as_ref(),
            carried: carried.as_deref(),
            hold: hold.as_ref(),
            now: self.0.now,
        };
        let mut plan = self.plan(spec, &terms);
        let view = self.view(spec, plan.rows.len());
        if plan.is_news {
            let wanted = status::status(&self.0.object, &plan.rows, &plan.notes, &terms, view);
            if !self.write(wanted).await? {
                return Ok(stale());
            }
        } else if self.touches_members(&plan) && !self.0.is_current().await? {
            return Ok(stale());
        }
        if self.0.is_late() {
            return Ok(stale());
        }
        let source = source.filter(|_| terms.hold.is_none());
        self.carry_out(&mut plan.rows, source.as_ref(), &terms)
            .await;
        let again = self.stop_former(&mut plan).await;

        let silence = self.watch_silence(&mut plan.rows);
        let wanted = status::status(&self.0.object, &plan.rows, &plan.notes, &terms, view);
        let pace = match self.0.pace(&wanted) {
            Some(wait) => Some(wait),
            None if self.write(wanted).await? => None,
            None => return Ok(stale()),
        };
        let due = agenda::next(&plan.rows, &terms, &self.0.ctx.timings);
        let after = [pace, silence, again, due].into_iter().fold(None, sooner);
        Ok(Outcome::Waiting {
            reason: "Schedule",
            after: after
                .unwrap_or(LEVEL_CHECK)
                .min(LEVEL_CHECK)
                // Status times are whole seconds: a little later is surely after a due time.
                .saturating_add(Duration::from_millis(100)),
        })
    }

    /// The spec cannot work as it is: no member is touched.
    pub async fn refuse(&mut self, refusal: &Problem) -> Result<Outcome, Error> {
        let wanted = status::refused(&self.0.object, refusal, self.0.now);
        let written = self.write(wanted).await?;
        Ok(if written { Outcome::Done } else { stale() })
    }

    async fn write(&mut self, wanted: BackupStatus) -> Result<bool, Error> {
        let before = self.0.object.status.clone().unwrap_or_default();
        let written = self.0.write(wanted).await?;
        if written {
            events::publish(self.0.ctx, &self.0.object, &before);
        }
        Ok(written)
    }

    fn view(&self, spec: &Validated, clusters: usize) -> View {
        View {
            older: history::older_runs(spec.history_limit, clusters),
            run_missed: self.0.ctx.timings.run_missed,
        }
    }

    /// Decides for each cluster, and for the annotation.
    fn plan(&self, spec: &Validated, terms: &Terms<'_>) -> Plan {
        let (ctx, backup) = (self.0.ctx, &self.0.object);
        let found = dereference::clusters(ctx, backup, spec, &self.0.owner);
        let mut is_news = found.left;
        let mut rows: Vec<Row> = found
            .entries
            .into_iter()
            .map(|entry| {
                let next = plan(&entry, terms);
                Row::new(entry, next)
            })
            .collect();
        for row in &mut rows {
            if let Next::Claim = row.next {
                let uid = row.entry.facts.member_uid().map(str::to_owned);
                row.entry.stored.member_uid = uid;
                row.next = Next::Put;
                is_news = true;
            }
        }
        let status = backup.status.clone().unwrap_or_default();
        let is_ready = |row: &Row| run_now::is_ready(&row.entry, &row.next, &spec.location);
        let value = backup.annotations().get(labels::RUN_NOW);
        let asked = run_now::asked(
            value.map(String::as_str),
            &status,
            rows.iter().any(is_ready),
            self.0.now,
        );
        is_news |= asked.is_some();
        let time = match &asked {
            Some((_, time)) => Some(*time),
            None => status.last_run_now_time.map(|time| time.0),
        };
        let window = ctx.timings.run_now_window;
        for row in &mut rows {
            if is_ready(row) {
                row.owed = run_now::owed(&row.entry, &row.next, time, self.0.now, window);
            }
        }
        let notes = Notes {
            former: found.former.iter().map(|f| f.cluster.clone()).collect(),
            run_now: asked,
        };
        Plan {
            rows,
            former: found.former,
            notes,
            is_news,
        }
    }

    fn touches_members(&self, plan: &Plan) -> bool {
        plan.rows.iter().any(Row::touches_member)
            || plan.former.iter().any(|former| self.is_to_stop(former))
    }

    /// Writes Schedules and makes the runs that are owed, each on its own.
    async fn carry_out(&self, rows: &mut [Row], source: Option<&ConfigMap>, terms: &Terms<'_>) {
        let rows: Vec<&mut Row> = rows.iter_mut().filter(|row| row.touches_member()).collect();
        let calls = rows
            .iter()
            .filter_map(|row| self.order(row, source, terms))
            .map(|order| self.order_call(order))
            .collect();
        let mut answers = calls::answers(self.0.ctx, &self.0.owner, calls).await;
        for row in rows {
            match answers.remove(&row.entry.key) {
                Some(Answer::Placed(Ok(placed))) => self.settle(row, *placed),
                Some(Answer::Placed(Err(problem))) => row.next = Next::Retry(problem),
                _ => row.next = Next::Wait(calls::unanswered(&row.entry.key)),
            }
        }
    }

    fn order(&self, row: &Row, source: Option<&ConfigMap>, terms: &Terms<'_>) -> Option<Order> {
        Some(Order {
            key: row.entry.key.clone(),
            member: MemberId::from_uid(row.entry.facts.member_uid()?),
            schedule: plan::wanted(&row.entry, terms)?,
            config_map: source.cloned(),
            run: row.owed,
        })
    }

    fn order_call(&self, order: Order) -> Call {
        // An answer counts only for the very same order.
        let purpose = format!("place {:?} {:?}", order.schedule.spec, order.run);
        let (ctx, owner) = (Arc::clone(self.0.ctx), self.0.owner.clone());
        Call::new(order.key.clone(), purpose, async move {
            let placed = apply::carry_out(&ctx, &owner, &order).await;
            Answer::Placed(placed.map(Box::new))
        })
    }

    /// Notes what the member has now.
    fn settle(&self, row: &mut Row, placed: Placed) {
        let Placed {
            schedule,
            accepted,
            run,
        } = placed;
        self.0.ctx.memory.with(&self.0.owner.uid, |memory| {
            let of = memory.clusters.entry(row.entry.key.clone()).or_default();
            (of.accepted, of.stopped) = (accepted, false);
        });
        row.next = Next::Keep(Arc::new(schedule));
        row.run = run.map(Arc::new);
    }

    fn is_to_stop(&self, former: &Former) -> bool {
        former::next(former, self.is_stopped(former)) == former::Next::Stop
    }

    fn is_stopped(&self, former: &Former) -> bool {
        let Some(key) = &former.key else { return false };
        self.0.ctx.memory.with(&self.0.owner.uid, |memory| {
            memory.clusters.get(key).is_some_and(|of| of.stopped)
        })
    }

    /// Takes the Schedules from clusters that left. Returns when to look again.
    async fn stop_former(&self, plan: &mut Plan) -> Option<Duration> {
        let mut calls = Vec::new();
        for former in &plan.former {
            if let Some((key, member)) = asked_to_stop(former).filter(|_| self.is_to_stop(former)) {
                let (ctx, owner) = (Arc::clone(self.0.ctx), self.0.owner.clone());
                calls.push(Call::new(key.clone(), "stop".to_owned(), async move {
                    Answer::Stopped(apply::stop(&ctx, &owner, &key, &member).await)
                }));
            }
        }
        let asked = !calls.is_empty();
        let mut answers = calls::answers(self.0.ctx, &self.0.owner, calls).await;
        let known = plan.former.len();
        plan.former
            .retain(|former| self.is_kept(former, &mut answers));
        plan.notes.former = plan.former.iter().map(|f| f.cluster.clone()).collect();
        let open = plan.former.iter().any(|former| self.is_to_stop(former));
        (asked && (open || plan.former.len() < known)).then_some(self.0.ctx.timings.retry)
    }

    fn is_kept(&self, former: &Former, answers: &mut BTreeMap<ClusterKey, Answer>) -> bool {
        if former::next(former, self.is_stopped(former)) == former::Next::Forget {
            return false;
        }
        let answer = former.key.as_ref().and_then(|key| answers.remove(key));
        let (Some(Answer::Stopped(Ok(left))), Some(key)) = (answer, &former.key) else {
            return true;
        };
        self.0.ctx.memory.with(&self.0.owner.uid, |memory| {
            let of = memory.clusters.entry(key.clone()).or_default();
            of.stopped = !left.schedules;
        });
        former::after(former, left, self.0.object.spec.deletion_policy) != former::Next::Forget
    }

    /// Asks Velero whether it lives where a run, or a new Schedule, does not move.
    fn watch_silence(&self, rows: &mut [Row]) -> Option<Duration> {
        let mut again = None;
        for row in rows {
            let Next::Keep(schedule) = &row.next else {
                continue;
            };
            let Some(uid) = row.entry.facts.member_uid() else {
                continue;
            };
            let (ctx, owner, place) = (self.0.ctx, &self.0.owner, (&row.entry.key, uid));
            let runs = detail::runs(row);
            let untouched = schedule.phase().is_empty() && !schedule.spec.paused;
            let (stuck, wait) = match runs.unfinished() {
                Some(run) => silence::watch(ctx, owner, place, &**run),
                None if untouched => silence::watch(ctx, owner, place, &**schedule),
                None => continue,
            };
            again = sooner(again, Some(wait));
            row.entry.stuck = stuck;
        }
        again
    }
}

fn asked_to_stop(former: &Former) -> Option<(ClusterKey, MemberId)> {
    let uid = former.cluster.member_uid.as_deref()?;
    Some((former.key.clone()?, MemberId::from_uid(uid)))
}

/// The name that the copy of a ConfigMap has on members.
fn carried_name(source: &ConfigMap) -> Result<String, Problem> {
    let copy = carry::copy(source, Labels::new()).map_err(|error| {
        Problem::new(
            api_types::condition::reason::SCHEDULE_REJECTED,
            error.to_string(),
        )
    })?;
    Ok(copy.name_any())
}
