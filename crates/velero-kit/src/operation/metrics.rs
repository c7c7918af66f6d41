//! What is counted about operations. Labels of counters are bounded: phases and reasons, never names.

use std::collections::BTreeMap;
use std::fmt;

use api_types::aggregate::Entry as _;
use api_types::phase::Phase;
use kube::runtime::reflector::Store;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{Detail, Operation, State};

/// Metrics of the kinds of a controller; the reconcile metrics are controller-kit's.
#[derive(Debug, Clone, Default)]
pub struct Metrics(BTreeMap<&'static str, OfKind>);

/// Metrics of one kind.
#[derive(Debug, Clone, Default)]
struct OfKind {
    phases: Family<PhaseLabels, Counter>,
    outcomes: Family<OutcomeLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    phase: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    phase: String,
    reason: String,
}

impl Metrics {
    /// Makes the metrics of these kinds known to the registry that `/metrics` shows.
    pub fn register(registry: &mut Registry, kinds: &[&'static str]) -> Self {
        let new = kinds.iter().map(|kind| (*kind, OfKind::default()));
        let metrics = Self(new.collect());
        for (kind, of) in &metrics.0 {
            let kind = kind.to_ascii_lowercase();
            registry.register(
                format!("kurator_{kind}_phase_changes"),
                format!("Objects of kind {kind} that came into a phase"),
                of.phases.clone(),
            );
            registry.register(
                format!("kurator_{kind}_cluster_outcomes"),
                format!("Clusters of a {kind} that came to an end, by phase and reason"),
                of.outcomes.clone(),
            );
        }
        metrics
    }

    /// Counts what changed from one written status to the next.
    pub fn observe<S: State>(&self, before: &S, status: &S) {
        let Some(of) = self.0.get(S::KIND) else {
            return;
        };
        if let Some(phase) = status
            .phase()
            .filter(|phase| before.phase() != Some(*phase))
        {
            of.phases
                .get_or_create(&PhaseLabels {
                    phase: phase.as_str().to_owned(),
                })
                .inc();
        }
        let finished = status
            .details()
            .iter()
            .filter(|detail| detail.phase().is_final());
        for detail in finished {
            let known = before.details().iter().any(|former| {
                former.cluster_name() == detail.cluster_name()
                    && former.cluster_kind() == detail.cluster_kind()
                    && former.phase() == detail.phase()
                    && former.object_name() == detail.object_name()
            });
            if !known {
                let labels = OutcomeLabels {
                    phase: detail.phase().as_str().to_owned(),
                    reason: detail.reason().unwrap_or_default().to_owned(),
                };
                of.outcomes.get_or_create(&labels).inc();
            }
        }
    }
}

/// How many objects of a kind are in which phase now.
pub fn phases<K: Operation>(encoder: &mut DescriptorEncoder<'_>, store: &Store<K>) -> fmt::Result {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for object in store.state() {
        let phase = object.state().and_then(State::phase);
        *counts
            .entry(phase.unwrap_or(Phase::Pending).as_str())
            .or_default() += 1;
    }
    let kind = K::Status::KIND.to_ascii_lowercase();
    let name = format!("kurator_{kind}_objects");
    let help = format!("Objects of kind {kind} that are in a phase now");
    let mut gauge = encoder.encode_descriptor(&name, &help, None, MetricType::Gauge)?;
    for (phase, count) in counts {
        gauge
            .encode_family(&[("phase", phase)])?
            .encode_gauge(&count)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use api_types::backup::{BackupDetail, BackupStatus};
    use api_types::phase::EntryPhase;
    use prometheus_client::encoding::text::encode;

    use super::*;

    fn status(phase: Phase, entries: &[(&str, EntryPhase, Option<&str>)]) -> BackupStatus {
        BackupStatus {
            phase: Some(phase),
            backup_details: entries
                .iter()
                .map(|(name, phase, reason)| BackupDetail {
                    cluster_name: (*name).to_owned(),
                    phase: *phase,
                    reason: reason.map(str::to_owned),
                    ..BackupDetail::default()
                })
                .collect(),
            ..BackupStatus::default()
        }
    }

    fn register(registry: &mut Registry) -> Metrics {
        Metrics::register(registry, &["Backup", "Restore"])
    }

    fn shown(registry: &Registry) -> String {
        let mut text = String::new();
        encode(&mut text, registry).unwrap();
        text
    }

    #[test]
    fn what_comes_to_an_end_is_counted_once_and_without_a_name() {
        let mut registry = Registry::default();
        let metrics = register(&mut registry);
        let running = status(
            Phase::InProgress,
            &[
                ("oslo", EntryPhase::InProgress, None),
                ("bergen", EntryPhase::Failed, Some("BackupFailed")),
            ],
        );
        let done = status(
            Phase::PartiallyFailed,
            &[
                ("oslo", EntryPhase::Completed, None),
                ("bergen", EntryPhase::Failed, Some("BackupFailed")),
            ],
        );
        metrics.observe(&BackupStatus::default(), &running);
        metrics.observe(&running, &running);
        metrics.observe(&running, &done);
        let text = shown(&registry);
        for line in [
            r#"kurator_backup_phase_changes_total{phase="InProgress"} 1"#,
            r#"kurator_backup_phase_changes_total{phase="PartiallyFailed"} 1"#,
            r#"kurator_backup_cluster_outcomes_total{phase="Completed",reason=""} 1"#,
            r#"kurator_backup_cluster_outcomes_total{phase="Failed",reason="BackupFailed"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("oslo"), "{text}");
    }

    #[test]
    fn each_run_of_a_schedule_is_counted() {
        let mut registry = Registry::default();
        let metrics = register(&mut registry);
        let after = |run: &str| {
            let mut status = status(Phase::Scheduled, &[("oslo", EntryPhase::Completed, None)]);
            status.backup_details[0].backup_name_in_cluster = Some(run.to_owned());
            status
        };
        metrics.observe(&BackupStatus::default(), &after("run-1"));
        metrics.observe(&after("run-1"), &after("run-1"));
        metrics.observe(&after("run-1"), &after("run-2"));
        let text = shown(&registry);
        let line = r#"kurator_backup_cluster_outcomes_total{phase="Completed",reason=""} 2"#;
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
