//! Apply, Create, Patch and Delete.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use proxy_client::proto::{
    self, delete_request::Propagation, patch_request, write_result::Outcome,
};
use serde_json::json;

use super::{
    access::{Call, MemberAccessService},
    projection,
    read::{Target, timeout_of},
};
use crate::{
    error::{CallError, WriteOutcome},
    json::Projection,
    link::{
        Link,
        exchange::{Accept, Request, UNARY_MAX},
    },
    policy::{Grant, Verb},
    request::{
        answer::{Answer, Asked},
        body::{self, Expected},
        deadline::Deadline,
        name,
        path::Path,
    },
    subscribe::queue::to_proto,
};

pub(super) const JSON: &str = "application/json";
pub(super) const APPLY: &str = "application/apply-patch+yaml";

/// A write that passed all checks.
struct Write<'a> {
    target: &'a Target,
    method: Method,
    path: Path,
    content_type: &'static str,
    body: Bytes,
    request_id: &'a str,
    retry_unknown: bool,
    /// What to return of the object, if anything.
    returned: Option<Projection>,
}

impl MemberAccessService {
    pub(super) async fn apply_object(
        &self,
        call: Call,
        request: proto::ApplyRequest,
    ) -> Result<proto::WriteResult, CallError> {
        let target = Target::from_proto(request.target)?;
        let result = async {
            name::subresource(&request.subresource)?;
            name::field_manager(&request.field_manager, true)?;
            let (link, grant) = self
                .write_access(&call, &target, Verb::Apply, &request.subresource)
                .await?;
            let kind = link.known_kind(&target.gvr);
            body::check_object(&request.json, expected(&target, kind.as_deref()))?;
            within(grant, || body::is_metadata(&request.json))?;
            let path = target
                .path(&request.subresource)?
                .with("fieldManager", &request.field_manager)
                .with("force", if request.force { "true" } else { "" });
            let write = Write {
                target: &target,
                method: Method::PATCH,
                path: finish(path, request.dry_run, call.deadline),
                content_type: APPLY,
                body: request.json.into(),
                request_id: &request.request_id,
                retry_unknown: request.retry_unknown,
                returned: returned(request.return_object, request.projection, &target, grant)?,
            };
            send(&link, write, call.deadline).await
        };
        result.await.map_err(|error| target.explain(error))
    }

    pub(super) async fn create_object(
        &self,
        call: Call,
        request: proto::CreateRequest,
    ) -> Result<proto::WriteResult, CallError> {
        let target = Target::from_proto(request.target)?;
        let result = async {
            name::field_manager(&request.field_manager, false)?;
            let (link, grant) = self.write_access(&call, &target, Verb::Create, "").await?;
            let kind = link.known_kind(&target.gvr);
            body::check_object(&request.json, expected(&target, kind.as_deref()))?;
            within(grant, || body::is_metadata(&request.json))?;
            let path = Path::collection(&target.gvr, &target.namespace)?
                .with("fieldManager", &request.field_manager);
            let write = Write {
                target: &target,
                method: Method::POST,
                path: finish(path, request.dry_run, call.deadline),
                content_type: JSON,
                body: request.json.into(),
                request_id: &request.request_id,
                retry_unknown: false,
                returned: returned(request.return_object, request.projection, &target, grant)?,
            };
            send(&link, write, call.deadline).await
        };
        result.await.map_err(|error| target.explain(error))
    }

    pub(super) async fn patch_object(
        &self,
        call: Call,
        request: proto::PatchRequest,
    ) -> Result<proto::WriteResult, CallError> {
        let target = Target::from_proto(request.target.clone())?;
        let result = async {
            name::subresource(&request.subresource)?;
            name::field_manager(&request.field_manager, false)?;
            let kind = patch_request::Type::try_from(request.r#type)
                .map_err(|_| CallError::invalid("type", "is not a known patch type"))?;
            let (link, grant) = self
                .write_access(&call, &target, Verb::Patch, &request.subresource)
                .await?;
            let known = link.known_kind(&target.gvr);
            body::check_patch(&request.body, kind, expected(&target, known.as_deref()))?;
            within(grant, || body::changes_metadata(&request.body, kind))?;
            let path = target
                .path(&request.subresource)?
                .with("fieldManager", &request.field_manager);
            let write = Write {
                target: &target,
                method: Method::PATCH,
                path: finish(path, request.dry_run, call.deadline),
                content_type: match kind {
                    patch_request::Type::Merge => "application/merge-patch+json",
                    patch_request::Type::Json => "application/json-patch+json",
                    patch_request::Type::Strategic => "application/strategic-merge-patch+json",
                },
                body: request.body.into(),
                request_id: &request.request_id,
                retry_unknown: false,
                returned: returned(request.return_object, request.projection, &target, grant)?,
            };
            send(&link, write, call.deadline).await
        };
        result.await.map_err(|error| target.explain(error))
    }

    pub(super) async fn delete_object(
        &self,
        call: Call,
        request: proto::DeleteRequest,
    ) -> Result<proto::WriteResult, CallError> {
        let target = Target::from_proto(request.target)?;
        let result = async {
            let access = target.access(Verb::Delete, "");
            let (link, _) = self.core.open(&call, &target.key, access).await?;
            name::token("if_uid", &request.if_uid, 128)?;
            name::token("if_resource_version", &request.if_resource_version, 128)?;
            let propagation = Propagation::try_from(request.propagation)
                .map_err(|_| CallError::invalid("propagation", "is not a known policy"))?;
            let options =
                delete_options(&request.if_uid, &request.if_resource_version, propagation);
            let write = Write {
                target: &target,
                method: Method::DELETE,
                path: finish(target.path("")?, request.dry_run, call.deadline),
                content_type: JSON,
                body: options.to_string().into(),
                request_id: &request.request_id,
                retry_unknown: request.retry_unknown,
                returned: None,
            };
            match send(&link, write, call.deadline).await {
                Err(error) if error.reason == "NOT_FOUND" => Ok(proto::WriteResult {
                    outcome: Outcome::Absent.into(),
                    ..Default::default()
                }),
                other => other,
            }
        };
        result.await.map_err(|error| target.explain(error))
    }

    /// Policy and link of a write. The data of Secrets has a verb of its own.
    async fn write_access(
        &self,
        call: &Call,
        target: &Target,
        verb: Verb,
        subresource: &str,
    ) -> Result<(Arc<Link>, Grant), CallError> {
        let access = target.access(verb, subresource);
        if target.gvr.is_secret() {
            self.core.allow_anywhere(&call.caller, access)?;
            return Err(CallError::proxy(
                tonic::Code::PermissionDenied,
                "NOT_ALLOWED",
                "Secrets are written with EnsureSecret only",
            ));
        }
        self.core.open(call, &target.key, access).await
    }
}

fn expected<'a>(target: &'a Target, kind: Option<&'a str>) -> Expected<'a> {
    Expected {
        gvr: &target.gvr,
        kind,
        namespace: &target.namespace,
        name: &target.name,
    }
}

/// Who may see no more than metadata may not write more either.
fn within(grant: Grant, is_metadata: impl Fn() -> bool) -> Result<(), CallError> {
    if !grant.metadata_only || is_metadata() {
        return Ok(());
    }
    Err(CallError::proxy(
        tonic::Code::PermissionDenied,
        "NOT_ALLOWED",
        "the policy lets the caller write these objects' metadata only",
    ))
}

fn returned(
    wanted: bool,
    asked: Option<proto::Projection>,
    target: &Target,
    grant: Grant,
) -> Result<Option<Projection>, CallError> {
    if !wanted {
        return Ok(None);
    }
    projection(asked, &target.gvr, grant).map(Some)
}

fn finish(path: Path, dry_run: bool, deadline: Deadline) -> Path {
    path.with("dryRun", if dry_run { "All" } else { "" })
        .with("timeout", &timeout_of(deadline))
}

fn delete_options(uid: &str, version: &str, propagation: Propagation) -> serde_json::Value {
    let mut preconditions = serde_json::Map::new();
    for (key, value) in [("uid", uid), ("resourceVersion", version)] {
        if !value.is_empty() {
            preconditions.insert(key.to_owned(), value.into());
        }
    }
    let policy = match propagation {
        Propagation::Background => "Background",
        Propagation::Foreground => "Foreground",
        Propagation::Orphan => "Orphan",
    };
    json!({
        "apiVersion": "v1", "kind": "DeleteOptions",
        "propagationPolicy": policy, "preconditions": preconditions,
    })
}

/// The id under which the member's audit log keeps the request.
pub(super) fn audit_id(request_id: &str) -> Result<String, CallError> {
    if request_id.is_empty() {
        return Ok(format!("{:032x}", rand::random::<u128>()));
    }
    name::token("request_id", request_id, 64)?;
    Ok(request_id.to_owned())
}

async fn send(
    link: &Arc<Link>,
    write: Write<'_>,
    deadline: Deadline,
) -> Result<proto::WriteResult, CallError> {
    let audit_id = audit_id(write.request_id)?;
    let delete = write.method == Method::DELETE;
    let request = Request {
        method: write.method,
        path: write.path,
        accept: Accept::Json,
        content_type: Some(write.content_type),
        body: write.body,
        audit_id: Some(audit_id.clone()),
        max_body: UNARY_MAX,
        retry_unknown: write.retry_unknown,
    };
    let target = write.target;
    let asked = Asked::write(&target.gvr);
    let answer = link.call(&request, asked, deadline).await;
    let answer = answer.map_err(|error| error.about("audit_id", &audit_id))?;
    if delete {
        return Ok(proto::WriteResult {
            outcome: Outcome::Deleted.into(),
            audit_id,
            ..Default::default()
        });
    }
    result(link, target, &answer, write.returned, audit_id)
}

fn result(
    link: &Link,
    target: &Target,
    answer: &Answer,
    returned: Option<Projection>,
    audit_id: String,
) -> Result<proto::WriteResult, CallError> {
    let projection = returned.unwrap_or(Projection::Metadata);
    let object = target.accept(link, &answer.body, projection, WriteOutcome::Applied)?;
    let outcome = if answer.status == StatusCode::CREATED {
        Outcome::Created
    } else {
        Outcome::Configured
    };
    Ok(proto::WriteResult {
        outcome: outcome.into(),
        resource_version: object.resource_version.clone(),
        object: returned.map(|_| to_proto(&object, &target.key, &target.gvr.to_proto())),
        audit_id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delete_options_hold_only_the_preconditions_that_were_given() {
        let none = delete_options("", "", Propagation::Background);
        assert_eq!(none["preconditions"], json!({}));
        let both = delete_options("u", "7", Propagation::Orphan);
        assert_eq!(
            both["preconditions"],
            json!({"uid": "u", "resourceVersion": "7"})
        );
        assert_eq!(both["propagationPolicy"], "Orphan");
    }

    #[test]
    fn an_audit_id_is_the_callers_or_a_new_one() {
        assert_eq!(audit_id("my-id").unwrap(), "my-id");
        assert_eq!(audit_id("").unwrap().len(), 32);
        assert!(audit_id("bad id\n").is_err());
    }
}
