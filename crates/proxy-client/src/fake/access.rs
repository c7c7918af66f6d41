//! The calls of the fake.

use serde_json::Value;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

use super::{BY_MEMBER, Fake, ObjectId, status, streams::stream_of, wire};
use crate::proto::{
    self, ListChunk, Object, ServedResource, WriteResult, member_access_server::MemberAccess,
    write_result::Outcome,
};

type Chunks<T> = ReceiverStream<Result<T, Status>>;

fn id(target: proto::Target) -> ObjectId {
    let resource = target.gvr.unwrap_or_default().resource;
    (resource, target.namespace, target.name)
}

fn member(target: Option<&proto::Target>) -> Option<&proto::ClusterRef> {
    target.and_then(|target| target.cluster.as_ref())
}

impl Fake {
    fn put(
        &self,
        outcome: Outcome,
        target: Option<proto::Target>,
        json: &[u8],
    ) -> Result<Response<WriteResult>, Status> {
        let body: Value = serde_json::from_slice(json).unwrap();
        let object = Some(wire(&body));
        self.state().objects.insert(id(target.unwrap()), body);
        self.written(outcome, object)
    }

    /// The answer to a write that happened.
    fn written(
        &self,
        outcome: Outcome,
        object: Option<Object>,
    ) -> Result<Response<WriteResult>, Status> {
        if let Some(lost) = self.state().failure_after_write.take() {
            return Err(lost);
        }
        Ok(Response::new(WriteResult {
            outcome: outcome.into(),
            object,
            ..Default::default()
        }))
    }
}

#[tonic::async_trait]
impl MemberAccess for Fake {
    type ListStream = Chunks<ListChunk>;
    type DiscoverStream = Chunks<ServedResource>;

    async fn get(&self, request: Request<proto::GetRequest>) -> Result<Response<Object>, Status> {
        self.admit("get", member(request.get_ref().target.as_ref()), &request)
            .await?;
        let target = request.into_inner().target.unwrap();
        let state = self.state();
        let found = state.objects.get(&id(target));
        found
            .map(|body| Response::new(wire(body)))
            .ok_or_else(|| status(Code::NotFound, "", BY_MEMBER, "not found", &[]))
    }

    async fn list(
        &self,
        request: Request<proto::ListRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        self.admit("list", request.get_ref().cluster.as_ref(), &request)
            .await?;
        let resource = request.into_inner().gvr.unwrap_or_default().resource;
        let state = self.state();
        let mut chunks: Vec<_> = state
            .objects
            .iter()
            .filter(|((of, ..), _)| *of == resource)
            .map(|(_, body)| ListChunk {
                items: vec![wire(body)],
                ..Default::default()
            })
            .collect();
        if !state.breaks_lists {
            chunks.push(ListChunk {
                last: true,
                ..Default::default()
            });
        }
        Ok(Response::new(stream_of(chunks)))
    }

    async fn apply(
        &self,
        request: Request<proto::ApplyRequest>,
    ) -> Result<Response<WriteResult>, Status> {
        self.admit("apply", member(request.get_ref().target.as_ref()), &request)
            .await?;
        let request = request.into_inner();
        self.put(Outcome::Configured, request.target, &request.json)
    }

    async fn create(
        &self,
        request: Request<proto::CreateRequest>,
    ) -> Result<Response<WriteResult>, Status> {
        self.admit(
            "create",
            member(request.get_ref().target.as_ref()),
            &request,
        )
        .await?;
        let request = request.into_inner();
        let target = request.target.clone().unwrap();
        if self.state().objects.contains_key(&id(target)) {
            let reason = "ALREADY_EXISTS";
            let there = status(Code::AlreadyExists, reason, BY_MEMBER, "is there", &[]);
            return Err(there);
        }
        self.put(Outcome::Created, request.target, &request.json)
    }

    async fn patch(
        &self,
        request: Request<proto::PatchRequest>,
    ) -> Result<Response<WriteResult>, Status> {
        self.admit("patch", member(request.get_ref().target.as_ref()), &request)
            .await?;
        // An outcome without the object that was asked for
        Ok(Response::new(WriteResult {
            outcome: Outcome::Configured.into(),
            ..Default::default()
        }))
    }

    async fn delete(
        &self,
        request: Request<proto::DeleteRequest>,
    ) -> Result<Response<WriteResult>, Status> {
        self.admit(
            "delete",
            member(request.get_ref().target.as_ref()),
            &request,
        )
        .await?;
        let target = request.into_inner().target.unwrap();
        let known = self.state().objects.remove(&id(target));
        let outcome = known.map_or(Outcome::Absent, |_| Outcome::Deleted);
        self.written(outcome, None)
    }

    async fn discover(
        &self,
        request: Request<proto::DiscoverRequest>,
    ) -> Result<Response<Self::DiscoverStream>, Status> {
        self.admit("discover", request.get_ref().cluster.as_ref(), &request)
            .await?;
        let served = ServedResource {
            gvr: Some(proto::Gvr {
                group: "velero.io".into(),
                version: "v1".into(),
                resource: "backups".into(),
            }),
            kind: "Backup".into(),
            namespaced: true,
            verbs: vec!["get".into()],
        };
        Ok(Response::new(stream_of(vec![served])))
    }

    async fn ensure_namespace(
        &self,
        request: Request<proto::EnsureNamespaceRequest>,
    ) -> Result<Response<WriteResult>, Status> {
        self.admit(
            "ensure_namespace",
            request.get_ref().cluster.as_ref(),
            &request,
        )
        .await?;
        Ok(Response::new(WriteResult {
            outcome: Outcome::Created.into(),
            ..Default::default()
        }))
    }

    async fn ensure_secret(
        &self,
        request: Request<proto::EnsureSecretRequest>,
    ) -> Result<Response<WriteResult>, Status> {
        self.admit(
            "ensure_secret",
            request.get_ref().cluster.as_ref(),
            &request,
        )
        .await?;
        Ok(Response::new(WriteResult {
            outcome: Outcome::Unchanged.into(),
            ..Default::default()
        }))
    }
}
