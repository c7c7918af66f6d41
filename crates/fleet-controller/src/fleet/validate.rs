//! What the facts about a Fleet mean.

use api_types::common::Leftover;
use api_types::fleet::{
    Fleet, PLUGIN_BACKUP, PLUGIN_DISTRIBUTED_STORAGE, PLUGIN_GRAFANA, PLUGIN_METRIC, PLUGIN_POLICY,
    PluginConfig,
};
use api_types::phase::PluginPhase;
use api_types::{condition::reason, labels};
use kube::ResourceExt;

use super::deletion::{self, Step};
use super::dereference::Dereferenced;
use super::leftovers;
use super::members::{self, Judged};

/// What is to become of a Fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validated {
    /// Its members, judged, in the order of the spec.
    pub members: Vec<Judged>,
    /// The plugins of the spec.
    pub plugins: Vec<Plugin>,
    /// Any plugin, wanted or not, that has failed.
    pub failed_plugins: Vec<String>,
    /// The control plane that it asks for, which is not offered.
    pub control_plane: Option<String>,
    /// What its deletion waits for, while it is being deleted.
    pub deletion: Option<Step>,
    /// What it leaves behind, when it is let go by force.
    pub leftovers: Vec<Leftover>,
    /// Whether our finalizer has to be added.
    pub adds_finalizer: bool,
}

/// A plugin that the spec asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// Its name.
    pub name: &'static str,
    /// Whether it is ready for this generation of the spec.
    pub ready: bool,
    /// Why not, in a word or two.
    pub problem: String,
}

impl std::fmt::Display for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.problem)
    }
}

/// Decides all of it.
pub fn validate(known: &Dereferenced) -> Validated {
    let fleet = &*known.fleet;
    let namespace = fleet.metadata.namespace.as_deref().unwrap_or_default();
    let deleting = fleet.metadata.deletion_timestamp.is_some();
    let control_plane = fleet.annotations().get(labels::CONTROL_PLANE);
    let deletion =
        deleting.then(|| deletion::step(fleet, known.holders.clone(), known.labelled.clone()));
    let leftovers = match &deletion {
        Some(Step::LetGo(_)) => leftovers::leftovers(&known.begun),
        _ => Vec::new(),
    };
    Validated {
        members: members::judge(namespace, &known.members),
        plugins: plugins(fleet),
        failed_plugins: failed_plugins(fleet),
        control_plane: control_plane.filter(|value| !value.is_empty()).cloned(),
        deletion,
        leftovers,
        adds_finalizer: !deleting && !deletion::is_held(fleet),
    }
}

fn plugins(fleet: &Fleet) -> Vec<Plugin> {
    let Some(config) = &fleet.spec.plugin else {
        return Vec::new();
    };
    asked_for(config).map(|name| plugin(fleet, name)).collect()
}

fn asked_for(config: &PluginConfig) -> impl Iterator<Item = &'static str> {
    let PluginConfig {
        metric,
        grafana,
        policy,
        backup,
        distributed_storage,
    } = config;
    let asked = [
        (PLUGIN_METRIC, metric.is_some()),
        (PLUGIN_GRAFANA, grafana.is_some()),
        (PLUGIN_POLICY, policy.is_some()),
        (PLUGIN_BACKUP, backup.is_some()),
        (PLUGIN_DISTRIBUTED_STORAGE, distributed_storage.is_some()),
    ];
    asked
        .into_iter()
        .filter_map(|(name, asked)| asked.then_some(name))
}

/// What the plugin's own controller says about it, if one does.
fn plugin(fleet: &Fleet, name: &'static str) -> Plugin {
    let entries = fleet.status.iter().flat_map(|status| &status.plugins);
    let entry = entries.into_iter().find(|entry| entry.name == name);
    let current = entry.filter(|entry| entry.observed_generation == fleet.metadata.generation);
    let problem = match (entry, current) {
        (None, _) => format!("{}: is its controller installed?", reason::NO_CONTROLLER),
        (Some(_), None) => "its controller has not seen the newest spec".to_owned(),
        (_, Some(entry)) => match entry.reason.as_deref() {
            Some(reason) if !reason.is_empty() => reason.to_owned(),
            _ => format!("{:?}", entry.phase),
        },
    };
    Plugin {
        name,
        ready: current.is_some_and(|entry| entry.phase == PluginPhase::Ready),
        problem,
    }
}

fn failed_plugins(fleet: &Fleet) -> Vec<String> {
    let entries = fleet.status.iter().flat_map(|status| &status.plugins);
    entries
        .filter(|entry| entry.phase == PluginPhase::Failed)
        .map(|entry| match entry.reason.as_deref() {
            Some(reason) => format!("{} ({reason})", entry.name),
            None => entry.name.clone(),
        })
        .collect()
}
