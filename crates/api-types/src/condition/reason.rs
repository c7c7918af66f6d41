//! Every reason: one word for entry, condition and event. The lists are closed.

// Of entries of Backup, Restore and Migrate

/// The Fleet does not exist.
pub const FLEET_NOT_FOUND: &str = "FleetNotFound";
/// The cluster is listed and is no member of the fleet.
pub const CLUSTER_NOT_IN_FLEET: &str = "ClusterNotInFleet";
/// The entry has no kind and two members have its name.
pub const AMBIGUOUS_CLUSTER: &str = "AmbiguousCluster";
/// The member's object does not exist.
pub const CLUSTER_NOT_FOUND: &str = "ClusterNotFound";
/// An earlier controller has begun it, and it cannot be followed.
pub const NOT_FOLLOWED: &str = "NotFollowed";
/// The member does not answer.
pub const UNREACHABLE: &str = "Unreachable";
/// The member refuses our credentials.
pub const CREDENTIALS_INVALID: &str = "CredentialsInvalid";
/// The member or the proxy's policy forbids it.
pub const ACCESS_DENIED: &str = "AccessDenied";
/// The member does not serve velero.io.
pub const VELERO_NOT_INSTALLED: &str = "VeleroNotInstalled";
/// Velero touched neither the object nor a status request.
pub const VELERO_NOT_RESPONDING: &str = "VeleroNotResponding";
/// The BackupStorageLocation does not exist.
pub const STORAGE_LOCATION_NOT_FOUND: &str = "StorageLocationNotFound";
/// The BackupStorageLocation is not Available.
pub const STORAGE_LOCATION_UNAVAILABLE: &str = "StorageLocationUnavailable";
/// The BackupStorageLocation takes no backups.
pub const STORAGE_LOCATION_READ_ONLY: &str = "StorageLocationReadOnly";
/// The ConfigMap of a resourcePolicy or resourceModifier does not exist.
pub const CONFIG_MAP_NOT_FOUND: &str = "ConfigMapNotFound";
/// Velero has not started it.
pub const QUEUED: &str = "Queued";
/// It runs, the server answers, and nothing has changed for long.
pub const NO_PROGRESS: &str = "NoProgress";
/// Velero reports a phase that is newer than we are.
pub const UNKNOWN_PHASE: &str = "UnknownPhase";
/// The name is held by another owner, or by what Velero refused.
pub const NAME_TAKEN: &str = "NameTaken";
/// Velero refused the backup.
pub const BACKUP_REJECTED: &str = "BackupRejected";
/// Velero refused the restore.
pub const RESTORE_REJECTED: &str = "RestoreRejected";
/// Velero refused the schedule.
pub const SCHEDULE_REJECTED: &str = "ScheduleRejected";
/// The backup failed.
pub const BACKUP_FAILED: &str = "BackupFailed";
/// Some items of the backup failed.
pub const BACKUP_PARTIALLY_FAILED: &str = "BackupPartiallyFailed";
/// The restore failed.
pub const RESTORE_FAILED: &str = "RestoreFailed";
/// Some items of the restore failed.
pub const RESTORE_PARTIALLY_FAILED: &str = "RestorePartiallyFailed";
/// Velero was restarted while it ran.
pub const VELERO_RESTARTED: &str = "VeleroRestarted";
/// The object was removed on the member before it ended.
pub const OBJECT_DISAPPEARED: &str = "ObjectDisappeared";
/// Another cluster answers under this member's name.
pub const MEMBER_REPLACED: &str = "MemberReplaced";
/// The location carries another member's backups.
pub const STORE_COLLISION: &str = "StoreCollision";
/// It had not begun in time.
pub const START_DEADLINE_EXCEEDED: &str = "StartDeadlineExceeded";
/// It had not ended its waiting in time.
pub const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
/// It was cancelled.
pub const CANCELLED: &str = "Cancelled";
/// Part of the member's answer could not be read.
pub const MEMBER_ANSWER_INVALID: &str = "MemberAnswerInvalid";
/// Deletion waits for the cluster.
pub const DELETION_PENDING: &str = "DeletionPending";
/// The cluster reports errors of the deletion.
pub const DELETION_FAILED: &str = "DeletionFailed";

// Of entries of Backup only

/// No run is due yet.
pub const WAITING_FOR_FIRST_RUN: &str = "WaitingForFirstRun";
/// A due run did not appear.
pub const RUN_MISSED: &str = "RunMissed";
/// The newest run did not complete.
pub const RUN_FAILED: &str = "RunFailed";

// Of entries of Restore only

/// The hub's or Velero's Backup does not exist.
pub const BACKUP_NOT_FOUND: &str = "BackupNotFound";
/// No run has completed, or none in time.
pub const NO_COMPLETED_BACKUP: &str = "NoCompletedBackup";
/// The backup failed.
pub const BACKUP_NOT_RESTORABLE: &str = "BackupNotRestorable";
/// The backup's data is past its ttl.
pub const BACKUP_EXPIRED: &str = "BackupExpired";

// Of entries of Restore and Migrate

/// The copy of the backup is not in the target yet.
pub const BACKUP_NOT_SYNCED: &str = "BackupNotSynced";
/// The target waits for the source.
pub const SOURCE_NOT_READY: &str = "SourceNotReady";
/// The backup of the source failed.
pub const SOURCE_BACKUP_FAILED: &str = "SourceBackupFailed";
/// The backup of the source is only partial.
pub const SOURCE_BACKUP_PARTIALLY_FAILED: &str = "SourceBackupPartiallyFailed";
/// The target does not serve, in the source's version, all that the filter selects.
pub const API_VERSION_NOT_SERVED: &str = "ApiVersionNotServed";

// Of conditions of Backup, Restore and Migrate

/// Every cluster completed.
pub const COMPLETED: &str = "Completed";
/// It runs.
pub const IN_PROGRESS: &str = "InProgress";
/// Some clusters or items failed.
pub const PARTIALLY_FAILED: &str = "PartiallyFailed";
/// Every cluster failed.
pub const FAILED: &str = "Failed";
/// No cluster is selected.
pub const NO_CLUSTERS: &str = "NoClusters";
/// The spec can never work.
pub const INVALID_SPEC: &str = "InvalidSpec";
/// No cluster can begin yet, for several reasons.
pub const WAITING_FOR_CLUSTERS: &str = "WaitingForClusters";
/// All clusters that are not done are unreachable.
pub const CLUSTERS_UNREACHABLE: &str = "ClustersUnreachable";
/// It is being deleted.
pub const DELETING: &str = "Deleting";
/// Deletion makes no progress.
pub const DELETION_BLOCKED: &str = "DeletionBlocked";
/// Every cluster has its schedule.
pub const SCHEDULED: &str = "Scheduled";
/// The schedule is paused.
pub const PAUSED: &str = "Paused";
/// The newest run of some cluster did not complete.
pub const RUNS_FAILING: &str = "RunsFailing";
/// The source is being backed up.
pub const BACKUP_IN_PROGRESS: &str = "BackupInProgress";
/// The targets are being restored.
pub const RESTORE_IN_PROGRESS: &str = "RestoreInProgress";
/// The source backup completed.
pub const BACKUP_COMPLETED: &str = "BackupCompleted";

// Of Fleet, its members and plugins

/// Everything is ready.
pub const READY: &str = "Ready";
/// Some members are missing or not ready.
pub const MEMBERS_NOT_READY: &str = "MembersNotReady";
/// Some plugins are not ready.
pub const PLUGINS_NOT_READY: &str = "PluginsNotReady";
/// A plugin failed.
pub const PLUGIN_FAILED: &str = "PluginFailed";
/// A control plane is asked for, which is not offered.
pub const CONTROL_PLANE_UNSUPPORTED: &str = "ControlPlaneUnsupported";
/// The fleet is being deleted.
pub const TERMINATING: &str = "Terminating";
/// Two members have one name.
pub const DUPLICATE_MEMBER: &str = "DuplicateMember";
/// Another fleet has claimed the cluster.
pub const CLAIMED_BY_OTHER_FLEET: &str = "ClaimedByOtherFleet";
/// The member is not ready.
pub const NOT_READY: &str = "NotReady";
/// No controller serves this plugin: is it installed?
pub const NO_CONTROLLER: &str = "NoController";
/// It is being installed.
pub const INSTALLING: &str = "Installing";
/// A cluster has not answered yet.
pub const WAITING_FOR_CLUSTER: &str = "WaitingForCluster";
/// The Secret does not exist.
pub const CREDENTIALS_NOT_FOUND: &str = "CredentialsNotFound";
/// A key of the Secret is missing.
pub const CREDENTIALS_INCOMPLETE: &str = "CredentialsIncomplete";
/// The provider is not supported.
pub const PROVIDER_UNSUPPORTED: &str = "ProviderUnsupported";
/// The installation failed.
pub const INSTALL_FAILED: &str = "InstallFailed";
/// The upgrade failed.
pub const UPGRADE_FAILED: &str = "UpgradeFailed";
/// Flux is not installed on the hub.
pub const FLUX_NOT_INSTALLED: &str = "FluxNotInstalled";
/// A check before the installation failed.
pub const PREFLIGHT_FAILED: &str = "PreflightFailed";
/// Ceph warns.
pub const CEPH_HEALTH_WARN: &str = "CephHealthWarn";
/// Ceph reports errors.
pub const CEPH_HEALTH_ERROR: &str = "CephHealthError";
/// Ceph does not report.
pub const CEPH_NOT_REPORTING: &str = "CephNotReporting";
/// The storage is still used.
pub const STORAGE_IN_USE: &str = "StorageInUse";
/// The storage was removed without confirmation.
pub const STORAGE_RETAINED: &str = "StorageRetained";
/// It is being removed.
pub const REMOVING: &str = "Removing";
/// Removal makes no progress.
pub const REMOVAL_BLOCKED: &str = "RemovalBlocked";

// Of AttachedCluster

/// The cluster answers.
pub const CONNECTED: &str = "Connected";
/// The first answer has not come yet.
pub const CONNECTING: &str = "Connecting";
/// It answers, not as it should.
pub const DEGRADED: &str = "Degraded";
/// The Secret does not exist.
pub const SECRET_NOT_FOUND: &str = "SecretNotFound";
/// The Secret has no such key.
pub const SECRET_KEY_NOT_FOUND: &str = "SecretKeyNotFound";
/// The kubeconfig cannot be read.
pub const KUBECONFIG_INVALID: &str = "KubeconfigInvalid";
/// The kubeconfig asks for something that is refused: a program, a file, plain http.
pub const KUBECONFIG_REFUSED: &str = "KubeconfigRefused";
/// The API server, or what is in front of it, speaks no HTTP/2.
pub const HTTP2_REQUIRED: &str = "Http2Required";
/// A certificate is not valid.
pub const CERTIFICATE_INVALID: &str = "CertificateInvalid";
/// Some rights are missing.
pub const ACCESS_INCOMPLETE: &str = "AccessIncomplete";
/// cluster-proxy, which would know, does not answer.
pub const PROXY_NOT_RESPONDING: &str = "ProxyNotResponding";
/// The credentials work and will expire soon.
pub const CREDENTIALS_EXPIRING: &str = "CredentialsExpiring";
/// The connection is being closed.
pub const DRAINING: &str = "Draining";
/// A Fleet or an unfinished operation still needs it.
pub const IN_USE: &str = "InUse";

#[cfg(test)]
#[path = "reason_tests.rs"]
mod tests;
