//! What the tests of the status begin with: one look at a Migrate, and what its conditions say.

use api_types::condition;
use api_types::external::velero;
use api_types::migrate::MigrateStatus;
use serde_json::json;

use super::detail::{choose, claim_source, claim_target};
use super::facts::{Seen, Source, Target, Terms};
use super::fixtures::{
    BACKUP, RESTORE, at, migrate, place, restore, source, target, uid_of, with_status,
};
use super::status::{Entries, status};
use super::transition::{self, Run};

/// The status that one look gives a Migrate which has this one.
pub(super) fn look(
    stored: Option<MigrateStatus>,
    source: &Source,
    targets: &[Target],
    terms: &Terms,
) -> MigrateStatus {
    let step = transition::step(source, targets, terms);
    let entries = Entries {
        source: step.source_detail,
        targets: step.target_details,
    };
    let migrate = stored.map_or_else(|| migrate(json!({})), with_status);
    status(&migrate, entries, terms)
}

pub(super) fn claimed_source(seen: Seen<velero::Backup>) -> Source {
    let mut of = source();
    claim_source(&mut of.stored, &uid_of("oslo"), BACKUP);
    of.stored.storage = Some(place());
    of.seen = seen;
    of
}

/// A target with a Restore in this phase.
pub(super) fn restoring(phase: &str) -> Target {
    let mut of = target("bergen");
    claim_target(&mut of.stored, &uid_of("bergen"), RESTORE);
    let run = Run {
        name: BACKUP.to_owned(),
        started: Some(at(30)),
        expires: None,
        partial: false,
    };
    choose(&mut of.stored, "oslo", &run);
    of.seen = Seen::Present(restore(RESTORE, phase));
    of
}

/// Status and reason of the conditions, by type.
pub(super) fn conditions(status: &MigrateStatus) -> Vec<(&str, String, &str)> {
    let told = |of: &condition::Condition| format!("{:?}", of.status);
    let conditions = status.conditions.iter();
    conditions
        .map(|of| (of.type_.as_str(), told(of), of.reason.as_str()))
        .collect()
}

pub(super) fn says(status: &MigrateStatus, expected: &[(&str, &str, &str)]) {
    let expected: Vec<(&str, String, &str)> = expected
        .iter()
        .map(|(type_, holds, why)| (*type_, (*holds).to_owned(), *why))
        .collect();
    assert_eq!(conditions(status), expected);
    for condition in &status.conditions {
        assert!(!condition.message.is_empty(), "{condition:?}");
        assert_eq!(condition.observed_generation, Some(1), "{condition:?}");
    }
}
