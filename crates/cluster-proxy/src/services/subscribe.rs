//! `MemberWatch`: opens Subscribe streams.

use std::sync::Arc;

use proxy_client::proto::{SubscribeFrame, SubscribeRequest, member_watch_server::MemberWatch};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Core;
use crate::subscribe::session;

/// Frames between the queue and the connection; what does not fit coalesces in the queue.
const FRAMES: usize = 4;

/// Serves `clusterproxy.v1.MemberWatch`.
#[derive(Clone, Debug)]
pub struct MemberWatchService {
    core: Arc<Core>,
}

impl MemberWatchService {
    /// The service.
    pub fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}

#[tonic::async_trait]
impl MemberWatch for MemberWatchService {
    type SubscribeStream = ReceiverStream<Result<SubscribeFrame, Status>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<SubscribeRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let (metadata, _, input) = request.into_parts();
        let open = async {
            let caller = self.core.caller(&metadata)?;
            let slot = self.core.stream_slot(&caller)?;
            Ok((caller, slot))
        };
        let opened = self.core.observed("Subscribe", &metadata, open).await?;
        let (caller, slot) = opened.into_inner();
        let (output, frames) = mpsc::channel(FRAMES);
        let core = Arc::clone(&self.core);
        tokio::spawn(async move {
            let _slot = slot;
            let gone = output.clone();
            tokio::select! {
                () = session::run(core, caller, input, output) => {}
                () = gone.closed() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(frames)))
    }
}
