//! The one condition type of all kinds, and the words that go into it.
//!
//! It holds both metav1's form and Kurator's: a Migrate stored by Kurator v0.5.0 has a condition
//! without reason and message, which k8s-openapi's own type would refuse.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod reason;

/// Everything asked for holds. Always present.
pub const READY: &str = "Ready";
/// Work goes on. Present only when True, never beside Stalled.
pub const RECONCILING: &str = "Reconciling";
/// Nothing will happen until somebody acts. Present only when True, never beside Reconciling.
pub const STALLED: &str = "Stalled";
/// The outcome of a one-time operation: absent until it is final, then the same for ever.
pub const SUCCEEDED: &str = "Succeeded";
/// Migrate: the source backup may be restored. Kurator v0.5.0's spelling.
pub const SOURCE_READY: &str = "sourceReady";
/// AttachedCluster: its API server answers.
pub const CONNECTED: &str = "Connected";
/// AttachedCluster: its kubeconfig is usable and accepted.
pub const CREDENTIALS_VALID: &str = "CredentialsValid";
/// AttachedCluster: the rights that kurator-rs needs are there.
pub const ACCESS_GRANTED: &str = "AccessGranted";

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Not known.
    Unknown,
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// One aspect of the state of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Type of the condition.
    #[serde(rename = "type")]
    #[schemars(
        length(max = 316),
        regex(
            pattern = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
        )
    )]
    pub type_: String,
    /// True, False or Unknown.
    pub status: ConditionStatus,
    /// When the status last changed.
    pub last_transition_time: Time,
    /// One word that says why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(
        length(max = 1024),
        regex(pattern = r"^([A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?)?$")
    )]
    pub reason: String,
    /// What is the matter and what to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 32768))]
    pub message: String,
    /// Generation of the spec that this speaks about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Accepted for conditions that Kurator v0.5.0 wrote; never written.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 32))]
    pub severity: String,
}

/// The condition of a type, if it is there.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether the condition of a type is there and True.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == ConditionStatus::True)
}
