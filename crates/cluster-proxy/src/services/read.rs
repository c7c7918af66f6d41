//! Get and Discover.

use std::sync::Arc;

use api_types::key::ClusterKey;
use proxy_client::proto;
use tracing::Span;

use super::{
    access::{Call, MemberAccessService},
    consistency::{Consistency, freshness},
    projection,
};
use crate::{
    error::{CallError, WriteOutcome},
    json::{self, Projected, Projection, TypeHint},
    link::{
        Link,
        exchange::{Accept, Request},
    },
    policy::{Access, Cluster, Verb},
    request::{
        answer::Asked,
        deadline::Deadline,
        name,
        path::{Gvr, Path},
    },
    subscribe::{queue::to_proto, selection::cluster_key},
    watch::held::Wanted,
};

/// A checked target of a call.
pub(super) struct Target {
    pub(super) key: ClusterKey,
    pub(super) gvr: Gvr,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Target {
    pub(super) fn from_proto(target: Option<proto::Target>) -> Result<Self, CallError> {
        let target = target.ok_or_else(|| CallError::invalid("target", "is required"))?;
        let checked = Self {
            key: cluster_key(target.cluster)?,
            gvr: Gvr::from_proto(target.gvr)?,
            namespace: target.namespace,
            name: target.name,
        };
        name::object(&checked.name)?;
        if !checked.namespace.is_empty() {
            name::namespace(&checked.namespace)?;
        }
        Span::current()
            .record("cluster", checked.key.to_string())
            .record("target", checked.to_string());
        Ok(checked)
    }

    pub(super) fn access<'a>(&'a self, verb: Verb, subresource: &'a str) -> Access<'a> {
        Access {
            verb,
            gvr: &self.gvr,
            subresource,
            namespace: &self.namespace,
            name: &self.name,
        }
    }

    pub(super) fn path(&self, subresource: &str) -> Result<Path, CallError> {
        Path::object(&self.gvr, &self.namespace, &self.name, subresource)
    }

    /// Names the object in an error.
    pub(super) fn explain(&self, error: CallError) -> CallError {
        error
            .about("cluster", &self.key)
            .about("gvr", &self.gvr)
            .about("namespace", &self.namespace)
            .about("name", &self.name)
    }

    /// Projects an answer and checks that it is about this object.
    pub(super) fn accept(
        &self,
        link: &Link,
        body: &[u8],
        projection: Projection,
        outcome: WriteOutcome,
    ) -> Result<Projected, CallError> {
        let kind = link.known_kind(&self.gvr).unwrap_or_default();
        let api_version = self.gvr.api_version();
        let hint = TypeHint {
            api_version: &api_version,
            kind: &kind,
        };
        let malformed = |what: &str| {
            let error = CallError::malformed(what, outcome);
            link.report(Err(&error));
            error
        };
        let object = json::text(body)
            .and_then(|text| json::project(text, projection, hint))
            .map_err(|e| malformed(&e.to_string()))?;
        if object.name != self.name || object.namespace != self.namespace {
            return Err(malformed("it is about another object"));
        }
        if object.api_version != api_version {
            return Err(malformed("it is of another type"));
        }
        Ok(object)
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.gvr, self.namespace, self.name)
    }
}

/// The time that is left, as the member's own limit.
pub(super) fn timeout_of(deadline: Deadline) -> String {
    format!("{}ms", deadline.remaining().as_millis().max(1))
}

impl MemberAccessService {
    pub(super) async fn get_object(
        &self,
        call: Call,
        request: proto::GetRequest,
    ) -> Result<proto::Object, CallError> {
        let consistency = Consistency::of_get(&request);
        let target = Target::from_proto(request.target)?;
        let result = async {
            let consistency = consistency?;
            let access = target.access(Verb::Get, "");
            let (link, grant) = self.core.open(&call, &target.key, access).await?;
            let projection = projection(request.projection, &target.gvr, grant)?;
            let held = consistency.of_watch().and_then(|at_least| {
                let wanted = Wanted {
                    gvr: &target.gvr,
                    namespace: &target.namespace,
                    projection,
                    at_least,
                };
                link.held_object(wanted, &target.name)
            });
            let (object, age) = if let Some(held) = held {
                (held.found, Some(held.age))
            } else {
                let live = read_object(&link, &target, projection, call.deadline);
                (live.await?, None)
            };
            let mut object = to_proto(&object, &target.key, &target.gvr.to_proto());
            object.freshness = Some(freshness(&link, age));
            Ok(object)
        };
        result.await.map_err(|error| target.explain(error))
    }

    pub(super) async fn discover_types(
        &self,
        call: Call,
        request: proto::DiscoverRequest,
    ) -> Result<Vec<proto::ServedResource>, CallError> {
        let key = cluster_key(request.cluster)?;
        name::group(&request.group)?;
        Span::current().record("cluster", key.to_string());
        let link = self.core.link(&key, call.deadline).await?;
        let cluster = Cluster {
            key: &key,
            labels: &link.labels(),
        };
        let known = self.core.policy.current().knows_on(&call.caller, cluster);
        known.inspect_err(|error| self.core.metrics.denied(&call.caller, error))?;
        let catalogue = link.catalogue(call.deadline).await?;
        let served = catalogue.types(&request.group);
        Ok(served
            .map(|served| proto::ServedResource {
                gvr: Some(served.gvr.to_proto()),
                kind: served.kind.clone(),
                namespaced: served.namespaced,
                verbs: served.verbs.clone(),
            })
            .collect())
    }
}

/// One live read.
pub(super) async fn read_object(
    link: &Arc<Link>,
    target: &Target,
    projection: Projection,
    deadline: Deadline,
) -> Result<Projected, CallError> {
    let path = target.path("")?.with("timeout", &timeout_of(deadline));
    let accept = match projection {
        Projection::Full | Projection::WithManagedFields => Accept::Json,
        Projection::Metadata | Projection::SecretMetadata => Accept::Metadata,
    };
    let asked = Asked::read(&target.gvr);
    let answer = link
        .call(&Request::get(path, accept), asked, deadline)
        .await?;
    target.accept(link, &answer.body, projection, WriteOutcome::NotSent)
}
