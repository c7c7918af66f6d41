//! The location that a Fleet's backup plugin has on a member, and the Secret that Velero opens it
//! with (`api.md` 1.6). Pure.

use std::collections::BTreeMap;

use api_types::condition::reason;
use api_types::external::velero::{
    BackupStorageLocation, BackupStorageLocationSpec, CredentialKey, ObjectStorage,
};
use api_types::fleet::{BackupLocation, StorageLayout};
use api_types::key::ClusterKey;
use api_types::names::label_value;
use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map as JsonMap, Value, json};

use crate::location;
use crate::problem::Problem;

/// The key of a credential's text, in the hub's Secret and in the member's.
pub const CREDENTIAL_KEY: &str = "cloud";
/// The plugin's setting for the endpoint.
const ENDPOINT: &str = "s3Url";
const REGION: &str = "region";
const PATH_STYLE: &str = "s3ForcePathStyle";
/// Where people download from; data is neither stored nor read there.
const PUBLIC_URL: &str = "publicUrl";
/// Longest name of a Secret.
const MAX_SECRET_NAME: usize = 253;

const ACCESS_KEY: &str = "access-key";
const SECRET_KEY: &str = "secret-key";
const SESSION_TOKEN: &str = "session-token";

/// An object storage that can be set up on members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Everything that speaks S3.
    Aws,
    /// Huawei Cloud's OBS, by way of the AWS plugin.
    HuaweiCloud,
}

impl Provider {
    /// The provider of this name.
    ///
    /// # Errors
    /// When it cannot be set up.
    pub fn parse(name: &str) -> Result<Self, Problem> {
        match name {
            "aws" => Ok(Self::Aws),
            "huaweicloud" => Ok(Self::HuaweiCloud),
            other => Err(Problem::new(
                reason::PROVIDER_UNSUPPORTED,
                format!(
                    "provider {other} is not set up by this version: choose aws or huaweicloud, or \
                     make the BackupStorageLocations yourself and remove the plugin"
                ),
            )),
        }
    }

    /// Name of the member's Secret, Kurator v0.5.0's.
    pub fn secret_name(self, fleet: &str) -> String {
        let suffix = match self {
            Self::Aws => "-velero-s3",
            Self::HuaweiCloud => "-velero-obs",
        };
        if fleet.len() + suffix.len() <= MAX_SECRET_NAME {
            format!("{fleet}{suffix}")
        } else {
            format!("{}{suffix}", label_value(fleet))
        }
    }

    /// The text of a credential, from the data of the hub's Secret of this name.
    ///
    /// # Errors
    /// When a key is missing, empty or no line of text; values are never quoted.
    pub fn credential(
        self,
        secret: &str,
        data: &BTreeMap<String, ByteString>,
    ) -> Result<Vec<u8>, Problem> {
        if let Some(ByteString(whole)) = data.get(CREDENTIAL_KEY).filter(|text| !text.0.is_empty())
        {
            return Ok(whole.clone());
        }
        let value = |key: &str| line(secret, key, data);
        let mut text = format!(
            "[default]\naws_access_key_id={}\naws_secret_access_key={}\n",
            value(ACCESS_KEY)?,
            value(SECRET_KEY)?
        );
        if self == Self::Aws && data.contains_key(SESSION_TOKEN) {
            text.push_str("aws_session_token=");
            text.push_str(value(SESSION_TOKEN)?);
            text.push('\n');
        }
        Ok(text.into_bytes())
    }
}

/// A value of one line; an editor's line break at its end is none of it.
fn line<'a>(
    secret: &str,
    key: &str,
    data: &'a BTreeMap<String, ByteString>,
) -> Result<&'a str, Problem> {
    let wrong = |what: &str| {
        Problem::new(
            reason::CREDENTIALS_INCOMPLETE,
            format!("key {key} of Secret {secret} {what}: mend the Secret"),
        )
    };
    let Some(ByteString(value)) = data.get(key) else {
        return Err(wrong("is missing"));
    };
    let value = std::str::from_utf8(value).map_err(|_| wrong("is not text"))?;
    let value = value.trim();
    if value.is_empty() {
        return Err(wrong("is empty"));
    }
    if value.contains(['\n', '\r']) {
        return Err(wrong("has more than one line"));
    }
    Ok(value)
}

/// The path in the bucket under which a cluster stores.
pub fn prefix(storage: &BackupLocation, layout: StorageLayout, cluster: &ClusterKey) -> String {
    let ClusterKey {
        namespace, name, ..
    } = cluster;
    match layout {
        StorageLayout::Shared => String::new(),
        StorageLayout::PerCluster if storage.prefix.is_empty() => format!("{namespace}/{name}"),
        StorageLayout::PerCluster => format!("{}/{namespace}/{name}", storage.prefix),
    }
}

/// What the location of one cluster is made of.
#[derive(Debug, Clone)]
pub struct Parts<'a> {
    pub storage: &'a BackupLocation,
    /// Path in the bucket.
    pub prefix: String,
    /// Name of the member's Secret.
    pub secret: String,
    pub read_only: bool,
}

/// The location, with this metadata. Everything that this sets is set in every case, so that nothing
/// of another's setting is left in it; `default` is Velero's own business.
pub fn build(metadata: ObjectMeta, parts: Parts<'_>) -> BackupStorageLocation {
    let Parts {
        storage,
        prefix,
        secret,
        read_only,
    } = parts;
    let mut config = storage.config.clone();
    if !storage.endpoint.is_empty() {
        config.insert(ENDPOINT.to_owned(), storage.endpoint.clone());
    }
    if !storage.region.is_empty() {
        config.insert(REGION.to_owned(), storage.region.clone());
    }
    if config.contains_key(ENDPOINT) {
        let path_style = config.entry(PATH_STYLE.to_owned());
        path_style.or_insert_with(|| "true".to_owned());
    }
    let spec = BackupStorageLocationSpec {
        provider: "aws".to_owned(),
        object_storage: ObjectStorage {
            bucket: storage.bucket.clone(),
            prefix: Some(prefix),
            ca_cert: storage.ca_cert.clone(),
            ca_cert_ref: None,
        },
        config,
        credential: Some(CredentialKey {
            name: secret,
            key: CREDENTIAL_KEY.to_owned(),
        }),
        default: None,
        access_mode: Some(if read_only { "ReadOnly" } else { "ReadWrite" }.to_owned()),
    };
    BackupStorageLocation {
        metadata,
        spec,
        ..BackupStorageLocation::default()
    }
}

/// Whether a location is as it was built, and nothing of another's setting is left in it. Fields that
/// say nothing of the store are others' business.
pub fn is_as_wanted(found: &BackupStorageLocation, wanted: &BackupStorageLocation) -> bool {
    let (is, want) = (&found.spec, &wanted.spec);
    let (store, place) = (&is.object_storage, &want.object_storage);
    is.provider == want.provider
        && store.bucket == place.bucket
        && store.prefix.as_deref().unwrap_or_default()
            == place.prefix.as_deref().unwrap_or_default()
        && (place.ca_cert.is_none() || store.ca_cert == place.ca_cert)
        && is.credential == want.credential
        && found.is_read_only() == wanted.is_read_only()
        && holds(Some(&is.config), Some(&want.config))
        && leftovers(found, wanted).is_empty()
        && holds(
            found.metadata.labels.as_ref(),
            wanted.metadata.labels.as_ref(),
        )
        && holds(
            found.metadata.annotations.as_ref(),
            wanted.metadata.annotations.as_ref(),
        )
}

/// What somebody else has set of the store and a location shall not have, as paths in its spec. A
/// server-side apply leaves it there.
pub fn leftovers(found: &BackupStorageLocation, wanted: &BackupStorageLocation) -> Vec<String> {
    let (is, want) = (&found.spec, &wanted.spec);
    let keys = is.config.keys();
    let keys = keys.filter(|key| !want.config.contains_key(*key) && *key != PUBLIC_URL);
    let mut left: Vec<String> = keys.map(|key| format!("config.{key}")).collect();
    let (store, place) = (&is.object_storage, &want.object_storage);
    if store.ca_cert.is_some() && place.ca_cert.is_none() {
        left.push("objectStorage.caCert".to_owned());
    }
    if store.ca_cert_ref.is_some() && place.ca_cert_ref.is_none() {
        left.push("objectStorage.caCertRef".to_owned());
    }
    left
}

/// The merge patch of a spec that removes what [`leftovers`] names.
pub fn without(leftovers: &[String]) -> Value {
    let mut spec = JsonMap::new();
    for path in leftovers {
        let Some((part, key)) = path.split_once('.') else {
            continue;
        };
        let part = spec.entry(part).or_insert_with(|| json!({}));
        part[key] = Value::Null;
    }
    Value::Object(spec)
}

type Map = BTreeMap<String, String>;

fn holds(all: Option<&Map>, some: Option<&Map>) -> bool {
    let mut wanted = some.into_iter().flatten();
    wanted.all(|(key, value)| all.and_then(|all| all.get(key)) == Some(value))
}

/// Whether a location is at the root of this bucket, as all of Kurator v0.5.0 are.
pub fn is_at_root(found: &BackupStorageLocation, storage: &BackupLocation) -> bool {
    let parts = Parts {
        storage,
        prefix: String::new(),
        secret: String::new(),
        read_only: false,
    };
    let root = location::storage(&build(ObjectMeta::default(), parts));
    location::is_at(found, &root)
}

#[cfg(test)]
#[path = "owned_tests.rs"]
mod tests;
