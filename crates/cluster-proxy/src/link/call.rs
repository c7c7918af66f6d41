//! Calls to a member: admission, the unary connection, bounded retries.

use std::{
    sync::{
        Arc, Mutex as StdMutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout_at},
};
use tracing::{Instrument, field};

use super::{
    Link, Signal,
    breaker::jitter,
    connection::{Connection, UNARY_WINDOWS},
    exchange::{self, Request},
    gate::Purpose,
    latency,
    status::Condition,
};
use crate::{
    error::{CallError, Retryable, WriteOutcome},
    request::{
        answer::{Answer, Asked},
        deadline::Deadline,
    },
};

const TRIES: u32 = 3;
const RETRY_BASE: Duration = Duration::from_millis(50);
/// How long a call waits for other credentials after a 401.
const REREAD_WAIT: Duration = Duration::from_secs(2);
/// Each call earns a tenth of a retry, up to ten retries.
const BUDGET_EARN: u32 = 1;
const BUDGET_COST: u32 = 10;
const BUDGET_MAX: u32 = 100;
const IDLE_CLOSE: Duration = Duration::from_mins(1);

/// The connection for calls, and the budget for retries.
#[derive(Debug)]
pub(super) struct Unary {
    connection: Mutex<Option<Arc<Connection>>>,
    last_used: StdMutex<Instant>,
    budget: AtomicU32,
}

impl Default for Unary {
    fn default() -> Self {
        Self {
            connection: Mutex::default(),
            last_used: StdMutex::new(Instant::now()),
            budget: AtomicU32::new(BUDGET_MAX),
        }
    }
}

impl Unary {
    fn touch(&self) {
        *self
            .last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn earn(&self) {
        let _ = self
            .budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |budget| {
                Some((budget + BUDGET_EARN).min(BUDGET_MAX))
            });
    }

    fn spend(&self) -> bool {
        self.budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |budget| {
                budget.checked_sub(BUDGET_COST)
            })
            .is_ok()
    }

    /// Closes the connection when it was not used for a while; streams on it still end normally.
    pub(super) fn close_idle(&self) {
        let last = *self
            .last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= IDLE_CLOSE
            && let Ok(mut connection) = self.connection.try_lock()
        {
            *connection = None;
        }
    }
}

impl Link {
    /// Makes a call: fails at once when the link is down, waits for a place, retries what is safe,
    /// and turns an answer that is no success into an error.
    pub async fn call(
        self: &Arc<Self>,
        request: &Request,
        asked: Asked<'_>,
        deadline: Deadline,
    ) -> Result<Answer, CallError> {
        // Boxed: connecting and reading make a large future, which every service would carry.
        let result = Box::pin(self.call_admitted(request, asked, deadline)).await;
        if let Some(gvr) = asked.gvr() {
            match &result {
                Ok(_) => self.compare_catalogue(gvr, true),
                Err(error) if error.reason == "GVR_NOT_SERVED" => {
                    self.compare_catalogue(gvr, false);
                }
                Err(_) => {}
            }
        }
        result.map_err(|error| error.about("cluster", &self.key))
    }

    async fn call_admitted(
        &self,
        request: &Request,
        asked: Asked<'_>,
        deadline: Deadline,
    ) -> Result<Answer, CallError> {
        self.status.borrow().admit(&self.key)?;
        let queued = Instant::now();
        let _place = self.limiter.enter(deadline).await?;
        self.metrics().queued(queued.elapsed());
        self.unary.earn();
        // Retries may use half of what is left, so that a caller's own deadline means something.
        let retry_until = Instant::now() + deadline.remaining() / 2;
        let mut renewed = false;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let error = match self.attempt(request, asked, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if error.http_code == Some(401) && !renewed {
                renewed = true;
                if self.renewed_credentials(deadline).await {
                    continue;
                }
                return Err(error);
            }
            let pause = RETRY_BASE
                .saturating_mul(1 << attempt)
                .mul_f64(jitter())
                .max(error.retry_after.unwrap_or_default());
            let again = attempt < TRIES
                && may_repeat(request, &error)
                && Instant::now() + pause < retry_until
                && self.status.borrow().is_up()
                && self.limiter.token_now()
                && self.unary.spend();
            if !again {
                return Err(error);
            }
            sleep(pause).await;
        }
    }

    async fn attempt(
        &self,
        request: &Request,
        asked: Asked<'_>,
        deadline: Deadline,
    ) -> Result<Answer, CallError> {
        let generation = self.generation();
        let connection = self.unary_connection(deadline).await?;
        let span = tracing::info_span!(
            "member_request", otel.kind = "client", cluster = %self.key,
            method = %request.method, path = request.path.without_query(), status = field::Empty
        );
        let exchange = exchange_on(&connection, request, asked, deadline.instant());
        let stream = self.metrics().member_stream();
        let sent = Instant::now();
        let result = exchange.instrument(span.clone()).await;
        let took = sent.elapsed();
        drop(stream);
        self.metrics().asked_member(took);
        self.latency.record(took);
        latency::at_member(took);
        let status = match &result {
            Ok(answer) => Some(answer.status.as_u16()),
            Err(error) => error.http_code,
        };
        span.record("status", status);
        self.unary.touch();
        self.report_on(generation, result.as_ref().map(|_| ()));
        result
    }

    async fn unary_connection(&self, deadline: Deadline) -> Result<Arc<Connection>, CallError> {
        let Ok(mut slot) = timeout_at(deadline.instant(), self.unary.connection.lock()).await
        else {
            return Err(CallError::deadline(
                "no connection to the member in time",
                WriteOutcome::NotSent,
            ));
        };
        let Some(session) = self.session.borrow().clone() else {
            return Err(CallError::proxy(
                tonic::Code::Unavailable,
                "CLUSTER_UNREACHABLE",
                format!(
                    "{}: the connection was just lost and is being made again",
                    self.key
                ),
            )
            .retry(Retryable::Yes, Some(Duration::from_millis(500))));
        };
        let credentials = session.connection.credentials();
        if let Some(open) = slot.as_ref()
            && open.is_open()
            && open.credentials().digest == credentials.digest
        {
            return Ok(Arc::clone(open));
        }
        let opening = async {
            let _place = self.seat.enter(Purpose::New).await;
            Connection::open(credentials, &self.context, UNARY_WINDOWS).await
        };
        match timeout_at(deadline.instant(), opening).await {
            Ok(Ok(connection)) => {
                let connection = Arc::new(connection);
                *slot = Some(Arc::clone(&connection));
                Ok(connection)
            }
            Ok(Err(error)) => {
                let condition = Condition::from_connect(&error);
                self.signal(Signal::Tripped {
                    generation: session.generation,
                    message: condition.message.clone(),
                });
                Err(CallError::proxy(
                    tonic::Code::Unavailable,
                    "CLUSTER_UNREACHABLE",
                    format!("{}: {}", self.key, condition.message),
                )
                .retry(Retryable::Yes, Some(Duration::from_secs(1))))
            }
            Err(_) => Err(CallError::deadline(
                "no connection to the member in time",
                WriteOutcome::NotSent,
            )),
        }
    }

    /// After a 401: true once the supervisor has found other credentials in the Secret.
    async fn renewed_credentials(&self, deadline: Deadline) -> bool {
        let mut sessions = self.sessions();
        let Some(digest) = sessions
            .borrow_and_update()
            .as_ref()
            .map(|s| s.connection.credentials().digest)
        else {
            return false;
        };
        self.unauthorized(digest);
        let other = sessions.wait_for(|session| {
            session
                .as_ref()
                .is_some_and(|s| s.connection.credentials().digest != digest)
        });
        matches!(
            timeout_at(deadline.within(REREAD_WAIT), other).await,
            Ok(Ok(_))
        )
    }
}

/// One request on a given connection, to the end.
pub(super) async fn exchange_on(
    connection: &Connection,
    request: &Request,
    asked: Asked<'_>,
    deadline: Instant,
) -> Result<Answer, CallError> {
    let head = exchange::send(connection, request, deadline).await?;
    exchange::read(head, request, deadline)
        .await?
        .success(asked)
}

/// Reads; writes that never left; writes whose repetition the caller has declared harmless.
fn may_repeat(request: &Request, error: &CallError) -> bool {
    if error.retryable != Retryable::Yes || error.reason == "GVR_NOT_SERVED" {
        return false;
    }
    match error.write_outcome {
        WriteOutcome::NotSent => true,
        WriteOutcome::Unknown => request.retry_unknown,
        WriteOutcome::Applied | WriteOutcome::Rejected => !request.is_write(),
    }
}
