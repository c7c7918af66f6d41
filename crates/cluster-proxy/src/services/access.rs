//! `MemberAccess`: the calls, each handed to its room.

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use proxy_client::proto::{self, member_access_server::MemberAccess};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Core;
use crate::request::deadline::{Deadline, MAX, MAX_LIST};

/// Serves `clusterproxy.v1.MemberAccess`.
#[derive(Clone, Debug)]
pub struct MemberAccessService {
    pub(super) core: Arc<Core>,
}

impl MemberAccessService {
    /// The service.
    pub fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}

type Results<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A call with what all calls need: who calls, and until when.
pub(super) struct Call {
    pub(super) caller: String,
    pub(super) deadline: Deadline,
}

macro_rules! unary {
    ($self:ident, $request:ident, $name:literal, $method:ident) => {{
        let deadline = Deadline::from_metadata($request.metadata(), MAX);
        let (metadata, _, message) = $request.into_parts();
        let call = async {
            let caller = $self.core.caller(&metadata)?;
            $self.$method(Call { caller, deadline }, message).await
        };
        $self.core.observed($name, &metadata, call).await
    }};
}

#[tonic::async_trait]
impl MemberAccess for MemberAccessService {
    type ListStream = Results<proto::ListChunk>;
    type DiscoverStream = Results<proto::ServedResource>;

    async fn get(
        &self,
        request: Request<proto::GetRequest>,
    ) -> Result<Response<proto::Object>, Status> {
        unary!(self, request, "Get", get_object)
    }

    async fn list(
        &self,
        request: Request<proto::ListRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let deadline = Deadline::from_metadata(request.metadata(), MAX_LIST);
        let (metadata, _, message) = request.into_parts();
        let call = async {
            let caller = self.core.caller(&metadata)?;
            // Boxed: it is large.
            Box::pin(self.list_objects(Call { caller, deadline }, message)).await
        };
        let chunks = self.core.observed("List", &metadata, call).await?;
        let stream = ReceiverStream::new(chunks.into_inner());
        Ok(Response::new(Box::pin(stream) as Self::ListStream))
    }

    async fn apply(
        &self,
        request: Request<proto::ApplyRequest>,
    ) -> Result<Response<proto::WriteResult>, Status> {
        unary!(self, request, "Apply", apply_object)
    }

    async fn create(
        &self,
        request: Request<proto::CreateRequest>,
    ) -> Result<Response<proto::WriteResult>, Status> {
        unary!(self, request, "Create", create_object)
    }

    async fn patch(
        &self,
        request: Request<proto::PatchRequest>,
    ) -> Result<Response<proto::WriteResult>, Status> {
        unary!(self, request, "Patch", patch_object)
    }

    async fn delete(
        &self,
        request: Request<proto::DeleteRequest>,
    ) -> Result<Response<proto::WriteResult>, Status> {
        unary!(self, request, "Delete", delete_object)
    }

    async fn discover(
        &self,
        request: Request<proto::DiscoverRequest>,
    ) -> Result<Response<Self::DiscoverStream>, Status> {
        let served = unary!(self, request, "Discover", discover_types)?.into_inner();
        let stream = tokio_stream::iter(served.into_iter().map(Ok));
        Ok(Response::new(Box::pin(stream) as Self::DiscoverStream))
    }

    async fn ensure_namespace(
        &self,
        request: Request<proto::EnsureNamespaceRequest>,
    ) -> Result<Response<proto::WriteResult>, Status> {
        unary!(self, request, "EnsureNamespace", put_namespace)
    }

    async fn ensure_secret(
        &self,
        request: Request<proto::EnsureSecretRequest>,
    ) -> Result<Response<proto::WriteResult>, Status> {
        unary!(self, request, "EnsureSecret", put_secret)
    }
}
