//! Restore points: which run of a scheduled backup is restored? Pure.

use api_types::condition::reason;
use api_types::external::velero::Backup;
use jiff::Timestamp;

use crate::problem::Problem;

/// The newest run that did not begin after `not_after`: of those that completed, else of those that
/// completed in part. Runs that are past their ttl or on their way out are none.
///
/// # Errors
/// When there is none, with what there is instead.
pub fn newest<'a>(
    runs: &[&'a Backup],
    not_after: Option<Timestamp>,
    now: Timestamp,
) -> Result<&'a Backup, Problem> {
    let of_phase = |phase: &str| {
        runs.iter()
            .copied()
            .filter(|run| run.phase() == phase && is_kept(run, now))
            .filter_map(|run| Some((run.start_timestamp()?, run)))
            .filter(|(start, _)| not_after.is_none_or(|limit| *start <= limit))
            .max_by_key(|(start, run)| (*start, run.metadata.name.clone()))
            .map(|(_, run)| run)
    };
    of_phase("Completed")
        .or_else(|| of_phase("PartiallyFailed"))
        .ok_or_else(|| none(runs, not_after, now))
}

fn is_kept(run: &Backup, now: Timestamp) -> bool {
    run.metadata.deletion_timestamp.is_none() && run.expiration().is_none_or(|end| end > now)
}

/// Why no run can be restored.
fn none(runs: &[&Backup], not_after: Option<Timestamp>, now: Timestamp) -> Problem {
    let ended = |run: &&Backup| matches!(run.phase(), "Completed" | "PartiallyFailed");
    let runs = runs.iter().copied().filter(ended);
    let (kept, gone): (Vec<&Backup>, Vec<&Backup>) = runs.partition(|run| is_kept(run, now));
    let oldest = kept.iter().filter_map(|run| run.start_timestamp()).min();
    let message = match (not_after, oldest) {
        (Some(limit), Some(oldest)) => {
            format!("no run had begun by {limit}: the oldest one that is kept began {oldest}")
        }
        (Some(limit), None) => format!("no run that began by {limit} has completed"),
        (None, _) if gone.is_empty() => "no run has completed yet".to_owned(),
        (None, _) => {
            return Problem::new(
                reason::BACKUP_EXPIRED,
                "every run that completed is past its ttl",
            );
        }
    };
    Problem::new(reason::NO_COMPLETED_BACKUP, message)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn run(start: i64, phase: &str) -> Backup {
        let object = json!({
            "metadata": { "name": format!("nightly-{start}") },
            "status": {
                "phase": phase,
                "startTimestamp": at(start).to_string(),
                "expiration": at(start + 1000).to_string(),
            },
        });
        serde_json::from_value(object).unwrap()
    }

    fn name(runs: &[Backup], limit: Option<i64>, now: i64) -> String {
        let runs: Vec<&Backup> = runs.iter().collect();
        let found = newest(&runs, limit.map(at), at(now)).unwrap();
        found.metadata.name.clone().unwrap()
    }

    fn reason(runs: &[Backup], limit: Option<i64>, now: i64) -> (&'static str, String) {
        let runs: Vec<&Backup> = runs.iter().collect();
        let problem = newest(&runs, limit.map(at), at(now)).unwrap_err();
        (problem.reason, problem.message)
    }

    #[test]
    fn the_newest_completed_run_in_time_is_chosen() {
        let runs = [
            run(200, "Completed"),
            run(100, "Completed"),
            run(300, "Completed"),
            run(400, "InProgress"),
            run(350, "Failed"),
        ];
        assert_eq!(name(&runs, None, 500), "nightly-300");
        assert_eq!(name(&runs, Some(300), 500), "nightly-300");
        assert_eq!(name(&runs, Some(299), 500), "nightly-200");
        assert_eq!(name(&runs, Some(100), 500), "nightly-100");
    }

    #[test]
    fn a_partial_run_is_taken_only_where_none_completed() {
        let runs = [run(100, "Completed"), run(200, "PartiallyFailed")];
        assert_eq!(name(&runs, None, 500), "nightly-100");
        assert_eq!(name(&runs[1..], None, 500), "nightly-200");
    }

    #[test]
    fn what_has_expired_or_is_going_is_no_restore_point() {
        let mut runs = [run(100, "Completed"), run(200, "Completed")];
        assert_eq!(name(&runs, None, 1150), "nightly-200");
        assert_eq!(reason(&runs, None, 1200).0, "BackupExpired");
        runs[1].metadata.deletion_timestamp = Some(Time(at(300)));
        assert_eq!(name(&runs, None, 500), "nightly-100");
    }

    #[test]
    fn without_a_run_it_says_what_there_is() {
        let none: [Backup; 0] = [];
        assert_eq!(reason(&none, None, 0).0, "NoCompletedBackup");
        let runs = [run(100, "Completed"), run(50, "InProgress")];
        let (reason, message) = reason(&runs, Some(99), 500);
        assert_eq!(reason, "NoCompletedBackup");
        assert!(message.contains("1970-01-01T00:01:40Z"), "{message}");
    }
}
