//! Copies what a member says of its Velero object into our status.
//!
//! One wrong type would make the hub refuse the whole status, and a member may be hostile: known
//! fields of a wrong type are dropped and named, texts are cut, unknown fields are kept while small.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::velero_status::{VeleroBackupStatus, VeleroRestoreStatus};

/// Longest text that is copied.
const MAX_TEXT: usize = 1024;
/// Most texts of a list that are copied.
const MAX_TEXTS: usize = 10;
/// Unknown fields are dropped when the copy is larger.
const MAX_BYTES: usize = 4096;

/// A copy that is safe to store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sanitized<T> {
    /// The copy.
    pub status: T,
    /// Known fields that were dropped since their type was wrong. If there are any, the entry says
    /// `MemberAnswerInvalid`.
    pub invalid: Vec<&'static str>,
}

/// The status of a Velero Backup.
pub fn sanitize_backup(status: &Value) -> Sanitized<VeleroBackupStatus> {
    sanitize(status, BACKUP)
}

/// The status of a Velero Restore.
pub fn sanitize_restore(status: &Value) -> Sanitized<VeleroRestoreStatus> {
    sanitize(status, RESTORE)
}

#[derive(Clone, Copy)]
enum Shape {
    Count,
    Text,
    Texts,
    Time,
    Object(Fields),
}

type Fields = &'static [(&'static str, Shape)];

const BACKUP: Fields = &[
    ("version", Shape::Count),
    ("formatVersion", Shape::Text),
    ("expiration", Shape::Time),
    ("phase", Shape::Text),
    ("queuePosition", Shape::Count),
    ("validationErrors", Shape::Texts),
    ("startTimestamp", Shape::Time),
    ("completionTimestamp", Shape::Time),
    ("volumeSnapshotsAttempted", Shape::Count),
    ("volumeSnapshotsCompleted", Shape::Count),
    ("failureReason", Shape::Text),
    ("warnings", Shape::Count),
    ("errors", Shape::Count),
    (
        "progress",
        Shape::Object(&[
            ("totalItems", Shape::Count),
            ("itemsBackedUp", Shape::Count),
        ]),
    ),
    ("csiVolumeSnapshotsAttempted", Shape::Count),
    ("csiVolumeSnapshotsCompleted", Shape::Count),
    ("backupItemOperationsAttempted", Shape::Count),
    ("backupItemOperationsCompleted", Shape::Count),
    ("backupItemOperationsFailed", Shape::Count),
    ("hookStatus", HOOKS),
];

const RESTORE: Fields = &[
    ("phase", Shape::Text),
    ("validationErrors", Shape::Texts),
    ("warnings", Shape::Count),
    ("errors", Shape::Count),
    ("failureReason", Shape::Text),
    ("startTimestamp", Shape::Time),
    ("completionTimestamp", Shape::Time),
    (
        "progress",
        Shape::Object(&[
            ("totalItems", Shape::Count),
            ("itemsRestored", Shape::Count),
        ]),
    ),
    ("restoreItemOperationsAttempted", Shape::Count),
    ("restoreItemOperationsCompleted", Shape::Count),
    ("restoreItemOperationsFailed", Shape::Count),
    ("hookStatus", HOOKS),
];

const HOOKS: Shape = Shape::Object(&[
    ("hooksAttempted", Shape::Count),
    ("hooksFailed", Shape::Count),
]);

fn sanitize<T: Default + DeserializeOwned>(status: &Value, fields: Fields) -> Sanitized<T> {
    let mut invalid = Vec::new();
    let members = match status {
        Value::Object(members) => members,
        Value::Null => return Sanitized::default(),
        _ => {
            invalid.push("status");
            return Sanitized {
                status: T::default(),
                invalid,
            };
        }
    };
    let mut copy = object(members, fields, true, &mut invalid);
    if Value::Object(copy.clone()).to_string().len() > MAX_BYTES {
        invalid.clear();
        copy = object(members, fields, false, &mut invalid);
    }
    match serde_json::from_value(Value::Object(copy)) {
        Ok(status) => Sanitized { status, invalid },
        // Not reached: every field has the type that the shape says.
        Err(_) => Sanitized {
            status: T::default(),
            invalid: vec!["status"],
        },
    }
}

fn object(
    members: &Map<String, Value>,
    fields: Fields,
    keep_unknown: bool,
    invalid: &mut Vec<&'static str>,
) -> Map<String, Value> {
    let mut copy = Map::new();
    for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        let Some((field, shape)) = fields.iter().find(|(field, _)| field == name) else {
            if keep_unknown {
                copy.insert(name.clone(), with_short_texts(value));
            }
            continue;
        };
        match known(value, *shape, keep_unknown, invalid) {
            Some(value) => {
                copy.insert(name.clone(), value);
            }
            None => invalid.push(field),
        }
    }
    copy
}

fn known(
    value: &Value,
    shape: Shape,
    keep_unknown: bool,
    invalid: &mut Vec<&'static str>,
) -> Option<Value> {
    match shape {
        Shape::Count => {
            let count = i32::try_from(value.as_i64()?).ok()?;
            (count >= 0).then(|| count.into())
        }
        Shape::Text => Some(cut(value.as_str()?).into()),
        Shape::Time => time(value.as_str()?),
        Shape::Texts => {
            let texts: Option<Vec<&str>> = value.as_array()?.iter().map(Value::as_str).collect();
            Some(texts?.into_iter().take(MAX_TEXTS).map(cut).collect())
        }
        Shape::Object(fields) => Some(Value::Object(object(
            value.as_object()?,
            fields,
            keep_unknown,
            invalid,
        ))),
    }
}

// Years before 1970 are nonsense here, and some of them print in a form that the hub refuses.
fn time(text: &str) -> Option<Value> {
    let time: Timestamp = text.parse().ok()?;
    if time < Timestamp::UNIX_EPOCH {
        return None;
    }
    serde_json::to_value(Time(time)).ok()
}

fn with_short_texts(value: &Value) -> Value {
    match value {
        Value::String(text) => cut(text).into(),
        Value::Array(items) => items.iter().map(with_short_texts).collect(),
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| (name.clone(), with_short_texts(value)));
            Value::Object(members.collect())
        }
        other => other.clone(),
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_normal_status_is_copied_as_it_is() {
        let status = json!({
            "version": 1,
            "formatVersion": "1.1.0",
            "phase": "Completed",
            "expiration": "2023-11-27T03:37:07Z",
            "startTimestamp": "2023-10-28T03:37:07Z",
            "completionTimestamp": "2023-10-28T03:37:13Z",
            "progress": { "itemsBackedUp": 1, "totalItems": 1 },
            "hookStatus": { "hooksAttempted": 2 },
        });
        let copy = sanitize_backup(&status);
        assert_eq!(copy.invalid, Vec::<&str>::new());
        assert_eq!(serde_json::to_value(copy.status).unwrap(), status);
    }

    #[test]
    fn an_empty_progress_stays_an_empty_progress() {
        let copy = sanitize_backup(&json!({ "progress": {} }));
        assert_eq!(
            serde_json::to_value(copy.status).unwrap(),
            json!({ "progress": {} })
        );
    }

    #[test]
    fn new_fields_and_phases_pass_through_at_every_level() {
        let status = json!({
            "phase": "Hibernating",
            "encryption": { "algorithm": "aes" },
            "progress": { "totalItems": 3, "bytes": 9_007_199_254_740_993_i64 },
        });
        let copy = sanitize_restore(&status);
        assert_eq!(copy.invalid, Vec::<&str>::new());
        assert_eq!(serde_json::to_value(copy.status).unwrap(), status);
    }

    #[test]
    fn known_fields_of_a_wrong_type_are_dropped_and_named() {
        let status = json!({
            "phase": 5,
            "startTimestamp": "now",
            "completionTimestamp": "9999-12-31T23:59:59Z",
            "expiration": "-000001-01-01T00:00:00Z",
            "warnings": -1,
            "errors": 3_000_000_000_u64,
            "version": 1.5,
            "validationErrors": ["a", 7],
            "progress": { "totalItems": "many", "itemsBackedUp": 4 },
            "hookStatus": [],
            "failureReason": "disk full",
        });
        let mut copy = sanitize_backup(&status);
        copy.invalid.sort_unstable();
        assert_eq!(
            copy.invalid,
            [
                "completionTimestamp",
                "errors",
                "expiration",
                "hookStatus",
                "phase",
                "startTimestamp",
                "totalItems",
                "validationErrors",
                "version",
                "warnings",
            ]
        );
        let kept = json!({ "progress": { "itemsBackedUp": 4 }, "failureReason": "disk full" });
        assert_eq!(serde_json::to_value(copy.status).unwrap(), kept);
    }

    #[test]
    fn texts_are_cut_and_lists_shortened() {
        let long = "ä".repeat(2000);
        let errors: Vec<&str> = std::iter::repeat_n("no", 40).collect();
        let copy =
            sanitize_backup(&json!({ "failureReason": long, "validationErrors": errors })).status;
        assert_eq!(copy.failure_reason.unwrap().len(), 1024);
        assert_eq!(copy.validation_errors.len(), 10);
    }

    #[test]
    fn unknown_fields_are_dropped_when_the_copy_is_too_large() {
        let blob: Vec<String> = (0..20).map(|_| "x".repeat(1000)).collect();
        let copy = sanitize_backup(
            &json!({ "phase": "Completed", "blob": blob, "progress": { "odd": 1 } }),
        );
        assert_eq!(
            serde_json::to_value(copy.status).unwrap(),
            json!({ "phase": "Completed", "progress": {} })
        );
    }

    #[test]
    fn a_status_that_is_no_object_is_invalid_and_none_is_not() {
        assert_eq!(sanitize_backup(&json!([])).invalid, ["status"]);
        assert_eq!(sanitize_backup(&Value::Null), Sanitized::default());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            Just(Value::from(-1.5)),
            ".{0,20}".prop_map(Value::from),
            Just(Value::from("2023-10-28T03:37:07Z")),
        ];
        leaf.prop_recursive(3, 24, 6, |inner| {
            let key = prop::sample::select(vec![
                "phase",
                "progress",
                "totalItems",
                "warnings",
                "hookStatus",
                "odd",
            ]);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((key, inner), 0..6).prop_map(|members| members
                    .into_iter()
                    .map(|(k, v)| (k.to_owned(), v))
                    .collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_a_member_says_the_copy_can_be_read_again(status in any_json()) {
            let copy = sanitize_backup(&status).status;
            let text = serde_json::to_string(&copy).unwrap();
            let again: VeleroBackupStatus = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(serde_json::to_value(&again).unwrap(), serde_json::to_value(&copy).unwrap());
        }

        #[test]
        fn sanitising_twice_changes_nothing_more(status in any_json()) {
            let once = serde_json::to_value(sanitize_restore(&status).status).unwrap();
            let twice = sanitize_restore(&once);
            prop_assert_eq!(twice.invalid, Vec::<&str>::new());
            prop_assert_eq!(serde_json::to_value(twice.status).unwrap(), once);
        }
    }
}
