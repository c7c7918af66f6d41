//! What is counted about Backups. Labels are bounded: phases and reasons, never names.

use std::sync::atomic::AtomicI64;

use api_types::backup::BackupStatus;
use api_types::phase::Phase;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Metrics of this controller; the reconcile metrics are controller-kit's.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    phases: Family<PhaseLabels, Counter>,
    outcomes: Family<OutcomeLabels, Counter>,
    last_success: Gauge<i64, AtomicI64>,
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
    /// Makes the metrics known to the registry that `/metrics` shows.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "kurator_backup_phase_changes",
            "Backups that came into a phase",
            metrics.phases.clone(),
        );
        registry.register(
            "kurator_backup_cluster_outcomes",
            "Clusters of Backups that came to an end, by phase and reason",
            metrics.outcomes.clone(),
        );
        registry.register(
            "kurator_backup_last_success_timestamp_seconds",
            "When a Backup last completed in every cluster",
            metrics.last_success.clone(),
        );
        metrics
    }

    /// Counts what changed from one written status to the next.
    pub fn observe(&self, before: &BackupStatus, status: &BackupStatus) {
        if let Some(phase) = status.phase.filter(|phase| before.phase != Some(*phase)) {
            self.phases
                .get_or_create(&PhaseLabels {
                    phase: phase.as_str().to_owned(),
                })
                .inc();
            if phase == Phase::Completed {
                self.last_success.set(jiff::Timestamp::now().as_second());
            }
        }
        for detail in status
            .backup_details
            .iter()
            .filter(|detail| detail.phase.is_final())
        {
            let known = before.backup_details.iter().any(|former| {
                former.cluster_name == detail.cluster_name
                    && former.cluster_kind == detail.cluster_kind
                    && former.phase == detail.phase
            });
            if !known {
                let labels = OutcomeLabels {
                    phase: detail.phase.as_str().to_owned(),
                    reason: detail.reason.clone().unwrap_or_default(),
                };
                self.outcomes.get_or_create(&labels).inc();
            }
        }
    }
}
