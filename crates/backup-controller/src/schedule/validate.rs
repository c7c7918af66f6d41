//! The spec of a scheduled Backup into values that cannot be wrong.

use api_types::backup::Backup;
use api_types::condition::reason;
use kube::core::Selector;
use velero_kit::cron::{self, When};
use velero_kit::problem::Problem;

use crate::backup::validate as common;

/// What the spec says, parsed.
#[derive(Debug, Clone)]
pub struct Validated {
    /// Which clusters of the fleet, when chosen by the labels of their AttachedCluster.
    pub selector: Option<Selector>,
    /// Whether the Fleet is there.
    pub fleet_found: bool,
    /// When runs are due.
    pub when: When,
    /// The same as Velero is told.
    pub schedule: String,
    /// Whether no run is to be started.
    pub paused: bool,
    /// Finished runs to show for each cluster, the one in the entry included.
    pub history_limit: usize,
    /// Name of the BackupStorageLocation in each member.
    pub location: String,
    /// Name of the ConfigMap with Velero's volume rules, in the Backup's namespace.
    pub resource_policy: Option<String>,
}

/// Checks a scheduled Backup. `Err` says why it cannot work as it is; it may be edited.
pub fn validate(backup: &Backup, fleet_found: bool) -> Result<Validated, Problem> {
    let spec = &backup.spec;
    let invalid = |error: common::InvalidSpec| {
        Problem::new(reason::INVALID_SPEC, format!("spec.{error}: mend it"))
    };
    let common = common::validate(backup, fleet_found).map_err(invalid)?;
    let schedule = cron::velero_text(&spec.schedule, spec.time_zone.as_deref());
    let when = When::parse(&schedule).map_err(|error| {
        Problem::new(
            reason::SCHEDULE_REJECTED,
            format!("spec.schedule: {error}; mend it, the clusters keep what they have"),
        )
    })?;
    Ok(Validated {
        selector: common.selector,
        fleet_found,
        when,
        schedule,
        paused: spec.paused == Some(true),
        history_limit: usize::try_from(spec.history_limit.clamp(1, 10)).unwrap_or(1),
        location: common.location,
        resource_policy: common.resource_policy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::fixtures::backup;

    #[test]
    fn a_schedule_that_velero_would_refuse_is_told_apart_from_other_mistakes() {
        let mut backup = backup();
        let valid = validate(&backup, true).unwrap();
        assert_eq!(valid.schedule, "CRON_TZ=Europe/Berlin 0 3 * * *");
        assert_eq!((valid.paused, valid.history_limit), (false, 3));
        assert_eq!(valid.location, "default");

        backup.spec.schedule = "61 * * * *".to_owned();
        let refused = validate(&backup, true).unwrap_err();
        assert_eq!(refused.reason, "ScheduleRejected");
        assert!(
            refused.message.contains("not between 0 and 59"),
            "{refused:?}"
        );

        backup.spec.schedule = "0 3 * * *".to_owned();
        backup.spec.time_zone = Some("Europe/Atlantis".to_owned());
        let refused = validate(&backup, true).unwrap_err();
        assert!(refused.message.contains("Europe/Atlantis"), "{refused:?}");

        backup.spec.time_zone = None;
        backup.spec.destination.cluster_selector = Some(
            serde_json::from_value(serde_json::json!({
                "matchExpressions": [{ "key": "region", "operator": "Is", "values": ["eu"] }],
            }))
            .unwrap(),
        );
        assert_eq!(validate(&backup, true).unwrap_err().reason, "InvalidSpec");
    }

    #[test]
    fn a_history_limit_stored_before_the_schema_knew_its_bounds_is_bounded() {
        let mut backup = backup();
        for (limit, expected) in [(i32::MIN, 1), (0, 1), (10, 10), (i32::MAX, 10)] {
            backup.spec.history_limit = limit;
            assert_eq!(validate(&backup, true).unwrap().history_limit, expected);
        }
    }
}
