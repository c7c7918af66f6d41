//! The plugin's entry in the status of the Fleet, whole, from what is known. Pure.

use api_types::condition::reason;
use api_types::fleet::{PLUGIN_BACKUP, PluginClusterStatus, PluginStatus};
use api_types::key::ClusterKey;
use api_types::phase::PluginPhase;
use controller_kit::condition::MESSAGE_BYTES;
use controller_kit::event::{Event, Severity};
use controller_kit::text::truncate;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::apply::Answers;
use super::entry;
use super::known::Known;
use super::layout::{self, Decision, LAYOUT};
use super::validate::Plan;

/// The phase and what explains it.
struct Summary {
    phase: PluginPhase,
    reason: String,
    message: Option<String>,
}

/// The entry; `None`: nothing is asked for and nothing is left.
pub fn entry(
    known: &Known,
    plan: &Plan,
    answers: &Answers,
    now: Timestamp,
) -> Option<PluginStatus> {
    let clusters: Vec<PluginClusterStatus> = plan
        .clusters
        .iter()
        .filter_map(|planned| entry::entry(planned, answers.get(&planned.member.key), now))
        .collect();
    if plan.layout.is_none() && clusters.is_empty() {
        return None;
    }
    let old = super::stored(&known.fleet);
    let Summary {
        phase,
        reason,
        message,
    } = summary(plan.layout.as_ref(), &clusters);
    let wanted = known.members.iter().filter(|member| member.wanted).count();
    let ready = clusters.iter().filter(|of| is_ready(of)).count();
    let decided = plan.layout.as_ref().and_then(Decision::layout);
    let details = match decided {
        Some(layout) => [(LAYOUT.to_owned(), layout::name(layout).to_owned())].into(),
        None => old.map(|old| old.details.clone()).unwrap_or_default(),
    };
    let since = old.filter(|old| old.phase == phase);
    let since = since.and_then(|old| old.last_transition_time.clone());
    Some(PluginStatus {
        name: PLUGIN_BACKUP.to_owned(),
        observed_generation: known.fleet.metadata.generation,
        phase,
        reason: Some(reason),
        message: message.map(|message| truncate(&message, MESSAGE_BYTES)),
        ready_clusters: count(ready),
        clusters_total: count(wanted),
        display: Some(format!("{ready}/{wanted}")),
        last_transition_time: since.or(Some(Time(now))),
        details,
        clusters,
        ..PluginStatus::default()
    })
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// One that only warns works.
fn is_ready(of: &PluginClusterStatus) -> bool {
    of.phase <= PluginPhase::Degraded
}

/// The worst of the clusters, explained by the first of these.
fn summary(layout: Option<&Decision>, clusters: &[PluginClusterStatus]) -> Summary {
    let worst = clusters.iter().map(|of| of.phase).max();
    let phase = worst.unwrap_or(match layout {
        Some(_) => PluginPhase::Pending,
        None => PluginPhase::Ready,
    });
    if let Some(Decision::Kept(_, problem)) = layout
        && phase <= PluginPhase::Degraded
    {
        return Summary {
            phase: PluginPhase::Degraded,
            reason: problem.reason.to_owned(),
            message: Some(problem.message.clone()),
        };
    }
    if phase == PluginPhase::Ready {
        return Summary {
            phase,
            reason: reason::READY.to_owned(),
            message: None,
        };
    }
    let mut of_phase = clusters.iter().filter(|of| of.phase == phase);
    let Some(first) = of_phase.next() else {
        return Summary {
            phase,
            reason: reason::NO_CLUSTERS.to_owned(),
            message: Some("the fleet has no clusters: list some in spec.clusters".to_owned()),
        };
    };
    let message = first.message.clone().unwrap_or_default();
    let message = match of_phase.count() {
        0 => message,
        more => format!("{more} more clusters and this one: {message}"),
    };
    Summary {
        phase,
        reason: first.reason.clone().unwrap_or_default(),
        message: Some(message),
    }
}

/// What a change of the entry is worth telling. That the plugin failed is told by who judges the whole
/// Fleet.
pub fn events(before: Option<&PluginStatus>, now: Option<&PluginStatus>) -> Vec<Event> {
    let was = before.map(|before| before.phase);
    let ready =
        now.filter(|now| now.phase == PluginPhase::Ready && was != Some(PluginPhase::Ready));
    let event = ready.map(|now| Event {
        severity: Severity::Normal,
        reason: "PluginReady",
        action: "Reconcile",
        note: format!(
            "plugin {} is ready on {} clusters, layout {}",
            now.name,
            now.display.as_deref().unwrap_or_default(),
            now.details.get(LAYOUT).map_or("", String::as_str)
        ),
        related: None,
    });
    event.into_iter().collect()
}

/// An event about one cluster. Events of one reason are merged unless they are about different objects.
pub fn of_cluster(
    key: &ClusterKey,
    severity: Severity,
    reason: &'static str,
    note: String,
) -> Event {
    Event {
        severity,
        reason,
        action: "Reconcile",
        note,
        related: Some(ObjectReference {
            kind: Some(key.kind.as_str().to_owned()),
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            ..ObjectReference::default()
        }),
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
