//! Backup storage locations: may a backup be made in one now, and where does it put its data?

use api_types::common::StoragePlace;
use api_types::condition::reason;
use api_types::external::velero::BackupStorageLocation;

use crate::problem::Problem;

/// Velero fails a Backup for good when its location is absent, read-only or not `Available`, an
/// empty phase included; so none is made before this says that it can be.
pub fn usable(
    name: &str,
    location: Option<&BackupStorageLocation>,
) -> Result<StoragePlace, Problem> {
    let Some(location) = location else {
        return Err(Problem::new(
            reason::STORAGE_LOCATION_NOT_FOUND,
            format!(
                "Velero has no BackupStorageLocation {name}: create it in namespace velero, or fix \
                 policy.storageLocation"
            ),
        ));
    };
    if location.is_read_only() {
        return Err(Problem::new(
            reason::STORAGE_LOCATION_READ_ONLY,
            format!("BackupStorageLocation {name} is read-only: choose another"),
        ));
    }
    if !location.is_available() {
        let detail = match (location.phase(), location.message()) {
            ("", _) => "Velero has not checked it yet: is Velero running?".to_owned(),
            (phase, "") => format!("it is {phase}"),
            (phase, message) => format!("it is {phase}: {message}"),
        };
        return Err(Problem::new(
            reason::STORAGE_LOCATION_UNAVAILABLE,
            format!("BackupStorageLocation {name} cannot be used: {detail}"),
        ));
    }
    Ok(storage(location))
}

/// Where backups of this location lie: what a restore elsewhere needs when this member is gone.
pub fn storage(location: &BackupStorageLocation) -> StoragePlace {
    let spec = &location.spec;
    StoragePlace {
        provider: spec.provider.clone(),
        endpoint: spec.config.get("s3Url").cloned().unwrap_or_default(),
        bucket: spec.object_storage.bucket.clone(),
        prefix: spec.object_storage.prefix.clone().unwrap_or_default(),
    }
}
