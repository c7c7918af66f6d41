//! One unary call: caller, deadline and trace on the way out, a typed error on the way back.

use std::{future::Future, time::Duration};

use api_types::key::ClusterKey;
use rand::RngExt as _;
use tokio::time::timeout;
use tonic::{
    Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};
use tracing::{Instrument as _, Span, field::Empty};

use crate::{
    CALLER_METADATA, MAX_MESSAGE_BYTES,
    error::{Answer, Detail, Error, Origin, Retry, WriteOutcome},
    proto::member_access_client::MemberAccessClient,
    trace,
};

pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
pub(crate) const LIST_DEADLINE: Duration = Duration::from_mins(1);

/// What we wait beyond the deadline we send, so that the proxy's own answer wins.
const GRACE: Duration = Duration::from_millis(500);

pub(crate) type AccessClient = MemberAccessClient<Channel>;

/// What a call is about, for its span and its error.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) verb: &'static str,
    pub(crate) cluster: Option<ClusterKey>,
    /// Such as `backups.velero.io`.
    pub(crate) resource: String,
    /// Such as `velero/nightly`, empty for a collection.
    pub(crate) object: String,
    pub(crate) writes: bool,
}

impl Subject {
    /// What must be assumed about a write whose answer never came.
    pub(crate) fn outcome_when_lost(&self) -> WriteOutcome {
        if self.writes {
            WriteOutcome::Unknown
        } else {
            WriteOutcome::NotSent
        }
    }

    pub(crate) fn detail(
        &self,
        message: String,
        retry: Retry,
        write_outcome: WriteOutcome,
    ) -> Box<Detail> {
        Box::new(Detail {
            cluster: self.cluster.clone(),
            call: self.call(),
            reason: String::new(),
            message,
            origin: Origin::Client,
            retry,
            write_outcome,
            retry_after: None,
        })
    }

    pub(crate) fn answered(&self, answer: &Answer<'_>) -> Box<Detail> {
        let write_outcome = match answer.write_outcome {
            _ if !self.writes => WriteOutcome::NotSent,
            "not_sent" => WriteOutcome::NotSent,
            "unknown" => WriteOutcome::Unknown,
            "applied" => WriteOutcome::Applied,
            _ => WriteOutcome::Rejected,
        };
        Box::new(Detail {
            reason: answer.reason.to_owned(),
            origin: answer.origin,
            retry_after: answer.retry_after,
            ..*self.detail(answer.message.to_owned(), answer.retry(), write_outcome)
        })
    }

    fn call(&self) -> String {
        let words = [self.verb, self.resource.as_str(), self.object.as_str()];
        let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
        words.join(" ")
    }

    fn span(&self) -> Span {
        let span = tracing::info_span!(
            "member call",
            otel.kind = "client",
            verb = self.verb,
            cluster = Empty,
            resource = self.resource,
            object = self.object,
            error = Empty,
        );
        if let Some(cluster) = &self.cluster {
            span.record("cluster", tracing::field::display(cluster));
        }
        span
    }
}

/// The client side of `MemberAccess`.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    name: MetadataValue<Ascii>,
    channel: Channel,
    access: AccessClient,
}

impl Caller {
    pub(crate) fn new(name: MetadataValue<Ascii>, channel: Channel) -> Self {
        let access =
            MemberAccessClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        Self {
            name,
            channel,
            access,
        }
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A request with the caller's name and the current trace, without deadline.
    pub(crate) fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert(CALLER_METADATA, self.name.clone());
        trace::inject(metadata);
        request
    }

    /// Makes a call whose answer is one message.
    pub(crate) async fn unary<M, R, F>(
        &self,
        subject: &Subject,
        deadline: Duration,
        message: M,
        send: impl FnOnce(AccessClient, Request<M>) -> F,
    ) -> Result<R, Error>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let receive = async |response: Response<R>| Ok(response.into_inner());
        self.call(subject, deadline, message, send, receive).await
    }

    /// Makes a call, and reads its answer within the same deadline.
    pub(crate) async fn call<M, S, R, F>(
        &self,
        subject: &Subject,
        deadline: Duration,
        message: M,
        send: impl FnOnce(AccessClient, Request<M>) -> F,
        receive: impl AsyncFnOnce(Response<S>) -> Result<R, Status>,
    ) -> Result<R, Error>
    where
        F: Future<Output = Result<Response<S>, Status>>,
    {
        let span = subject.span();
        let exchange = async {
            let mut request = self.request(message);
            request.set_timeout(deadline);
            receive(send(self.access.clone(), request).await?).await
        };
        let result = match timeout(deadline + GRACE, exchange.instrument(span.clone())).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(status)) => Err(Error::from_status(subject, &status)),
            Err(_elapsed) => Err(Error::no_answer(subject, deadline)),
        };
        if let Err(error) = &result {
            span.record("error", error.category());
        }
        result
    }
}

/// An id for one write, which ends up in the member's audit log.
pub(crate) fn request_id() -> String {
    format!("{:032x}", rand::rng().random::<u128>())
}
