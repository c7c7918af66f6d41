//! What is refused, and what is only warned about.

use api_types::migrate::Migrate;
use api_types::phase::{EntryPhase, Phase};
use e2e::Tenant;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;
use testbed::apply_yaml;

use super::{
    assert_made_once, assert_nothing_made, begin, from, in_phase, of_source, of_target, only,
    ready_reason, reason_of, tells, wait, wait_gone,
};
use crate::kubectl::{kubectl, refused};
use crate::restore::Held;
use crate::world::{ONE, TWO, stack, tenant_of, view, wait_established};

/// A Migrate with these sources, as a file.
async fn written(name: &str, namespace: &str, sources: &[&str]) -> std::path::PathBuf {
    let clusters: Vec<_> = sources
        .iter()
        .map(|name| json!({ "kind": "AttachedCluster", "name": name }))
        .collect();
    let migrate = json!({
        "apiVersion": "backup.kurator.dev/v1alpha1",
        "kind": "Migrate",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "sourceCluster": { "fleet": "quickstart", "clusters": clusters },
            "targetCluster": {
                "fleet": "quickstart",
                "clusters": [{ "kind": "AttachedCluster", "name": TWO }],
            },
        },
    });
    let path = stack().await.dir().join(format!("{namespace}-{name}.json"));
    std::fs::write(&path, migrate.to_string()).unwrap();
    path
}

#[tokio::test]
async fn a_migrate_without_its_one_source_or_onto_itself_is_refused() {
    const NAME: &str = "migrate-refused";
    let stack = stack().await;
    // Nothing begins: one of its clusters is not attached.
    let tenant = tenant_of(NAME, &[ONE]).await;
    for (name, sources) in [("none", &[][..]), ("two", &[ONE, TWO][..])] {
        let file = written(name, NAME, sources).await;
        let said = refused(stack, &["apply", "-f", file.to_str().unwrap()]).await;
        let mend = "sourceCluster names exactly one cluster: write one entry under \
                    sourceCluster.clusters";
        assert!(said.contains(mend), "{said}");
    }

    let file = written("later", NAME, &["nowhere"]).await;
    kubectl(stack, &["apply", "-f", file.to_str().unwrap()]).await;
    let patch = |patch: &'static str| {
        [
            "-n",
            NAME,
            "patch",
            "kmg",
            "later",
            "--type=merge",
            "-p",
            patch,
        ]
    };
    let said = refused(stack, &patch(r#"{"spec":{"policy":{"ttl":"1h"}}}"#)).await;
    assert!(said.contains("make a new Migrate"), "{said}");
    kubectl(stack, &patch(r#"{"spec":{"cancel":true}}"#)).await;
    let said = refused(stack, &patch(r#"{"spec":{"cancel":false}}"#)).await;
    assert!(said.contains("a cancelled Migrate cannot go on"), "{said}");

    begin(&tenant, "itself", from(ONE, &[ONE], only(NAME))).await;
    let ended = ["-n", NAME, "wait", "--for=condition=Succeeded=false"];
    kubectl(
        stack,
        &[&ended[..], &["kmg/itself", "--timeout=5m"]].concat(),
    )
    .await;
    let itself = in_phase(&tenant, "itself", Phase::FailedValidation).await;
    assert_eq!(ready_reason(&itself), "InvalidSpec");
    let source = of_source(&itself);
    let target = of_target(&itself, ONE).unwrap();
    let said = [
        (source.phase, source.reason),
        (target.phase, target.reason.clone()),
    ];
    let invalid = Some("InvalidSpec".to_owned());
    assert_eq!(
        said,
        [
            (EntryPhase::Failed, invalid.clone()),
            (EntryPhase::Failed, invalid)
        ]
    );
    let conditions = &itself.status.as_ref().unwrap().conditions;
    let ready = api_types::condition::find(conditions, "Ready").unwrap();
    let mend = format!("map {NAME} in policy.namespaceMapping");
    assert!(ready.message.contains(&mend), "{}", ready.message);
    wait_gone(&tenant, "itself").await;
    assert_nothing_made(&itself, &[ONE]).await;
}

/// In one member only.
const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.migrate.example.com}
spec:
  group: migrate.example.com
  names: {kind: Widget, plural: widgets, singular: widget, listKind: WidgetList}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object}}
";

/// Waits for what the event about a target's namespaces ends with.
async fn tells_beforehand(tenant: &Tenant, migrate: &str, note: &str) {
    tells(tenant, (migrate, "Preflight"), |told| told.ends_with(note)).await;
}

#[tokio::test]
async fn what_a_target_does_not_serve_is_named_and_the_rest_is_migrated() {
    const NAME: &str = "migrate-warned";
    const MAPPED: &str = "migrate-warned-mapped";
    const THERE: &str = "migrate-warned-there";
    let (one, two) = (view(ONE).await.client, view(TWO).await.client);
    for name in [NAME, MAPPED] {
        Held::deploy(&one, name).await;
    }
    let there = Held::deploy(&two, THERE).await;
    there.greet("stays").await;
    apply_yaml(&one, DEFINITION).await.unwrap();
    let definitions: Api<CustomResourceDefinition> = Api::all(one);
    let definition = "widgets.migrate.example.com";
    wait_established(&definitions, definition).await;

    // What a member serves is known for a while: it is asked when it is attached.
    let tenant = tenant_of(NAME, &[ONE, TWO]).await;
    let mut policy = only(NAME);
    policy["resourceFilter"]["includedNamespaces"] = json!([NAME, MAPPED]);
    policy["namespaceMapping"] = json!({ MAPPED: THERE });
    policy["resourceFilter"]["includedResources"] = json!(["configmaps", definition]);
    begin(&tenant, "warned", from(ONE, &[TWO], policy)).await;
    let why = "ApiVersionNotServed";
    let warns = |seen: &Migrate| reason_of(seen, TWO) == why;
    wait(&tenant, "warned", why, warns).await;
    let migrate = in_phase(&tenant, "warned", Phase::Completed).await;
    let note = format!("it creates {NAME}; finds {THERE}, where what is there stays as it is");
    tells_beforehand(&tenant, "warned", &note).await;
    assert_made_once(&migrate, ONE, &[TWO]).await;
    let entry = of_target(&migrate, TWO).unwrap();
    assert_eq!(entry.phase, EntryPhase::Completed);
    assert_eq!(entry.reason.as_deref(), Some(why), "once said it stays");
    let said = entry.message.as_deref().unwrap();
    assert!(said.contains("migrate.example.com/v1 widgets"), "{said}");
    assert!(!said.contains("configmaps"), "{said}");
    Held::at(&two, NAME).assert_restored().await;
    assert_eq!(there.greeting().await, "stays");
    let params = DeleteParams::default();
    definitions.delete(definition, &params).await.unwrap();
}
