//! Velero is removed from a member, with its definitions, after objects were claimed there and before
//! they are made. It is not put back, so this has a bed of its own.

use anyhow::ensure;
use api_types::external::velero;
use api_types::migrate::Migrate;
use api_types::phase::{EntryPhase, Phase};
use api_types::restore::{Restore, RestoreSpec};
use e2e::specs::demo_backup;
use e2e::{MemberView, PATIENCE, Stack, Tenant, await_gone, await_object, entry, reason};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use testbed::{apply_yaml, wait_ok};

use crate::migrate;
use crate::restore;

const NAME: &str = "uninstalled";
const STAYS: &str = "stays";
const LEAVES: &str = "leaves";

/// No Velero Backup and no Velero Restore is made in a member any more.
const RULE: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-velero}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - {apiGroups: [velero.io], apiVersions: [v1], operations: [CREATE], resources: [backups, restores]}
  validations: [{expression: "false", message: "not today"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-velero}
spec: {policyName: no-velero, validationActions: [Deny]}
"#;

async fn refuse(view: &MemberView) {
    apply_yaml(&view.client, RULE).await.unwrap();
    let backups: Api<velero::Backup> = view.velero();
    let mut another = velero::Backup::default();
    another.metadata.name = Some("another".to_owned());
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    wait_ok("the rule to hold", PATIENCE, async || {
        let refused = backups.create(&dry_run, &another).await;
        ensure!(refused.is_err_and(|error| error.to_string().contains("not today")));
        Ok(())
    })
    .await
    .unwrap();
}

/// As `kubectl delete crd` of all that is Velero's.
async fn remove_definitions(view: &MemberView) {
    let definitions: Api<CustomResourceDefinition> = Api::all(view.client.clone());
    let all = definitions.list(&ListParams::default()).await.unwrap();
    let all = all.items.into_iter();
    let velero: Vec<_> = all.filter(|of| of.spec.group == "velero.io").collect();
    assert!(velero.len() > 5, "{velero:?}");
    for of in velero {
        let name = of.name_any();
        let params = DeleteParams::default();
        definitions.delete(&name, &params).await.unwrap();
        await_gone(&definitions, &name, PATIENCE).await.unwrap();
    }
}

async fn wait_migrate(tenant: &Tenant, what: &str, holds: impl FnMut(&Migrate) -> bool) -> Migrate {
    let migrates: Api<Migrate> = tenant.api();
    let found = await_object(&migrates, "caught", what, PATIENCE, holds).await;
    found.unwrap()
}

fn source_says(migrate: &Migrate, why: &str) -> bool {
    let status = migrate.status.as_ref();
    let source = status.and_then(|status| status.source_cluster_status.as_ref());
    source.is_some_and(|source| source.reason.as_deref() == Some(why))
}

/// A Backup and a Restore with a near deadline, and a Migrate with a far one, that are all refused.
async fn claim(tenant: &Tenant) {
    let mut spec = demo_backup();
    spec.start_deadline = "40s".into();
    tenant.back_up("caught", spec).await.unwrap();
    let spec = RestoreSpec {
        start_deadline: "40s".into(),
        ..restore::into("before", &[LEAVES])
    };
    tenant.restore("caught", spec).await.unwrap();
    let spec = migrate::from(LEAVES, &[STAYS], migrate::only("default"));
    let migrates: Api<Migrate> = tenant.api();
    let migrate = Migrate::new("caught", spec);
    let params = PostParams::default();
    migrates.create(&params, &migrate).await.unwrap();

    let what = "what the member refuses";
    let refused = |backup: &_| reason(backup, LEAVES) == "BackupRejected";
    tenant.wait_backup("caught", what, refused).await.unwrap();
    let refused = |of: &Restore| restore::reason(of, LEAVES) == "RestoreRejected";
    tenant.wait_restore("caught", what, refused).await.unwrap();
    wait_migrate(tenant, what, |seen| source_says(seen, "BackupRejected")).await;
}

#[tokio::test]
async fn what_was_claimed_where_velero_is_removed_ends_at_the_deadline_or_when_it_is_cancelled() {
    let stack = Stack::builder(NAME)
        .velero_member(STAYS)
        .velero_member(LEAVES);
    let stack = stack.start().await.unwrap();
    let clusters = [STAYS, LEAVES].map(|name| stack.attach(name).unwrap());
    let tenant = stack.tenant(NAME, &clusters).await.unwrap();
    let view = MemberView::of(stack.member(LEAVES).unwrap()).unwrap();
    tenant.back_up("before", demo_backup()).await.unwrap();
    let before = tenant.wait_phase("before", Phase::Completed).await.unwrap();
    refuse(&view).await;
    claim(&tenant).await;

    remove_definitions(&view).await;

    let backup = tenant.wait_phase("caught", Phase::PartiallyFailed).await;
    let backup = backup.unwrap();
    assert_eq!(reason(&backup, LEAVES), "StartDeadlineExceeded");
    assert_eq!(entry(&backup, LEAVES).unwrap().phase, EntryPhase::Failed);
    assert_eq!(entry(&backup, STAYS).unwrap().phase, EntryPhase::Completed);
    let restored = restore::in_phase(&tenant, "caught", Phase::Failed).await;
    assert_eq!(restore::reason(&restored, LEAVES), "StartDeadlineExceeded");

    // Its deadline is a day off.
    let what = "what is missing";
    let waits = |seen: &Migrate| source_says(seen, "VeleroNotInstalled");
    wait_migrate(&tenant, what, waits).await;
    let patch = Patch::Merge(json!({ "spec": { "cancel": true } }));
    let params = PatchParams::default();
    let migrates: Api<Migrate> = tenant.api();
    migrates.patch("caught", &params, &patch).await.unwrap();
    let failed = |seen: &Migrate| {
        let phase = seen.status.as_ref().and_then(|status| status.phase);
        phase == Some(Phase::Failed)
    };
    let ended = wait_migrate(&tenant, "phase Failed", failed).await;
    assert!(source_says(&ended, "Cancelled"), "{ended:?}");

    // What had ended stays as it ended.
    let shown = tenant.backups().get("before").await.unwrap();
    let entries = |of: &api_types::backup::Backup| of.status.clone().unwrap().backup_details;
    assert_eq!(entries(&shown), entries(&before));
}
