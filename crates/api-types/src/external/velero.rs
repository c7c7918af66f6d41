//! Velero's objects. A spec holds the fields that we set. A status is raw JSON, read through methods:
//! a member may run any version of Velero, or lie, and reading its objects must never fail for that.

use std::borrow::Cow;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

mod spec;

pub use spec::*;

/// The API group of Velero.
pub const GROUP: &str = "velero.io";

// Every Velero kind is metadata, a spec of ours, and a status that is read only.
macro_rules! velero_kinds {
    ($($(#[$doc:meta])+ $type:ident = $kind:literal($version:literal, $plural:literal, $spec:ty);)+) => {$(
        $(#[$doc])+
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        pub struct $type {
            /// Kubernetes metadata.
            pub metadata: ObjectMeta,
            /// What is asked for.
            #[serde(default, deserialize_with = "lenient")]
            pub spec: $spec,
            /// What Velero says. No type is relied on.
            #[serde(default)]
            pub status: Value,
        }

        impl $type {
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

        impl kube::Resource for $type {
            type DynamicType = ();
            type Scope = kube::core::NamespaceResourceScope;

            fn kind((): &()) -> Cow<'_, str> {
                $kind.into()
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

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut object = serializer.serialize_struct($kind, 5)?;
                object.serialize_field("apiVersion", concat!("velero.io/", $version))?;
                object.serialize_field("kind", $kind)?;
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
    Backup = "Backup"("v1", "backups", BackupSpec);
    /// One backup with all of its spec, for who passes it on.
    BackupRecord = "Backup"("v1", "backups", Value);
    /// One restore.
    Restore = "Restore"("v1", "restores", RestoreSpec);
    /// Backups by the clock.
    Schedule = "Schedule"("v1", "schedules", ScheduleSpec);
    /// A place in an object storage.
    BackupStorageLocation = "BackupStorageLocation"("v1", "backupstoragelocations", BackupStorageLocationSpec);
    /// Asks Velero to delete a backup with its data.
    DeleteBackupRequest = "DeleteBackupRequest"("v1", "deletebackuprequests", DeleteBackupRequestSpec);
    /// Asks Velero whether it is there.
    ServerStatusRequest = "ServerStatusRequest"("v1", "serverstatusrequests", NoSpec);
    /// Asks Velero for a link to a file of a backup or restore.
    DownloadRequest = "DownloadRequest"("v1", "downloadrequests", DownloadRequestSpec);
    /// The file-system backup of one volume.
    PodVolumeBackup = "PodVolumeBackup"("v1", "podvolumebackups", NoSpec);
    /// The upload of one volume snapshot.
    DataUpload = "DataUpload"("v2alpha1", "datauploads", NoSpec);
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

impl BackupRecord {
    /// Volume snapshots by a CSI driver that Velero tried.
    pub fn csi_snapshots_attempted(&self) -> u64 {
        let attempted = self.status.get("csiVolumeSnapshotsAttempted");
        attempted.and_then(Value::as_u64).unwrap_or_default()
    }
}

impl Backup {
    /// When Velero began it.
    pub fn start_timestamp(&self) -> Option<Timestamp> {
        time(&self.status, "startTimestamp")
    }

    /// When its data may be deleted.
    pub fn expiration(&self) -> Option<Timestamp> {
        time(&self.status, "expiration")
    }
}

impl Schedule {
    /// When it last started a backup.
    pub fn last_backup(&self) -> Option<Timestamp> {
        time(&self.status, "lastBackup")
    }

    /// When it last left out a run.
    pub fn last_skipped(&self) -> Option<Timestamp> {
        time(&self.status, "lastSkipped")
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
