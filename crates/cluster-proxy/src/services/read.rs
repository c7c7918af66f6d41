//! Get, List and Discover.

use std::sync::Arc;

use api_types::key::ClusterKey;
use proxy_client::proto;
use tokio::sync::mpsc;
use tonic::Status;
use tracing::{Instrument, Span};

use super::{
    access::{Call, MemberAccessService},
    projection,
};
use crate::{
    error::{CallError, WriteOutcome},
    json::{self, Projected, Projection, TypeHint},
    link::{
        Link,
        exchange::{Accept, PAGE_MAX, Request},
    },
    policy::{Access, Verb},
    request::{
        answer::Asked,
        deadline::Deadline,
        name,
        path::{Gvr, Path},
    },
    subscribe::{queue::to_proto, selection::cluster_key},
    trace,
    watch::{event::parse_page, selector::expand},
};

const PAGE: u32 = 500;
const CHUNK_MAX: usize = 4 * 1024 * 1024;
const CHUNKS_WAITING: usize = 2;

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
        let target = Target::from_proto(request.target)?;
        let result = async {
            let grant = self
                .core
                .allow(&call.caller, target.access(Verb::Get, ""))?;
            let projection = projection(request.projection, &target.gvr, grant)?;
            let link = self.core.link(&target.key, call.deadline).await?;
            let object = read_object(&link, &target, projection, call.deadline).await?;
            Ok(to_proto(&object, &target.key, &target.gvr.to_proto()))
        };
        result.await.map_err(|error| target.explain(error))
    }

    pub(super) async fn list_objects(
        &self,
        call: Call,
        request: proto::ListRequest,
    ) -> Result<mpsc::Receiver<Result<proto::ListChunk, Status>>, CallError> {
        let key = cluster_key(request.cluster.clone())?;
        let gvr = Gvr::from_proto(request.gvr.clone())?;
        let namespace = request.namespace.clone();
        let asked = format!("{gvr} {namespace}");
        Span::current()
            .record("cluster", key.to_string())
            .record("target", asked.trim_end());
        let result = self.list_pages(call, request, (&key, &gvr)).await;
        result.map_err(|error| {
            error
                .about("cluster", &key)
                .about("gvr", &gvr)
                .about("namespace", &namespace)
        })
    }

    async fn list_pages(
        &self,
        call: Call,
        request: proto::ListRequest,
        (key, gvr): (&ClusterKey, &Gvr),
    ) -> Result<mpsc::Receiver<Result<proto::ListChunk, Status>>, CallError> {
        name::selector("label_selector", &request.label_selector)?;
        name::selector("field_selector", &request.field_selector)?;
        name::selector("continue_token", &request.continue_token)?;
        let access = Access {
            verb: Verb::List,
            gvr,
            subresource: "",
            namespace: &request.namespace,
            name: "",
        };
        let grant = self.core.allow(&call.caller, access)?;
        let projection = projection(request.projection, gvr, grant)?;
        let link = self.core.link(key, call.deadline).await?;
        let selector = expand(&request.label_selector, &link.status().member_uid)?;
        let path = Path::collection(gvr, &request.namespace)?
            .with("labelSelector", &selector)
            .with("fieldSelector", &request.field_selector);
        let mut lister = Lister {
            link,
            gvr: gvr.clone(),
            namespace: request.namespace,
            path,
            projection,
            left: (request.limit > 0).then_some(request.limit),
            token: request.continue_token,
            deadline: call.deadline,
        };
        // The first page decides whether the call fails as a whole.
        let first = lister.page().await?;
        let (chunks, receiver) = mpsc::channel(CHUNKS_WAITING);
        let rest = async move { lister.stream(first, chunks).await };
        tokio::spawn(trace::carry(rest).instrument(Span::current()));
        Ok(receiver)
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

/// Reads a collection page by page.
struct Lister {
    link: Arc<Link>,
    gvr: Gvr,
    namespace: String,
    path: Path,
    projection: Projection,
    left: Option<u32>,
    token: String,
    deadline: Deadline,
}

struct ReadPage {
    items: Vec<Projected>,
    resource_version: String,
}

impl Lister {
    async fn page(&mut self) -> Result<ReadPage, CallError> {
        let size = self.left.map_or(PAGE, |left| left.min(PAGE));
        let path = self
            .path
            .clone()
            .with("limit", &size.to_string())
            .with("continue", &self.token)
            .with("timeout", &timeout_of(self.deadline));
        let accept = match self.projection {
            Projection::Full | Projection::WithManagedFields => Accept::Json,
            Projection::Metadata | Projection::SecretMetadata => Accept::MetadataList,
        };
        let request = Request {
            max_body: PAGE_MAX,
            ..Request::get(path, accept)
        };
        let asked = Asked::read(&self.gvr);
        let answer = self.link.call(&request, asked, self.deadline).await?;
        let kind = self.link.known_kind(&self.gvr).unwrap_or_default();
        let api_version = self.gvr.api_version();
        let hint = TypeHint {
            api_version: &api_version,
            kind: &kind,
        };
        let page = parse_page(&answer.body, self.projection, hint).map_err(|e| {
            let error = CallError::malformed(e, WriteOutcome::NotSent);
            self.link.report(Err(&error));
            error.about("cluster", self.link.key())
        })?;
        let mut items = page.items;
        // A member does not get to show objects that were not asked for.
        items.retain(|item| self.namespace.is_empty() || item.namespace == self.namespace);
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(u32::try_from(items.len()).unwrap_or(u32::MAX));
        }
        self.token = page.continue_token;
        Ok(ReadPage {
            items,
            resource_version: page.resource_version,
        })
    }

    fn is_done(&self) -> bool {
        self.token.is_empty() || self.left == Some(0)
    }

    async fn stream(
        mut self,
        mut page: ReadPage,
        chunks: mpsc::Sender<Result<proto::ListChunk, Status>>,
    ) {
        loop {
            let done = self.is_done();
            for chunk in self.chunks(page, done) {
                if chunks.send(Ok(chunk)).await.is_err() {
                    return;
                }
            }
            if done {
                return;
            }
            page = match self.page().await {
                Ok(page) => page,
                Err(error) => {
                    let _ = chunks.send(Err(error.into())).await;
                    return;
                }
            };
        }
    }

    fn chunks(&self, page: ReadPage, done: bool) -> Vec<proto::ListChunk> {
        let (key, gvr) = (self.link.key(), self.gvr.to_proto());
        let mut chunks = vec![proto::ListChunk::default()];
        let mut bytes = 0;
        for item in page.items {
            if bytes > 0 && bytes + item.json.len() > CHUNK_MAX {
                chunks.push(proto::ListChunk::default());
                bytes = 0;
            }
            bytes += item.json.len();
            if let Some(chunk) = chunks.last_mut() {
                chunk.items.push(to_proto(&item, key, &gvr));
            }
        }
        if let Some(chunk) = chunks.last_mut().filter(|_| done) {
            chunk.last = true;
            chunk.resource_version = page.resource_version;
            chunk.continue_token.clone_from(&self.token);
        }
        chunks
    }
}
