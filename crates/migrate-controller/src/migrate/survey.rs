//! Asks the members what they serve and which namespaces they have, before anything is made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api_types::common::{ResourceFilter, StringMap};
use api_types::key::ClusterKey;
use controller_kit::event::{Event, Severity};
use k8s_openapi::api::core::v1::Namespace as Object;
use kube::ResourceExt;
use kube::core::PartialObjectMeta;
use proxy_client::ListOptions;
use tokio::time::Instant;
use velero_kit::operation::memory::Remembered;
use velero_kit::operation::{calls, events, sooner};

use super::facts::Notes;
use super::pass::Pass;
use super::preflight::{self, Namespace, Served};
use crate::context::{Answer, Call, Context, MigrateController};

/// The event that names the namespaces of a target.
const PREFLIGHT: &str = "Preflight";
/// Velero backs no namespace up that has this.
const LEFT_OUT: (&str, &str) = ("velero.io/exclude-from-backup", "true");

/// What a member has, as far as it has told.
#[derive(Debug, Default)]
pub struct View {
    /// What it serves.
    served: Option<Vec<Served>>,
    /// Its namespaces.
    namespaces: Option<Vec<Namespace>>,
}

/// What was told is worth something for as many times as long as it is waited for.
const AGE: u32 = 6;

type Views = BTreeMap<ClusterKey, Arc<View>>;

impl Pass<'_> {
    /// Notes what each target lacks of what is migrated, and which namespaces that comes into. It stops
    /// nothing, and who does not answer in time is not waited for. False: somebody still has time.
    pub(super) async fn survey(&mut self) -> bool {
        let up = self.targets.iter().filter(|target| target.member.is_up());
        let keys = up.map(|target| target.key.clone());
        let keys: BTreeSet<ClusterKey> = keys.chain([self.source.key.clone()]).collect();
        let (ctx, uid) = (self.draft.ctx, &self.in_target.uid);
        let patience = ctx.timings.survey;
        let (began, mut views) = ctx.memory.with(uid, |memory| {
            let began = memory.own.survey;
            let began = began.filter(|began| began.elapsed() < patience.saturating_mul(AGE));
            if began.is_none() {
                forget_views(memory);
            }
            let began = *memory.own.survey.insert(began.unwrap_or_else(Instant::now));
            let views = memory.clusters.iter();
            let views = views.filter_map(|(key, of)| Some((key.clone(), of.own.view.clone()?)));
            (began, views.collect::<Views>())
        });
        let call = |key: &ClusterKey| {
            let (ctx, key) = (Arc::clone(ctx), key.clone());
            Call::new(key.clone(), "what it has".to_owned(), async move {
                Answer::View(Arc::new(view(&ctx, &key).await))
            })
        };
        let missing = keys.iter().filter(|key| !views.contains_key(key));
        let calls = missing.map(call).collect();
        let answers = calls::answers(ctx, &self.in_target, calls).await;
        // Kept for the next pass, should another one not have answered yet.
        ctx.memory.with(uid, |memory| {
            for (key, answer) in answers {
                let Answer::View(view) = answer else { continue };
                let of = memory.clusters.entry(key.clone()).or_default();
                of.own.view = Some(Arc::clone(&view));
                views.insert(key, view);
            }
        });
        let left = patience.saturating_sub(began.elapsed());
        if keys.iter().any(|key| !views.contains_key(key)) && !left.is_zero() {
            self.again = sooner(self.again, Some(left));
            return false;
        }
        self.compare(&views);
        true
    }

    /// Notes what the targets are to say.
    fn compare(&mut self, views: &Views) {
        let Some(source) = views.get(&self.source.key) else {
            return;
        };
        let policy = self.draft.object.spec.policy.clone().unwrap_or_default();
        let filter = policy.resource_filter.unwrap_or_default();
        for target in &mut self.targets {
            let Some(there) = views.get(&target.key) else {
                continue;
            };
            let what = (&filter, &policy.namespace_mapping);
            target.notes = notes(what, source, (&target.key.name, there));
            self.draft.ctx.memory.with(&self.in_target.uid, |memory| {
                let of = memory.clusters.entry(target.key.clone()).or_default();
                of.own.notes = target.notes.clone();
            });
        }
    }

    /// The source was claimed: what was found before that is told, and what it was found in is not
    /// needed any more.
    pub(super) fn end_survey(&self) {
        let ctx = self.draft.ctx;
        ctx.memory.with(&self.in_target.uid, forget_views);
        let namespace = Some(self.in_target.namespace.as_str());
        for target in &self.targets {
            let Some(note) = &target.notes.namespaces else {
                continue;
            };
            let event = Event {
                severity: Severity::Normal,
                reason: PREFLIGHT,
                action: self.in_target.kind,
                note: format!("{}: {note}", target.key.name),
                related: None,
            };
            let event = events::about(namespace, &target.stored, event);
            ctx.events.publish_cluster(&self.draft.object, event);
        }
    }
}

fn forget_views(memory: &mut Remembered<MigrateController>) {
    for of in memory.clusters.values_mut() {
        of.own.view = None;
    }
}

/// What a target is to say, by what it and the source have.
fn notes(
    (filter, mapping): (&ResourceFilter, &StringMap),
    source: &View,
    (name, target): (&str, &View),
) -> Notes {
    let served = source.served.as_ref().zip(target.served.as_ref());
    let warning =
        served.and_then(|(source, there)| preflight::not_served(filter, source, (name, there)));
    let namespaces = source.namespaces.as_ref().zip(target.namespaces.as_ref());
    let namespaces = namespaces
        .and_then(|(source, there)| preflight::namespaces(filter, mapping, source, there).note());
    Notes {
        warning,
        namespaces,
    }
}

/// Asks one member.
async fn view(ctx: &Context, key: &ClusterKey) -> View {
    let namespaces = ctx.members.api::<PartialObjectMeta<Object>>(key);
    let namespaces = namespaces.metadata_only();
    let all = ListOptions::default();
    let (served, namespaces) = tokio::join!(ctx.members.discover(key, None), namespaces.list(&all));
    let silent = |error: &proxy_client::Error| {
        tracing::debug!(cluster = %key, %error, "what a member has is not known before it begins");
    };
    let served = served.inspect_err(silent).ok();
    let namespaces = namespaces.inspect_err(silent).ok();
    View {
        served: served.map(|all| all.into_iter().map(told).collect()),
        namespaces: namespaces.map(|all| all.iter().map(named).collect()),
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

fn named(object: &PartialObjectMeta<Object>) -> Namespace {
    let (label, value) = LEFT_OUT;
    Namespace {
        name: object.name_any(),
        going: object.metadata.deletion_timestamp.is_some(),
        left_out: object.labels().get(label).map(String::as_str) == Some(value),
    }
}
