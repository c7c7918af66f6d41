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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{MEMBER_UID, NAME, OWNER_UID, key, owner};

    fn oslo() -> (ClusterKey, MemberId) {
        (key("oslo"), MemberId::from_uid(MEMBER_UID))
    }

    #[test]
    fn an_object_carries_whose_it_is_by_label_and_the_names_in_full_by_annotation() {
        let (cluster, member) = oslo();
        let meta = owner().metadata(NAME, &cluster, &member);
        assert_eq!(meta.name.as_deref(), Some(NAME));
        assert_eq!(meta.namespace.as_deref(), Some("velero"));
        let labels: Vec<(String, String)> = meta.labels.unwrap().into_iter().collect();
        let expected = [
            ("fleet.kurator.dev/fleet-name", "production"),
            ("fleet.kurator.dev/plugin", "backup"),
            ("kurator.dev/backup-name", "nightly-shop"),
            ("kurator.dev/cluster", "oslo"),
            ("kurator.dev/member", member.as_str()),
            ("kurator.dev/owner-uid", OWNER_UID),
        ];
        assert_eq!(
            labels,
            expected.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec()
        );
        let annotations: Vec<(String, String)> = meta.annotations.unwrap().into_iter().collect();
        let expected = [
            ("kurator.dev/cluster-ref", "AttachedCluster/oslo"),
            ("kurator.dev/hub-object", "Backup/team-a/nightly-shop"),
        ];
        assert_eq!(
            annotations,
            expected.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec()
        );
    }

    #[test]
    fn long_names_are_shortened_in_labels_and_whole_in_annotations() {
        let long = "n".repeat(200);
        let owner = Owner {
            name: long.clone(),
            fleet: "f".repeat(200),
            ..owner()
        };
        let cluster = ClusterKey::attached("team-a", "c".repeat(200));
        let meta = owner.metadata("x", &cluster, &oslo().1);
        for (key, value) in meta.labels.as_ref().unwrap() {
            assert!(value.len() <= 63, "{key}={value}");
        }
        assert_eq!(hub_object(&meta), Some(("Backup", "team-a", long.as_str())));
    }

    #[test]
    fn only_the_owner_s_object_on_its_own_member_is_ours() {
        let (cluster, member) = oslo();
        let ours = owner().metadata("x", &cluster, &member);
        assert!(owner().owns(&ours, &member));

        let elsewhere = MemberId::from_uid("kube-system-uid-of-bergen");
        assert!(
            !owner().owns(&ours, &elsewhere),
            "a copy that Velero synced from oslo to bergen"
        );
        let recreated = Owner {
            uid: "another-uid".to_owned(),
            ..owner()
        };
        assert!(
            !recreated.owns(&ours, &member),
            "an object of an earlier Backup of the same name"
        );
        assert!(!owner().owns(&ObjectMeta::default(), &member));
        assert_eq!(owner_uid(&ours), Some(OWNER_UID));
        assert_eq!(owner_uid(&ObjectMeta::default()), None);
    }

    #[test]
    fn the_selector_asks_for_ours_only_and_leaves_the_member_to_the_proxy() {
        assert_eq!(
            selector(labels::BACKUP_NAME),
            format!(
                "kurator.dev/backup-name,kurator.dev/member={}",
                labels::MEMBER_VARIABLE
            )
        );
    }

    #[test]
    fn an_annotation_that_names_no_hub_object_is_none() {
        let annotated = |text: &str| ObjectMeta {
            annotations: Some([(labels::HUB_OBJECT.to_owned(), text.to_owned())].into()),
            ..ObjectMeta::default()
        };
        assert_eq!(hub_object(&annotated("Backup/default")), None);
        assert_eq!(hub_object(&annotated("")), None);
        assert_eq!(hub_object(&ObjectMeta::default()), None);
        assert_eq!(
            hub_object(&annotated("Restore/default/a")),
            Some(("Restore", "default", "a"))
        );
    }
}
