//! What a pass writes into the entries before anything is made: members, names and runs.

use std::sync::Arc;

use api_types::condition::reason;
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::names::{MemberId, Purpose};
use proxy_client::MemberResource;
use velero_kit::identity::Owner;
use velero_kit::operation::{calls, objects};
use velero_kit::problem::Problem;

use super::ask::OBJECT;
use super::detail;
use super::facts::{Link, Seen};
use super::pass::Pass;
use super::transition::{Gate, Next, Step};
use crate::context::{Answer, Call};

const NAME: &str = "name";

impl Pass<'_> {
    /// Writes names and runs into the entries. True if there is something to be put on the hub before
    /// anything else.
    pub(super) async fn write_down(&mut self, step: &Step) -> bool {
        let mut changed = self.claim(step).await;
        match step.source {
            Next::Rename => changed |= self.rename_source(),
            Next::Move => {
                self.source.stored.storage = self.source.location.clone().ok();
                changed = true;
            }
            _ => {}
        }
        for (at, next) in step.targets.iter().enumerate() {
            let target = &mut self.targets[at];
            match (next, &step.gate) {
                (Next::Choose, Gate::Open(run)) => {
                    detail::choose(&mut target.stored, &self.source.key.name, run);
                    changed = true;
                }
                (Next::Rename, _) => changed |= self.rename_target(at),
                _ => {}
            }
        }
        changed
    }

    /// Chooses member and name for each entry that may begin. True if there is one.
    async fn claim(&mut self, step: &Step) -> bool {
        let mut calls = Vec::new();
        if matches!(step.source, Next::Claim) && self.asked.insert((None, NAME)) {
            let (key, link) = (&self.source.key, &self.source.member.link);
            calls.extend(self.name_call::<velero::Backup>(&self.in_source, key, link));
        }
        let mut claiming = Vec::new();
        for (at, next) in step.targets.iter().enumerate() {
            // One call a member at a time: that of the source comes first.
            let is_source = self.targets[at].key == self.source.key && !calls.is_empty();
            if matches!(next, Next::Claim) && !is_source && self.asked.insert((Some(at), NAME)) {
                claiming.push(at);
            }
        }
        for at in &claiming {
            let target = &self.targets[*at];
            let (key, link) = (&target.key, &target.member.link);
            calls.extend(self.name_call::<velero::Restore>(&self.in_target, key, link));
        }
        if calls.is_empty() {
            return false;
        }
        let mut answers = calls::answers(self.draft.ctx, &self.in_target, calls).await;
        let mut changed = false;
        if matches!(step.source, Next::Claim) {
            let answer = answers.remove(&self.source.key);
            match (
                self.name(answer, &self.source.key.clone()),
                &self.source.member.link,
            ) {
                (Ok(name), Link::Up { member_uid }) => {
                    detail::claim_source(&mut self.source.stored, member_uid, &name);
                    self.source.stored.storage = self.source.location.clone().ok();
                    changed = true;
                }
                (Err(problem), _) if problem.reason == reason::NAME_TAKEN => {
                    self.source.seen = Seen::NoName(problem);
                }
                (Err(problem), _) => self.source.member.problem = Some(problem),
                _ => {}
            }
        }
        for at in claiming {
            let key = self.targets[at].key.clone();
            let name = self.name(answers.remove(&key), &key);
            let target = &mut self.targets[at];
            match (name, &target.member.link) {
                (Ok(name), Link::Up { member_uid }) => {
                    detail::claim_target(&mut target.stored, member_uid, &name);
                    changed = true;
                }
                (Err(problem), _) if problem.reason == reason::NAME_TAKEN => {
                    target.seen = Seen::NoName(problem);
                }
                (Err(problem), _) => target.member.problem = Some(problem),
                _ => {}
            }
        }
        changed
    }

    /// Asks a member which name is free.
    fn name_call<O: MemberResource>(
        &self,
        owner: &Owner,
        key: &ClusterKey,
        link: &Link,
    ) -> Option<Call> {
        let Link::Up { member_uid } = link else {
            return None;
        };
        let member = MemberId::from_uid(member_uid);
        let (ctx, owner, key) = (Arc::clone(self.draft.ctx), owner.clone(), key.clone());
        let purpose = format!("name of {} in {member}", O::kind(&()));
        Some(Call::new(key.clone(), purpose, async move {
            let full = objects::full_name(&owner, Purpose::Migrate, &key);
            Answer::Name(objects::choose_name::<O>(&ctx, &owner, &full, (&key, &member)).await)
        }))
    }

    /// The name that a member has answered.
    fn name(&mut self, answer: Option<Answer>, key: &ClusterKey) -> Result<String, Problem> {
        match answer {
            Some(Answer::Name(Ok(name))) => Ok(name),
            Some(Answer::Name(Err(problem))) => {
                if problem.reason != reason::NAME_TAKEN {
                    self.retry_soon();
                }
                Err(problem)
            }
            _ => Err(calls::unanswered(key)),
        }
    }

    fn rename_source(&mut self) -> bool {
        let source = &mut self.source;
        let Some((uid, taken)) = source.claimed() else {
            return false;
        };
        let uid = uid.to_owned();
        match objects::next_name(&self.in_source, Purpose::Migrate, &source.key, taken) {
            Ok(next) => {
                detail::claim_source(&mut source.stored, &uid, &next);
                (source.seen, source.rested) = (Seen::NotShown, false);
                self.asked.remove(&(None, OBJECT));
                true
            }
            Err(problem) => {
                let refused = source.premature();
                let refused = refused.map(|why| Problem::new(reason::BACKUP_REJECTED, why.message));
                source.seen = Seen::NoName(refused.unwrap_or(problem));
                false
            }
        }
    }

    fn rename_target(&mut self, at: usize) -> bool {
        let target = &mut self.targets[at];
        let Some((uid, taken)) = target.claimed() else {
            return false;
        };
        let uid = uid.to_owned();
        match objects::next_name(&self.in_target, Purpose::Migrate, &target.key, taken) {
            Ok(next) => {
                detail::claim_target(&mut target.stored, &uid, &next);
                (target.seen, target.rested) = (Seen::NotShown, false);
                self.asked.remove(&(Some(at), OBJECT));
                true
            }
            Err(problem) => {
                let refused = target.premature();
                let refused =
                    refused.map(|why| Problem::new(reason::RESTORE_REJECTED, why.message));
                target.seen = Seen::NoName(refused.unwrap_or(problem));
                false
            }
        }
    }
}
