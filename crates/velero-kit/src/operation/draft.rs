//! The version of a hub object that a pass works on, and the writes of its status.

use std::sync::Arc;
use std::time::Duration;

use crate::identity::Owner;
use crate::problem::Problem;
use api_types::key::ClusterKey;
use controller_kit::hub::{self, WriteError};
use controller_kit::reconcile::Outcome;
use jiff::Timestamp;
use kube::api::Api;
use tokio::time::Instant;

use super::context::{Context, Process};
use super::memory::Written;
use super::{Error, Operation, State, conclude, destination, events, stale};

/// One pass over one object: its version, whose objects it makes, and when it began.
#[derive(Debug)]
pub struct Draft<'a, P: Process, K> {
    pub ctx: &'a Arc<Context<P>>,
    pub object: K,
    pub owner: Owner,
    pub now: Timestamp,
    started: Instant,
    /// How long it has written.
    writing: Duration,
}

impl<'a, P: Process, K: Operation> Draft<'a, P, K> {
    /// A pass over this version of the object.
    pub fn new(ctx: &'a Arc<Context<P>>, object: K, owner: Owner) -> Self {
        Self {
            ctx,
            object,
            owner,
            now: conclude::now(),
            started: Instant::now(),
            writing: Duration::ZERO,
        }
    }

    /// Why nothing begins for these clusters, if they are not fixed yet and more than one status holds.
    pub fn too_many<'k>(
        &self,
        clusters: impl ExactSizeIterator<Item = &'k ClusterKey>,
    ) -> Option<Problem> {
        let frozen = self.object.state().is_some_and(State::is_frozen);
        (!frozen).then(|| destination::too_many(K::Status::KIND, clusters))?
    }

    /// Whether the pass took so long that its view is too old to write to members.
    pub fn is_late(&self) -> bool {
        self.started.elapsed() > self.ctx.timings.pass_limit
    }

    /// How long a status that only shows progress has to wait for its turn; `None`: write it now.
    pub fn pace(&self, wanted: &K::Status) -> Option<Duration> {
        let current = self.object.state().cloned().unwrap_or_default();
        if current == *wanted || !conclude::only_progress(&current, wanted) {
            return None;
        }
        let timings = &self.ctx.timings;
        let entries = u32::try_from(wanted.details().len()).unwrap_or(u32::MAX);
        let pace = timings
            .progress_pace
            .max(timings.progress_pace_per_entry.saturating_mul(entries));
        let written = self
            .ctx
            .memory
            .with(&self.owner.uid, |memory| memory.written)?;
        pace.checked_sub(written.at.elapsed())
            .filter(|wait| !wait.is_zero())
    }

    /// Writes a status if it differs. `false`: the object has changed meanwhile, the pass is void.
    pub async fn write(&mut self, wanted: K::Status) -> Result<bool, Error> {
        if self.object.state() == Some(&wanted) {
            return Ok(true);
        }
        let version = self.object.meta().resource_version.as_deref();
        let manager = P::MANAGER;
        let began = Instant::now();
        let written =
            hub::apply_status(&self.ctx.client, &self.object, &wanted, manager, version).await;
        match written {
            Ok(version) => {
                let at = Instant::now();
                self.writing = self.writing.saturating_add(at - began);
                let took = self.writing;
                self.ctx.memory.with(&self.owner.uid, |memory| {
                    memory.written = Some(Written { at, took });
                });
                let before = self.object.state().cloned().unwrap_or_default();
                self.object.set_state(wanted);
                self.object.meta_mut().resource_version = Some(version);
                events::publish(self.ctx, &self.object, &before);
                Ok(true)
            }
            Err(WriteError::Conflict(_) | WriteError::Gone(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The object has its outcome: no more than that its newest spec was seen is written.
    pub async fn observe(&mut self) -> Result<Outcome, Error> {
        let written = match conclude::observed(&self.object) {
            Some(wanted) => self.write(wanted).await?,
            None => true,
        };
        self.ctx.memory.forget(&self.owner.uid);
        Ok(if written { Outcome::Done } else { stale() })
    }

    /// Whether the version that this pass works on is still the newest: read before a member is
    /// written to for a claim that an earlier pass made, since a cache may lag behind.
    pub async fn is_current(&self) -> Result<bool, Error> {
        let newest = Api::<K>::namespaced(self.ctx.client.clone(), &self.owner.namespace)
            .get_metadata_opt(&self.owner.name)
            .await?;
        Ok(newest.is_some_and(|newest| {
            newest.metadata.resource_version == self.object.meta().resource_version
        }))
    }

    /// How long until then; a time that has passed is nothing to wait for.
    pub fn until(&self, then: Timestamp) -> Option<Duration> {
        super::until(then, self.now)
    }
}
