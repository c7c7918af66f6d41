//! The CEL rules of our schemas: what `kubectl apply` refuses, each with the sentence that it says.
//!
//! A rule that names `oldSelf` is a transition rule: the server runs it on updates only.
//! Sizes matter here: the server estimates what a rule costs from the bounds of the lists and strings
//! that it reads, and refuses a CRD, or at run time an object, that is too dear.

/// The rule and its message, as kube's derive macros take them.
pub type CelRule = (&'static str, &'static str);

/// At Backup `spec`.
pub const C1: CelRule = (
    r"(has(self.schedule) && self.schedule != '') == (has(oldSelf.schedule) && oldSelf.schedule != '')",
    "schedule cannot be added or removed later: make a new Backup for the other kind",
);
/// At Backup `spec`.
pub const C2: CelRule = (
    r"(has(self.schedule) && self.schedule != '') || (has(self.policy) == has(oldSelf.policy) && (!has(self.policy) || self.policy == oldSelf.policy))",
    "policy of a one-time Backup cannot change: make a new Backup",
);
/// At Backup `spec`.
pub const C3: CelRule = (
    r"(has(self.schedule) && self.schedule != '') || self.destination == oldSelf.destination",
    "destination of a one-time Backup cannot change: make a new Backup",
);
/// At Backup `spec`.
pub const C4: CelRule = (
    r"!has(self.timeZone) || (has(self.schedule) && self.schedule != '')",
    "timeZone needs a schedule: set schedule or remove timeZone",
);
/// At Backup `spec`.
pub const C5: CelRule = (
    r"!has(self.paused) || !self.paused || (has(self.schedule) && self.schedule != '')",
    "only a scheduled Backup can be paused: set schedule or remove paused",
);
/// At Backup `spec`.
pub const C6: CelRule = (
    r"!has(self.timeZone) || !has(self.schedule) || !self.schedule.contains('TZ=')",
    "schedule names a time zone itself: remove timeZone, or remove the TZ= part of schedule",
);
/// At Backup `spec.schedule`.
pub const C7: CelRule = (
    r"self == '' || self.matches('^((CRON_)?TZ=[A-Za-z0-9_+/-]+ +)?(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|@every ([0-9]+(\\.[0-9]+)?(ns|us|ms|s|m|h))+|[^ @]+( +[^ @]+){4})$')",
    "schedule has five cron fields (minute hour day month weekday), such as '0 3 * * *', or is @daily, @hourly or '@every 6h'",
);
/// At Backup `spec.timeZone`.
pub const C8: CelRule = (
    r"self.matches('^(UTC|[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2})$') && self != 'Local'",
    "timeZone is a name of the IANA time zone database, such as Europe/Berlin or UTC",
);
/// At every Duration.
pub const C9: CelRule = (
    r"self.matches('^(0|([0-9]{1,6}(\\.[0-9]{1,9})?(ns|us|ms|s|m|h)){1,6})$')",
    "write a duration with the units h, m, s, such as 720h or 90m; there is no unit for days, so 30 days are 720h",
);
/// At every Destination.
pub const C10: CelRule = (
    r"!has(self.clusterSelector) || !has(self.clusters) || size(self.clusters) == 0",
    "clusters and clusterSelector exclude each other: keep one of them",
);
/// At every Destination `fleet`.
pub const C11: CelRule = (
    r"self == oldSelf",
    "the fleet cannot change: delete this object and make a new one",
);
/// At every ClusterRef of a list.
pub const C12: CelRule = (
    r"has(self.name) && self.name != ''",
    "each entry of clusters needs a name: write the name of an AttachedCluster",
);
/// At every ClusterRef of a list.
pub const C13: CelRule = (
    r"!has(self.kind) || self.kind in ['', 'AttachedCluster', 'Cluster']",
    "kind of a cluster is AttachedCluster or Cluster",
);
/// At Backup `spec.policy`.
pub const C14: CelRule = (
    r"!(has(self.snapshotMoveData) && self.snapshotMoveData && has(self.snapshotVolumes) && !self.snapshotVolumes)",
    "snapshotMoveData needs volume snapshots: remove snapshotVolumes: false or snapshotMoveData",
);
/// At `policy.resourceFilter` of Backup, Migrate.
pub const C15: CelRule = (
    r"!(((has(self.includedResources) && size(self.includedResources) > 0) || (has(self.excludedResources) && size(self.excludedResources) > 0) || (has(self.includeClusterResources))) && ((has(self.includedClusterScopedResources) && size(self.includedClusterScopedResources) > 0) || (has(self.excludedClusterScopedResources) && size(self.excludedClusterScopedResources) > 0) || (has(self.includedNamespaceScopedResources) && size(self.includedNamespaceScopedResources) > 0) || (has(self.excludedNamespaceScopedResources) && size(self.excludedNamespaceScopedResources) > 0)))",
    "includedResources, excludedResources and includeClusterResources do not mix with the four ...ScopedResources fields: use one family",
);
/// At every `resourceFilter`.
pub const C16: CelRule = (
    r"!(has(self.labelSelector) && has(self.orLabelSelectors) && size(self.orLabelSelectors) > 0)",
    "labelSelector and orLabelSelectors exclude each other: put the one selector into orLabelSelectors",
);
/// At every `resourceFilter`.
pub const C17: CelRule = (
    r"!has(self.includedNamespaces) || !has(self.excludedNamespaces) || !self.includedNamespaces.exists(n, n in self.excludedNamespaces)",
    "a namespace is both in includedNamespaces and in excludedNamespaces: remove it from one of them",
);
/// At every `resourceFilter`.
pub const C18: CelRule = (
    r"!has(self.excludedNamespaces) || !('*' in self.excludedNamespaces)",
    "excludedNamespaces cannot hold '*': name each namespace",
);
/// At every `resourceFilter`.
pub const C19: CelRule = (
    r"!has(self.includedNamespaces) || size(self.includedNamespaces) < 2 || !('*' in self.includedNamespaces)",
    "'*' stands alone in includedNamespaces: remove the other entries or the '*'",
);
/// At every `resourceFilter`.
pub const C20: CelRule = (
    r"!has(self.includedResources) || !has(self.excludedResources) || !self.includedResources.exists(n, n in self.excludedResources)",
    "a resource is both in includedResources and in excludedResources: remove it from one of them",
);
/// At every `resourceFilter`.
pub const C21: CelRule = (
    r"!has(self.excludedResources) || !('*' in self.excludedResources)",
    "excludedResources cannot hold '*': name each resource",
);
/// At every `resourceFilter`.
pub const C22: CelRule = (
    r"!has(self.includedResources) || size(self.includedResources) < 2 || !('*' in self.includedResources)",
    "'*' stands alone in includedResources: remove the other entries or the '*'",
);
/// At `policy.resourcePolicy.kind`, `policy.resourceModifier.kind`.
pub const C23: CelRule = (
    r"self.lowerAscii() == 'configmap'",
    "kind must be configmap",
);
/// At Restore `spec`.
pub const C24: CelRule = (
    r"self.backupName == oldSelf.backupName && (has(self.destination) == has(oldSelf.destination) && (!has(self.destination) || self.destination == oldSelf.destination)) && (has(self.pointInTime) == has(oldSelf.pointInTime) && (!has(self.pointInTime) || self.pointInTime == oldSelf.pointInTime)) && (has(self.sourceCluster) == has(oldSelf.sourceCluster) && (!has(self.sourceCluster) || self.sourceCluster == oldSelf.sourceCluster))",
    "what a Restore restores cannot change: make a new Restore",
);
/// At Restore `spec`.
pub const C25: CelRule = (
    r"has(self.policy) == has(oldSelf.policy) && (!has(self.policy) || self.policy == oldSelf.policy)",
    "policy of a Restore cannot change: make a new Restore",
);
/// At Restore `spec`.
pub const C26: CelRule = (
    r"!has(self.sourceCluster) || has(self.destination)",
    "sourceCluster needs a destination: name the clusters to restore into",
);
/// At Migrate `spec`.
pub const C27: CelRule = (
    r"self.sourceCluster == oldSelf.sourceCluster && self.targetCluster == oldSelf.targetCluster",
    "sourceCluster and targetCluster of a Migrate cannot change: make a new Migrate",
);
/// At Migrate `spec`.
pub const C28: CelRule = (
    r"has(self.policy) == has(oldSelf.policy) && (!has(self.policy) || self.policy == oldSelf.policy)",
    "policy of a Migrate cannot change: make a new Migrate",
);
/// At Migrate `spec`.
pub const C29: CelRule = (
    r"!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)",
    "a cancelled Migrate cannot go on: make a new Migrate",
);
/// At Migrate `spec.sourceCluster`.
pub const C30: CelRule = (
    r"has(self.clusters) && size(self.clusters) == 1 && !has(self.clusterSelector)",
    "sourceCluster names exactly one cluster: write one entry under sourceCluster.clusters",
);
/// At Fleet `backup.storage.location`.
pub const C31: CelRule = (
    r"self.provider != 'huaweicloud' || (has(self.endpoint) && self.endpoint != '')",
    "provider huaweicloud needs an endpoint, such as https://obs.cn-south-1.myhuaweicloud.com",
);
/// At Fleet `backup.storage.location`.
pub const C32: CelRule = (
    r"!has(self.layout) || self.layout != 'Shared' || !has(self.prefix) || self.prefix == ''",
    "layout Shared uses the root of the bucket: remove prefix or set layout to PerCluster",
);
/// At Fleet `backup.storage.location.bucket`.
pub const C33: CelRule = (
    r"!self.contains('/')",
    "bucket is a name without '/': put the folder into prefix",
);
/// At Fleet `backup.storage.location.endpoint`.
pub const C34: CelRule = (
    r"self == '' || self.startsWith('http://') || self.startsWith('https://')",
    "endpoint starts with http:// or https://",
);
/// At Fleet `backup.storage.location.prefix`.
pub const C35: CelRule = (
    r"self == '' || self.matches('^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$')",
    "prefix is a path such as team-a/prod, without '/' at its start or end",
);
/// At Fleet `distributedStorage.storage`.
pub const C36: CelRule = (
    r"(has(self.blockPools) ? self.blockPools.filter(p, has(p.storageClass) && has(p.storageClass.default) && p.storageClass.default).size() : 0) + (has(self.filesystems) ? self.filesystems.filter(p, has(p.storageClass) && has(p.storageClass.default) && p.storageClass.default).size() : 0) <= 1",
    "only one StorageClass can be the default: remove default: true from the others",
);
/// At Fleet `distributedStorage.storage`.
pub const C37: CelRule = (
    r"!has(oldSelf.dataDirHostPath) || (has(self.dataDirHostPath) && self.dataDirHostPath == oldSelf.dataDirHostPath)",
    "dataDirHostPath cannot change while the storage exists: remove the plugin first",
);
/// At Fleet `distributedStorage.storage.storage`.
pub const C38: CelRule = (
    r"!(has(self.useAllDevices) && self.useAllDevices && has(self.deviceFilter) && self.deviceFilter != '')",
    "useAllDevices: true and deviceFilter exclude each other: remove one of them",
);
/// At Fleet `distributedStorage.storage.storage.devices[]` and `nodes[].devices[]`.
pub const C39: CelRule = (
    r"has(self.name) || has(self.fullpath)",
    "a device needs a name, such as sdb or /dev/disk/by-id/...",
);
/// At every pool.
pub const C40: CelRule = (
    r"!(has(self.replicas) && has(self.erasureCoding))",
    "replicas and erasureCoding exclude each other: keep one of them",
);
/// At the `name` of a pool.
pub const C41: CelRule = (
    r"self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",
    "name has lower-case letters, digits, '-' and '.' only",
);
/// At Fleet `distributedStorage.storage.cleanup.confirmation`.
pub const C42: CelRule = (
    r"self in ['', 'yes-really-destroy-data']",
    "confirmation is empty, or exactly yes-really-destroy-data to let removal wipe all data of this storage",
);
/// At AttachedCluster, about its `spec`.
pub const C43: CelRule = (
    r"has(self.spec.kubeconfig)",
    "spec.kubeconfig must be set: name the Secret that holds the kubeconfig of the cluster",
);
/// At AttachedCluster `spec.kubeconfig.name`.
pub const C44: CelRule = (
    r"self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
    "kubeconfig.name is the name of a Secret: lower-case letters, digits, '-' and '.'",
);
/// At AttachedCluster `spec.kubeconfig.key`.
pub const C45: CelRule = (
    r"self.matches('^[-._a-zA-Z0-9]+$')",
    "kubeconfig.key is a key of the Secret: letters, digits, '-', '_' and '.'",
);

/// All rules, C1 first.
pub const ALL: [CelRule; 45] = [
    C1, C2, C3, C4, C5, C6, C7, C8, C9, C10, C11, C12, C13, C14, C15, C16, C17, C18, C19, C20, C21,
    C22, C23, C24, C25, C26, C27, C28, C29, C30, C31, C32, C33, C34, C35, C36, C37, C38, C39, C40,
    C41, C42, C43, C44, C45,
];
