//! When does Velero start the next run of a Schedule?

use api_types::external::velero::Schedule;
use jiff::Timestamp;

use crate::cron::When;

/// The time from which Velero counts: the last run it started or skipped, else the creation.
pub fn counts_from(schedule: &Schedule) -> Option<Timestamp> {
    let created = schedule.metadata.creation_timestamp.as_ref();
    let last = schedule
        .last_backup()
        .or_else(|| created.map(|created| created.0));
    // `None` is less than any time.
    last.max(schedule.last_skipped())
}

/// When the next run is due, be it in the past. Velero looks once a minute.
pub fn due(schedule: &Schedule, when: &When) -> Option<Timestamp> {
    when.next(counts_from(schedule)?)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn schedule(status: &Value) -> Schedule {
        let object = json!({
            "metadata": { "name": "nightly", "creationTimestamp": "2026-11-23T07:10:00Z" },
            "status": status,
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn the_next_run_counts_from_the_last_one_started_or_skipped() {
        let when = When::parse("@every 1h").unwrap();
        let table = [
            (Value::Null, "2026-11-23T08:10:00Z"),
            (
                json!({ "lastBackup": "2026-11-23T09:00:00Z" }),
                "2026-11-23T10:00:00Z",
            ),
            (
                json!({ "lastSkipped": "2026-11-23T09:30:00Z" }),
                "2026-11-23T10:30:00Z",
            ),
            (
                json!({ "lastBackup": "2026-11-23T09:00:00Z", "lastSkipped": "2026-11-23T08:00:00Z" }),
                "2026-11-23T10:00:00Z",
            ),
            (json!({ "lastBackup": 5 }), "2026-11-23T08:10:00Z"),
        ];
        for (status, expected) in table {
            let due = due(&schedule(&status), &when).unwrap();
            assert_eq!(due.to_string(), expected, "{status}");
        }
        assert_eq!(due(&Schedule::default(), &when), None);
    }
}
