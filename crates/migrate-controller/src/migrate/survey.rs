//! Asks the members what they serve, before anything is made.

use std::collections::BTreeSet;
use std::sync::Arc;

use api_types::key::ClusterKey;
use velero_kit::operation::calls;
use velero_kit::problem::Problem;

use super::pass::Pass;
use super::preflight::{self, Served};
use crate::context::{Answer, Call};

impl Pass<'_> {
    /// Notes what each target lacks of what is migrated. That stops nothing: nobody is warned about a
    /// member that does not answer in time.
    pub(super) async fn survey(&mut self) {
        let targets = self.targets.iter().filter(|target| target.member.is_up());
        let keys = targets.map(|target| target.key.clone());
        let keys: BTreeSet<ClusterKey> = keys.chain([self.source.key.clone()]).collect();
        let call = |key: ClusterKey| {
            let ctx = Arc::clone(self.draft.ctx);
            Call::new(key.clone(), "what it serves".to_owned(), async move {
                let served = ctx.members.discover(&key, None).await;
                let served = served.map(|all| all.into_iter().map(told).collect());
                Answer::Served(served.map_err(|error| Problem::from(&error)))
            })
        };
        let calls = keys.into_iter().map(call).collect();
        let answers = calls::answers(self.draft.ctx, &self.in_target, calls).await;
        let served = |key: &ClusterKey| match answers.get(key) {
            Some(Answer::Served(Ok(served))) => Some(served.as_slice()),
            _ => None,
        };
        let Some(source) = served(&self.source.key) else {
            return;
        };
        let policy = self.draft.object.spec.policy.as_ref();
        let filter = policy.and_then(|policy| policy.resource_filter.clone());
        let filter = filter.unwrap_or_default();
        for target in &mut self.targets {
            let there = served(&target.key).map(|there| (target.key.name.as_str(), there));
            target.warning = there.and_then(|there| preflight::not_served(&filter, source, there));
        }
    }
}

fn told(served: proxy_client::Served) -> Served {
    Served {
        group: served.group,
        version: served.version,
        resource: served.resource,
        namespaced: served.namespaced,
        verbs: served.verbs,
    }
}
