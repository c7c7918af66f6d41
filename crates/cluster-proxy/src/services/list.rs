//! List.

use std::sync::Arc;

use api_types::key::ClusterKey;
use proxy_client::proto;
use tokio::sync::mpsc;
use tonic::Status;
use tracing::{Instrument, Span};

use super::{
    access::{Call, MemberAccessService},
    consistency::{Consistency, freshness},
    projection,
    read::timeout_of,
};
use crate::{
    error::{CallError, WriteOutcome},
    json::{Projected, Projection, TypeHint},
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
    watch::{
        event::parse_page,
        held::{Held, HeldList, Wanted},
        selector::expand,
    },
};

const PAGE: u32 = 500;
const CHUNK_MAX: usize = 4 * 1024 * 1024;
const CHUNKS_WAITING: usize = 2;

type Chunks = mpsc::Receiver<Result<proto::ListChunk, Status>>;

impl MemberAccessService {
    pub(super) async fn list_objects(
        &self,
        call: Call,
        request: proto::ListRequest,
    ) -> Result<Chunks, CallError> {
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
    ) -> Result<Chunks, CallError> {
        name::selector("label_selector", &request.label_selector)?;
        name::selector("field_selector", &request.field_selector)?;
        name::selector("continue_token", &request.continue_token)?;
        let consistency = Consistency::of_list(&request)?;
        let access = Access {
            verb: Verb::List,
            gvr,
            subresource: "",
            namespace: &request.namespace,
            name: "",
        };
        let (link, grant) = self.core.open(&call, key, access).await?;
        let projection = projection(request.projection, gvr, grant)?;
        if let Some(held) = held(&link, &request, gvr, (projection, &consistency))? {
            return Ok(held_chunks(&link, gvr, held));
        }
        let selector = expand(&request.label_selector, &link.status().member_uid)?;
        let path = Path::collection(gvr, &request.namespace)?
            .with("labelSelector", &selector)
            .with("fieldSelector", &request.field_selector);
        let (version, version_match) = consistency.for_member();
        let mut lister = Lister {
            link,
            gvr: gvr.clone(),
            namespace: request.namespace,
            path,
            version: (version.to_owned(), version_match),
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
}

/// Reads a collection page by page.
struct Lister {
    link: Arc<Link>,
    gvr: Gvr,
    namespace: String,
    path: Path,
    /// Of the first page; the others have that of their token.
    version: (String, &'static str),
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
        let (version, version_match) = std::mem::take(&mut self.version);
        let path = self
            .path
            .clone()
            .with("resourceVersion", &version)
            .with("resourceVersionMatch", version_match)
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
        let mut chunks = split(&self.link, &self.gvr, &page.items);
        let fresh = freshness(&self.link, None);
        for chunk in &mut chunks {
            chunk.freshness = Some(fresh);
        }
        if let Some(chunk) = chunks.last_mut().filter(|_| done) {
            chunk.last = true;
            chunk.resource_version = page.resource_version;
            chunk.continue_token.clone_from(&self.token);
        }
        chunks
    }
}

/// At least one chunk, none with more items or bytes than are allowed.
fn split(link: &Link, gvr: &Gvr, items: &[Projected]) -> Vec<proto::ListChunk> {
    let (key, gvr) = (link.key(), gvr.to_proto());
    let mut chunks = vec![proto::ListChunk::default()];
    let (mut bytes, mut count) = (0, 0);
    for item in items {
        if count > 0 && (count == PAGE || bytes + item.json.len() > CHUNK_MAX) {
            chunks.push(proto::ListChunk::default());
            (bytes, count) = (0, 0);
        }
        bytes += item.json.len();
        count += 1;
        if let Some(chunk) = chunks.last_mut() {
            chunk.items.push(to_proto(item, key, &gvr));
        }
    }
    chunks
}

/// The answer of a watch, if one is to be given and there is one.
fn held(
    link: &Link,
    request: &proto::ListRequest,
    gvr: &Gvr,
    (projection, consistency): (Projection, &Consistency),
) -> Result<Option<Held<HeldList>>, CallError> {
    let Some(at_least) = consistency.of_watch() else {
        return Ok(None);
    };
    // Fields are the member's to judge.
    if !request.field_selector.is_empty() {
        return Ok(None);
    }
    let wanted = Wanted {
        gvr,
        namespace: &request.namespace,
        projection,
        at_least,
    };
    let limit = usize::try_from(request.limit)
        .ok()
        .filter(|limit| *limit > 0);
    link.held_list(wanted, &request.label_selector, limit)
}

fn held_chunks(link: &Link, gvr: &Gvr, held: Held<HeldList>) -> Chunks {
    let HeldList { items, revision } = held.found;
    let mut chunks = split(link, gvr, &items);
    let fresh = freshness(link, Some(held.age));
    for chunk in &mut chunks {
        chunk.freshness = Some(fresh);
    }
    if let Some(chunk) = chunks.last_mut() {
        chunk.last = true;
        chunk.resource_version = revision;
    }
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
    tokio::spawn(async move {
        for chunk in chunks {
            if sender.send(Ok(chunk)).await.is_err() {
                return;
            }
        }
    });
    receiver
}
