//! What Velero's own words about a failure mean.

use api_types::backup::VeleroBackupStatus;
use api_types::condition::reason;
use api_types::external::velero::Backup;

/// Velero's text when the name's folder exists in the bucket.
const IN_BUCKET: &str = "backup already exists in object storage";
/// Part of Velero's text about what was running when its server started anew.
const RESTARTED: &str = "during the server starting";

/// A Backup that failed only because its name's folder is in the bucket already, from an earlier
/// object. Nothing was written: the next name is tried.
pub fn name_in_bucket(backup: &Backup) -> bool {
    let text = backup
        .status
        .get("failureReason")
        .and_then(serde_json::Value::as_str);
    backup.phase() == "Failed" && text.is_some_and(|text| text.contains(IN_BUCKET))
}

/// The entry reason of a Velero failure, finer than its phase: a restart is nobody's mistake.
pub fn failure_reason(status: &VeleroBackupStatus) -> Option<&'static str> {
    let text = status.failure_reason.as_deref()?;
    text.contains(RESTARTED).then_some(reason::VELERO_RESTARTED)
}

/// What to tell about a Velero Backup that did not end well; `None` for any other.
pub fn failure_message(name: &str, status: &VeleroBackupStatus) -> Option<String> {
    let quoted = status
        .failure_reason
        .as_deref()
        .filter(|text| !text.is_empty());
    match status.phase.as_deref()? {
        "FailedValidation" => Some(format!(
            "Velero refused the backup: {}",
            status.validation_errors.join("; ")
        )),
        "Failed" if failure_reason(status).is_some() => {
            Some("Velero restarted while the backup ran: make a new Backup".to_owned())
        }
        "Failed" => Some(match quoted {
            Some(text) => format!("Velero failed the backup: {text}"),
            None => format!("Velero failed the backup: see `velero backup logs {name}` there"),
        }),
        "PartiallyFailed" => Some(format!(
            "{} errors, {} warnings: see `velero backup logs {name}` there",
            status.errors.unwrap_or(0),
            status.warnings.unwrap_or(0),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn failed(text: &str) -> VeleroBackupStatus {
        VeleroBackupStatus {
            phase: Some("Failed".to_owned()),
            failure_reason: Some(text.to_owned()),
            ..VeleroBackupStatus::default()
        }
    }

    #[test]
    fn only_velero_s_own_text_about_the_bucket_frees_the_name() {
        let mut backup = Backup {
            status: json!({
                "phase": "Failed",
                "failureReason": "backup execution failed: backup already exists in object storage",
            }),
            ..Backup::default()
        };
        assert!(name_in_bucket(&backup));
        backup.status["phase"] = json!("FailedValidation");
        assert!(!name_in_bucket(&backup));
        backup.status = json!({"phase": "Failed", "failureReason": "no space left"});
        assert!(!name_in_bucket(&backup));
    }

    #[test]
    fn a_restart_of_velero_is_told_from_other_failures() {
        let restarted = failed(
            "found a backup with status \"InProgress\" during the server starting, mark it as \"Failed\"",
        );
        assert_eq!(failure_reason(&restarted), Some(reason::VELERO_RESTARTED));
        assert_eq!(failure_reason(&failed("connection refused")), None);
        let message = failure_message("b", &failed("connection refused")).unwrap();
        assert!(message.contains("connection refused"), "{message}");
    }

    #[test]
    fn what_ended_well_or_still_runs_has_no_failure() {
        for phase in ["Completed", "InProgress", "FinalizingPartiallyFailed"] {
            let status = VeleroBackupStatus {
                phase: Some(phase.to_owned()),
                ..VeleroBackupStatus::default()
            };
            assert_eq!(failure_message("b", &status), None, "{phase}");
        }
    }
}
