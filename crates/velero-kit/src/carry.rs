//! ConfigMaps that a hub object refers to live beside it on the hub and are carried to members.
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
