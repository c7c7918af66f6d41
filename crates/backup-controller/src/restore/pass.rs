//! One pass over a Restore that is not being deleted.

use std::sync::Arc;
use std::time::Duration;

use api_types::backup::Backup;
use api_types::condition::reason;
use api_types::external::velero;
use api_types::names::MemberId;
use api_types::restore::{Restore, RestoreStatus};
use controller_kit::reconcile::Outcome;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::Api;
use tokio::time::Instant;
use tracing::Instrument;
use velero_kit::identity::Owner;
use velero_kit::removal;

use super::apply::{self, Order};
use super::plan::{self, Entry, Next, Terms, plan};
use super::source::Source;
use super::validate::Validated;
use super::{Problem, agenda, dereference, look, status};
use crate::context::Context;
use crate::operation::calls::{self, Answer, FRESH};
use crate::operation::draft::Draft;
use crate::operation::member::Link;
use crate::operation::objects::Applied;
use crate::operation::spec::InvalidSpec;
use crate::operation::{Error, conclude, is_settled, look_again, silence, sooner, stale};

/// An entry and what comes next for it.
#[derive(Debug)]
pub struct Row {
    pub entry: Entry,
    pub next: Next,
    /// The member was asked in this pass whether the run can be restored.
    pub(super) looked: bool,
    /// An earlier look still holds, for this long.
    pub(super) look_in: Option<Duration>,
}

impl Row {
    /// An entry, and what comes next for it.
    pub fn new(entry: Entry, next: Next) -> Self {
        Self {
            entry,
            next,
            looked: false,
            look_in: None,
        }
    }

    /// Notes the run that is restored, as it was seen then.
    fn choose(&mut self, backup: &velero::Backup, at: Instant) {
        let entry = &mut self.entry;
        let stored = &mut entry.stored;
        stored
            .backup_name_in_cluster
            .clone_from(&backup.metadata.name);
        let origin = entry.origin.as_ref().ok();
        stored.source_cluster_name = origin.map(|origin| origin.cluster.name.clone());
        stored.backup_time = backup.start_timestamp().map(Time);
        if let Ok(run) = &mut entry.run {
            run.partial = backup.phase() == "PartiallyFailed";
        }
        // What was seen longer ago is looked at once more before it is restored.
        self.looked = at.elapsed() < FRESH;
    }
}

/// One pass.
#[derive(Debug)]
pub struct Pass<'a>(pub(super) Draft<'a, Restore>);

impl<'a> Pass<'a> {
    /// A pass over this version of the object.
    pub fn new(ctx: &'a Arc<Context>, restore: Restore, owner: Owner) -> Self {
        Self(Draft::new(ctx, restore, owner))
    }

    /// The whole pass for a spec that can work.
    pub async fn run(&mut self, spec: &Validated, source: &Source) -> Result<Outcome, Error> {
        let config_map = self.config_map(spec).await?;
        let lacking = config_map.as_ref().and_then(|found| found.as_ref().err());
        let missing = source.obstacle();
        let by = (&self.0.owner, self.0.now);
        let entries = dereference::entries(self.0.ctx, &self.0.object, source, by);
        let too_many = self.0.too_many(entries.iter().map(|entry| &entry.key));
        let terms = Terms {
            source: missing.as_ref(),
            going: source.is_going(),
            hold: too_many.as_ref().or(lacking),
            elsewhere: source.cluster.is_some(),
            once: source.is_once(),
            deadline: spec.deadline,
            now: self.0.now,
        };
        let mut rows: Vec<Row> = entries
            .into_iter()
            .map(|entry| {
                let next = plan(&entry, &terms);
                Row::new(entry, next)
            })
            .collect();

        // Each of the two steps is on the hub before the next one is taken.
        let renamed = self.rename_refused(&mut rows, &terms);
        let claimed = self.claim(&mut rows).await || renamed;
        if claimed && !self.note(&rows, spec, source).await? {
            return Ok(stale());
        }
        let chosen = self.choose(&mut rows, source).await;
        if chosen && !self.note(&rows, spec, source).await? {
            return Ok(stale());
        }
        let acts = rows.iter().any(touches_member);
        if acts && !chosen && !claimed && !self.0.is_current().await? {
            return Ok(stale());
        }
        if self.0.is_late() {
            return Ok(stale());
        }
        if rows.iter().any(|row| matches!(row.next, Next::Create)) {
            self.stop_if_going(&mut rows, source).await?;
        }
        let config_map = config_map.and_then(Result::ok);
        self.apply(&mut rows, spec, source, config_map).await;

        let silence = self.watch_silence(&mut rows);
        let reading = self.read_results(&mut rows);
        let wanted = self.status(&rows, spec, source);
        let pace = match self.0.pace(&wanted) {
            Some(wait) => Some(wait),
            None if self.0.write(wanted).await? => None,
            None => return Ok(stale()),
        };
        if pace.is_none() {
            self.tidy(&rows);
        }
        Ok(self.outcome(&rows, spec, sooner(pace, sooner(silence, reading))))
    }

    /// The spec can never work: say so, once and for all.
    pub async fn refuse(
        &mut self,
        invalid: &InvalidSpec,
        source: &Source,
    ) -> Result<Outcome, Error> {
        let Draft { ctx, object, .. } = &self.0;
        let meant = dereference::meant(ctx, object, source);
        let wanted = conclude::refused(object, &meant, &invalid.to_string(), self.0.now);
        let written = self.0.write(wanted).await?;
        Ok(if written { Outcome::Done } else { stale() })
    }

    /// The ConfigMap that the policy names; `Err` inside is what keeps all entries from beginning.
    async fn config_map(
        &self,
        spec: &Validated,
    ) -> Result<Option<Result<ConfigMap, Problem>>, Error> {
        let Some(name) = &spec.resource_modifier else {
            return Ok(None);
        };
        let namespace = &self.0.owner.namespace;
        let api = Api::<ConfigMap>::namespaced(self.0.ctx.client.clone(), namespace);
        Ok(Some(api.get_opt(name).await?.ok_or_else(|| {
            Problem::new(
                reason::CONFIG_MAP_NOT_FOUND,
                format!(
                    "policy.resourceModifier names ConfigMap {name}, which is not in namespace \
                     {namespace}: create it"
                ),
            )
        })))
    }

    /// Looks at the run of each claimed entry and notes it, if it can be restored. True if one was.
    async fn choose(&self, rows: &mut [Row], source: &Source) -> bool {
        self.recall(rows);
        let rows = rows
            .iter_mut()
            .filter(|row| matches!(row.next, Next::Choose));
        let rows: Vec<&mut Row> = rows.collect();
        let calls = rows
            .iter()
            .filter_map(|row| self.run_call(&row.entry, source))
            .collect();
        let mut answers = calls::answers(self.0.ctx, &self.0.owner, calls).await;
        let mut chosen = false;
        for row in rows {
            let key = &row.entry.key;
            row.next = match answers.remove(key) {
                Some(Answer::Run(Ok(backup), at)) => {
                    row.choose(&backup, at);
                    chosen = true;
                    Next::Create
                }
                Some(Answer::Run(Err(not_now), _)) => plan::looked(not_now, source.is_once()),
                _ => Next::Wait(calls::unanswered(key)),
            };
        }
        chosen
    }

    /// What the last look at a target has shown is not asked again while it holds.
    fn recall(&self, rows: &mut [Row]) {
        for row in rows {
            let (Next::Choose, Ok(origin), Ok(run)) =
                (&row.next, &row.entry.origin, &row.entry.run)
            else {
                continue;
            };
            let (ctx, owner, key) = (self.0.ctx, &self.0.owner, &row.entry.key);
            if let Some((problem, wait)) = look::recall(ctx, owner, key, (origin, &run.which)) {
                (row.next, row.look_in) = (Next::Look(problem), Some(wait));
            }
        }
    }

    /// A Backup that is being deleted with its data waits for whom it can see; whom it may not have
    /// seen must not begin. So the hub is asked now, after the choice was written down.
    async fn stop_if_going(&self, rows: &mut [Row], source: &Source) -> Result<(), Error> {
        let namespace = &self.0.owner.namespace;
        let api = Api::<Backup>::namespaced(self.0.ctx.client.clone(), namespace);
        let Some(now) = api.get_opt(&source.name).await? else {
            // Its data may still be there; the look at the member decides.
            return Ok(());
        };
        if crate::backup::goes_with_data(&now) {
            for row in rows
                .iter_mut()
                .filter(|row| matches!(row.next, Next::Create))
            {
                row.next = Next::GiveUp(plan::going());
            }
        }
        Ok(())
    }

    /// Creates and confirms objects, each on its own.
    async fn apply(
        &self,
        rows: &mut [Row],
        spec: &Validated,
        source: &Source,
        config_map: Option<ConfigMap>,
    ) {
        let order = Arc::new(Order {
            scope: spec.scope.clone(),
            policy: self.0.object.spec.policy.clone().unwrap_or_default(),
            config_map,
        });
        let asked = rows.iter_mut().filter(|row| touches_member(row));
        self.act(asked.collect(), source, &order).await;
        // What can never be restored any more ends once it is sure that nothing was created.
        let given_up = |row: &&mut Row| matches!(row.next, Next::GiveUp(_));
        let given_up: Vec<&mut Row> = rows.iter_mut().filter(given_up).collect();
        if !given_up.is_empty() {
            self.act(given_up, source, &order).await;
        }
    }

    async fn act(&self, rows: Vec<&mut Row>, source: &Source, order: &Arc<Order>) {
        let calls = rows
            .iter()
            .filter_map(|row| self.object_call(row, source, order))
            .collect();
        let mut answers = calls::answers(self.0.ctx, &self.0.owner, calls).await;
        for row in rows {
            match answers.remove(&row.entry.key) {
                Some(Answer::Restore(Ok(applied))) => self.settle(row, applied),
                Some(Answer::Restore(Err(not_now))) => row.next = plan::looked_again(not_now),
                _ => row.next = Next::Wait(calls::unanswered(&row.entry.key)),
            }
        }
    }

    /// Notes what the member has answered.
    fn settle(&self, row: &mut Row, applied: Applied<velero::Restore>) {
        row.next = match plan::answered(&row.entry, &row.next, applied) {
            Some(next) => next,
            // The next name is written down with this pass's status, and created in the next.
            None => match self.rename(&mut row.entry) {
                Ok(()) => Next::Create,
                Err(problem) => Next::Fail(problem),
            },
        };
    }

    fn watch_silence(&self, rows: &mut [Row]) -> Option<Duration> {
        let mut again = None;
        for row in rows {
            let (Next::Follow(object), Link::Up { member_uid }) =
                (&row.next, &row.entry.facts.link)
            else {
                continue;
            };
            if conclude::velero_is_done(object.phase()) {
                continue;
            }
            let place = (&row.entry.key, member_uid.as_str());
            let (stuck, wait) = silence::watch(self.0.ctx, &self.0.owner, place, &**object);
            again = sooner(again, Some(wait));
            row.entry.stuck = stuck;
        }
        again
    }

    /// Removes refused objects of earlier names, and each `ConfigMap` of restores that have just ended, as
    /// that is written on the hub. Beside the passes, since nothing waits for it.
    fn tidy(&self, rows: &[Row]) {
        for row in rows.iter().filter(|row| row.entry.facts.is_up()) {
            let claimed = row.entry.stored.member_uid.as_deref();
            let Some((uid, name)) = claimed.zip(row.entry.claimed_name()) else {
                continue;
            };
            let (ctx, key) = (self.0.ctx, &row.entry.key);
            let place = (key, &MemberId::from_uid(uid));
            for stray in removal::restores::strays(ctx, &self.0.owner, place, name) {
                let (ctx, key) = (Arc::clone(ctx), key.clone());
                let dropping = async move { removal::drop_stray(&ctx, &key, &*stray).await };
                tokio::spawn(dropping.in_current_span());
            }
        }
        let status = self.0.object.status.iter();
        let ended = rows
            .iter()
            .zip(status.flat_map(|status| &status.restore_details))
            .filter(|(row, detail)| row.entry.facts.is_up() && detail.phase.is_final());
        for (row, _) in ended {
            if let Next::Follow(object) = &row.next
                && object.spec.resource_modifier.is_some()
            {
                let (ctx, _, key) = self.parts(&row.entry);
                let object = Arc::clone(object);
                let dropping = async move { apply::drop_carried(&ctx, &key, &object).await };
                tokio::spawn(dropping.in_current_span());
            }
        }
    }

    fn status(&self, rows: &[Row], spec: &Validated, source: &Source) -> RestoreStatus {
        let found = source.fleet.as_ref().is_none_or(|fleet| {
            crate::operation::destination::fleet(self.0.ctx, &self.0.owner.namespace, fleet)
                .is_some()
        });
        status::status(&self.0.object, rows, (spec, source, found), self.0.now)
    }

    async fn note(
        &mut self,
        rows: &[Row],
        spec: &Validated,
        source: &Source,
    ) -> Result<bool, Error> {
        let wanted = self.status(rows, spec, source);
        self.0.write(wanted).await
    }

    /// When to look again, for what no watch tells.
    fn outcome(&self, rows: &[Row], spec: &Validated, after: Option<Duration>) -> Outcome {
        if is_settled(&self.0.object) {
            return Outcome::Done;
        }
        let status = self.0.object.status.as_ref();
        let details = status.map_or(&[][..], |status| &status.restore_details);
        let due = agenda::next(
            rows,
            details,
            spec.deadline,
            self.0.now,
            &self.0.ctx.timings,
        );
        look_again(sooner(after, due))
    }
}

/// Whether a member is about to be called for what an earlier write has claimed.
fn touches_member(row: &Row) -> bool {
    matches!(row.next, Next::Create | Next::GiveUp(_) | Next::Confirm)
}
