//! One pass over a scheduled Backup that is not being deleted.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use api_types::backup::{Backup, BackupDetail, BackupStatus};
use api_types::external::velero;
use api_types::labels;
use controller_kit::reconcile::Outcome;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use velero_kit::identity::{Labels, Owner};
use velero_kit::{carry, schedule};

use super::dereference::Clusters;
use super::detail::{self, View};
use super::former::{self, Former};
use super::history::Runs;
use super::plan::{Entry, Next, Terms, plan};
use super::run_now::Owed;
use super::status::Notes;
use super::validate::Validated;
use super::{
    Error, Problem, agenda, dereference, events, history, place, run_now, status, stop, twins,
};
use crate::backup::{self, pass::config_map};
use crate::context::Context;
use crate::operation::draft::Draft;
use crate::operation::{destination, entry, silence, sooner, stale};

/// Look at a scheduled Backup at least this often, should a trigger ever be lost.
const LEVEL_CHECK: Duration = Duration::from_mins(10);

/// A cluster and what comes next for it.
#[derive(Debug)]
pub struct Row {
    pub entry: Entry,
    pub next: Next,
    /// Its runs, as last seen.
    pub runs: Runs,
    /// The run that was asked for and that it owes.
    pub owed: Option<Owed>,
    /// How long until its member is asked again for what failed.
    pub retry: Option<Duration>,
    /// Since when no run keeps Velero from starting the next one, if the end of that was seen.
    pub free_since: Option<Timestamp>,
    due: OnceLock<Option<Timestamp>>,
}

impl Row {
    /// A cluster, and what comes next for it.
    pub fn new(entry: Entry, next: Next) -> Self {
        Self {
            runs: Runs::new(entry.facts.runs.iter().cloned()),
            entry,
            next,
            owed: None,
            retry: None,
            free_since: None,
            due: OnceLock::new(),
        }
    }

    /// The member has this Schedule now.
    pub fn keep(&mut self, schedule: velero::Schedule) {
        self.next = Next::Keep(Arc::new(schedule));
        self.due = OnceLock::new();
    }

    /// When the next run of its Schedule is due, be it in the past.
    pub fn due(&self, terms: &Terms<'_>) -> Option<Timestamp> {
        let Next::Keep(live) = &self.next else {
            return None;
        };
        *self
            .due
            .get_or_init(|| schedule::due(live, &terms.spec.when))
    }

    /// From when on the next run is to be expected. Velero starts none while another is in progress,
    /// and makes up for it at its next look. `None`: none is due, or one is in progress.
    pub fn expected(&self, terms: &Terms<'_>) -> Option<Timestamp> {
        let due = self.due(terms)?;
        let ends = [self.runs.last_end(terms.now), self.free_since];
        let free = ends.into_iter().flatten().fold(due, Timestamp::max);
        (!self.runs.hold_up_next()).then_some(free)
    }

    pub(super) fn touches_member(&self) -> bool {
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

/// The ConfigMap that goes with the Schedules.
#[derive(Default)]
struct Carried {
    source: Option<ConfigMap>,
    /// Its name on members.
    name: Option<String>,
    /// Why there is none.
    hold: Option<Problem>,
}

impl Carried {
    fn held(problem: Problem) -> Self {
        Self {
            hold: Some(problem),
            ..Self::default()
        }
    }
}

impl<'a> Pass<'a> {
    /// A pass over this version of the object.
    pub fn new(ctx: &'a Arc<Context>, backup: Backup, owner: Owner) -> Self {
        Self(Draft::new(ctx, backup, owner))
    }

    /// The whole pass for a spec that can work.
    pub async fn run(&mut self, spec: &Validated) -> Result<Outcome, Error> {
        let carried = self.carried(spec).await?;
        let owner = self.0.owner.clone();
        let policy = self.0.object.spec.policy.clone();
        let by = (&owner, self.0.now);
        let found = dereference::clusters(self.0.ctx, &self.0.object, spec, by);
        let too_many = found.too_many();
        let terms = Terms {
            owner: &owner,
            spec,
            policy: policy.as_ref(),
            carried: carried.name.as_deref(),
            hold: too_many.as_ref().or(carried.hold.as_ref()),
            now: self.0.now,
        };
        let mut plan = self.plan(found, &terms);
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
        place::carry_out(&self.0, &mut plan.rows, carried.source.as_ref(), &terms).await;
        let again = stop::stop(&self.0, &mut plan.former).await;
        plan.notes.former = plan.former.iter().map(|f| f.cluster.clone()).collect();

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

    /// The ConfigMap that the policy names, and what is in the way of carrying it.
    async fn carried(&self, spec: &Validated) -> Result<Carried, Error> {
        let named = spec.resource_policy.as_deref();
        let found = config_map(self.0.ctx, &self.0.owner, named).await?;
        let copy = |source: ConfigMap| match carried_name(&source) {
            Ok(name) => Carried {
                source: Some(source),
                name: Some(name),
                hold: None,
            },
            Err(problem) => Carried::held(problem),
        };
        Ok(match found {
            Some(Ok(source)) => copy(source),
            Some(Err(problem)) => Carried::held(problem),
            None => Carried::default(),
        })
    }

    /// The spec cannot work as it is: no member is touched, and what the members do goes on to be shown.
    pub async fn refuse(&mut self, refusal: &Problem) -> Result<Outcome, Error> {
        let mut details = self.followed();
        if details.is_empty() {
            let Draft { ctx, object, .. } = &self.0;
            let meant = destination::meant(ctx, &self.0.owner.namespace, &object.spec.destination);
            details.extend(meant.iter().map(|key| {
                let mut detail = entry::fresh(key);
                entry::say(&mut detail, refusal);
                detail
            }));
        }
        let wanted = status::refused(&self.0.object, details, refusal, self.0.now);
        let pace = match self.0.pace(&wanted) {
            Some(wait) => wait,
            None if self.write(wanted).await? => LEVEL_CHECK,
            None => return Ok(stale()),
        };
        Ok(Outcome::Waiting {
            reason: "Refused",
            after: pace,
        })
    }

    /// The entries as they are, with what their members do now.
    fn followed(&self) -> Vec<BackupDetail> {
        let Draft { object, owner, .. } = &self.0;
        let location = backup::delete::location(object);
        let stored = object.status.clone().unwrap_or_default().backup_details;
        let limit = usize::try_from(object.spec.history_limit.clamp(1, 10)).unwrap_or(1);
        let older = history::older_runs(limit, stored.len());
        let follow = |stored: BackupDetail| {
            let Some(key) = entry::key_of(&owner.namespace, &stored) else {
                return stored;
            };
            let facts = dereference::facts(self.0.ctx, &key, location, &owner.uid);
            let runs = Runs::new(facts.runs.iter().cloned());
            let mut detail = detail::follow(&stored, &facts, &runs, older);
            detail::date(&mut detail, &stored, &facts, self.0.now);
            detail
        };
        stored.into_iter().map(follow).collect()
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
    fn plan(&self, found: Clusters, terms: &Terms<'_>) -> Plan {
        let (ctx, backup, spec) = (self.0.ctx, &self.0.object, terms.spec);
        let mut is_news = found.left;
        let mut rows: Vec<Row> = found
            .entries
            .into_iter()
            .map(|entry| {
                let next = plan(&entry, terms);
                let mut row = Row::new(entry, next);
                row.free_since = ctx.memory.with(&self.0.owner.uid, |memory| {
                    let of = memory.clusters.entry(row.entry.key.clone()).or_default();
                    of.own.turn.note(row.runs.hold_up_next(), self.0.now)
                });
                row
            })
            .collect();
        twins::one_each(&mut rows);
        for row in &mut rows {
            if let Next::Claim = row.next {
                let uid = row.entry.facts.member_uid().map(str::to_owned);
                row.entry.stored.member_uid = uid;
                row.next = Next::Put;
                is_news = true;
            }
        }
        let status = backup.status.clone().unwrap_or_default();
        let is_ready = |row: &Row| run_now::is_ready(row, &spec.location);
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
        let owed = time.map(|time| Owed::new(time, ctx.timings.run_now_window));
        for row in &mut rows {
            run_now::note(row, owed);
            if is_ready(row) {
                row.owed = run_now::owed(row, owed, self.0.now);
            }
        }
        let former = former::unclaimed(found.former, rows.iter().map(|row| &row.entry));
        let notes = Notes {
            former: former.iter().map(|f| f.cluster.clone()).collect(),
            run_now: asked,
        };
        Plan {
            rows,
            former,
            notes,
            is_news,
        }
    }

    fn touches_members(&self, plan: &Plan) -> bool {
        plan.rows.iter().any(Row::touches_member)
            || plan
                .former
                .iter()
                .any(|former| stop::is_due(&self.0, former))
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
            let untouched = schedule.phase().is_empty() && !schedule.spec.paused;
            let (stuck, wait) = match row.runs.unfinished() {
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
