//! What a pass asks of the members.

use std::sync::Arc;

use api_types::backup::BackupStatus;
use api_types::external::velero;
use api_types::key::ClusterKey;
use api_types::names::MemberId;
use tokio::time::Instant;
use velero_kit::identity::Owner;

use super::Problem;
use super::apply::{self, Order};
use super::look::look;
use super::lost::{self, Lost};
use super::pass::{Pass, Row};
use super::plan::{Entry, Next};
use super::source::{Member, Origin, Source, Which};
use super::wanted::Wanted;
use crate::context::Context;
use crate::operation::State;
use crate::operation::calls::{Answer, Call, NotNow};
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
        let origin = entry.origin.clone().ok()?;
        let (ctx, owner, key) = self.parts(entry);
        let made_in = origin.made_in();
        let purpose = format!("look at {:?} of {made_in:?}", run.which);
        let lost = Lost::new(source, &owner.namespace, run.which.clone());
        let wanted = Wanted {
            which: run.which,
            namespace: owner.namespace.clone(),
            kind: BackupStatus::KIND,
            name: source.name.clone(),
            owner_uid: source.backup.as_ref().and_then(|b| b.metadata.uid.clone()),
            made_in,
            started: None,
        };
        Some(Call::new(key, purpose, async move {
            let found = match &lost {
                Some(lost) => lost::look(&ctx, &owner, &target, &origin, lost).await,
                None => look(&ctx, &owner, &target, &origin, &wanted).await,
            };
            Answer::Run(found.map(Box::new), Instant::now())
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
        let origin = origin(&row.entry, &target);
        let stored = &row.entry.stored;
        let create = matches!(row.next, Next::Create);
        let verb = if create { "create" } else { "confirm" };
        let purpose = format!("{verb} {} in {}", target.name, target.member);
        let run = stored.backup_name_in_cluster.clone()?;
        let (ctx, owner, key) = self.parts(&row.entry);
        let started = stored.backup_time.as_ref().map(|time| time.0);
        let lost = Lost::new(source, &owner.namespace, Which::Named(run.clone()));
        let lost = lost.map(|lost| lost.begun(started));
        let wanted = origin.clone().map(|origin| Wanted {
            which: Which::Named(run.clone()),
            namespace: owner.namespace.clone(),
            kind: BackupStatus::KIND,
            name: source.name.clone(),
            owner_uid: None,
            made_in: origin.made_in(),
            started,
        });
        let (looked, order) = (row.looked, Arc::clone(order));
        Some(Call::new(key, purpose, async move {
            if !create {
                return Answer::Restore(Ok(objects::confirm(&ctx, &owner, &target).await));
            }
            let looked = match (origin, wanted, lost) {
                _ if looked => Ok(()),
                (Ok(origin), _, Some(lost)) => lost::look(&ctx, &owner, &target, &origin, &lost)
                    .await
                    .map(drop),
                (Ok(origin), Ok(wanted), None) => look(&ctx, &owner, &target, &origin, &wanted)
                    .await
                    .map(drop),
                (Err(problem), ..) | (_, Err(problem), _) => Err(NotNow::Waits(problem)),
            };
            match looked {
                Ok(()) => {
                    Answer::Restore(Ok(apply::create(&ctx, &owner, &target, &run, &order).await))
                }
                Err(not_now) => Answer::Restore(Err(not_now)),
            }
        }))
    }
}

/// The cluster that a chosen run is of. The hub's Backup may have gone since; a cluster's own run does
/// not need it.
fn origin(entry: &Entry, target: &Target) -> Result<Origin, Problem> {
    let own = entry.stored.source_cluster_name.as_deref() == Some(target.key.name.as_str());
    match (&entry.origin, &entry.stored.member_uid) {
        (Err(_), Some(uid)) if own => Ok(Origin {
            cluster: target.key.clone(),
            members: vec![Member {
                uid: uid.clone(),
                ..Member::default()
            }],
        }),
        (origin, _) => origin.clone(),
    }
}

fn target(entry: &Entry) -> Option<Target> {
    Some(Target {
        key: entry.key.clone(),
        member: MemberId::from_uid(entry.stored.member_uid.as_deref()?),
        name: entry.claimed_name()?.to_owned(),
    })
}
