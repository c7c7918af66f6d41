//! Server-side apply of any YAML.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::{Scope, pinned_kind};
use kube::{Client, ResourceExt};
use serde_json::Value;

use crate::wait::{wait_for, wait_ok};

const MANAGER: &str = "testbed";
/// A CRD that was just made takes a moment until it is served.
const SERVED: Duration = Duration::from_secs(10);
const ESTABLISHED: Duration = Duration::from_secs(30);

/// Applies every object of `text`, which may hold several documents and `List`s, in order. Objects
/// without a namespace go to `default`. Gives back what the API server made of them.
pub async fn apply_yaml(client: &Client, text: &str) -> Result<Vec<DynamicObject>> {
    let mut kinds = HashMap::new();
    let mut applied = Vec::new();
    for object in parse(text)? {
        let gvk = gvk(&object)?;
        if !kinds.contains_key(&gvk) {
            kinds.insert(gvk.clone(), served(client, &gvk).await?);
        }
        applied.push(apply_one(client, &kinds[&gvk], object).await?);
    }
    Ok(applied)
}

/// Applies the CRDs of all `*.yaml` files in `dir` and waits until they are served, and described
/// for `kubectl explain`.
pub async fn install_crds(client: &Client, dir: &Path) -> Result<()> {
    let entries =
        std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    files.sort();
    if files.is_empty() {
        bail!("no CRD in {}", dir.display());
    }
    for file in files {
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let applied = apply_crds(client, &text)
            .await
            .with_context(|| format!("cannot install {}", file.display()))?;
        for crd in &applied {
            await_description(client, crd).await?;
        }
    }
    Ok(())
}

/// The server publishes what a CRD describes a little after it serves its kind.
async fn await_description(client: &Client, crd: &DynamicObject) -> Result<()> {
    let group = text_at(&crd.data, "/spec/group")?;
    let version = text_at(&crd.data, "/spec/versions/0/name")?;
    let plural = text_at(&crd.data, "/spec/names/plural")?;
    let document = format!("/openapi/v3/apis/{group}/{version}");
    let path = format!("/apis/{group}/{version}/{plural}\"");
    let what = format!("{plural}.{group} in {document}");
    wait_for(&what, ESTABLISHED, async || {
        let request = http::Request::get(&document).body(Vec::new()).ok()?;
        let text = client.request_text(request).await.ok()?;
        text.contains(&path).then_some(())
    })
    .await
}

/// Applies CRDs and waits until they are served; gives them back.
pub(crate) async fn apply_crds(client: &Client, text: &str) -> Result<Vec<DynamicObject>> {
    let crds = Api::<CustomResourceDefinition>::all(client.clone());
    let all = apply_yaml(client, text).await?;
    for applied in &all {
        let name = applied.name_any();
        wait_for(&format!("the CRD {name}"), ESTABLISHED, async || {
            let status = crds.get(&name).await.ok()?.status?;
            status
                .conditions?
                .iter()
                .any(|condition| condition.type_ == "Established" && condition.status == "True")
                .then_some(())
        })
        .await?;
    }
    Ok(all)
}

type Kind = (ApiResource, Scope);

async fn served(client: &Client, gvk: &GroupVersionKind) -> Result<Kind> {
    let what = format!("{} {} to be served", gvk.api_version(), gvk.kind);
    wait_ok(&what, SERVED, async || {
        let (resource, capabilities) = pinned_kind(client, gvk).await?;
        Ok((resource, capabilities.scope))
    })
    .await
}

async fn apply_one(
    client: &Client,
    (resource, scope): &Kind,
    object: Value,
) -> Result<DynamicObject> {
    let name = text_at(&object, "/metadata/name")?.to_owned();
    let api: Api<DynamicObject> = match scope {
        Scope::Cluster => Api::all_with(client.clone(), resource),
        Scope::Namespaced => {
            let namespace = text_at(&object, "/metadata/namespace").unwrap_or("default");
            Api::namespaced_with(client.clone(), namespace, resource)
        }
    };
    api.patch(
        &name,
        &PatchParams::apply(MANAGER).force(),
        &Patch::Apply(&object),
    )
    .await
    .with_context(|| format!("cannot apply {} {name}", resource.kind))
}

fn parse(text: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| anyhow!("not YAML: {error}"))?;
    let mut objects = Vec::new();
    for mut document in documents {
        match document.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => objects.extend(items),
            _ if document.is_null() => {}
            _ => objects.push(document),
        }
    }
    Ok(objects)
}

fn gvk(object: &Value) -> Result<GroupVersionKind> {
    let api_version = text_at(object, "/apiVersion")?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    Ok(GroupVersionKind::gvk(
        group,
        version,
        text_at(object, "/kind")?,
    ))
}

fn text_at<'a>(object: &'a Value, pointer: &str) -> Result<&'a str> {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .with_context(|| format!("an object has no text at {pointer}"))
}
