//! Kubernetes' own `Status`: read from an answer, and passed on to callers within limits.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::answer::clean;

/// It travels in a trailer with all the rest that is said about an error, and clients take 16 KiB of
/// trailers.
const DETAIL_MAX: usize = 4096;
const CAUSES_MAX: usize = 32;

/// `meta/v1` Status.
#[derive(Deserialize, Serialize, Clone, Default, Debug)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct KubeStatus {
    pub(super) kind: String,
    api_version: String,
    status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) message: String,
    pub(super) reason: String,
    pub(super) details: Details,
    code: u16,
}

#[derive(Deserialize, Serialize, Clone, Default, Debug)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Details {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<Cause>,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) retry_after_seconds: u64,
}

#[derive(Deserialize, Serialize, Clone, Default, Debug)]
#[serde(default)]
struct Cause {
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    field: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(seconds: &u64) -> bool {
    *seconds == 0
}

impl KubeStatus {
    /// A 404 that is not about an object: the server knows no such path.
    pub(super) fn names_no_object(&self) -> bool {
        self.details.kind.is_empty() && self.details.name.is_empty()
    }

    /// Another field manager holds a field.
    pub(super) fn is_apply_conflict(&self) -> bool {
        self.details.causes.iter().any(|cause| {
            cause.reason == "FieldManagerConflict" || cause.message.contains("conflict with")
        })
    }

    /// A caller named a version that the member has not reached.
    pub(super) fn asks_for_the_future(&self) -> bool {
        let mut causes = self.details.causes.iter();
        causes.any(|cause| cause.reason == "ResourceVersionTooLarge")
    }

    /// A wrong type in a server-side apply is a 500 without a reason, like every error that the server
    /// has no name for; this one says that nothing was written, and that trying again is vain.
    pub(super) fn is_wrong_type(&self) -> bool {
        let typed = "failed to create typed patch object";
        self.reason.is_empty() && self.message.contains(typed)
    }

    /// As JSON for the caller. About a Secret it says no more than which error it is: messages and
    /// causes quote what was sent.
    pub(super) fn to_detail(&self, secret: bool) -> Bytes {
        let mut kept = if secret { self.bare() } else { self.cleaned() };
        loop {
            let json = serde_json::to_vec(&kept).unwrap_or_default();
            if json.len() <= DETAIL_MAX {
                return json.into();
            }
            if kept.details.causes.pop().is_none() {
                kept = self.bare();
            }
        }
    }

    fn bare(&self) -> Self {
        let mut reason = self.reason.clone();
        reason.retain(|c| c.is_ascii_alphanumeric());
        reason.truncate(64);
        Self {
            kind: "Status".to_owned(),
            api_version: "v1".to_owned(),
            status: "Failure".to_owned(),
            reason,
            code: self.code,
            ..Self::default()
        }
    }

    fn cleaned(&self) -> Self {
        let details = &self.details;
        let causes = details.causes.iter().take(CAUSES_MAX).map(|cause| Cause {
            reason: clean(&cause.reason),
            message: clean(&cause.message),
            field: clean(&cause.field),
        });
        Self {
            message: clean(&self.message),
            details: Details {
                name: clean(&details.name),
                group: clean(&details.group),
                kind: clean(&details.kind),
                uid: clean(&details.uid),
                causes: causes.collect(),
                retry_after_seconds: details.retry_after_seconds,
            },
            ..self.bare()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn detail(status: &Value, secret: bool) -> Value {
        let status: KubeStatus = serde_json::from_value(status.clone()).unwrap();
        let bytes = status.to_detail(secret);
        assert!(bytes.len() <= DETAIL_MAX, "{}", bytes.len());
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn a_status_is_passed_on_with_its_causes() {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "ConfigMap \"x\" is invalid", "reason": "Invalid", "code": 422,
            "details": {"name": "x", "kind": "ConfigMap", "causes": [
                {"reason": "FieldValueInvalid", "message": "bad", "field": "metadata.name"}]},
        });
        let mut same = status.clone();
        same.as_object_mut().unwrap().remove("metadata");
        assert_eq!(detail(&status, false), same);
    }

    #[test]
    fn a_status_about_a_secret_says_only_which_error_it_is() {
        let status = json!({
            "kind": "Status", "message": "data[k]: hunter2", "reason": "Invalid", "code": 422,
            "details": {"name": "hunter2", "causes": [{"message": "hunter2", "field": "hunter2"}]},
        });
        let kept = detail(&status, true);
        assert_eq!(
            (&kept["reason"], &kept["code"]),
            (&json!("Invalid"), &json!(422))
        );
        assert!(!kept.to_string().contains("hunter2"), "{kept}");
    }

    #[test]
    fn an_oversized_status_loses_causes_first_and_then_all_but_its_reason() {
        let cause = json!({"message": "c".repeat(500), "field": "spec"});
        let many = json!({"kind": "Status", "message": "m", "reason": "Invalid", "code": 422,
            "details": {"causes": vec![cause; 1000]}});
        let kept = detail(&many, false);
        assert!(!kept["details"]["causes"].as_array().unwrap().is_empty());
        assert_eq!(kept["message"], "m");

        let long = "\"\u{1}\u{1f600}".repeat(5000);
        let all = json!({"kind": long, "message": long, "reason": long, "code": 422,
            "details": {"name": long, "group": long, "kind": long, "uid": long}});
        let kept = detail(&all, false);
        assert_eq!(kept["code"], 422);
        assert!(kept.get("message").is_none());
    }
}
