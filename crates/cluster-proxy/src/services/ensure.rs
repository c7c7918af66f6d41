//! `EnsureNamespace` and `EnsureSecret`: what must be on a member before anything else.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use api_types::{key::ClusterKey, labels};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Method, StatusCode};
use proxy_client::proto::{self, write_result::Outcome};
use serde::Deserialize;
use serde_json::json;
use tonic::Code;
use tracing::Span;
use zeroize::Zeroizing;

use super::{
    access::{Call, MemberAccessService},
    read::{Target, read_object, timeout_of},
    write::{APPLY, JSON, audit_id},
};
use crate::{
    error::{CallError, Retryable, WriteOutcome},
    json::{Projected, Projection},
    link::{
        Link,
        exchange::{Accept, Request, UNARY_MAX},
    },
    policy::Verb,
    request::{
        answer::Asked,
        body::BODY_MAX,
        name,
        path::{Gvr, Path},
    },
    subscribe::selection::cluster_key,
};

impl MemberAccessService {
    pub(super) async fn put_namespace(
        &self,
        call: Call,
        request: proto::EnsureNamespaceRequest,
    ) -> Result<proto::WriteResult, CallError> {
        let target = target(
            cluster_key(request.cluster)?,
            "namespaces",
            String::new(),
            request.name,
        )?;
        name::namespace(&target.name)?;
        let access = target.access(Verb::Apply, "");
        let (link, _) = self.core.open(&call, &target.key, access).await?;
        let body = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": target.name, "labels": request.labels},
        });
        let ensure = Ensure {
            link,
            target: &target,
            call: &call,
            replaces: false,
            body,
            audit_id: audit_id(&request.request_id)?,
        };
        let result = async {
            match ensure.existing().await? {
                Some(found) if has_labels(&found, &request.labels)? => Ok(unchanged(&found)),
                found => ensure.write(found.as_ref()).await,
            }
        };
        result.await.map_err(|error| target.explain(error))
    }

    pub(super) async fn put_secret(
        &self,
        call: Call,
        request: proto::EnsureSecretRequest,
    ) -> Result<proto::WriteResult, CallError> {
        let key = cluster_key(request.cluster)?;
        let target = target(key, "secrets", request.namespace, request.name)?;
        name::namespace(&target.namespace)?;
        name::token("type", &request.r#type, 253)?;
        let access = target.access(Verb::WriteSecret, "");
        let (link, _) = self.core.open(&call, &target.key, access).await?;
        if !request.labels.contains_key(labels::OWNER_UID) {
            let message = format!("must hold {}", labels::OWNER_UID);
            return Err(CallError::invalid("labels", message));
        }
        let ensure = Ensure {
            link,
            target: &target,
            call: &call,
            replaces: true,
            body: json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {
                    "name": target.name, "namespace": target.namespace, "labels": request.labels
                },
                "type": if request.r#type.is_empty() { "Opaque" } else { &request.r#type },
                "data": encode(request.data)?,
            }),
            audit_id: audit_id(&request.request_id)?,
        };
        let result = async {
            let found = ensure.existing().await?;
            if let Some(found) = &found {
                refuse_foreign(found)?;
            }
            ensure.write(found.as_ref()).await
        };
        result.await.map_err(|error| target.explain(error))
    }
}

fn target(
    key: ClusterKey,
    resource: &str,
    namespace: String,
    object: String,
) -> Result<Target, CallError> {
    name::object(&object)?;
    let target = Target {
        key,
        gvr: Gvr::new("", "v1", resource)?,
        namespace,
        name: object,
    };
    Span::current()
        .record("cluster", target.key.to_string())
        .record("target", target.to_string());
    Ok(target)
}

/// An object that shall be as the body says.
struct Ensure<'a> {
    link: Arc<Link>,
    target: &'a Target,
    call: &'a Call,
    /// The body is all that there shall be: what is there besides goes, such as an old credential.
    replaces: bool,
    body: serde_json::Value,
    audit_id: String,
}

impl Ensure<'_> {
    /// What is there, as metadata.
    async fn existing(&self) -> Result<Option<Projected>, CallError> {
        let projection = Projection::SecretMetadata;
        match read_object(&self.link, self.target, projection, self.call.deadline).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.reason == "NOT_FOUND" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the body: to the object that was found and to no other, or as a new one.
    async fn write(&self, found: Option<&Projected>) -> Result<proto::WriteResult, CallError> {
        let request = self.request(found)?;
        let asked = Asked::write(&self.target.gvr);
        let answer = self.link.call(&request, asked, self.call.deadline).await;
        let answer = answer.map_err(|error| {
            let absent = found.is_some() && error.reason == "NOT_FOUND";
            let overtaken = absent || error.reason == "ALREADY_EXISTS";
            let error = error.about("audit_id", &self.audit_id);
            if overtaken { conflict(error) } else { error }
        })?;
        let object = self.target.accept(
            &self.link,
            &answer.body,
            Projection::SecretMetadata,
            WriteOutcome::Applied,
        )?;
        let same = found.is_some_and(|f| f.resource_version == object.resource_version);
        let outcome = match (answer.status, same) {
            (StatusCode::CREATED, _) => Outcome::Created,
            (_, true) => Outcome::Unchanged,
            _ => Outcome::Configured,
        };
        Ok(proto::WriteResult {
            outcome: outcome.into(),
            object: None,
            resource_version: object.resource_version,
            audit_id: self.audit_id.clone(),
        })
    }

    fn request(&self, found: Option<&Projected>) -> Result<Request, CallError> {
        let mut body = self.body.clone();
        if let Some(found) = found {
            // With its uid the write reaches this very object, or fails.
            body["metadata"]["uid"] = found.uid.as_str().into();
        }
        let (method, path, content_type) = match found {
            Some(found) if self.replaces => {
                body["metadata"]["resourceVersion"] = found.resource_version.as_str().into();
                (Method::PUT, self.target.path("")?, JSON)
            }
            Some(_) => {
                let path = self.target.path("")?.with("force", "true");
                (Method::PATCH, path, APPLY)
            }
            None => {
                let path = Path::collection(&self.target.gvr, &self.target.namespace)?;
                (Method::POST, path, JSON)
            }
        };
        let manager = format!("kurator-{}", self.call.caller);
        let text = Zeroizing::new(body.to_string());
        Ok(Request {
            method,
            path: path
                .with("fieldManager", &manager)
                .with("timeout", &timeout_of(self.call.deadline)),
            accept: Accept::Metadata,
            content_type: Some(content_type),
            body: text.as_bytes().to_vec().into(),
            audit_id: Some(self.audit_id.clone()),
            max_body: UNARY_MAX,
            // Repeating an apply changes nothing.
            retry_unknown: found.is_some() && !self.replaces,
        })
    }
}

/// Someone was faster: what they made is judged when the caller tries again.
fn conflict(mut error: CallError) -> CallError {
    error.code = Code::Aborted;
    "CONFLICT".clone_into(&mut error.reason);
    error.retryable = Retryable::AfterReread;
    error
}

fn unchanged(found: &Projected) -> proto::WriteResult {
    proto::WriteResult {
        outcome: Outcome::Unchanged.into(),
        resource_version: found.resource_version.clone(),
        ..Default::default()
    }
}

#[derive(Deserialize)]
struct Labelled {
    metadata: Labels,
}

#[derive(Deserialize)]
struct Labels {
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

fn labels_of(object: &Projected) -> Result<BTreeMap<String, String>, CallError> {
    let parsed: Labelled = serde_json::from_slice(&object.json)
        .map_err(|e| CallError::malformed(e, WriteOutcome::NotSent))?;
    Ok(parsed.metadata.labels)
}

fn has_labels(object: &Projected, wanted: &HashMap<String, String>) -> Result<bool, CallError> {
    let labels = labels_of(object)?;
    Ok(wanted
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value)))
}

/// Ours are Secrets with an owner, and those that Kurator v0.5.0's plugins made.
fn refuse_foreign(found: &Projected) -> Result<(), CallError> {
    let known = labels_of(found)?;
    if known.contains_key(labels::OWNER_UID) || known.contains_key(labels::PLUGIN) {
        return Ok(());
    }
    Err(CallError::proxy(
        Code::PermissionDenied,
        "NOT_OURS",
        format!(
            "Secret {}/{} exists and does not carry {}: it belongs to someone else",
            found.namespace,
            found.name,
            labels::OWNER_UID
        ),
    )
    .retry(Retryable::AfterFix, None))
}

fn encode(data: HashMap<String, Vec<u8>>) -> Result<BTreeMap<String, String>, CallError> {
    let total: usize = data.values().map(Vec::len).sum();
    if total > BODY_MAX / 2 {
        return Err(CallError::invalid("data", "is larger than a Secret may be"));
    }
    for key in data.keys() {
        name::token("data", key, 253)?;
    }
    Ok(data
        .into_iter()
        .map(|(key, value)| (key, STANDARD.encode(Zeroizing::new(value).as_slice())))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(labels: &serde_json::Value) -> Projected {
        let json = json!({"metadata": {"name": "s", "labels": labels}}).to_string();
        Projected {
            api_version: "v1".into(),
            kind: "Secret".into(),
            name: "s".into(),
            namespace: "velero".into(),
            uid: "u".into(),
            resource_version: "1".into(),
            generation: 0,
            json: json.into(),
        }
    }

    #[test]
    fn a_secret_of_someone_else_is_refused() {
        let error = refuse_foreign(&secret(&json!({"app": "velero"}))).unwrap_err();
        assert_eq!(error.reason, "NOT_OURS");
        refuse_foreign(&secret(&json!({labels::OWNER_UID: "x"}))).unwrap();
        refuse_foreign(&secret(&json!({labels::PLUGIN: "backup"}))).unwrap();
    }

    #[test]
    fn labels_are_compared_as_a_subset() {
        let wanted = HashMap::from([("a".to_owned(), "1".to_owned())]);
        assert!(has_labels(&secret(&json!({"a": "1", "b": "2"})), &wanted).unwrap());
        assert!(!has_labels(&secret(&json!({"a": "2"})), &wanted).unwrap());
    }
}
