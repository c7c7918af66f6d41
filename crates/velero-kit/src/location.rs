//! Backup storage locations: may a backup be made in one now, and where does it put its data?

use api_types::common::StoragePlace;
use api_types::condition::reason;
use api_types::external::velero::BackupStorageLocation;
use api_types::labels;

use crate::problem::Problem;

/// What Velero writes before the words of its plugin.
const PLUGIN_SAYS: &str = "rpc error: code = Unknown desc = ";
/// What an object storage answers anew each time, and what the plugin says of a request that was never
/// answered. It leaves no room for the cause.
const NOT_TELLING: [&str; 5] = [
    "RequestID: ",
    "HostID: ",
    "exceeded maximum number of attempts",
    "https response error StatusCode: 0",
    "request send failed",
];

/// Velero fails a Backup for good when its location is absent, read-only or not `Available`, an
/// empty phase included; so none is made before this says that it can be.
pub fn usable(
    name: &str,
    location: Option<&BackupStorageLocation>,
) -> Result<StoragePlace, Problem> {
    // What has no choice has this one.
    let is_chosen = name != labels::DEFAULT_STORAGE_LOCATION;
    let Some(location) = location else {
        let or = if is_chosen {
            ", or fix policy.storageLocation"
        } else {
            ""
        };
        return Err(Problem::new(
            reason::STORAGE_LOCATION_NOT_FOUND,
            format!(
                "Velero has no BackupStorageLocation {name}: create it in namespace velero{or}"
            ),
        ));
    };
    if location.is_read_only() {
        if let Some(why) = collision(location) {
            return Err(Problem::new(reason::STORE_COLLISION, why));
        }
        let advice = if is_chosen {
            "choose another, or let it be written to"
        } else {
            "let it be written to (spec.accessMode: ReadWrite)"
        };
        return Err(Problem::new(
            reason::STORAGE_LOCATION_READ_ONLY,
            format!("BackupStorageLocation {name} is read-only: {advice}"),
        ));
    }
    available(name, location)?;
    Ok(storage(location))
}

/// Why a Fleet has closed a location, with what to do about it.
pub fn collision(location: &BackupStorageLocation) -> Option<&str> {
    let annotations = location.metadata.annotations.as_ref()?;
    annotations.get(labels::STORE_COLLISION).map(String::as_str)
}

/// Velero fails a Restore for good when the location of its Backup is not `Available`; one that is
/// read-only will do.
pub fn available(name: &str, location: &BackupStorageLocation) -> Result<(), Problem> {
    if location.is_available() {
        return Ok(());
    }
    let detail = match (location.phase(), &*said(location)) {
        ("", _) => "Velero has not checked it yet: is Velero running?".to_owned(),
        (phase, "") => format!("it is {phase}"),
        (phase, message) => format!("it is {phase}: {message}"),
    };
    Err(Problem::new(
        reason::STORAGE_LOCATION_UNAVAILABLE,
        format!("BackupStorageLocation {name} cannot be used: {detail}"),
    ))
}

/// What Velero says is the matter with a location, without what differs each time that it looks and what
/// does not tell.
pub fn said(location: &BackupStorageLocation) -> String {
    let message = location.message();
    let message = message
        .split_once(PLUGIN_SAYS)
        .map_or(message, |(_, it)| it);
    let parts = message.split(", ");
    // A bare number is how often it was tried.
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let telling = parts.filter(|part| {
        !is_number(part) && !NOT_TELLING.iter().any(|words| part.starts_with(words))
    });
    telling.collect::<Vec<_>>().join(", ")
}

/// Where backups of this location lie: what a restore elsewhere needs when this member is gone.
pub fn storage(location: &BackupStorageLocation) -> StoragePlace {
    let spec = &location.spec;
    StoragePlace {
        provider: spec.provider.clone(),
        endpoint: spec.config.get("s3Url").cloned().unwrap_or_default(),
        bucket: spec.object_storage.bucket.clone(),
        prefix: spec.object_storage.prefix.clone().unwrap_or_default(),
    }
}

/// A place as it is compared: a slash at an end makes no other one.
pub fn normal(place: &StoragePlace) -> StoragePlace {
    StoragePlace {
        provider: place.provider.clone(),
        endpoint: place.endpoint.trim_end_matches('/').to_owned(),
        bucket: place.bucket.clone(),
        prefix: place.prefix.trim_matches('/').to_owned(),
    }
}

/// A provider as it is compared: Velero takes `aws` for `velero.io/aws`.
pub fn provider(place: &StoragePlace) -> &str {
    place
        .provider
        .strip_prefix("velero.io/")
        .unwrap_or(&place.provider)
}

/// Whether a location puts its data at this place.
pub fn is_at(location: &BackupStorageLocation, place: &StoragePlace) -> bool {
    is_same(&storage(location), place)
}

/// Whether two places are one.
pub fn is_same(one: &StoragePlace, other: &StoragePlace) -> bool {
    let (one, other) = (normal(one), normal(other));
    provider(&one) == provider(&other)
        && (one.endpoint, one.bucket, one.prefix) == (other.endpoint, other.bucket, other.prefix)
}

/// What a change of a location means to those who store there or read from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing: Velero has checked it again, with the same result.
    Nothing,
    /// Velero has looked for new backups there; else it is as it was.
    Synced,
    /// It came or went, or can be used otherwise than before.
    Use,
}

/// Compares two versions of a location; `None`: it is not there.
pub fn change(old: Option<&BackupStorageLocation>, new: Option<&BackupStorageLocation>) -> Change {
    let (Some(old), Some(new)) = (old, new) else {
        return Change::Use;
    };
    let identity = |of: &BackupStorageLocation| {
        let meta = &of.metadata;
        (meta.uid.clone(), meta.deletion_timestamp.is_some())
    };
    let same = identity(old) == identity(new)
        && old.spec == new.spec
        && collision(old) == collision(new)
        && (old.phase(), said(old)) == (new.phase(), said(new));
    match (same, old.last_synced_time() == new.last_synced_time()) {
        (false, _) => Change::Use,
        (true, false) => Change::Synced,
        (true, true) => Change::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn location(spec: &serde_json::Value, status: &serde_json::Value) -> BackupStorageLocation {
        let object = json!({ "metadata": { "name": "default" }, "spec": spec, "status": status });
        serde_json::from_value(object).unwrap()
    }

    fn in_phase(phase: &str) -> BackupStorageLocation {
        let spec = json!({
            "provider": "aws",
            "objectStorage": { "bucket": "fleet-backups", "prefix": "production/team-a/oslo" },
            "config": { "s3Url": "https://s3.example.org", "region": "eu-north-1" },
        });
        location(
            &spec,
            &json!({ "phase": phase, "message": "bucket is missing" }),
        )
    }

    #[test]
    fn only_the_exact_phase_available_lets_a_backup_be_made() {
        let place = usable("default", Some(&in_phase("Available"))).unwrap();
        assert_eq!(
            place,
            StoragePlace {
                provider: "aws".to_owned(),
                endpoint: "https://s3.example.org".to_owned(),
                bucket: "fleet-backups".to_owned(),
                prefix: "production/team-a/oslo".to_owned(),
            }
        );
        for phase in ["", "Unavailable", "available", "New", "SomethingOf2030"] {
            let problem = usable("default", Some(&in_phase(phase))).unwrap_err();
            assert_eq!(problem.reason, "StorageLocationUnavailable", "{phase:?}");
            assert!(problem.message.contains("default"), "{problem:?}");
        }
    }

    #[test]
    fn velero_s_own_words_about_a_location_are_quoted() {
        let problem = usable("default", Some(&in_phase("Unavailable"))).unwrap_err();
        assert!(problem.message.contains("bucket is missing"), "{problem:?}");
        let unchecked = location(&json!({}), &serde_json::Value::Null);
        let problem = usable("default", Some(&unchecked)).unwrap_err();
        assert!(
            problem.message.contains("is Velero running?"),
            "{problem:?}"
        );
    }

    #[test]
    fn what_differs_at_each_look_is_left_out_of_velero_s_words() {
        let words = |id: &str| {
            let message = format!(
                "BackupStorageLocation \"default\" is unavailable: rpc error: code = Unknown desc = \
                 operation error S3: ListObjectsV2, https response error StatusCode: 404, \
                 RequestID: {id}, HostID: {id}/x=, NoSuchBucket: The specified bucket does not exist."
            );
            let status = json!({ "phase": "Unavailable", "message": message });
            location(&json!({}), &status)
        };
        assert_eq!(
            said(&words("1")),
            "operation error S3: ListObjectsV2, https response error StatusCode: 404, \
             NoSuchBucket: The specified bucket does not exist."
        );
        assert_eq!(
            change(Some(&words("1")), Some(&words("2"))),
            Change::Nothing
        );
        assert_eq!(said(&in_phase("Unavailable")), "bucket is missing");
    }

    #[test]
    fn of_storage_that_does_not_answer_the_cause_is_told_first() {
        let mut silent = in_phase("Unavailable");
        let words = "rpc error: code = Unknown desc = operation error S3: ListObjectsV2, exceeded \
                     maximum number of attempts, 3, https response error StatusCode: 0, RequestID: , \
                     HostID: , request send failed, Get \"http://s3\": connection refused";
        silent.status["message"] = json!(words);
        assert_eq!(
            said(&silent),
            "operation error S3: ListObjectsV2, Get \"http://s3\": connection refused"
        );
    }

    #[test]
    fn only_what_somebody_may_wait_for_counts_as_a_change() {
        let with = |field: &str, value: &str| {
            let mut location = in_phase("Available");
            location.status[field] = json!(value);
            location
        };
        let checked = with("lastValidationTime", "2026-11-23T09:00:00Z");
        let synced = with("lastSyncedTime", "2026-11-23T09:00:00Z");
        let known = in_phase("Available");
        let of = |new: &BackupStorageLocation| change(Some(&known), Some(new));
        assert_eq!(of(&known), Change::Nothing);
        assert_eq!(of(&checked), Change::Nothing);
        assert_eq!(of(&synced), Change::Synced);
        assert_eq!(of(&in_phase("Unavailable")), Change::Use);
        assert_eq!(of(&with("message", "bucket is full")), Change::Use);

        let mut read_only = synced;
        read_only.spec.access_mode = Some("ReadOnly".to_owned());
        assert_eq!(of(&read_only), Change::Use);
        let mut another = in_phase("Available");
        another.metadata.uid = Some("another".to_owned());
        assert_eq!(of(&another), Change::Use);
        assert_eq!(change(None, Some(&known)), Change::Use);
        assert_eq!(change(Some(&known), None), Change::Use);
    }

    #[test]
    fn a_place_is_the_same_however_it_is_written() {
        let here = in_phase("Available");
        let written = |provider: &str, endpoint: &str, prefix: &str| StoragePlace {
            provider: provider.to_owned(),
            endpoint: endpoint.to_owned(),
            bucket: "fleet-backups".to_owned(),
            prefix: prefix.to_owned(),
        };
        let (url, prefix) = ("https://s3.example.org", "production/team-a/oslo");
        assert!(is_at(&here, &written("aws", url, prefix)));
        assert!(is_at(
            &here,
            &written(
                "velero.io/aws",
                "https://s3.example.org/",
                "/production/team-a/oslo/"
            )
        ));
        assert!(!is_at(&here, &written("gcp", url, prefix)));
        assert!(!is_at(&here, &written("aws", "", prefix)));
        assert!(!is_at(&here, &written("aws", url, "production/team-a")));
    }

    #[test]
    fn an_absent_location_and_a_read_only_one_are_told_apart() {
        assert_eq!(
            usable("default", None).unwrap_err().reason,
            "StorageLocationNotFound"
        );
        let spec = json!({ "accessMode": "ReadOnly" });
        let read_only = location(&spec, &json!({ "phase": "Available" }));
        let problem = usable("default", Some(&read_only)).unwrap_err();
        assert_eq!(problem.reason, "StorageLocationReadOnly");

        let why = "backups of member 0123456789abcdef lie there: annotate";
        let mut closed = location(&spec, &json!({ "phase": "Available" }));
        closed.metadata.annotations =
            Some([(labels::STORE_COLLISION.to_owned(), why.to_owned())].into());
        let problem = usable("default", Some(&closed)).unwrap_err();
        assert_eq!((problem.reason, &*problem.message), ("StoreCollision", why));
    }

    #[test]
    fn a_location_at_the_root_of_the_provider_s_own_store_has_neither_endpoint_nor_prefix() {
        let spec = json!({ "provider": "gcp", "objectStorage": { "bucket": "b" } });
        let place = storage(&location(&spec, &json!({})));
        assert_eq!((place.endpoint.as_str(), place.prefix.as_str()), ("", ""));
    }
}
