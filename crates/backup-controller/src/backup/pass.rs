//! One pass over a Backup that is not being deleted.

use std::sync::Arc;
use std::time::Duration;

use api_types::backup::{Backup, BackupStatus};
use api_types::condition::reason;
use api_types::external::velero;
use api_types::names::{MemberId, Purpose};
use controller_kit::reconcile::Outcome;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use velero_kit::identity::Owner;

use super::apply::{self, Applied, Order};
use super::plan::{self, Entry, Link, Next, Terms, plan};
use super::validate::{InvalidSpec, Validated};
use super::{Error, Problem, agenda, dereference, housekeeping, status};
use crate::context::Context;
use crate::operation::calls::{self, Answer, Call};
use crate::operation::draft::Draft;
use crate::operation::objects::{self, Target};
use crate::operation::{destination, look_again, sooner, stale};

/// An entry and what comes next for it.
#[derive(Debug)]
pub struct Row {
    pub entry: Entry,
    pub next: Next,
    /// A name was written down for it in this pass.
    claimed: bool,
}

impl Row {
    /// An entry, and what comes next for it.
    pub fn new(entry: Entry, next: Next) -> Self {
        Self {
            entry,
            next,
            claimed: false,
        }
    }
}

/// One pass.
#[derive(Debug)]
pub struct Pass<'a>(Draft<'a, Backup>);

impl<'a> Pass<'a> {
    /// A pass over this version of the object.
    pub fn new(ctx: &'a Arc<Context>, backup: Backup, owner: Owner) -> Self {
        Self(Draft::new(ctx, backup, owner))
    }

    /// The object.
    pub fn backup(&self) -> &Backup {
        &self.0.object
    }

    /// The whole pass for a spec that can work.
    pub async fn run(&mut self, spec: &Validated) -> Result<Outcome, Error> {
        let named = spec.resource_policy.as_deref();
        let config_map = config_map(self.0.ctx, &self.0.owner, named).await?;
        let entries = dereference::entries(self.0.ctx, &self.0.object, spec, &self.0.owner);
        let too_many = self.0.too_many(entries.iter().map(|entry| &entry.key));
        let missing = config_map.as_ref().and_then(|found| found.as_ref().err());
        let terms = Terms {
            location: &spec.location,
            hold: too_many.as_ref().or(missing),
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

        self.claim(&mut rows, &terms).await;
        if rows.iter().any(|row| row.claimed) {
            let claimed = self.status(&rows, spec);
            if !self.0.write(claimed).await? {
                return Ok(stale());
            }
        } else if rows.iter().any(touches_member) && !self.0.is_current().await? {
            return Ok(stale());
        }
        if self.0.is_late() {
            return Ok(stale());
        }
        let wanted = Order {
            policy: self.0.object.spec.policy.clone(),
            location: spec.location.clone(),
            config_map: config_map.and_then(Result::ok),
        };
        self.apply(&mut rows, wanted).await;

        let silence = housekeeping::watch_silence(self.0.ctx, &self.0.owner, &mut rows);
        let wanted = self.status(&rows, spec);
        let pace = match self.0.pace(&wanted) {
            Some(wait) => Some(wait),
            None if self.0.write(wanted).await? => None,
            None => return Ok(stale()),
        };
        if pace.is_none() {
            // What goes is the proof of what was written.
            housekeeping::tidy(&self.0, &rows);
        }
        Ok(self.outcome(&rows, spec, sooner(pace, silence)))
    }

    /// The spec can never work: say so, once and for all.
    pub async fn refuse(&mut self, invalid: &InvalidSpec) -> Result<Outcome, Error> {
        let Draft { ctx, object, .. } = &self.0;
        let meant = destination::meant(ctx, &self.0.owner.namespace, &object.spec.destination);
        let wanted = status::refused(object, &meant, invalid, self.0.now);
        let written = self.0.write(wanted).await?;
        Ok(if written { Outcome::Done } else { stale() })
    }

    /// Chooses member and name for each entry that may begin, and the next name for each that cannot
    /// have the one it has. Nothing is created under them before they are written down.
    async fn claim(&self, rows: &mut [Row], terms: &Terms<'_>) {
        for row in rows
            .iter_mut()
            .filter(|row| matches!(row.next, Next::Rename))
        {
            self.rename(row);
            if row.claimed {
                row.next = plan(&row.entry, terms);
            }
        }
        for row in rows
            .iter_mut()
            .filter(|row| matches!(row.next, Next::Create { expired: false }))
        {
            // Its location was given another place since the claim.
            if row.entry.has_moved() {
                row.entry.stored.storage = row.entry.facts.place();
                row.claimed = true;
            }
        }
        let rows = rows
            .iter_mut()
            .filter(|row| matches!(row.next, Next::Claim));
        let rows: Vec<&mut Row> = rows.collect();
        let calls = rows
            .iter()
            .filter_map(|row| self.name_call(&row.entry))
            .collect();
        let mut answers = calls::answers(self.0.ctx, &self.0.owner, calls).await;
        for row in rows {
            let key = &row.entry.key;
            row.next = match (answers.remove(key), &row.entry.facts.link) {
                (Some(Answer::Name(Ok(name))), Link::Up { member_uid }) => {
                    let stored = &mut row.entry.stored;
                    stored.member_uid = Some(member_uid.clone());
                    stored.backup_name_in_cluster = Some(name);
                    stored.storage = row.entry.facts.place();
                    row.claimed = true;
                    Next::Create { expired: false }
                }
                (Some(Answer::Name(Err(problem))), _) => Next::Retry(problem),
                _ => Next::Wait(calls::unanswered(key)),
            };
        }
    }

    /// Asks the member which name is free.
    fn name_call(&self, entry: &Entry) -> Option<Call> {
        let Link::Up { member_uid } = &entry.facts.link else {
            return None;
        };
        let member = MemberId::from_uid(member_uid);
        let (ctx, owner, key) = (
            Arc::clone(self.0.ctx),
            self.0.owner.clone(),
            entry.key.clone(),
        );
        Some(Call::new(
            entry.key.clone(),
            format!("name in {member}"),
            async move {
                let full = apply::full_name(&owner, &key);
                let place = (&key, &member);
                Answer::Name(
                    objects::choose_name::<velero::Backup>(&ctx, &owner, &full, place).await,
                )
            },
        ))
    }

    /// Claims the name after the present one.
    fn rename(&self, row: &mut Row) {
        let name = row.entry.claimed_name().unwrap_or_default();
        match objects::next_name(&self.0.owner, Purpose::Backup, &row.entry.key, name) {
            Ok(next) => {
                let stored = &mut row.entry.stored;
                stored.backup_name_in_cluster = Some(next);
                stored.backup_status_in_cluster = None;
                row.claimed = true;
                row.next = Next::Create { expired: false };
            }
            Err(problem) => {
                let refused = row.entry.premature();
                let refused = refused.map(|why| Problem::new(reason::BACKUP_REJECTED, why.message));
                row.next = Next::Fail(refused.unwrap_or(problem));
            }
        }
    }

    /// Creates and confirms objects, each on its own.
    async fn apply(&self, rows: &mut [Row], wanted: Order) {
        let wanted = Arc::new(wanted);
        let rows: Vec<&mut Row> = rows.iter_mut().filter(|row| touches_member(row)).collect();
        let calls = rows
            .iter()
            .filter_map(|row| self.object_call(row, &wanted))
            .collect();
        let mut answers = calls::answers(self.0.ctx, &self.0.owner, calls).await;
        for row in rows {
            match answers.remove(&row.entry.key) {
                Some(Answer::Backup(applied)) => self.settle(row, applied),
                _ => row.next = Next::Wait(calls::unanswered(&row.entry.key)),
            }
        }
    }

    /// Creates the claimed object, or asks for it.
    fn object_call(&self, row: &Row, wanted: &Arc<Order>) -> Option<Call> {
        let target = target(&row.entry)?;
        let create = matches!(row.next, Next::Create { expired: false });
        let verb = if create { "create" } else { "confirm" };
        let purpose = format!("{verb} {} in {}", target.name, target.member);
        let (ctx, owner, wanted) = (
            Arc::clone(self.0.ctx),
            self.0.owner.clone(),
            Arc::clone(wanted),
        );
        let written = row.entry.stored.storage.clone();
        Some(Call::new(row.entry.key.clone(), purpose, async move {
            Answer::Backup(if create {
                apply::create(&ctx, &owner, &target, &wanted, written.as_ref()).await
            } else {
                objects::confirm(&ctx, &owner, &target).await
            })
        }))
    }

    /// Notes what the member has answered.
    fn settle(&self, row: &mut Row, applied: Applied) {
        match plan::answered(&row.entry, &row.next, applied) {
            Some(next) => row.next = next,
            // The next name is written down with this pass's status, and created in the next.
            None => self.rename(row),
        }
    }

    fn status(&self, rows: &[Row], spec: &Validated) -> BackupStatus {
        status::status(&self.0.object, rows, spec, self.0.now)
    }

    /// When to look again, for what no watch tells.
    fn outcome(&self, rows: &[Row], spec: &Validated, after: Option<Duration>) -> Outcome {
        if super::is_settled(&self.0.object) {
            return Outcome::Done;
        }
        let status = self.0.object.status.as_ref();
        let details = status.map_or(&[][..], |status| &status.backup_details);
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

/// The ConfigMap that the policy names; `Err` inside is what keeps all clusters from beginning.
pub async fn config_map(
    ctx: &Context,
    owner: &Owner,
    name: Option<&str>,
) -> Result<Option<Result<ConfigMap, Problem>>, Error> {
    let Some(name) = name else {
        return Ok(None);
    };
    let api = Api::<ConfigMap>::namespaced(ctx.client.clone(), &owner.namespace);
    Ok(Some(api.get_opt(name).await?.ok_or_else(|| {
        Problem::new(
            reason::CONFIG_MAP_NOT_FOUND,
            format!(
                "policy.resourcePolicy names ConfigMap {name}, which is not in namespace {}: create it",
                owner.namespace
            ),
        )
    })))
}

/// Whether a member is about to be called for this row.
fn touches_member(row: &Row) -> bool {
    matches!(row.next, Next::Create { .. } | Next::Confirm)
}

fn target(entry: &Entry) -> Option<Target> {
    Some(Target {
        key: entry.key.clone(),
        member: MemberId::from_uid(entry.stored.member_uid.as_deref()?),
        name: entry.claimed_name()?.to_owned(),
    })
}
