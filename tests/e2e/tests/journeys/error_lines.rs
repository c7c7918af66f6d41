//! A restore that went wrong says what Velero wrote down of it, if the Fleet vouches for where that
//! lies; else how many errors there are, and how to see them.

use anyhow::ensure;
use api_types::external::velero;
use api_types::fleet::Fleet;
use api_types::labels;
use api_types::phase::{EntryPhase, Phase};
use api_types::restore::{Restore, RestoreDetail, RestoreSpec};
use e2e::specs::demo_backup;
use e2e::{FLEET, PATIENCE, Tenant};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testbed::{apply_yaml, wait_ok};

use crate::world::{ONE, TWO, stack, tenant, view};

/// The application, and the namespace that it has to itself.
const APP: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: error-lines}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: greeting, namespace: error-lines}
data: {greeting: hello}
";
const NAMESPACE: &str = "error-lines";

/// What a member's API server refuses from now on.
const RULE: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: error-lines}
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: error-lines}}
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
  validations: [{expression: "object.metadata.name != 'greeting'", message: "no greetings today"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: error-lines}
spec: {policyName: error-lines, validationActions: [Deny]}
"#;
const REFUSAL: &str = "no greetings today";

#[tokio::test]
async fn a_restore_that_went_wrong_quotes_velero_if_the_fleet_vouches_for_where_its_results_lie() {
    let tenant = tenant(NAMESPACE).await;
    for member in [ONE, TWO] {
        apply_yaml(&view(member).await.client, APP).await.unwrap();
    }
    let mut spec = demo_backup();
    let policy = json!({ "resourceFilter": { "includedNamespaces": [NAMESPACE] } });
    spec.policy = serde_json::from_value(policy).unwrap();
    tenant.back_up("all", spec).await.unwrap();
    tenant.wait_phase("all", Phase::Completed).await.unwrap();
    refuse_greetings().await;

    let endpoint = stack().await.bed().s3().unwrap().endpoint();
    let elsewhere = "http://127.0.0.1:1";
    let table = [
        ("no-place", None, false),
        ("another-place", Some([elsewhere, elsewhere]), false),
        ("endpoint", Some([&endpoint, elsewhere]), true),
        ("public-url", Some([elsewhere, &endpoint]), true),
    ];
    for (name, place, told) in table {
        name_place(&tenant, place).await;
        let restore = restore(&tenant, name).await;
        let details = &restore.status.as_ref().unwrap().restore_details;
        let [one, two] = details.as_slice() else {
            panic!("{details:?}");
        };
        assert_eq!(two.phase, EntryPhase::Completed, "{two:?}");
        assert_eq!(one.phase, EntryPhase::PartiallyFailed, "{one:?}");
        assert_eq!(one.reason.as_deref(), Some("RestorePartiallyFailed"));
        assert_message(one, told);
        wait_no_request_left(&restore).await;
    }
    allow_greetings().await;
}

/// What the Fleet says of its object storage: `endpoint` and `config.publicUrl`.
async fn name_place(tenant: &Tenant, place: Option<[&str; 2]>) {
    let plugin = place.map(|[endpoint, public_url]| {
        let location = json!({
            "bucket": "not-used",
            "provider": "aws",
            "endpoint": endpoint,
            "config": { "publicUrl": public_url },
        });
        json!({ "backup": { "storage": { "location": location, "secretName": "not-used" } } })
    });
    let patch: Value = json!({ "spec": { "plugin": plugin } });
    tenant
        .api::<Fleet>()
        .patch(FLEET, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

/// Restores all, to the end.
async fn restore(tenant: &Tenant, name: &str) -> Restore {
    let spec = RestoreSpec {
        backup_name: "all".to_owned(),
        ..RestoreSpec::default()
    };
    tenant.restore(name, spec).await.unwrap();
    let done = |restore: &Restore| {
        let status = restore.status.as_ref();
        status.is_some_and(|status| status.phase == Some(Phase::PartiallyFailed))
    };
    let what = "phase PartiallyFailed";
    tenant.wait_restore(name, what, done).await.unwrap()
}

fn assert_message(entry: &RestoreDetail, told: bool) {
    let velero = entry.restore_status_in_cluster.as_ref().unwrap();
    let counts = format!(
        "{} errors, {} warnings: ",
        velero.errors.unwrap(),
        velero.warnings.unwrap_or(0)
    );
    let message = entry.message.as_deref().unwrap();
    let more = message.strip_prefix(&counts).unwrap_or_else(|| {
        panic!("{message} does not begin with {counts}");
    });
    if told {
        assert!(more.contains(REFUSAL), "{message}");
        assert!(message.len() <= 256, "{message}");
    } else {
        let name = entry.restore_name_in_cluster.as_deref().unwrap();
        assert_eq!(more, format!("see `velero restore describe {name}` there"));
    }
}

/// Nothing that was asked stays, whatever came of it.
async fn wait_no_request_left(restore: &Restore) {
    let requests: Api<velero::DownloadRequest> = view(ONE).await.velero();
    let ours = format!("{}={}", labels::OWNER_UID, restore.uid().unwrap());
    let ours = ListParams::default().labels(&ours);
    wait_ok("an end of the DownloadRequest", PATIENCE, async || {
        let left = requests.list(&ours).await?.items;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
    .unwrap();
}

/// Removes the greeting of the first member, and waits until it cannot come back.
async fn refuse_greetings() {
    let client = view(ONE).await.client;
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let greeting = config_maps.get("greeting").await.unwrap();
    let now = DeleteParams::default();
    config_maps.delete("greeting", &now).await.unwrap();
    apply_yaml(&client, RULE).await.unwrap();
    let mut again = ConfigMap::default();
    again.metadata.name = greeting.metadata.name;
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    wait_ok("the rule to hold", PATIENCE, async || {
        let refused = config_maps.create(&dry_run, &again).await;
        ensure!(refused.is_err_and(|error| error.to_string().contains(REFUSAL)));
        Ok(())
    })
    .await
    .unwrap();
}

async fn allow_greetings() {
    let client = view(ONE).await.client;
    let now = DeleteParams::default();
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    bindings.delete(NAMESPACE, &now).await.unwrap();
    let rules: Api<ValidatingAdmissionPolicy> = Api::all(client);
    rules.delete(NAMESPACE, &now).await.unwrap();
}
