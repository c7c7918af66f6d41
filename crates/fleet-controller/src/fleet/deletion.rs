//! The deletion of a Fleet, step by step: users first, then plugins, then members, then itself.

use api_types::fleet::Fleet;
use api_types::labels;
use api_types::phase::FleetPhase;
use kube::ResourceExt;

use crate::operation::Holder;
use crate::text;

/// Finalizers of ours that go before [`labels::FLEET_FINALIZER`]: one for each plugin that has put
/// something somewhere.
const PLUGIN_FINALIZERS: &str = "fleet.kurator.dev/";

/// What a terminating Fleet waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Backups, Restores and Migrates that still need it.
    InUse(Vec<Holder>),
    /// Plugins whose controllers still have to clean up; their finalizers.
    Plugins(Vec<String>),
    /// `AttachedClusters` that still carry its label.
    Members(Vec<String>),
    /// Nothing: it may go.
    Done,
    /// Nothing any more: a person gives up on these, who still need it.
    LetGo(Vec<Holder>),
}

/// The first step that is not done.
pub fn step(fleet: &Fleet, holders: Vec<Holder>, labelled: Vec<String>) -> Step {
    let plugins = plugin_finalizers(fleet);
    if !holders.is_empty() && !forced(fleet) {
        Step::InUse(holders)
    } else if !plugins.is_empty() {
        Step::Plugins(plugins)
    } else if !labelled.is_empty() {
        Step::Members(labelled)
    } else if !holders.is_empty() {
        Step::LetGo(holders)
    } else {
        Step::Done
    }
}

/// Whether it is none of our business any more: all is said, and only somebody else's finalizer
/// holds it. What is made or ends now changes nothing in what it has left behind.
pub fn is_over(fleet: &Fleet) -> bool {
    let phase = fleet.status.as_ref().and_then(|status| status.phase);
    fleet.metadata.deletion_timestamp.is_some()
        && !is_held(fleet)
        && phase == Some(FleetPhase::TerminateSucceeded)
}

/// Whether it carries our finalizer.
pub fn is_held(fleet: &Fleet) -> bool {
    let mut finalizers = fleet.finalizers().iter();
    finalizers.any(|held| held == labels::FLEET_FINALIZER)
}

/// Whether it is so far that its members may lose their labels.
pub fn letting_go(fleet: &Fleet, holders: impl FnOnce() -> Vec<Holder>) -> bool {
    fleet.metadata.deletion_timestamp.is_some()
        && plugin_finalizers(fleet).is_empty()
        && (forced(fleet) || holders().is_empty())
}

/// Whether a person has asked to give up on what cannot be awaited.
pub fn forced(fleet: &Fleet) -> bool {
    fleet
        .annotations()
        .get(labels::FORCE_DELETE)
        .is_some_and(|value| value == "true")
}

fn plugin_finalizers(fleet: &Fleet) -> Vec<String> {
    let finalizers = fleet.finalizers().iter();
    finalizers
        .filter(|finalizer| finalizer.starts_with(PLUGIN_FINALIZERS))
        .cloned()
        .collect()
}

impl Step {
    /// Whether the Fleet may go.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Done | Self::LetGo(_))
    }

    /// What it waits for, for people.
    pub fn message(&self) -> String {
        let message = match self {
            Self::InUse(holders) => format!(
                "deletion waits for operations to end or to be deleted: {}",
                text::list(holders)
            ),
            Self::Plugins(finalizers) => {
                let plugins: Vec<&str> = finalizers
                    .iter()
                    .map(|finalizer| finalizer.trim_start_matches(PLUGIN_FINALIZERS))
                    .collect();
                format!(
                    "deletion waits until the controllers of these plugins have cleaned up: {}",
                    text::list(&plugins)
                )
            }
            Self::Members(members) => {
                format!("the clusters leave the fleet: {}", text::list(members))
            }
            Self::Done => "nothing of the fleet is left".to_owned(),
            Self::LetGo(holders) => format!(
                "let go by force, although needed, status.leftovers names what stays: {}",
                text::list(holders)
            ),
        };
        text::cut(&message)
    }
}

#[cfg(test)]
mod tests {
    use api_types::fleet::FleetStatus;

    use super::*;
    use crate::fixture::{deleted, fleet};
    use crate::operation::Need;

    fn holder() -> Holder {
        Holder {
            kind: "Backup".into(),
            name: "nightly".into(),
            need: Need::Scheduled,
        }
    }

    fn terminating(finalizers: &[&str]) -> Fleet {
        let mut fleet = fleet("north", "2026-01-01T00:00:00Z", &["bergen"]);
        deleted(&mut fleet.metadata);
        fleet.metadata.finalizers = Some(finalizers.iter().map(ToString::to_string).collect());
        fleet
    }

    #[test]
    fn users_go_before_plugins_and_plugins_before_members() {
        let all = terminating(&[
            "fleet.kurator.dev",
            "fleet.kurator.dev/backup",
            "someone.else/waits",
        ]);
        let bare = terminating(&["fleet.kurator.dev", "someone.else/waits"]);
        let labelled = || vec!["bergen".to_owned()];

        assert_eq!(
            step(&all, vec![holder()], labelled()),
            Step::InUse(vec![holder()])
        );
        assert_eq!(
            step(&all, vec![], labelled()),
            Step::Plugins(vec!["fleet.kurator.dev/backup".into()])
        );
        assert_eq!(step(&bare, vec![], labelled()), Step::Members(labelled()));
        assert_eq!(step(&bare, vec![], vec![]), Step::Done);

        assert!(
            !letting_go(&all, Vec::new),
            "a plugin still works on the members"
        );
        assert!(!letting_go(&bare, || vec![holder()]));
        assert!(letting_go(&bare, Vec::new));
        assert!(!letting_go(
            &fleet("north", "2026-01-01T00:00:00Z", &[]),
            Vec::new
        ));
    }

    #[test]
    fn force_gives_up_on_users_and_never_on_plugins() {
        let mut fleet = terminating(&["fleet.kurator.dev", "fleet.kurator.dev/backup"]);
        fleet
            .annotations_mut()
            .insert(labels::FORCE_DELETE.into(), "true".into());
        assert!(matches!(
            step(&fleet, vec![holder()], vec![]),
            Step::Plugins(_)
        ));
        fleet.metadata.finalizers = Some(vec!["fleet.kurator.dev".into()]);
        assert_eq!(
            step(&fleet, vec![holder()], vec![]),
            Step::LetGo(vec![holder()])
        );
        assert_eq!(step(&fleet, vec![], vec![]), Step::Done);
        assert!(letting_go(&fleet, || vec![holder()]));
    }

    #[test]
    fn a_fleet_is_over_once_only_others_hold_it_and_all_is_said() {
        let ended = |finalizers: &[&str], phase| {
            let mut fleet = terminating(finalizers);
            fleet.status = Some(FleetStatus {
                phase: Some(phase),
                ..FleetStatus::default()
            });
            fleet
        };
        let both = ["fleet.kurator.dev", "someone.else/waits"];
        let (held, freed) = (&both[..], &both[1..]);
        assert!(is_over(&ended(freed, FleetPhase::TerminateSucceeded)));
        assert!(!is_over(&ended(held, FleetPhase::TerminateSucceeded)));
        assert!(!is_over(&ended(freed, FleetPhase::Terminating)));
        assert!(!is_over(&terminating(freed)));
    }

    #[test]
    fn each_wait_names_what_it_waits_for() {
        let message = Step::InUse(vec![holder()]).message();
        assert!(message.contains("Backup nightly (scheduled)"), "{message}");
        let message = Step::Plugins(vec!["fleet.kurator.dev/backup".into()]).message();
        assert!(message.ends_with(": backup"), "{message}");
    }
}
