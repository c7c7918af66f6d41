//! Finalizers, by JSON patches that test what they change.

use kube::{
    Client, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{WriteError, describe, write};

/// Adds a finalizer, unless it is there. Returns the new resourceVersion if it was added.
///
/// The patch tests that uid and finalizers are those of `object`; if they are not, or the object is
/// being deleted, the hub answers 422, which is [`WriteError::Conflict`] here: read again.
pub async fn add_finalizer<K>(
    client: &Client,
    object: &K,
    finalizer: &str,
) -> Result<Option<String>, WriteError>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    if object.finalizers().iter().any(|known| known == finalizer) {
        return Ok(None);
    }
    patch_finalizers(client, object, &added(object, finalizer))
        .await
        .map(Some)
}

/// Removes a finalizer, if it is there. An object that is gone needs no more: `Ok(None)`.
///
/// The patch tests uid and finalizers like [`add_finalizer`].
pub async fn remove_finalizer<K>(
    client: &Client,
    object: &K,
    finalizer: &str,
) -> Result<Option<String>, WriteError>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    let Some(patch) = removed(object, finalizer) else {
        return Ok(None);
    };
    match patch_finalizers(client, object, &patch).await {
        Ok(version) => Ok(Some(version)),
        Err(WriteError::Gone(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn added<K: Resource>(object: &K, finalizer: &str) -> Value {
    let known = object.finalizers();
    let wanted: Vec<_> = known
        .iter()
        .map(String::as_str)
        .chain([finalizer])
        .collect();
    // `test` against null passes where the list is absent
    let tested = if known.is_empty() {
        json!(null)
    } else {
        json!(known)
    };
    json!([
        { "op": "test", "path": "/metadata/uid", "value": object.uid() },
        { "op": "test", "path": "/metadata/finalizers", "value": tested },
        { "op": "add", "path": "/metadata/finalizers", "value": wanted },
    ])
}

fn removed<K: Resource>(object: &K, finalizer: &str) -> Option<Value> {
    let at = object
        .finalizers()
        .iter()
        .position(|known| known == finalizer)?;
    let path = format!("/metadata/finalizers/{at}");
    Some(json!([
        { "op": "test", "path": "/metadata/uid", "value": object.uid() },
        { "op": "test", "path": path, "value": finalizer },
        { "op": "remove", "path": path },
    ]))
}

async fn patch_finalizers<K>(
    client: &Client,
    object: &K,
    patch: &Value,
) -> Result<String, WriteError>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    let patch: json_patch::Patch = serde_json::from_value(patch.clone())
        .map_err(|error| WriteError::Rejected(describe(object), error.to_string()))?;
    let params = PatchParams::default();
    let result = write::<K>(client, object, |request, name| {
        request.patch(name, &params, &Patch::<()>::Json(patch))
    })
    .await;
    match result {
        Err(WriteError::Rejected(object, _)) => Err(WriteError::Conflict(object)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::tests::object;

    #[test]
    fn finalizer_patches_test_what_they_change() {
        let first = added(&object(&[]), "kurator.dev/x");
        assert_eq!(first[1]["value"], json!(null));
        assert_eq!(first[2]["value"], json!(["kurator.dev/x"]));
        let second = added(&object(&["other"]), "kurator.dev/x");
        assert_eq!(second[1]["value"], json!(["other"]));
        assert_eq!(second[2]["value"], json!(["other", "kurator.dev/x"]));

        let patch = removed(&object(&["other", "kurator.dev/x"]), "kurator.dev/x").unwrap();
        assert_eq!(patch[0]["value"], json!("u-1"));
        assert_eq!(patch[1]["path"], json!("/metadata/finalizers/1"));
        assert_eq!(
            (&patch[2]["op"], &patch[2]["path"]),
            (&json!("remove"), &patch[1]["path"])
        );
        assert!(removed(&object(&["other"]), "kurator.dev/x").is_none());
    }
}
