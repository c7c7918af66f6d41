//! One pass over a Migrate that is not being deleted.
//!
//! It asks [`step`] what to do, does it and asks again with the answers, until there is nothing more to
//! do. Whatever is to be written down is on the hub before the step that needs it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::migrate::MigrateStatus;
use api_types::names::{MemberId, Purpose};
use api_types::phase::Phase;
use controller_kit::reconcile::Outcome;
use futures::{StreamExt, stream};
use kube::ResourceExt;
use proxy_client::MemberResource;
use tracing::Instrument;
use velero_kit::identity::Owner;
use velero_kit::operation::conclude::{until_stalled, velero_is_done};
use velero_kit::operation::objects::{self, Target as Place};
use velero_kit::operation::{
    Detail, Error, destination, entry, is_settled, look_again, silence, sooner, stale, until,
};
use velero_kit::removal;
use velero_kit::results::read::{Store, read};
use velero_kit::{borrowed, classify};

use super::dereference::{self, Known};
use super::facts::{Link, Source, Target, Terms};
use super::status::{self, Entries};
use super::transition::{Gate, Next, Step, step};
use super::validate::{InvalidSpec, Validated};
use super::{ask, owner_in_source, owner_in_target};
use crate::context::{Context, Draft};

/// More rounds than any entry has steps.
const ROUNDS: usize = 12;

/// One pass.
#[derive(Debug)]
pub struct Pass<'a> {
    pub(super) draft: Draft<'a>,
    pub(super) spec: Arc<Validated>,
    pub(super) source: Source,
    pub(super) targets: Vec<Target>,
    terms: Terms,
    pub(super) in_source: Owner,
    pub(super) in_target: Owner,
    /// What each entry was asked in this pass; `None`: the source.
    pub(super) asked: BTreeSet<(Option<usize>, &'static str)>,
    /// When to look again at what a call has not brought.
    pub(super) again: Option<Duration>,
}

impl<'a> Pass<'a> {
    /// A pass over this version of the object.
    pub fn new(draft: Draft<'a>, spec: Validated) -> Self {
        let Known {
            source,
            targets,
            terms,
        } = dereference::gather(draft.ctx, &draft.object, &spec, draft.now);
        Self {
            in_source: owner_in_source(&draft.object),
            in_target: owner_in_target(&draft.object),
            spec: Arc::new(spec),
            asked: BTreeSet::new(),
            again: None,
            draft,
            source,
            targets,
            terms,
        }
    }

    /// The whole pass for a spec that can work.
    pub async fn run(mut self) -> Result<Outcome, Error> {
        let targets = self.targets.iter().map(|target| &target.key);
        if let Err(invalid) = self.spec.check_targets(&self.source.key, targets) {
            let entries = Entries {
                source: self.source.stored,
                targets: self
                    .targets
                    .into_iter()
                    .map(|target| target.stored)
                    .collect(),
            };
            return refuse(self.draft, entries, &invalid).await;
        }
        let too_many = self
            .draft
            .too_many(self.targets.iter().map(|target| &target.key));
        if too_many.is_some() {
            self.source.member.problem = too_many;
        }
        let mut step = self.step();
        let mut current = false;
        for _ in 0..ROUNDS {
            if matches!(step.source, Next::Survey) {
                if !self.survey().await {
                    break;
                }
                self.terms.surveyed = true;
            } else if self.write_down(&step).await {
                if !self.write().await? {
                    return Ok(stale());
                }
                if matches!(step.source, Next::Claim) {
                    self.end_survey();
                }
                current = true;
            } else if self.has_questions(&step) {
                if !current && !self.draft.is_current().await? || self.draft.is_late() {
                    return Ok(stale());
                }
                current = true;
                self.ask(&step).await;
            } else {
                break;
            }
            step = self.step();
        }
        let due = self.follow(&step);
        let goes_on = !matches!(step.source, Next::Fail(_) | Next::Final);
        // What was found beside the objects is told as well.
        let step = self.step();
        let gate = step.gate.clone();
        let wanted = self.status(step);
        let pace = match self.draft.pace(&wanted) {
            Some(wait) => Some(wait),
            None if self.draft.write(wanted).await? => None,
            None => return Ok(stale()),
        };
        if pace.is_none() {
            // What goes is the proof of what was written.
            self.tidy(goes_on);
        }
        Ok(self.outcome(&gate, sooner(pace, due)))
    }

    pub(super) fn step(&self) -> Step {
        step(&self.source, &self.targets, &self.terms)
    }

    fn status(&self, step: Step) -> MigrateStatus {
        let mut entries = Entries {
            source: step.source_detail,
            targets: step.target_details,
        };
        if matches!(step.source, Next::Create) {
            let at = (&self.in_source, &self.source.key, "backup");
            say_other_name(&mut entries.source, at);
        }
        let rows = self.targets.iter().zip(&step.targets);
        for ((target, next), detail) in rows.zip(&mut entries.targets) {
            if matches!(next, Next::Create) {
                say_other_name(detail, (&self.in_target, &target.key, "restore"));
            }
        }
        status::status(&self.draft.object, entries, &self.terms)
    }

    async fn write(&mut self) -> Result<bool, Error> {
        let wanted = self.status(self.step());
        self.draft.write(wanted).await
    }

    /// What is known of the objects that Velero works on, beside what they say. Returns when to look
    /// again.
    fn follow(&mut self, step: &Step) -> Option<Duration> {
        let ctx = self.draft.ctx;
        let retries = |next: &Next<_>| matches!(next, Next::Retry(_));
        let retries = matches!(step.source, Next::Retry(_)) || step.targets.iter().any(retries);
        let mut again = retries.then_some(ctx.timings.retry);
        if let (Next::Follow(object), Link::Up { member_uid }) =
            (&step.source, &self.source.member.link)
            && !velero_is_done(object.phase())
        {
            let place = (&self.source.key, member_uid.as_str());
            let (stuck, wait) = silence::watch(ctx, &self.in_source, place, &**object);
            self.source.stuck = stuck;
            again = sooner(again, Some(wait));
        }
        for (target, next) in self.targets.iter_mut().zip(&step.targets) {
            let (Next::Follow(object), Link::Up { member_uid }) = (next, &target.member.link)
            else {
                continue;
            };
            if !velero_is_done(object.phase()) {
                let place = (&target.key, member_uid.as_str());
                let (stuck, wait) = silence::watch(ctx, &self.in_target, place, &**object);
                target.stuck = stuck;
                again = sooner(again, Some(wait));
            }
        }
        sooner(again, self.read_results(step))
    }

    /// Removes refused objects of earlier names, and once the source does not go on that of its last one:
    /// they would hide what the bucket has under these names. Beside the passes, since nothing waits for
    /// it.
    fn tidy(&self, goes_on: bool) {
        let ctx = self.draft.ctx;
        let member = |link: &Link, uid: &str| {
            let is_claimed = matches!(link, Link::Up { member_uid } if member_uid == uid);
            is_claimed.then(|| MemberId::from_uid(uid))
        };
        if let Some((uid, claimed)) = self.source.claimed()
            && let Some(member) = member(&self.source.member.link, uid)
        {
            let (key, needed) = (&self.source.key, goes_on.then_some(claimed));
            for stray in removal::backups::strays(ctx, &self.in_source, (key, &member), needed) {
                drop_stray(ctx, key, stray);
            }
        }
        for target in &self.targets {
            let Some((uid, claimed)) = target.claimed() else {
                continue;
            };
            let Some(member) = member(&target.member.link, uid) else {
                continue;
            };
            let place = (&target.key, &member);
            for stray in removal::restores::strays(ctx, &self.in_target, place, claimed) {
                drop_stray(ctx, &target.key, stray);
            }
        }
    }

    /// Reads the results of each restore that has just gone wrong, beside the passes.
    fn read_results(&mut self, step: &Step) -> Option<Duration> {
        let ctx = self.draft.ctx;
        let owner = &self.in_target;
        // Velero writes them beside the backup.
        let stored_by = &self.in_source.fleet;
        let mut again = None;
        for (target, next) in self.targets.iter_mut().zip(&step.targets) {
            let Next::Follow(object) = next else { continue };
            let Some(place) = has_results(target, object) else {
                continue;
            };
            let fleet = destination::fleet(ctx, &owner.namespace, stored_by);
            let Some(store) = fleet.as_deref().and_then(Store::of).map(Arc::new) else {
                continue;
            };
            let (results, left) = read(ctx, owner, place, &store);
            target.results = results;
            again = sooner(again, left);
        }
        again
    }

    /// When to look again, for what no watch tells.
    fn outcome(&self, gate: &Gate, after: Option<Duration>) -> Outcome {
        let migrate = &self.draft.object;
        let Some(status) = migrate.status.as_ref() else {
            return look_again(after);
        };
        if is_settled(migrate) {
            if status.phase == Some(Phase::Completed) || self.spec.cancel {
                self.release();
            }
            return Outcome::Done;
        }
        let source = status.source_cluster_status.as_slice();
        let stalled = sooner(
            until_stalled(source, self.draft.now),
            until_stalled(&status.target_cluster_status, self.draft.now),
        );
        let deadline = until(self.spec.deadline, self.draft.now);
        let expires = match gate {
            Gate::Open(run) => run.expires.and_then(|end| until(end, self.draft.now)),
            _ => None,
        };
        let due = [self.again, stalled, deadline, expires];
        look_again(due.into_iter().fold(after, sooner))
    }

    /// Nothing is read any more: the marks on the locations go, beside the passes, since nothing waits
    /// for that. What is left is found by backup-controller.
    fn release(&self) {
        let Some(place) = self.source.stored.storage.as_ref() else {
            return;
        };
        let claimed = self.targets.iter().filter(|of| of.claimed().is_some());
        let keys: Vec<ClusterKey> = claimed.map(|target| target.key.clone()).collect();
        let ctx = Arc::clone(self.draft.ctx);
        let (name, uid) = (borrowed::name(place), self.in_target.uid.clone());
        let releasing = stream::iter(keys).for_each_concurrent(objects::PARALLEL, move |key| {
            let (ctx, name, uid) = (Arc::clone(&ctx), name.clone(), uid.clone());
            async move {
                if let Err(error) = ask::release(&ctx, &key, &name, &uid).await {
                    tracing::debug!(cluster = %key, %name, %error, "a mark of use stays for now");
                }
            }
        });
        tokio::spawn(releasing.in_current_span());
    }
}

fn drop_stray<O: MemberResource>(ctx: &Arc<Context>, key: &ClusterKey, stray: Arc<O>) {
    let (ctx, key) = (Arc::clone(ctx), key.clone());
    let dropping = async move { removal::drop_stray(&ctx, &key, &*stray).await };
    tokio::spawn(dropping.in_current_span());
}

/// Says of an object that is about to be made that it cannot have the name of its first choice.
fn say_other_name(detail: &mut impl Detail, (owner, key, what): (&Owner, &ClusterKey, &str)) {
    let name = detail.object_name().map(str::to_owned).unwrap_or_default();
    if let Some(taken) = objects::other_name(owner, Purpose::Migrate, key, (what, &name)) {
        entry::say(detail, &taken);
    }
}

/// The Velero Restore of a target, if Velero may have written its results and can be asked for them.
fn has_results(target: &Target, object: &velero::Restore) -> Option<Place> {
    let Link::Up { member_uid } = &target.member.link else {
        return None;
    };
    let text = object.status.get("failureReason");
    let text = text.and_then(serde_json::Value::as_str);
    let there = object.metadata.uid.is_some() && object.metadata.deletion_timestamp.is_none();
    (there && classify::restore_has_results(object.phase(), text)).then(|| Place {
        key: target.key.clone(),
        member: MemberId::from_uid(member_uid),
        name: object.name_any(),
    })
}

/// The spec can never work: say so, once and for all.
pub async fn refuse(
    mut draft: Draft<'_>,
    entries: Entries,
    invalid: &InvalidSpec,
) -> Result<Outcome, Error> {
    let wanted = status::refused(&draft.object, entries, invalid, draft.now);
    let written = draft.write(wanted).await?;
    Ok(if written { Outcome::Done } else { stale() })
}
