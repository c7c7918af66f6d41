//! A restore that went wrong says what Velero wrote down of it, if the Fleet vouches for where that
//! lies; else how many errors there are, and how to see them.

use anyhow::ensure;
use api_types::backup::BackupPolicy;
use api_types::external::velero;
use api_types::fleet::Fleet;
use api_types::labels;
use api_types::phase::{EntryPhase, Phase};
use api_types::restore::{Restore, RestoreDetail};
use e2e::specs::demo_backup;
use e2e::{FLEET, PATIENCE, Tenant};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use testbed::{apply_yaml, wait_ok};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::locations::{make_location, wait_location};
use crate::restarts;
use crate::restore::{details, in_phase, objects_of, of};
use crate::world::{ONE, TWO, stack, tenant, view, wait_refused};

const REFUSAL: &str = "no greetings today";

/// An application in a namespace that it has to itself, which a member can be made to refuse.
struct Greeting(&'static str);

impl Greeting {
    async fn deploy(&self, member: &str) {
        let name = self.0;
        let manifest = format!(
            r"
apiVersion: v1
kind: Namespace
metadata: {{name: {name}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: greeting, namespace: {name}}}
data: {{greeting: hello}}
"
        );
        let client = view(member).await.client;
        apply_yaml(&client, &manifest).await.unwrap();
    }

    fn policy(&self) -> BackupPolicy {
        let policy = json!({ "resourceFilter": { "includedNamespaces": [self.0] } });
        serde_json::from_value(policy).unwrap()
    }

    /// Removes the greeting of the first member, and waits until it cannot come back.
    async fn refuse(&self) {
        let name = self.0;
        let rule = format!(
            r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {name}}}
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {name}}}}}
    resourceRules: [{{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}}]
  validations: [{{expression: "object.metadata.name != 'greeting'", message: "{REFUSAL}"}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {name}}}
spec: {{policyName: {name}, validationActions: [Deny]}}
"#
        );
        let client = view(ONE).await.client;
        let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), name);
        let now = DeleteParams::default();
        config_maps.delete("greeting", &now).await.unwrap();
        apply_yaml(&client, &rule).await.unwrap();
        let mut again = ConfigMap::default();
        again.metadata.name = Some("greeting".to_owned());
        wait_refused(&config_maps, &again, REFUSAL).await;
    }

    async fn allow(&self) {
        let client = view(ONE).await.client;
        let now = DeleteParams::default();
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
        bindings.delete(self.0, &now).await.unwrap();
        let rules: Api<ValidatingAdmissionPolicy> = Api::all(client);
        rules.delete(self.0, &now).await.unwrap();
    }
}

#[tokio::test]
async fn a_restore_that_went_wrong_quotes_velero_if_the_fleet_vouches_for_where_its_results_lie() {
    const GREETING: Greeting = Greeting("error-lines");
    let tenant = tenant(GREETING.0).await;
    for member in [ONE, TWO] {
        GREETING.deploy(member).await;
    }
    let mut spec = demo_backup();
    spec.policy = Some(GREETING.policy());
    tenant.back_up("all", spec).await.unwrap();
    tenant.wait_phase("all", Phase::Completed).await.unwrap();
    GREETING.refuse().await;

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
    GREETING.allow().await;
}

#[tokio::test]
async fn backup_controller_may_be_killed_while_it_reads_what_went_wrong() {
    const GREETING: Greeting = Greeting("kill-error-lines");
    let (hub, _turn) = restarts::hub().await;
    let members = stack().await;
    let clusters = [members.attach(ONE).unwrap()];
    let tenant = hub.tenant(GREETING.0, &clusters).await.unwrap();
    let victim = hub.backup_controller();
    let s3 = members.bed().s3().unwrap();
    let mut slow = SlowStore::start(&s3.endpoint()).await;
    name_place(&tenant, Some(["http://127.0.0.1:1", &slow.url])).await;
    s3.create_bucket(GREETING.0).unwrap();
    let location = make_location(ONE, GREETING.0, |spec| {
        GREETING.0.clone_into(&mut spec.object_storage.bucket);
        spec.config.insert("publicUrl".to_owned(), slow.url.clone());
    });
    location.await;
    wait_location(ONE, GREETING.0, "Available").await;
    GREETING.deploy(ONE).await;
    let mut spec = demo_backup();
    spec.policy = Some(BackupPolicy {
        storage_location: Some(GREETING.0.to_owned()),
        ..GREETING.policy()
    });
    tenant.back_up("all", spec).await.unwrap();
    tenant.wait_phase("all", Phase::Completed).await.unwrap();
    GREETING.refuse().await;

    tenant.restore("killed", of("all")).await.unwrap();
    timeout(PATIENCE, &mut slow.asked).await.unwrap().unwrap();
    let reading = tenant.restores().get("killed").await.unwrap();
    let phase = reading.status.as_ref().and_then(|status| status.phase);
    assert_eq!(phase, Some(Phase::InProgress), "nothing is final before");
    victim.restart().await.unwrap();
    let restore = in_phase(&tenant, "killed", Phase::PartiallyFailed).await;
    let [one] = details(&restore) else {
        panic!("{restore:?}");
    };
    assert_eq!(one.reason.as_deref(), Some("RestorePartiallyFailed"));
    assert_message(one, true);
    assert_eq!(objects_of(&restore, ONE).await.len(), 1);
    wait_no_request_left(&restore).await;
    GREETING.allow().await;
}

/// The object storage behind another address: the first who asks there gets no answer.
struct SlowStore {
    url: String,
    asked: oneshot::Receiver<()>,
}

impl SlowStore {
    async fn start(endpoint: &str) -> Self {
        let target = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (tell, asked) = oneshot::channel();
        tokio::spawn(async move {
            let _unanswered = listener.accept().await.unwrap();
            tell.send(()).unwrap();
            loop {
                let (mut caller, _) = listener.accept().await.unwrap();
                let mut store = TcpStream::connect(&target).await.unwrap();
                tokio::spawn(async move { copy_bidirectional(&mut caller, &mut store).await });
            }
        });
        Self { url, asked }
    }
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
    tenant.restore(name, of("all")).await.unwrap();
    in_phase(tenant, name, Phase::PartiallyFailed).await
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
