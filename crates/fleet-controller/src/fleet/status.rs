//! The whole status of a Fleet from what is known. Pure.

use std::collections::{BTreeMap, VecDeque};

use api_types::condition::{self, Condition, reason};
use api_types::fleet::{FleetDisplay, FleetStatus, MemberStatus};
use api_types::phase::FleetPhase;
use controller_kit::condition::{Activity, Conditions};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::deletion::Step;
use super::members::Judged;
use super::validate::{Plugin, Validated};
use crate::text::{self, whole_seconds};

/// The phase and what explains it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Summary {
    phase: FleetPhase,
    reason: &'static str,
    message: String,
}

/// The status as it should be, without the plugins' entries: those are their controllers'.
/// `stalled` says that a deletion has made no progress for long.
pub fn status(
    validated: &Validated,
    generation: Option<i64>,
    old: Option<&FleetStatus>,
    stalled: bool,
    now: Timestamp,
) -> FleetStatus {
    let Summary {
        phase,
        reason,
        message,
    } = summary(validated, stalled);
    let ready = phase == FleetPhase::Ready;
    let activity = match phase {
        FleetPhase::Ready | FleetPhase::TerminateSucceeded => Activity::Settled,
        FleetPhase::Failed | FleetPhase::TerminateFailed => Activity::Stalled,
        _ => Activity::Reconciling,
    };
    let mut conditions = old.map(ours).unwrap_or_default();
    let mut update = Conditions {
        list: &mut conditions,
        generation,
        now: whole_seconds(now),
    };
    update.ready(ready.into(), activity, reason, &message);
    let members = members(&validated.members, old, now);
    let ready_clusters = members.iter().filter(|member| member.ready).count();
    let ready_plugins = validated
        .plugins
        .iter()
        .filter(|plugin| plugin.ready)
        .count();
    FleetStatus {
        observed_generation: generation,
        phase: Some(phase),
        conditions,
        reason: (!ready).then(|| reason.to_owned()),
        ready_clusters: count(ready_clusters),
        un_ready_clusters: count(members.len() - ready_clusters),
        display: Some(FleetDisplay {
            clusters: format!("{ready_clusters}/{}", members.len()),
            plugins: format!("{ready_plugins}/{}", validated.plugins.len()),
        }),
        members,
        leftovers: validated.leftovers.clone(),
        ..FleetStatus::default()
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// First match wins, as `api.md` 3.5 has it.
fn summary(validated: &Validated, stalled: bool) -> Summary {
    if let Some(step) = &validated.deletion {
        return terminating(step, stalled);
    }
    let Validated {
        members,
        plugins,
        failed_plugins,
        control_plane,
        ..
    } = validated;
    if members.is_empty() {
        let message = "the fleet has no clusters: list some in spec.clusters".to_owned();
        return Summary {
            phase: FleetPhase::Pending,
            reason: reason::NO_CLUSTERS,
            message,
        };
    }
    let failed = |reason, message: String| Summary {
        phase: FleetPhase::Failed,
        reason,
        message,
    };
    if let Some(value) = control_plane {
        let message = format!(
            "a control plane ({value}) is not offered: remove the annotation {}",
            api_types::labels::CONTROL_PLANE
        );
        return failed(reason::CONTROL_PLANE_UNSUPPORTED, message);
    }
    if !failed_plugins.is_empty() {
        return failed(
            reason::PLUGIN_FAILED,
            format!("plugins failed: {}", text::list(failed_plugins)),
        );
    }
    let members: Vec<String> = members.iter().filter_map(Judged::complaint).collect();
    let plugins: Vec<&Plugin> = plugins.iter().filter(|plugin| !plugin.ready).collect();
    let said = |what: &str, list: String| (!list.is_empty()).then(|| format!("{what}: {list}"));
    let complaints: Vec<String> = [
        said("clusters not ready", text::list(&members)),
        said("plugins not ready", text::list(&plugins)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let (phase, reason) = match (members.is_empty(), plugins.is_empty()) {
        (true, true) => (FleetPhase::Ready, reason::READY),
        (false, _) => (FleetPhase::Running, reason::MEMBERS_NOT_READY),
        (true, false) => (FleetPhase::Running, reason::PLUGINS_NOT_READY),
    };
    let message = match phase {
        FleetPhase::Ready => "every cluster and every plugin is ready".to_owned(),
        _ => complaints.join("; "),
    };
    Summary {
        phase,
        reason,
        message,
    }
}

fn terminating(step: &Step, stalled: bool) -> Summary {
    let message = step.message();
    let (phase, reason, message) = match step {
        Step::Done | Step::LetGo(_) => {
            (FleetPhase::TerminateSucceeded, reason::TERMINATING, message)
        }
        _ if stalled => (
            FleetPhase::TerminateFailed,
            reason::DELETION_BLOCKED,
            message,
        ),
        Step::InUse(_) => (FleetPhase::Terminating, reason::IN_USE, message),
        Step::Plugins(_) | Step::Members(_) => {
            (FleetPhase::Terminating, reason::TERMINATING, message)
        }
    };
    Summary {
        phase,
        reason,
        message,
    }
}

impl Judged {
    /// Name and reason, while it is not ready.
    fn complaint(&self) -> Option<String> {
        let problem = self.problem.as_ref()?;
        Some(format!("{} ({})", self.name, problem.reason))
    }
}

/// The entries; the time of a member's last transition moves only when it becomes not ready.
fn members(judged: &[Judged], old: Option<&FleetStatus>, now: Timestamp) -> Vec<MemberStatus> {
    // A name may be listed twice: the n-th entry of a cluster goes on from its n-th entry before.
    let mut before: BTreeMap<(&str, &str), VecDeque<&MemberStatus>> = BTreeMap::new();
    for member in old.iter().flat_map(|old| &old.members) {
        before
            .entry((&member.cluster_kind, &member.cluster_name))
            .or_default()
            .push_back(member);
    }
    judged
        .iter()
        .map(
            |Judged {
                 name,
                 kind,
                 problem,
             }| {
                let was = before
                    .get_mut(&(kind.as_str(), name.as_str()))
                    .and_then(VecDeque::pop_front);
                let since = was
                    .filter(|was| !was.ready)
                    .and_then(|was| was.last_transition_time.clone());
                MemberStatus {
                    cluster_name: name.clone(),
                    cluster_kind: kind.clone(),
                    ready: problem.is_none(),
                    reason: problem.as_ref().map(|problem| problem.reason.to_owned()),
                    message: problem.as_ref().map(|problem| problem.message.clone()),
                    last_transition_time: problem
                        .as_ref()
                        .map(|_| since.unwrap_or_else(|| Time(whole_seconds(now)))),
                }
            },
        )
        .collect()
}

/// The conditions that this controller owns; others may add theirs.
fn ours(status: &FleetStatus) -> Vec<Condition> {
    let ours = [condition::READY, condition::RECONCILING, condition::STALLED];
    let mut conditions = status.conditions.clone();
    conditions.retain(|condition| ours.contains(&condition.type_.as_str()));
    conditions
}

/// Whether a stored status already says what a new one says. Only what this controller writes is
/// compared.
pub fn says_the_same(old: Option<&FleetStatus>, new: &FleetStatus) -> bool {
    old.is_some_and(|old| {
        let comparable = FleetStatus {
            conditions: ours(old),
            plugins: Vec::new(),
            plugin_endpoints: BTreeMap::new(),
            ..old.clone()
        };
        comparable == *new
    })
}

#[cfg(test)]
mod tests;
