//! What a pass asks of the members.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::common::StoragePlace;
use api_types::condition::reason;
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::labels;
use api_types::names::MemberId;
use proxy_client::Error as CallError;
use tokio::time::Instant;
use velero_kit::borrowed;
use velero_kit::build::Place as At;
use velero_kit::identity::Owner;
use velero_kit::operation::calls::{self, FRESH, NotNow};
use velero_kit::operation::objects::{self, Applied, Target as Place};
use velero_kit::operation::sooner;
use velero_kit::reading::origin::{Member, Origin};
use velero_kit::reading::wanted::{Wanted, Which};
use velero_kit::reading::{look, opening};

use super::build;
use super::facts::{Readable, Seen, Source};
use super::pass::Pass;
use super::transition::{Gate, Next, Run, Step};
use crate::context::{Answer, Call, Context};

const PREPARE: &str = "prepare";
const TRANSFER: &str = "transfer";
pub(super) const OBJECT: &str = "object";

/// The question that comes next for an entry, if it is one for its member.
fn question<O>(next: &Next<O>) -> Option<&'static str> {
    match next {
        Next::Prepare => Some(PREPARE),
        Next::Transfer => Some(TRANSFER),
        Next::Create | Next::Confirm => Some(OBJECT),
        _ => None,
    }
}

impl Pass<'_> {
    /// Whether a member is to be asked something that it was not asked in this pass.
    pub(super) fn has_questions(&self, step: &Step) -> bool {
        let open = |at, what: Option<_>| what.is_some_and(|what| !self.asked.contains(&(at, what)));
        let mut targets = step.targets.iter().enumerate();
        open(None, question(&step.source))
            || targets.any(|(at, next)| open(Some(at), question(next)) && self.is_worth(at, next))
    }

    /// Whether the answer is not known from an earlier pass.
    fn is_worth(&self, at: usize, next: &Next<velero::Restore>) -> bool {
        let (ctx, target) = (self.draft.ctx, &self.targets[at]);
        let prepared = || {
            ctx.memory.with(&self.in_target.uid, |memory| {
                let of = memory.clusters.get(&target.key);
                of.is_some_and(|of| of.own.prepared)
            })
        };
        !matches!(next, Next::Prepare) || !prepared()
    }

    /// Asks all members at the same time, each one thing, and takes what they answer.
    pub(super) async fn ask(&mut self, step: &Step) {
        let mut calls = Vec::new();
        let mut asked_source = None;
        if let Some(what) = question(&step.source)
            && self.asked.insert((None, what))
        {
            calls.extend(self.source_call(&step.source));
            asked_source = Some(matches!(step.source, Next::Create));
        }
        let mut asked = Vec::new();
        for (at, next) in step.targets.iter().enumerate() {
            let is_source = asked_source.is_some() && self.targets[at].key == self.source.key;
            let Some(what) = question(next).filter(|_| !is_source) else {
                continue;
            };
            if !self.is_worth(at, next) || !self.asked.insert((Some(at), what)) {
                continue;
            }
            if what == TRANSFER && self.recall(at, &step.gate) {
                continue;
            }
            calls.extend(self.target_call(at, next, &step.gate));
            asked.push((at, what, matches!(next, Next::Create)));
        }
        let mut answers = calls::answers(self.draft.ctx, &self.in_target, calls).await;
        if let Some(create) = asked_source {
            let key = &self.source.key;
            let applied = match answers.remove(key) {
                Some(Answer::Backup(applied)) => applied,
                _ => Applied::Failed(calls::unanswered(key)),
            };
            self.source.seen = seen(applied, create);
            self.note(None);
        }
        for (at, what, create) in asked {
            self.take(at, what, create, &mut answers);
        }
    }

    /// Takes what a target has answered.
    fn take(
        &mut self,
        at: usize,
        what: &'static str,
        create: bool,
        answers: &mut BTreeMap<ClusterKey, Answer>,
    ) {
        let target = &mut self.targets[at];
        let key = target.key.clone();
        match (what, answers.remove(&key)) {
            (PREPARE, Some(Answer::Readable(answer, _))) => {
                let is_made = match &answer {
                    Ok(()) => true,
                    // It is there, and Velero has still to look at it.
                    Err(NotNow::Waits(why)) => why.reason == reason::STORAGE_LOCATION_UNAVAILABLE,
                    Err(NotNow::Failed(_)) => false,
                };
                if is_made {
                    self.draft.ctx.memory.with(&self.in_target.uid, |memory| {
                        memory.clusters.entry(key).or_default().own.prepared = true;
                    });
                }
            }
            // It is looked at again when the backup is there.
            (PREPARE, _) => {}
            (TRANSFER, Some(Answer::Readable(Ok(()), seen_at))) if seen_at.elapsed() < FRESH => {
                target.readable = Readable::Yes;
            }
            // What was seen longer ago is looked at once more before it is restored.
            (TRANSFER, Some(Answer::Readable(Ok(()), _))) => {
                self.asked.remove(&(Some(at), TRANSFER));
            }
            (TRANSFER, Some(Answer::Readable(Err(NotNow::Waits(problem)), _))) => {
                target.readable = Readable::No(problem);
                let again = self.draft.ctx.timings.look_again;
                self.again = sooner(self.again, Some(again));
            }
            (TRANSFER, Some(Answer::Readable(Err(NotNow::Failed(problem)), _))) => {
                target.readable = Readable::No(problem);
                self.retry_soon();
            }
            (TRANSFER, _) => target.readable = Readable::No(calls::unanswered(&key)),
            (_, Some(Answer::Restore(applied))) => {
                target.seen = match seen(applied, create) {
                    Seen::Failed(problem) => Seen::Failed(problem.of_restore()),
                    other => other,
                };
                self.note(Some(at));
            }
            _ => target.seen = Seen::Failed(calls::unanswered(&key)),
        }
    }

    /// A call that failed is made again soon.
    fn note(&mut self, at: Option<usize>) {
        let again = match at {
            None => matches!(self.source.seen, Seen::Failed(_) | Seen::Lost),
            Some(at) => matches!(self.targets[at].seen, Seen::Failed(_) | Seen::Lost),
        };
        if again {
            self.retry_soon();
        }
    }

    pub(super) fn retry_soon(&mut self) {
        self.again = sooner(self.again, Some(self.draft.ctx.timings.retry));
    }

    /// What an earlier look at a target has shown is not asked again while it holds. True if it does.
    fn recall(&mut self, at: usize, gate: &Gate) -> bool {
        let Gate::Open(run) = gate else { return false };
        let target = &mut self.targets[at];
        let Some(origin) = origin(&self.source) else {
            return false;
        };
        let which = Which::Named(run.name.clone());
        let known = look::recall(
            self.draft.ctx,
            &self.in_target,
            &target.key,
            (&origin, &which),
        );
        let Some((problem, left)) = known else {
            return false;
        };
        target.readable = Readable::No(problem);
        self.again = sooner(self.again, Some(left));
        true
    }

    /// Creates the source's claimed object, or asks for it.
    fn source_call(&self, next: &Next<velero::Backup>) -> Option<Call> {
        let (uid, name) = self.source.claimed()?;
        let place = place(&self.source.key, uid, name);
        let create = matches!(next, Next::Create);
        let purpose = purpose(create, "Backup", &place);
        let (ctx, owner) = (Arc::clone(self.draft.ctx), self.in_source.clone());
        let at = At {
            cluster: &place.key,
            member: &place.member,
            name: &place.name,
        };
        let object = build::backup(&self.draft.object, at);
        let storage = self.source.stored.storage.clone();
        Some(Call::new(place.key.clone(), purpose, async move {
            Answer::Backup(if create {
                create_backup(&ctx, &owner, &place, (&object, storage.as_ref())).await
            } else {
                objects::confirm(&ctx, &owner, &place).await
            })
        }))
    }

    fn target_call(&self, at: usize, next: &Next<velero::Restore>, gate: &Gate) -> Option<Call> {
        let target = &self.targets[at];
        let (uid, name) = target.claimed()?;
        let place = place(&target.key, uid, name);
        let (ctx, owner) = (Arc::clone(self.draft.ctx), self.in_target.clone());
        match (next, gate) {
            (Next::Prepare, _) => {
                let storage = self.source.stored.storage.clone()?;
                let purpose = format!("open {storage:?} in {}", place.member);
                Some(Call::new(place.key.clone(), purpose, async move {
                    let opened = opening::open(&ctx, &owner, &place.key, &storage).await;
                    Answer::Readable(opened.map(drop), Instant::now())
                }))
            }
            (Next::Transfer, Gate::Open(run)) => self.look_call(place, run),
            (Next::Create, Gate::Open(run)) => {
                let purpose = purpose(true, "Restore", &place);
                let object = self.restore(&place, run);
                Some(Call::new(place.key.clone(), purpose, async move {
                    Answer::Restore(objects::create(&ctx, &owner, &place, &object).await)
                }))
            }
            (Next::Confirm, _) => {
                let purpose = purpose(false, "Restore", &place);
                Some(Call::new(place.key.clone(), purpose, async move {
                    Answer::Restore(objects::confirm(&ctx, &owner, &place).await)
                }))
            }
            _ => None,
        }
    }

    fn restore(&self, place: &Place, run: &Run) -> velero::Restore {
        let at = At {
            cluster: &place.key,
            member: &place.member,
            name: &place.name,
        };
        build::restore(&self.draft.object, &self.spec, at, run)
    }

    /// Asks a target for the source's backup, which is made to be seen there.
    fn look_call(&self, place: Place, run: &Run) -> Option<Call> {
        let origin = origin(&self.source)?;
        let (ctx, owner) = (Arc::clone(self.draft.ctx), self.in_target.clone());
        let purpose = format!("look for {} in {}", run.name, place.member);
        let wanted = Wanted {
            which: Which::Named(run.name.clone()),
            kind: owner.kind,
            namespace: owner.namespace.clone(),
            name: owner.name.clone(),
            owner_uid: Some(owner.uid.clone()),
            made_in: origin.made_in(),
            started: run.started,
        };
        Some(Call::new(place.key.clone(), purpose, async move {
            let found = look::look(&ctx, &owner, &place, &origin, &wanted).await;
            Answer::Readable(found.map(drop), Instant::now())
        }))
    }
}

/// The source, as the one whose backup is read.
fn origin(source: &Source) -> Option<Origin> {
    Some(Origin {
        cluster: source.key.clone(),
        members: vec![Member {
            uid: source.stored.member_uid.clone()?,
            place: source.stored.storage.clone(),
            last: None,
        }],
    })
}

/// Creates the claimed object, if its location can be used and is where it is written down to be.
async fn create_backup(
    ctx: &Context,
    owner: &Owner,
    place: &Place,
    (object, storage): (&velero::Backup, Option<&StoragePlace>),
) -> Applied<velero::Backup> {
    let name = labels::DEFAULT_STORAGE_LOCATION;
    match objects::location_unmoved(ctx, &place.key, name, storage).await {
        Ok(()) => objects::create(ctx, owner, place, object).await,
        Err(problem) => Applied::Failed(problem),
    }
}

/// Takes our mark of use from a location of a member.
pub(super) async fn release(
    ctx: &Context,
    key: &ClusterKey,
    name: &str,
    uid: &str,
) -> Result<(), CallError> {
    let locations = objects::velero::<velero::BackupStorageLocation>(ctx, key);
    match locations.get_opt(name).await {
        Ok(Some(location)) => borrowed::release(&locations, &location, uid).await,
        Ok(None) | Err(CallError::NotServed(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn seen<O>(applied: Applied<O>, create: bool) -> Seen<O> {
    match applied {
        Applied::Present(object) => Seen::Present(Arc::from(object)),
        Applied::Taken => Seen::Taken,
        Applied::Absent if create => Seen::Lost,
        Applied::Absent => Seen::Absent,
        Applied::Failed(problem) => Seen::Failed(problem),
    }
}

fn place(key: &ClusterKey, uid: &str, name: &str) -> Place {
    Place {
        key: key.clone(),
        member: MemberId::from_uid(uid),
        name: name.to_owned(),
    }
}

fn purpose(create: bool, kind: &str, place: &Place) -> String {
    let verb = if create { "create" } else { "confirm" };
    format!("{verb} {kind} {} in {}", place.name, place.member)
}
