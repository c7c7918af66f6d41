//! The Velero Schedule that a scheduled Backup wants in one member, and the run that is asked for.

use api_types::backup::BackupPolicy;
use api_types::external::velero;
use api_types::labels;
use api_types::names;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use velero_kit::identity::Owner;

use super::validate::Validated;
use crate::backup::build::{self, Place};

/// Builds the object. `resource_policy` is the name that the carried ConfigMap has on the member.
pub fn build(
    owner: &Owner,
    place: Place<'_>,
    spec: &Validated,
    policy: Option<&BackupPolicy>,
    resource_policy: Option<&str>,
) -> velero::Schedule {
    let run = build::build(owner, place, policy, resource_policy);
    let mut template = run.spec;
    // Else its runs get the labels of the Schedule, whatever somebody adds there.
    template.metadata = Some(velero::TemplateMetadata {
        labels: run.metadata.labels.clone().unwrap_or_default(),
    });
    velero::Schedule {
        metadata: run.metadata,
        spec: velero::ScheduleSpec {
            schedule: spec.schedule.clone(),
            paused: spec.paused,
            template,
        },
        ..velero::Schedule::default()
    }
}

/// A run of this Schedule that is asked for, as Velero would make it at that time.
pub fn run(schedule: &velero::Schedule, at: Timestamp) -> velero::Backup {
    let name = schedule.metadata.name.clone().unwrap_or_default();
    let mut spec = schedule.spec.template.clone();
    let mut of_run = spec.metadata.take().unwrap_or_default().labels;
    of_run.insert(labels::VELERO_SCHEDULE_NAME.to_owned(), name.clone());
    let metadata = ObjectMeta {
        name: Some(names::run_name(&name, at)),
        namespace: schedule.metadata.namespace.clone(),
        labels: Some(of_run),
        annotations: schedule.metadata.annotations.clone(),
        ..ObjectMeta::default()
    };
    velero::Backup {
        metadata,
        spec,
        ..velero::Backup::default()
    }
}

/// What it takes to make a Schedule what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// It is changed in place.
    Apply,
    /// It is deleted and made anew: a Schedule whose time changes, or that is unpaused, would run a
    /// missed slot at once.
    Renew,
}

/// Compares what is there with what is wanted, in the fields that are ours.
pub fn change(live: &velero::Schedule, wanted: &velero::Schedule) -> Change {
    let unpaused = live.spec.paused && !wanted.spec.paused;
    if live.spec.schedule != wanted.spec.schedule || unpaused {
        return Change::Renew;
    }
    let has = |live: &Option<std::collections::BTreeMap<String, String>>,
               wanted: &Option<std::collections::BTreeMap<String, String>>| {
        let live = live.as_ref();
        wanted.iter().flatten().all(|(key, value)| {
            live.and_then(|live| live.get(key))
                .is_some_and(|found| found == value)
        })
    };
    let same = live.spec == wanted.spec
        && has(&live.metadata.labels, &wanted.metadata.labels)
        && has(&live.metadata.annotations, &wanted.metadata.annotations);
    if same { Change::None } else { Change::Apply }
}

/// Whether all that is in a spec is in the wanted one too, with the same values.
pub fn is_part_of(live: &velero::ScheduleSpec, wanted: &velero::ScheduleSpec) -> bool {
    fn holds(wanted: &Value, live: &Value) -> bool {
        match (wanted, live) {
            (Value::Object(wanted), Value::Object(live)) => live
                .iter()
                .all(|(key, live)| wanted.get(key).is_some_and(|wanted| holds(wanted, live))),
            _ => wanted == live,
        }
    }
    let json = |spec| serde_json::to_value(spec).ok();
    json(wanted).is_some_and(|wanted| json(live).is_some_and(|live| holds(&wanted, &live)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schedule::fixtures::{SCHEDULE, at, schedule};

    #[test]
    fn runs_carry_our_labels_and_not_those_of_the_schedule() {
        let schedule = schedule();
        let json = serde_json::to_value(&schedule).unwrap();
        assert_eq!(json["metadata"]["name"], SCHEDULE);
        assert_eq!(json["spec"]["schedule"], "CRON_TZ=Europe/Berlin 0 3 * * *");
        assert_eq!(json["spec"]["paused"], false);
        assert_eq!(
            json["spec"]["template"]["metadata"]["labels"],
            json["metadata"]["labels"]
        );
        assert_eq!(json["spec"]["template"]["storageLocation"], "default");
        for never in ["useOwnerReferencesInBackup", "skipImmediately"] {
            assert_eq!(json["spec"].get(never), None, "{never}");
        }
    }

    #[test]
    fn a_run_that_is_asked_for_looks_like_velero_s_own() {
        let mut schedule = schedule();
        schedule
            .metadata
            .labels
            .get_or_insert_default()
            .insert("extra".to_owned(), "label".to_owned());
        schedule.metadata.resource_version = Some("17".to_owned());
        let run = run(&schedule, at(0));
        assert_eq!(run.metadata.resource_version, None, "it is a new object");
        assert_eq!(
            run.metadata.name.as_deref(),
            Some(format!("{SCHEDULE}-{}", at(0).strftime("%Y%m%d%H%M%S")).as_str())
        );
        let labels = run.metadata.labels.unwrap();
        assert_eq!(labels[labels::VELERO_SCHEDULE_NAME], SCHEDULE);
        assert!(labels.contains_key(labels::OWNER_UID));
        assert!(!labels.contains_key("extra"), "{labels:?}");
        assert_eq!(run.metadata.annotations, schedule.metadata.annotations);
        assert_eq!(run.spec.metadata, None);
        assert_eq!(run.spec.storage_location.as_deref(), Some("default"));
    }

    #[test]
    fn what_a_member_leaves_out_is_accepted_and_what_somebody_added_is_not() {
        let wanted = schedule().spec;
        assert!(is_part_of(&wanted, &wanted));
        let mut pruned = wanted.clone();
        pruned.template.metadata = None;
        pruned.template.ttl = None;
        assert!(is_part_of(&pruned, &wanted));
        assert!(!is_part_of(&wanted, &pruned));
        let mut edited = wanted.clone();
        edited.template.excluded_namespaces = vec!["shop".to_owned()];
        assert!(!is_part_of(&edited, &wanted));
        edited = wanted.clone();
        edited.template.ttl = Some("1h".to_owned());
        assert!(!is_part_of(&edited, &wanted));
    }

    #[test]
    fn only_a_new_time_and_an_end_of_a_pause_make_it_anew() {
        type Edit = fn(&mut velero::Schedule);
        let table: [(Edit, Change); 9] = [
            (|_| {}, Change::None),
            (
                |live| live.status = json!({ "phase": "Enabled" }),
                Change::None,
            ),
            (
                |live| {
                    let labels = live.metadata.labels.get_or_insert_default();
                    labels.insert("team".to_owned(), "shop".to_owned());
                },
                Change::None,
            ),
            (
                |live| live.spec.schedule = "CRON_TZ=UTC 0 3 * * *".to_owned(),
                Change::Renew,
            ),
            (|live| live.spec.paused = true, Change::Renew),
            (
                |live| live.spec.template.ttl = Some("1h".to_owned()),
                Change::Apply,
            ),
            (
                |live| live.spec.template.excluded_namespaces = vec!["shop".to_owned()],
                Change::Apply,
            ),
            (|live| live.spec.template.metadata = None, Change::Apply),
            (|live| live.metadata.annotations = None, Change::Apply),
        ];
        let wanted = schedule();
        for (number, (edit, expected)) in table.into_iter().enumerate() {
            let mut live = wanted.clone();
            edit(&mut live);
            assert_eq!(change(&live, &wanted), expected, "edit {number}");
        }
        let mut paused = wanted.clone();
        paused.spec.paused = true;
        assert_eq!(
            change(&wanted, &paused),
            Change::Apply,
            "pausing starts nothing"
        );
    }
}
