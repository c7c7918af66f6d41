//! What a pass asks of the members.

use std::sync::Arc;

use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::names::MemberId;
use velero_kit::identity::Owner;

use super::apply::{self, Order, Wanted};
use super::pass::{Pass, Row};
use super::plan::{Entry, Next};
use super::source::Source;
use crate::context::Context;
use crate::operation::calls::{Answer, Call};
use crate::operation::member::Link;
use crate::operation::objects::{self, Target};

impl Pass<'_> {
    /// Asks the member which name is free.
    pub(super) fn name_call(&self, entry: &Entry) -> Option<Call> {
        let Link::Up { member_uid } = &entry.facts.link else {
            return None;
        };
        let member = MemberId::from_uid(member_uid);
        let (ctx, owner, key) = self.parts(entry);
        let purpose = format!("name in {member}");
        Some(Call::new(key.clone(), purpose, async move {
            let full = apply::full_name(&owner, &key);
            let place = (&key, &member);
            Answer::Name(objects::choose_name::<velero::Restore>(&ctx, &owner, &full, place).await)
        }))
    }

    pub(super) fn parts(&self, entry: &Entry) -> (Arc<Context>, Owner, ClusterKey) {
        (
            Arc::clone(self.0.ctx),
            self.0.owner.clone(),
            entry.key.clone(),
        )
    }

    /// Asks the member for the run that the Backup offers.
    pub(super) fn run_call(&self, entry: &Entry, source: &Source) -> Option<Call> {
        let (target, run) = (target(entry)?, entry.run.clone().ok()?);
        let wanted = Wanted {
            name: run.name,
            backup: source.name.clone(),
            owner_uid: source.backup.as_ref().and_then(|b| b.metadata.uid.clone()),
            started: None,
        };
        let (ctx, owner, key) = self.parts(entry);
        let purpose = format!("look at {}", wanted.name);
        Some(Call::new(key, purpose, async move {
            let found = apply::look(&ctx, &owner, &target, &wanted).await;
            Answer::Run(found.map(Box::new))
        }))
    }

    /// Creates the claimed object, or asks for it. A run that an earlier pass has chosen may have gone
    /// or become unreadable since, so it is looked at once more.
    pub(super) fn object_call(
        &self,
        row: &Row,
        source: &Source,
        order: &Arc<Order>,
    ) -> Option<Call> {
        let target = target(&row.entry)?;
        let stored = &row.entry.stored;
        let create = matches!(row.next, Next::Create);
        let verb = if create { "create" } else { "confirm" };
        let purpose = format!("{verb} {} in {}", target.name, target.member);
        let wanted = Wanted {
            name: stored.backup_name_in_cluster.clone()?,
            backup: source.name.clone(),
            owner_uid: None,
            started: stored.backup_time.as_ref().map(|time| time.0),
        };
        let (ctx, owner, key) = self.parts(&row.entry);
        let (looked, order) = (row.looked, Arc::clone(order));
        Some(Call::new(key, purpose, async move {
            if !create {
                return Answer::Restore(Ok(objects::confirm(&ctx, &owner, &target).await));
            }
            if !looked && let Err(not_now) = apply::look(&ctx, &owner, &target, &wanted).await {
                return Answer::Restore(Err(not_now));
            }
            let run = &wanted.name;
            Answer::Restore(Ok(apply::create(&ctx, &owner, &target, run, &order).await))
        }))
    }
}

fn target(entry: &Entry) -> Option<Target> {
    Some(Target {
        key: entry.key.clone(),
        member: MemberId::from_uid(entry.stored.member_uid.as_deref()?),
        name: entry.claimed_name()?.to_owned(),
    })
}
