//! Whose an object on a member is.

use std::collections::BTreeMap;

use api_types::key::ClusterKey;
use api_types::labels;
use api_types::names::{MemberId, label_value};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::NAMESPACE;

/// Labels of a Kubernetes object.
pub type Labels = BTreeMap<String, String>;

/// The hub object that objects on members are made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// `Backup`, `Restore` or `Migrate`.
    pub kind: &'static str,
    /// The label that names the hub object, such as `kurator.dev/backup-name`.
    pub name_label: &'static str,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// The fleet that the object works on.
    pub fleet: String,
}

impl Owner {
    /// Labels of every object made for this owner on that member (`api.md` 6.2).
    pub fn labels(&self, cluster: &ClusterKey, member: &MemberId) -> Labels {
        [
            (self.name_label, label_value(&self.name)),
            (labels::FLEET_NAME, label_value(&self.fleet)),
            (labels::PLUGIN, "backup".to_owned()),
            (labels::OWNER_UID, self.uid.clone()),
            (labels::MEMBER, member.to_string()),
            (labels::CLUSTER, label_value(&cluster.name)),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    /// Metadata of a new object in Velero's namespace: labels to select by, annotations with the
    /// names in full.
    pub fn metadata(&self, name: &str, cluster: &ClusterKey, member: &MemberId) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            labels: Some(self.labels(cluster, member)),
            annotations: Some(
                [
                    (
                        labels::HUB_OBJECT,
                        format!("{}/{}/{}", self.kind, self.namespace, self.name),
                    ),
                    (labels::CLUSTER_REF, cluster.cluster_ref()),
                ]
                .map(|(key, value)| (key.to_owned(), value))
                .into(),
            ),
            ..ObjectMeta::default()
        }
    }

    /// Is this object ours and made for this member? A copy that Velero synced from another member
    /// has our owner-uid too, but not this member's id.
    pub fn owns(&self, meta: &ObjectMeta, member: &MemberId) -> bool {
        let label = |key: &str| {
            meta.labels
                .as_ref()
                .and_then(|l| l.get(key))
                .map(String::as_str)
        };
        label(labels::OWNER_UID) == Some(self.uid.as_str())
            && label(labels::MEMBER) == Some(member.as_str())
    }
}

/// The uid of the hub object that an object on a member was made for.
pub fn owner_uid(meta: &ObjectMeta) -> Option<&str> {
    meta.labels
        .as_ref()?
        .get(labels::OWNER_UID)
        .map(String::as_str)
}

/// Selects every object of ours on a member, and no copy of another member's.
pub fn selector(name_label: &str) -> String {
    format!("{name_label},{}=$(member)", labels::MEMBER)
}

/// The hub object, as (kind, namespace, name), that an object on a member says it belongs to.
pub fn hub_object(meta: &ObjectMeta) -> Option<(&str, &str, &str)> {
    let text = meta.annotations.as_ref()?.get(labels::HUB_OBJECT)?;
    let mut parts = text.splitn(3, '/');
    Some((parts.next()?, parts.next()?, parts.next()?))
}
