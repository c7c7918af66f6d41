//! `ConfigMap`s that a hub object refers to live beside it on the hub and are carried to members.
//!
//! The copy's name holds a hash of its content: an edit on the hub makes a new copy and never
//! changes what a backup that was already started reads.

use api_types::external::velero::Schedule;
use api_types::names;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proxy_client::{Error as CallError, MemberApi, Preconditions};

use crate::NAMESPACE;
use crate::identity::{self, Labels};

/// Why a ConfigMap cannot be carried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Velero reads exactly one key.
    #[error("ConfigMap {name} has {found} data keys, Velero needs exactly one: remove the others")]
    Keys { name: String, found: usize },
    /// Its data is not text.
    #[error("ConfigMap {name} cannot be carried: its data is not text")]
    Unreadable { name: String },
}

/// The copy to apply on a member, labelled as made for its newest user: backups with the same
/// content share it.
pub fn copy(source: &ConfigMap, labels: Labels) -> Result<ConfigMap, Error> {
    let source_name = source.metadata.name.clone().unwrap_or_default();
    let data = source.data.clone().unwrap_or_default();
    if data.len() != 1 {
        return Err(Error::Keys {
            name: source_name,
            found: data.len(),
        });
    }
    // Keys in a fixed order and quoted: the same text for the same content, and for no other.
    let content = serde_json::to_vec(&data).map_err(|_| Error::Unreadable {
        name: source_name.clone(),
    })?;
    Ok(ConfigMap {
        metadata: ObjectMeta {
            name: Some(names::copy_name(&source_name, &content)),
            namespace: Some(NAMESPACE.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        data: Some(data),
        immutable: Some(true),
        ..ConfigMap::default()
    })
}

/// Removes a copy from a member, unless `is_needed` finds somebody who needs it.
///
/// Only what was carried goes: an object may refer to a `ConfigMap` of the member's own. And it goes
/// only as it was before `is_needed` looked: carried once more meanwhile, for a user who cannot be
/// seen yet, it is labelled anew, and stays.
///
/// # Errors
/// When the member does not do it, or the look fails; the copy stays then.
pub async fn drop_unless(
    api: &MemberApi<ConfigMap>,
    name: &str,
    is_needed: impl Future<Output = Result<bool, CallError>>,
) -> Result<(), CallError> {
    let Some(copy) = api.get_opt(name).await? else {
        return Ok(());
    };
    if identity::owner_uid(&copy.metadata).is_none() || is_needed.await? {
        return Ok(());
    }
    let only_if = Preconditions {
        uid: copy.metadata.uid,
        resource_version: copy.metadata.resource_version,
    };
    match api.delete(name, &only_if).await {
        Ok(_) | Err(CallError::Conflict(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether runs of one of these Schedules are to come that read this policy, whoever owns it: hubs
/// that carry the same content share the copy. One that is going away makes no more.
pub fn is_scheduled(policy: &str, schedules: &[Schedule]) -> bool {
    schedules.iter().any(|schedule| {
        let read = schedule.spec.template.resource_policy.as_ref();
        schedule.metadata.deletion_timestamp.is_none()
            && read.is_some_and(|read| read.name == policy)
    })
}

#[cfg(test)]
mod tests {
    use api_types::external::velero::ConfigMapReference;
    use k8s_openapi::ByteString;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn source(name: &str, data: &[(&str, &str)]) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some("team-a".to_owned()),
                resource_version: Some("17".to_owned()),
                ..ObjectMeta::default()
            },
            data: Some(
                data.iter()
                    .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                    .collect(),
            ),
            ..ConfigMap::default()
        }
    }

    fn name_of(data: &[(&str, &str)]) -> String {
        copy(&source("skip-caches", data), Labels::new())
            .unwrap()
            .metadata
            .name
            .unwrap()
    }

    #[test]
    fn a_copy_is_immutable_lies_beside_velero_and_is_labelled() {
        let labels = Labels::from([("kurator.dev/owner-uid".to_owned(), "u".to_owned())]);
        let copied = copy(&source("skip-caches", &[("rules", "a")]), labels.clone()).unwrap();
        assert_eq!(copied.immutable, Some(true));
        assert_eq!(copied.data.unwrap()["rules"], "a");
        assert_eq!(copied.metadata.namespace.as_deref(), Some("velero"));
        assert_eq!(copied.metadata.labels, Some(labels));
        assert_eq!(copied.metadata.resource_version, None);
    }

    #[test]
    fn the_name_changes_with_key_and_content_and_with_nothing_else() {
        let name = name_of(&[("rules", "a")]);
        let (base, hash) = name.rsplit_once('-').unwrap();
        assert_eq!((base, hash.len()), ("skip-caches", 10));
        assert_eq!(name, name_of(&[("rules", "a")]));
        assert_ne!(name, name_of(&[("rules", "b")]));
        assert_ne!(name, name_of(&[("rule", "sa")]));
        let mut edited = source("skip-caches", &[("rules", "a")]);
        edited.metadata.resource_version = Some("18".to_owned());
        let copied = copy(&edited, Labels::new()).unwrap();
        assert_eq!(copied.metadata.name, Some(name));
    }

    #[test]
    fn velero_reads_one_key_so_more_or_fewer_are_refused() {
        let several = source("skip-caches", &[("a", "1"), ("b", "2")]);
        let error = copy(&several, Labels::new()).unwrap_err();
        assert!(error.to_string().contains("has 2 data keys"), "{error}");

        let mut binary = source("skip-caches", &[]);
        binary.binary_data = Some([("rules".to_owned(), ByteString(vec![1]))].into());
        let error = copy(&binary, Labels::new()).unwrap_err();
        assert!(error.to_string().contains("has 0 data keys"), "{error}");
    }

    #[test]
    fn a_long_name_is_shortened_to_what_a_config_map_may_have() {
        let copied = copy(&source(&"n".repeat(253), &[("rules", "a")]), Labels::new()).unwrap();
        assert_eq!(copied.metadata.name.unwrap().len(), 253);
    }

    fn schedule(policy: Option<&str>, owner: &str) -> Schedule {
        let mut schedule = Schedule::default();
        schedule.metadata.labels = Some(Labels::from([(
            "kurator.dev/owner-uid".to_owned(),
            owner.to_owned(),
        )]));
        schedule.spec.template.resource_policy = policy.map(ConfigMapReference::new);
        schedule
    }

    #[test]
    fn a_policy_is_needed_by_each_schedule_that_refers_to_it_whoever_owns_it() {
        let (copy, other) = ("skip-caches-ab12", "skip-caches-cd34");
        for owner in ["this hub's", "another hub's"] {
            let reads = schedule(Some(copy), owner);
            assert!(is_scheduled(copy, &[schedule(None, owner), reads.clone()]));
            let mut going = reads;
            going.metadata.deletion_timestamp = Some(Time("2026-01-01T00:00:00Z".parse().unwrap()));
            assert!(!is_scheduled(copy, &[going]), "it makes no more runs");
            assert!(!is_scheduled(copy, &[schedule(Some(other), owner)]));
        }
        assert!(!is_scheduled(copy, &[]));
    }
}
