//! Every label, annotation, finalizer and field manager, and the other fixed names.

// Labels of objects on members

/// Label: name of the hub's Backup, as a label value.
pub const BACKUP_NAME: &str = "kurator.dev/backup-name";
/// Label: name of the hub's Restore, as a label value.
pub const RESTORE_NAME: &str = "kurator.dev/restore-name";
/// Label: name of the hub's Migrate, as a label value.
pub const MIGRATE_NAME: &str = "kurator.dev/migrate-name";
/// Label: uid of the hub object. Ownership, deletion and watches go by it.
pub const OWNER_UID: &str = "kurator.dev/owner-uid";
/// Label: [`crate::names::MemberId`] of the member. Another value marks a synced copy, which is
/// restored from and never deleted through.
pub const MEMBER: &str = "kurator.dev/member";
/// In a subscription's selector, what the proxy replaces by the member's [`crate::names::MemberId`].
pub const MEMBER_VARIABLE: &str = "$(member)";
/// Label: name of the member as a label value, for people.
pub const CLUSTER: &str = "kurator.dev/cluster";
/// Label: name of the Fleet. Also on the AttachedClusters of the fleet.
pub const FLEET_NAME: &str = "fleet.kurator.dev/fleet-name";
/// Label: name of the plugin; `backup` on Velero objects.
pub const PLUGIN: &str = "fleet.kurator.dev/plugin";
/// Label of plugin objects: name of the Fleet.
pub const PLUGIN_FLEET: &str = "fleet.kurator.dev/name";
/// Label of plugin objects: name of the component.
pub const COMPONENT: &str = "fleet.kurator.dev/component";
/// Label of plugin objects: who manages them.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`], Kurator v0.5.0's.
pub const MANAGED_BY_VALUE: &str = "fleet-manager";

/// Label of our copies of another member's Velero Backups: name of the read-only location that they
/// lie in, shortened as Velero would.
pub const COPIED_INTO: &str = "kurator.dev/copied-into";

// Velero's labels. Their values are shortened with `names::velero_label_value`, but for the schedule's.

/// Velero's label: name of the Schedule that made a Backup, never shortened.
pub const VELERO_SCHEDULE_NAME: &str = "velero.io/schedule-name";
/// Velero's label: name of the BackupStorageLocation.
pub const VELERO_STORAGE_LOCATION: &str = "velero.io/storage-location";
/// Velero's label: name of the Velero Backup.
pub const VELERO_BACKUP_NAME: &str = "velero.io/backup-name";
/// Velero's label: uid of the Velero Backup.
pub const VELERO_BACKUP_UID: &str = "velero.io/backup-uid";
/// Velero's label: name of the Velero Restore.
pub const VELERO_RESTORE_NAME: &str = "velero.io/restore-name";

// Annotations

/// Annotation of member objects: `<Kind>/<namespace>/<name>` of the hub object, unshortened.
pub const HUB_OBJECT: &str = "kurator.dev/hub-object";
/// Annotation of member objects: `<Kind>/<name>` of the member, unshortened.
pub const CLUSTER_REF: &str = "kurator.dev/cluster-ref";
/// Annotation of a location that a Fleet keeps: uid of the hub's `kube-system`, since Fleets of two hubs
/// may have one name.
pub const HUB_UID: &str = "kurator.dev/hub-uid";
/// Annotation of a location that is read-only since somebody else stores there: why, and what to do.
pub const STORE_COLLISION: &str = "kurator.dev/store-collision";
/// Annotation of hub objects that are being deleted: `"true"` gives up on what cannot be reached.
pub const FORCE_DELETE: &str = "kurator.dev/force-delete";
/// Annotation of a scheduled Backup: each new value asks for one run now.
pub const RUN_NOW: &str = "kurator.dev/run-now";
/// Annotation of an AttachedCluster: it takes over the stores of the members with these ids, separated
/// by commas.
pub const ADOPT_STORE: &str = "kurator.dev/adopt-store";
/// Annotation of a member's hub object: `"true"` lets its kubeconfig say `insecure-skip-tls-verify`,
/// where the proxy was started with `--allow-insecure-members`.
pub const INSECURE: &str = "cluster.kurator.dev/insecure-skip-tls-verify";
/// Annotation of a Fleet: Kurator v0.5.0's control plane, which is not offered.
pub const CONTROL_PLANE: &str = "fleet.kurator.dev/controlplane";
/// Prefix of the annotations of a read-only location that name who uses it.
pub const LOCATION_USE_PREFIX: &str = "use.kurator.dev/";

// Finalizers

/// Finalizer of a Backup.
pub const BACKUP_FINALIZER: &str = "backup.kurator.dev";
/// Finalizer of a Restore.
pub const RESTORE_FINALIZER: &str = "restore.kurator.dev";
/// Finalizer of a Migrate.
pub const MIGRATE_FINALIZER: &str = "migrate.kurator.dev";
/// Finalizer of a Fleet. The last one to go.
pub const FLEET_FINALIZER: &str = "fleet.kurator.dev";
/// Finalizer of a Fleet whose backup plugin has put something on members or on the hub.
pub const FLEET_BACKUP_FINALIZER: &str = "fleet.kurator.dev/backup";
/// Finalizer of a Fleet whose storage plugin has put something on members or on the hub.
pub const FLEET_STORAGE_FINALIZER: &str = "fleet.kurator.dev/distributed-storage";
/// Finalizer of an AttachedCluster that a Fleet or an unfinished operation needs.
pub const CLUSTER_FINALIZER: &str = "cluster.kurator.dev";

// Field managers

/// Field manager of fleet-controller.
pub const FLEET_MANAGER: &str = "kurator-fleet-controller";
/// Field manager of backup-controller.
pub const BACKUP_MANAGER: &str = "kurator-backup-controller";
/// Field manager of migrate-controller.
pub const MIGRATE_MANAGER: &str = "kurator-migrate-controller";
/// Field manager of storage-controller.
pub const STORAGE_MANAGER: &str = "kurator-storage-controller";
/// Field manager of the spec of a read-only location, shared by the controllers that make one.
pub const LOCATION_MANAGER: &str = "kurator-location";
/// Prefix of the field manager of one use of a read-only location; the hub object's uid follows.
pub const LOCATION_USE_MANAGER_PREFIX: &str = "kurator-use-";

// Fixed names

/// Namespace of Velero in every member.
pub const VELERO_NAMESPACE: &str = "velero";
/// The BackupStorageLocation that is used when a policy names none.
pub const DEFAULT_STORAGE_LOCATION: &str = "default";
/// Namespace whose uid identifies a cluster.
pub const IDENTITY_NAMESPACE: &str = "kube-system";
