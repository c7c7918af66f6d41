//! Velero is removed from a member, with its definitions, after objects were claimed there and before
//! they are made; and comes back while something waits for it. This has a bed of its own.

use api_types::backup::Backup;
use api_types::external::velero;
use api_types::migrate::Migrate;
use api_types::phase::{EntryPhase, Phase};
use api_types::restore::{Restore, RestoreSpec};
use e2e::specs::demo_backup;
use e2e::{MemberView, PATIENCE, Stack, Tenant, await_gone, entry, reason};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt};
use testbed::{apply_yaml, wait_ok};

use crate::migrate;
use crate::restore;
use crate::world::{wait_established, wait_refused};

const NAME: &str = "uninstalled";
const STAYS: &str = "stays";
const LEAVES: &str = "leaves";
/// Far enough for all to be claimed before, on a busy machine too.
const NEAR: &str = "90s";
/// What the rule says.
const REFUSAL: &str = "not today";

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

/// What is Velero's of a member, but for its namespace.
struct Installed {
    definitions: Vec<CustomResourceDefinition>,
    location: velero::BackupStorageLocation,
}

fn definitions(view: &MemberView) -> Api<CustomResourceDefinition> {
    Api::all(view.client.clone())
}

/// As `kubectl delete crd` of all that is Velero's. Gives what it was.
async fn remove(view: &MemberView) -> Installed {
    let location = view.velero().get("default").await.unwrap();
    let definitions = definitions(view);
    let all = definitions.list(&ListParams::default()).await.unwrap();
    let all = all.items.into_iter();
    let velero: Vec<_> = all.filter(|of| of.spec.group == "velero.io").collect();
    assert!(velero.len() > 5, "{velero:?}");
    for of in &velero {
        let name = of.name_any();
        let params = DeleteParams::default();
        definitions.delete(&name, &params).await.unwrap();
        await_gone(&definitions, &name, PATIENCE).await.unwrap();
    }
    Installed {
        definitions: velero,
        location,
    }
}

/// As one installs Velero, but for the process.
async fn install(view: &MemberView, installed: Installed) {
    let (definitions, new) = (definitions(view), PostParams::default());
    for of in installed.definitions {
        let name = of.name_any();
        let mut anew = CustomResourceDefinition {
            spec: of.spec,
            ..CustomResourceDefinition::default()
        };
        anew.metadata.name = Some(name.clone());
        definitions.create(&new, &anew).await.unwrap();
        wait_established(&definitions, &name).await;
    }
    let location = velero::BackupStorageLocation::new("default", installed.location.spec);
    wait_ok("the location", PATIENCE, async || {
        Ok(view.velero().create(&new, &location).await.map(drop)?)
    })
    .await
    .unwrap();
}

fn source_says(migrate: &Migrate, why: &str) -> bool {
    migrate::of_source(migrate).reason.as_deref() == Some(why)
}

/// A Backup and a Restore with a near deadline, and a Migrate with a far one, that are all refused.
async fn claim(tenant: &Tenant) {
    let mut spec = demo_backup();
    spec.start_deadline = NEAR.into();
    tenant.back_up("caught", spec).await.unwrap();
    let spec = RestoreSpec {
        start_deadline: NEAR.into(),
        ..restore::into("before", &[LEAVES])
    };
    tenant.restore("caught", spec).await.unwrap();
    let spec = migrate::from(LEAVES, &[STAYS], migrate::only("default"));
    migrate::begin(tenant, "caught", spec).await;

    let what = "what the member refuses";
    let refused = |backup: &_| reason(backup, LEAVES) == "BackupRejected";
    tenant.wait_backup("caught", what, refused).await.unwrap();
    let refused = |of: &Restore| restore::reason(of, LEAVES) == "RestoreRejected";
    tenant.wait_restore("caught", what, refused).await.unwrap();
    let refused = |seen: &Migrate| source_says(seen, "BackupRejected");
    migrate::wait(tenant, "caught", what, refused).await;
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
    apply_yaml(&view.client, RULE).await.unwrap();
    let another = velero::Backup::new("another", velero::BackupSpec::default());
    wait_refused(&view.velero(), &another, REFUSAL).await;
    claim(&tenant).await;

    let installed = remove(&view).await;

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
    migrate::wait(&tenant, "caught", what, waits).await;
    migrate::cancel(&tenant, "caught").await;
    let ended = migrate::in_phase(&tenant, "caught", Phase::Failed).await;
    assert!(source_says(&ended, "Cancelled"), "{ended:?}");

    // What had ended stays as it ended.
    let shown = tenant.backups().get("before").await.unwrap();
    let entries = |of: &Backup| of.status.clone().unwrap().backup_details;
    assert_eq!(entries(&shown), entries(&before));

    // What waits goes on by itself.
    tenant.back_up("later", demo_backup()).await.unwrap();
    let waits = |backup: &Backup| reason(backup, LEAVES) == "VeleroNotInstalled";
    let what = "VeleroNotInstalled";
    tenant.wait_backup("later", what, waits).await.unwrap();
    let rules: Api<ValidatingAdmissionPolicyBinding> = Api::all(view.client.clone());
    let params = DeleteParams::default();
    rules.delete("no-velero", &params).await.unwrap();
    install(&view, installed).await;
    let velero = stack.member(LEAVES).unwrap().velero().unwrap();
    velero.restart(&view.client).await.unwrap();
    tenant.wait_phase("later", Phase::Completed).await.unwrap();
}
