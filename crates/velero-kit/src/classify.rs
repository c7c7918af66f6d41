//! What Velero's own words about a failure mean.

use api_types::backup::VeleroBackupStatus;
use api_types::condition::reason;
use api_types::external::velero::Backup;
use api_types::restore::VeleroRestoreStatus;
use serde_json::Value;

use crate::problem::Problem;

/// Velero's text when the name's folder exists in the bucket.
const IN_BUCKET: &str = "backup already exists in object storage";
/// Part of Velero's text about what was running when its server started anew.
const RESTARTED: &str = "during the server starting";
/// How Velero 1.18 begins and ends what it says of things that it does not find as they are needed, and
/// what they are to an entry. It reads by a cache that may be behind its API server, its own writes
/// included, so that what was there when the object was made may be missing to it.
const UNSEEN: [(&str, &str, &str); 6] = [
    (
        "backup can't be created because BackupStorageLocation ",
        " is in Unavailable status.",
        reason::STORAGE_LOCATION_UNAVAILABLE,
    ),
    (
        "an existing backup storage location was not specified",
        " not found",
        reason::STORAGE_LOCATION_NOT_FOUND,
    ),
    (
        "invalid resource policies: fail to get ResourcePolicies ",
        " not found",
        reason::CONFIG_MAP_NOT_FOUND,
    ),
    (
        "The BSL ",
        " is unavailable, cannot retrieve the backup",
        reason::STORAGE_LOCATION_UNAVAILABLE,
    ),
    (
        "Error retrieving backup: ",
        " not found",
        reason::BACKUP_NOT_SYNCED,
    ),
    (
        "failed to get resource modifiers configmap ",
        "",
        reason::CONFIG_MAP_NOT_FOUND,
    ),
];

/// Why Velero in this cluster has refused a Backup or a Restore, if only for what it had not seen yet.
/// Nothing was done under that name: what it needs is looked at anew, and then the next name is tried.
pub fn premature(cluster: &str, status: &Value) -> Option<Problem> {
    if status.get("phase")? != "FailedValidation" {
        return None;
    }
    let errors = status.get("validationErrors")?.as_array()?;
    let errors: Vec<&str> = errors.iter().map(Value::as_str).collect::<Option<_>>()?;
    let unseen = |error: &&str| {
        let mut known = UNSEEN.iter();
        known.find(|(from, to, _)| error.starts_with(from) && error.ends_with(to))
    };
    let unseen: Vec<_> = errors.iter().map(unseen).collect::<Option<_>>()?;
    let (_, _, reason) = unseen.first()?;
    Some(Problem::new(
        reason,
        format!(
            "Velero in {cluster} refused it for what it did not find there: {}",
            errors.join("; ")
        ),
    ))
}

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
    restarted(status.failure_reason.as_deref())
}

/// The same of a Restore.
pub fn restore_failure_reason(status: &VeleroRestoreStatus) -> Option<&'static str> {
    restarted(status.failure_reason.as_deref())
}

fn restarted(text: Option<&str>) -> Option<&'static str> {
    text?
        .contains(RESTARTED)
        .then_some(reason::VELERO_RESTARTED)
}

/// Whether Velero may have written down what went wrong with single objects of a Restore.
pub fn restore_has_results(phase: &str, failure_reason: Option<&str>) -> bool {
    match phase {
        "PartiallyFailed" => true,
        "Failed" => restarted(failure_reason).is_none(),
        _ => false,
    }
}

/// What to tell about a Velero Backup that did not end well; `None` for any other.
pub fn failure_message(name: &str, status: &VeleroBackupStatus) -> Option<String> {
    Failure {
        work: "backup",
        look: format!("velero backup logs {name}"),
        phase: status.phase.as_deref()?,
        text: status.failure_reason.as_deref(),
        validation_errors: &status.validation_errors,
        errors: status.errors,
        warnings: status.warnings,
        lines: &[],
    }
    .message()
}

/// The same of a Velero Restore. `lines`: what its results say, as far as they could be read.
pub fn restore_failure_message(
    name: &str,
    status: &VeleroRestoreStatus,
    lines: &[String],
) -> Option<String> {
    Failure {
        work: "restore",
        look: format!("velero restore describe {name}"),
        phase: status.phase.as_deref()?,
        text: status.failure_reason.as_deref(),
        validation_errors: &status.validation_errors,
        errors: status.errors,
        warnings: status.warnings,
        lines,
    }
    .message()
}

/// How a Velero object ended.
struct Failure<'a> {
    work: &'static str,
    /// The command that shows more.
    look: String,
    phase: &'a str,
    text: Option<&'a str>,
    validation_errors: &'a [String],
    errors: Option<i32>,
    warnings: Option<i32>,
    /// The first errors of its results.
    lines: &'a [String],
}

impl Failure<'_> {
    fn message(&self) -> Option<String> {
        let Self { work, look, .. } = self;
        match self.phase {
            "FailedValidation" => Some(format!(
                "Velero refused the {work}: {}",
                self.validation_errors.join("; ")
            )),
            "Failed" if restarted(self.text).is_some() => Some(format!(
                "Velero restarted while the {work} ran: make it anew"
            )),
            "Failed" => {
                let text = self.text.filter(|text| !text.is_empty());
                let lines = self.lines.iter().map(String::as_str);
                Some(match text.into_iter().chain(lines).collect::<Vec<_>>() {
                    known if known.is_empty() => {
                        format!("Velero failed the {work}: see `{look}` there")
                    }
                    known => format!("Velero failed the {work}: {}", known.join("; ")),
                })
            }
            "PartiallyFailed" => {
                let (errors, warnings) = (self.errors.unwrap_or(0), self.warnings.unwrap_or(0));
                let more = match self.lines {
                    [] => format!("see `{look}` there"),
                    lines => lines.join("; "),
                };
                Some(format!("{errors} errors, {warnings} warnings: {more}"))
            }
            _ => None,
        }
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
    fn only_what_velero_did_not_find_makes_its_refusal_premature() {
        let unavailable =
            "The BSL kurator-from-0123456789 is unavailable, cannot retrieve the backup";
        let no_backup = "Error retrieving backup: can't find backup velero/b: backups.velero.io \"b\" \
                         not found";
        let no_policy = "invalid resource policies: fail to get ResourcePolicies velero/p ConfigMap: \
                         configmaps \"p\" not found";
        let no_location = "an existing backup storage location was not specified at backup creation \
                           time and the default default was not found. Please address this issue. \
                           Error: backupstoragelocations.velero.io \"default\" not found";
        let closed = "backup can't be created because BackupStorageLocation default is in Unavailable \
                      status.";
        let read_only = "backup can't be created because backup storage location default is currently \
                         in read-only mode";
        let table = [
            (json!([unavailable]), Some("StorageLocationUnavailable")),
            (json!([closed]), Some("StorageLocationUnavailable")),
            (json!([no_location]), Some("StorageLocationNotFound")),
            (json!([no_backup]), Some("BackupNotSynced")),
            (json!([no_policy]), Some("ConfigMapNotFound")),
            (
                json!(["failed to get resource modifiers configmap velero/m"]),
                Some("ConfigMapNotFound"),
            ),
            (
                json!([closed, no_policy]),
                Some("StorageLocationUnavailable"),
            ),
            (json!([closed, read_only]), None),
            (json!([read_only]), None),
            (
                json!(["invalid resource policies: unsupported version"]),
                None,
            ),
            (
                json!(["Error retrieving backup: etcdserver: request timed out"]),
                None,
            ),
            (json!([closed, 1]), None),
            (json!([]), None),
            (json!(null), None),
        ];
        for (errors, expected) in table {
            let mut status = json!({ "phase": "FailedValidation", "validationErrors": errors });
            let problem = premature("oslo", &status);
            assert_eq!(
                problem.as_ref().map(|problem| problem.reason),
                expected,
                "{errors}"
            );
            if let Some(Problem { message, .. }) = problem {
                assert!(message.contains("oslo"), "{message}");
                assert!(message.contains(errors[0].as_str().unwrap()), "{message}");
            }
            status["phase"] = json!("Failed");
            assert_eq!(premature("oslo", &status), None);
        }
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
    fn a_restore_names_its_own_command_and_kind() {
        let ended = |phase: &str, text: Option<&str>| VeleroRestoreStatus {
            phase: Some(phase.to_owned()),
            failure_reason: text.map(str::to_owned),
            errors: Some(3),
            ..VeleroRestoreStatus::default()
        };
        let table = [
            (
                ended("PartiallyFailed", None),
                "3 errors, 0 warnings: see `velero restore describe r`",
            ),
            (
                ended("Failed", Some("no space left")),
                "Velero failed the restore: no space left",
            ),
            (
                ended(
                    "Failed",
                    Some("found a restore with status \"InProgress\" during the server starting"),
                ),
                "make it anew",
            ),
        ];
        for (status, expected) in table {
            let message = restore_failure_message("r", &status, &[]).unwrap();
            assert!(message.contains(expected), "{message}");
        }
        assert_eq!(
            restore_failure_message("r", &ended("Completed", None), &[]),
            None
        );
    }

    #[test]
    fn the_lines_of_the_results_stand_where_the_command_would() {
        let lines = ["quota exceeded".to_owned(), "no such class".to_owned()];
        let mut status = VeleroRestoreStatus {
            phase: Some("PartiallyFailed".to_owned()),
            errors: Some(2),
            warnings: Some(1),
            ..VeleroRestoreStatus::default()
        };
        assert_eq!(
            restore_failure_message("r", &status, &lines).unwrap(),
            "2 errors, 1 warnings: quota exceeded; no such class"
        );
        status.phase = Some("Failed".to_owned());
        assert_eq!(
            restore_failure_message("r", &status, &lines).unwrap(),
            "Velero failed the restore: quota exceeded; no such class"
        );
        status.failure_reason = Some("no space left".to_owned());
        assert_eq!(
            restore_failure_message("r", &status, &lines[..1]).unwrap(),
            "Velero failed the restore: no space left; quota exceeded"
        );
        status.phase = Some("Completed".to_owned());
        assert_eq!(restore_failure_message("r", &status, &lines), None);
    }

    #[test]
    fn only_a_restore_that_went_wrong_by_itself_has_results_to_read() {
        let restarted = "found a restore with status \"InProgress\" during the server starting";
        let table = [
            ("PartiallyFailed", None, true),
            ("Failed", Some("no space left"), true),
            ("Failed", Some(restarted), false),
            ("FailedValidation", None, false),
            ("Completed", None, false),
            ("FinalizingPartiallyFailed", None, false),
            ("WaitingForPluginOperationsPartiallyFailed", None, false),
            ("", None, false),
        ];
        for (phase, text, expected) in table {
            assert_eq!(restore_has_results(phase, text), expected, "{phase}");
        }
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
