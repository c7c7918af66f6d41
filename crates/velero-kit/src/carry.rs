//! `ConfigMap`s that a hub object refers to live beside it on the hub and are carried to members.
//!
//! The copy's name holds a hash of its content: an edit on the hub makes a new copy and never
//! changes what a backup that was already started reads.

use api_types::names;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::NAMESPACE;
use crate::identity::Labels;

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

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

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
}
