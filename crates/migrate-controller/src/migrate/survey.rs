//! Asks the members what they serve and which namespaces they have, before anything is made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api_types::key::ClusterKey;
use api_types::migrate::MigratePolicy;
use controller_kit::event::{Event, Severity};
use k8s_openapi::api::core::v1::Namespace as Object;
use kube::ResourceExt;
use kube::core::PartialObjectMeta;
use proxy_client::ListOptions;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};
use velero_kit::operation::{calls, events, sooner};

use super::facts::{Notes, Target};
use super::pass::Pass;
use super::preflight::{self, Namespace, Selected, Served};
use crate::context::{Answer, Call, Context};

/// The event that names the namespaces of a target.
const PREFLIGHT: &str = "Preflight";
/// The event that names the targets of which it is not known what they serve.
const NOT_COMPARED: &str = "NotCompared";
/// Velero backs no namespace up that has this.
const LEFT_OUT: (&str, &str) = ("velero.io/exclude-from-backup", "true");

/// What was told is worth something for as many times as long as it is waited for.
const AGE: u32 = 6;

/// The questions that are put to the members of one Migrate.
#[derive(Debug, Clone)]
pub struct Survey {
    began: Instant,
    /// Of the spec that they are about.
    generation: Option<i64>,
    /// The source's answer.
    moved: Option<Arc<Moved>>,
}

/// What a Migrate takes along, as far as its source has told.
#[derive(Debug)]
pub struct Moved {
    types: Option<Vec<Selected>>,
    /// Names that the namespaces get.
    namespaces: Option<BTreeSet<String>>,
}

impl Moved {
    fn is_known(&self) -> bool {
        self.types.is_some() || self.namespaces.is_some()
    }
}

impl Pass<'_> {
    /// Notes what each target lacks of what is migrated, and which namespaces that comes into. It stops
    /// nothing, and who does not answer in time is not waited for. False: somebody still has time.
    pub(super) async fn survey(&mut self) -> bool {
        let patience = self.draft.ctx.timings.survey;
        let survey = self.surveyed();
        let began = survey.began;
        let moved = match &survey.moved {
            None => self.ask_source(&survey).await,
            known => known.clone(),
        };
        let all_told = match moved {
            Some(moved) if moved.is_known() => self.ask_targets(&moved, &survey).await,
            // There is nothing to compare them with.
            Some(_) => true,
            None => false,
        };
        let left = patience.saturating_sub(began.elapsed());
        if all_told || left.is_zero() {
            return true;
        }
        self.again = sooner(self.again, Some(left));
        false
    }

    /// The survey that is under way, or a new one.
    fn surveyed(&self) -> Survey {
        let oldest = self.draft.ctx.timings.survey.saturating_mul(AGE);
        let generation = self.draft.object.metadata.generation;
        let counts =
            |known: &Survey| known.generation == generation && known.began.elapsed() < oldest;
        let uid = &self.in_target.uid;
        self.draft.ctx.memory.with(uid, |memory| {
            let known = memory.own.survey.take().filter(counts);
            let survey = known.unwrap_or_else(|| Survey {
                began: Instant::now(),
                generation,
                moved: None,
            });
            memory.own.survey.insert(survey).clone()
        })
    }

    /// When the survey ends, and what its questions are for: an answer to another spec is none to this.
    fn terms_of(&self, survey: &Survey, what: &str) -> (Instant, String) {
        let end = survey.began + self.draft.ctx.timings.survey;
        (
            end,
            format!("{what}, by generation {:?}", survey.generation),
        )
    }

    async fn ask_source(&self, survey: &Survey) -> Option<Arc<Moved>> {
        let policy = self.draft.object.spec.policy.clone().unwrap_or_default();
        let (ctx, key) = (Arc::clone(self.draft.ctx), self.source.key.clone());
        let (end, purpose) = self.terms_of(survey, "what is migrated");
        let call = Call::new(key.clone(), purpose, async move {
            Answer::Moved(Arc::new(moved(&ctx, &key, &policy, end).await))
        });
        let mut answers = calls::answers(self.draft.ctx, &self.in_target, vec![call]).await;
        let Some(Answer::Moved(moved)) = answers.remove(&self.source.key) else {
            return None;
        };
        // Kept for the next pass, should a target not have answered yet.
        self.draft.ctx.memory.with(&self.in_target.uid, |memory| {
            if let Some(survey) = &mut memory.own.survey {
                survey.moved = Some(Arc::clone(&moved));
            }
        });
        Some(moved)
    }

    /// True: whoever can be asked has answered.
    async fn ask_targets(&mut self, moved: &Arc<Moved>, survey: &Survey) -> bool {
        let (ctx, uid) = (self.draft.ctx, &self.in_target.uid);
        let began = survey.began;
        let (end, purpose) = self.terms_of(survey, "what it has");
        let told = ctx.memory.with(uid, |memory| {
            let told = memory.clusters.iter();
            let told = told.filter(|(_, of)| of.own.told == Some(began));
            told.map(|(key, _)| key.clone()).collect::<BTreeSet<_>>()
        });
        let up = self.targets.iter().filter(|target| target.member.is_up());
        let asked: Vec<_> = up.filter(|target| !told.contains(&target.key)).collect();
        let call = |target: &&Target| {
            let (ctx, key, moved) = (Arc::clone(ctx), target.key.clone(), Arc::clone(moved));
            Call::new(key.clone(), purpose.clone(), async move {
                Answer::Notes(notes(&ctx, &key, &moved, end).await)
            })
        };
        let number = asked.len();
        let calls = asked.iter().map(call).collect();
        let answers = calls::answers(ctx, &self.in_target, calls).await;
        let all_told = answers.len() == number;
        ctx.memory.with(uid, |memory| {
            for (key, answer) in answers {
                let Answer::Notes(notes) = answer else {
                    continue;
                };
                let own = &mut memory.clusters.entry(key).or_default().own;
                (own.notes, own.told) = (notes, Some(began));
            }
            for target in &mut self.targets {
                if let Some(of) = memory.clusters.get(&target.key) {
                    target.notes = of.own.notes.clone();
                }
            }
        });
        all_told
    }

    /// The source was claimed: what was found before that is told, and what it was found in is not
    /// needed any more. Targets with the same to tell share an event.
    pub(super) fn end_survey(&self) {
        let ctx = self.draft.ctx;
        let uid = &self.in_target.uid;
        ctx.memory.with(uid, |memory| memory.own.survey = None);
        let mut told: BTreeMap<&str, Vec<&Target>> = BTreeMap::new();
        for target in &self.targets {
            if let Some(note) = &target.notes.namespaces {
                told.entry(note).or_default().push(target);
            }
        }
        for (note, targets) in told {
            self.tell(PREFLIGHT, &targets, note);
        }
        let unknown: Vec<&Target> = self
            .targets
            .iter()
            .filter(|target| !target.notes.compared)
            .collect();
        if !unknown.is_empty() {
            let source = &self.source.key.name;
            let note = format!(
                "it is not known whether what is migrated is served there: not both {source} and \
                 the target have told in time what they serve"
            );
            self.tell(NOT_COMPARED, &unknown, &note);
        }
    }

    /// One event about these targets.
    fn tell(&self, reason: &'static str, targets: &[&Target], note: &str) {
        let Some(first) = targets.first() else { return };
        let names = targets.iter().map(|target| target.key.name.clone());
        let names = preflight::some_of(&names.collect()).unwrap_or_default();
        let event = Event {
            severity: Severity::Normal,
            reason,
            action: self.in_target.kind,
            note: format!("{names}: {note}"),
            related: None,
        };
        // By what it is about it stays apart from those of the others.
        let namespace = Some(self.in_target.namespace.as_str());
        let event = events::about(namespace, &first.stored, event);
        let ctx = self.draft.ctx;
        ctx.events.publish_cluster(&self.draft.object, event);
    }
}

/// Asks the source.
async fn moved(ctx: &Context, key: &ClusterKey, policy: &MigratePolicy, end: Instant) -> Moved {
    let (served, namespaces) = view(ctx, key, end).await;
    let filter = policy.resource_filter.clone().unwrap_or_default();
    let mapping = &policy.namespace_mapping;
    Moved {
        types: served.map(|all| preflight::selected(&filter, &all, namespaces.as_deref())),
        namespaces: namespaces.map(|all| preflight::arriving(&filter, mapping, &all)),
    }
}

/// Asks a target. What it has is compared here, so that no more of it is kept than there is to tell.
async fn notes(ctx: &Context, key: &ClusterKey, moved: &Moved, end: Instant) -> Notes {
    let (served, namespaces) = view(ctx, key, end).await;
    let types = moved.types.as_ref().zip(served);
    let compared = types.is_some();
    let names = moved.namespaces.as_ref().zip(namespaces);
    Notes {
        warning: types
            .and_then(|(types, served)| preflight::not_served(types, (&key.name, &served))),
        namespaces: names.and_then(|(names, there)| preflight::namespaces(names, &there).note()),
        compared,
    }
}

/// What a member serves, and its namespaces, as far as it tells in time.
async fn view(
    ctx: &Context,
    key: &ClusterKey,
    end: Instant,
) -> (Option<Vec<Served>>, Option<Vec<Namespace>>) {
    let namespaces = ctx.members.api::<PartialObjectMeta<Object>>(key);
    let namespaces = namespaces.metadata_only();
    let all = ListOptions::default();
    // After that nobody waits for it, and the next call to this member should have its turn.
    let (served, namespaces) = tokio::join!(
        timeout_at(end, ctx.members.discover(key, None)),
        timeout_at(end, namespaces.list(&all)),
    );
    let served = in_time(key, served);
    let namespaces = in_time(key, namespaces);
    (
        served.map(|all| all.into_iter().map(told).collect()),
        namespaces.map(|all| all.iter().map(named).collect()),
    )
}

fn in_time<T>(
    key: &ClusterKey,
    answer: Result<Result<T, proxy_client::Error>, Elapsed>,
) -> Option<T> {
    let error = match answer {
        Ok(Ok(told)) => return Some(told),
        Ok(Err(error)) => error.to_string(),
        Err(late) => late.to_string(),
    };
    tracing::debug!(cluster = %key, error, "what a member has is not known before it begins");
    None
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
