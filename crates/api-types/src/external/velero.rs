//! Velero's objects. A spec holds the fields that we set. A status is raw JSON, read through methods:
//! a member may run any version of Velero, or lie, and reading its objects must never fail for that.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::de::DeserializeOwned;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The API group of Velero.
pub const GROUP: &str = "velero.io";

// Every Velero kind is metadata, a spec of ours, and a status that is read only.
macro_rules! velero_kinds {
    ($($(#[$doc:meta])+ $kind:ident($version:literal, $plural:literal, $spec:ty);)+) => {$(
        $(#[$doc])+
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        pub struct $kind {
            /// Kubernetes metadata.
            pub metadata: ObjectMeta,
            /// What is asked for.
            #[serde(default, deserialize_with = "lenient")]
            pub spec: $spec,
            /// What Velero says. No type is relied on.
            #[serde(default)]
            pub status: Value,
        }

        impl $kind {
            /// An object of this name in Velero's namespace.
            pub fn new(name: &str, spec: $spec) -> Self {
                let metadata = ObjectMeta {
                    name: Some(name.to_owned()),
                    namespace: Some(crate::labels::VELERO_NAMESPACE.to_owned()),
                    ..ObjectMeta::default()
                };
                Self { metadata, spec, status: Value::Null }
            }

            /// Velero's phase; empty when there is none yet.
            pub fn phase(&self) -> &str {
                text(&self.status, "phase")
            }
        }

        impl kube::Resource for $kind {
            type DynamicType = ();
            type Scope = kube::core::NamespaceResourceScope;

            fn kind((): &()) -> Cow<'_, str> {
                stringify!($kind).into()
            }

            fn group((): &()) -> Cow<'_, str> {
                GROUP.into()
            }

            fn version((): &()) -> Cow<'_, str> {
                $version.into()
            }

            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }

        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut object = serializer.serialize_struct(stringify!($kind), 5)?;
                object.serialize_field("apiVersion", concat!("velero.io/", $version))?;
                object.serialize_field("kind", stringify!($kind))?;
                object.serialize_field("metadata", &self.metadata)?;
                object.serialize_field("spec", &self.spec)?;
                if self.status.is_null() {
                    object.skip_field("status")?;
                } else {
                    object.serialize_field("status", &self.status)?;
                }
                object.end()
            }
        }
    )+};
}

velero_kinds! {
    /// One backup.
    Backup("v1", "backups", BackupSpec);
    /// One restore.
    Restore("v1", "restores", RestoreSpec);
    /// Backups by the clock.
    Schedule("v1", "schedules", ScheduleSpec);
    /// A place in an object storage.
    BackupStorageLocation("v1", "backupstoragelocations", BackupStorageLocationSpec);
    /// Asks Velero to delete a backup with its data.
    DeleteBackupRequest("v1", "deletebackuprequests", DeleteBackupRequestSpec);
    /// Asks Velero whether it is there.
    ServerStatusRequest("v1", "serverstatusrequests", NoSpec);
    /// Asks Velero for a link to a file of a backup or restore.
    DownloadRequest("v1", "downloadrequests", DownloadRequestSpec);
    /// The file-system backup of one volume.
    PodVolumeBackup("v1", "podvolumebackups", NoSpec);
    /// The upload of one volume snapshot.
    DataUpload("v2alpha1", "datauploads", NoSpec);
}

/// Reads `T`, or its default where a member sent something else.
fn lenient<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + DeserializeOwned,
{
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

fn text<'a>(status: &'a Value, field: &str) -> &'a str {
    status
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn time(status: &Value, field: &str) -> Option<Timestamp> {
    text(status, field).parse().ok()
}

fn texts<'a>(status: &'a Value, field: &str) -> Vec<&'a str> {
    let items = status.get(field).and_then(Value::as_array);
    items
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// A spec of which we neither set nor read anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoSpec {}

/// Spec of a Backup, and of the backups that a Schedule makes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupSpec {
    /// Labels of the backups that a Schedule makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMetadata>,
    /// Namespaces to take.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub included_namespaces: Vec<String>,
    /// Namespaces to leave out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded_namespaces: Vec<String>,
    /// Resources to take.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub included_resources: Vec<String>,
    /// Resources to leave out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded_resources: Vec<String>,
    /// Cluster-scoped resources: all, none, or what belongs to the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_cluster_resources: Option<bool>,
    /// Cluster-scoped resources to take.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub included_cluster_scoped_resources: Vec<String>,
    /// Cluster-scoped resources to leave out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded_cluster_scoped_resources: Vec<String>,
    /// Namespaced resources to take.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub included_namespace_scoped_resources: Vec<String>,
    /// Namespaced resources to leave out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded_namespace_scoped_resources: Vec<String>,
    /// Objects to take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// Objects to take, by one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub or_label_selectors: Vec<LabelSelector>,
    /// How long it is kept. The user's own text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// What is backed up first, per resource.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ordered_resources: BTreeMap<String, String>,
    /// Commands around the backup of Pods.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub hooks: Value,
    /// Whether to snapshot volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_volumes: Option<bool>,
    /// Whether to upload snapshots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_move_data: Option<bool>,
    /// Whether to back up volumes file by file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_volumes_to_fs_backup: Option<bool>,
    /// How long a CSI snapshot may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csi_snapshot_timeout: Option<String>,
    /// How long asynchronous operations may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_operation_timeout: Option<String>,
    /// ConfigMap with rules for volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_policy: Option<ConfigMapReference>,
    /// Settings of the uploader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uploader_config: Option<UploaderConfig>,
    /// Name of the location; empty means the default one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_location: Option<String>,
}

/// Labels of the backups that a Schedule makes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TemplateMetadata {
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A ConfigMap in Velero's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMapReference {
    /// Always `configmap`: Velero ignores every other kind silently.
    pub kind: String,
    /// Name of the ConfigMap.
    pub name: String,
}

impl ConfigMapReference {
    /// A reference to the ConfigMap of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            kind: "configmap".to_owned(),
            name: name.into(),
        }
    }
}

/// Settings of the uploader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UploaderConfig {
    /// Files uploaded at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_files_upload: Option<i32>,
}

/// Spec of a Restore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreSpec {
    /// The backup to restore.
    pub backup_name: String,
    /// Namespaces to take.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub included_namespaces: Vec<String>,
    /// Namespaces to leave out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded_namespaces: Vec<String>,
    /// Resources to take.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub included_resources: Vec<String>,
    /// Resources to leave out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded_resources: Vec<String>,
    /// Cluster-scoped resources: all, none, or what belongs to the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_cluster_resources: Option<bool>,
    /// Objects to take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// Objects to take, by one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub or_label_selectors: Vec<LabelSelector>,
    /// Source namespace to target namespace.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub namespace_mapping: BTreeMap<String, String>,
    /// Whether to restore volumes from snapshots.
    #[serde(rename = "restorePVs", skip_serializing_if = "Option::is_none")]
    pub restore_pvs: Option<bool>,
    /// Resources whose status is restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_status: Option<RestoreStatusSpec>,
    /// Whether Services keep their node ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preserve_node_ports: Option<bool>,
    /// What to run in restored Pods.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub hooks: Value,
    /// What to do with an object that exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub existing_resource_policy: Option<String>,
    /// How long asynchronous operations may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_operation_timeout: Option<String>,
    /// ConfigMap with rules for changing objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_modifier: Option<ConfigMapReference>,
}

/// Resources whose status is restored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreStatusSpec {
    /// Resources to take; empty means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub included_resources: Vec<String>,
    /// Resources to leave out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded_resources: Vec<String>,
}

/// Spec of a Schedule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScheduleSpec {
    /// When, with `CRON_TZ=` before the five fields.
    pub schedule: String,
    /// Whether it is paused.
    pub paused: bool,
    /// What its backups look like.
    pub template: BackupSpec,
}

/// Spec of a BackupStorageLocation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupStorageLocationSpec {
    /// Object store plugin, such as `aws`.
    pub provider: String,
    /// Where in the object storage.
    pub object_storage: ObjectStorage,
    /// Settings of the plugin.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// Secret in Velero's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialKey>,
    /// Whether it is the default one. Velero writes it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<bool>,
    /// `ReadWrite` or `ReadOnly`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_mode: Option<String>,
}

/// Where in the object storage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectStorage {
    /// Bucket.
    pub bucket: String,
    /// Path in the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Certificate authority, base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<String>,
}

/// A key of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CredentialKey {
    /// Name of the Secret.
    pub name: String,
    /// Key in it.
    pub key: String,
}

/// Spec of a DeleteBackupRequest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteBackupRequestSpec {
    /// The backup to delete.
    pub backup_name: String,
}

/// Spec of a DownloadRequest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DownloadRequestSpec {
    /// The file.
    pub target: DownloadTarget,
}

/// A file of a backup or restore.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DownloadTarget {
    /// Which file, such as `BackupResults`.
    pub kind: String,
    /// Name of the backup or restore.
    pub name: String,
}

impl Schedule {
    /// When it last started a backup.
    pub fn last_backup(&self) -> Option<Timestamp> {
        time(&self.status, "lastBackup")
    }

    /// Why Velero refused it.
    pub fn validation_errors(&self) -> Vec<&str> {
        texts(&self.status, "validationErrors")
    }
}

impl BackupStorageLocation {
    /// Whether Velero can use it. Anything but `Available`, empty included, makes a Backup fail for good.
    pub fn is_available(&self) -> bool {
        self.phase() == "Available"
    }

    /// Whether it takes no backups.
    pub fn is_read_only(&self) -> bool {
        self.spec.access_mode.as_deref() == Some("ReadOnly")
    }

    /// What is the matter with it.
    pub fn message(&self) -> &str {
        text(&self.status, "message")
    }

    /// When Velero last looked for new backups there.
    pub fn last_synced_time(&self) -> Option<Timestamp> {
        time(&self.status, "lastSyncedTime")
    }
}

impl DeleteBackupRequest {
    /// Why the deletion failed; only meaningful in phase `Processed`.
    pub fn errors(&self) -> Vec<&str> {
        texts(&self.status, "errors")
    }
}

impl ServerStatusRequest {
    /// Version of the Velero server that answered.
    pub fn server_version(&self) -> &str {
        text(&self.status, "serverVersion")
    }
}

impl DownloadRequest {
    /// Where the file can be fetched for the next ten minutes.
    pub fn download_url(&self) -> &str {
        text(&self.status, "downloadURL")
    }
}
