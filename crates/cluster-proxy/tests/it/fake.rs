//! A member that a real API server cannot be made to be: it answers what it is told to, and
//! remembers what it was asked.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::{
    HeaderMap, Request, Response,
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub(crate) const TOKEN: &str = "canary-token";

/// How a path is answered.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Status and JSON.
    Json(u16, Value),
    /// Status, a header, and bytes.
    Raw(u16, (&'static str, &'static str), Bytes),
    /// A 200 whose body begins like this and never ends.
    Open(String),
    /// Never.
    Never,
    /// Not at all: the stream is refused, unread.
    Refuse,
}

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Counted from 1.
    pub(crate) connection: usize,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
}

#[derive(Default)]
struct State {
    replies: Mutex<HashMap<String, Reply>>,
    seen: Mutex<Vec<Seen>>,
    max_streams: Mutex<Option<u32>>,
    accepted: AtomicUsize,
    connections: Mutex<CancellationToken>,
}

pub(crate) struct Fake {
    pub(crate) kubeconfig: String,
    state: Arc<State>,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        Self::start_with_alpn(b"h2").await
    }

    /// One that offers only this protocol, or with an empty one none at all.
    pub(crate) async fn start_with_alpn(protocol: &[u8]) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let mut tls = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        tls.alpn_protocols = match protocol {
            b"" => Vec::new(),
            one => vec![one.to_vec()],
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "m", "user": "u"}}],
            "clusters": [{"name": "m", "cluster": {
                "server": format!("https://{}", listener.local_addr().unwrap()),
                "certificate-authority-data": STANDARD.encode(cert.pem()),
            }}],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
        });
        let state = Arc::new(State::default());
        tokio::spawn(accept(
            listener,
            TlsAcceptor::from(Arc::new(tls)),
            Arc::clone(&state),
        ));
        let fake = Self {
            kubeconfig: kubeconfig.to_string(),
            state,
        };
        let groups = json!({"kind": "APIGroupDiscoveryList", "items": []});
        fake.reply(
            "/version",
            Reply::Json(200, json!({"gitVersion": "v1.34.0"})),
        );
        fake.reply("/api", Reply::Json(200, groups.clone()));
        fake.reply("/apis", Reply::Json(200, groups));
        fake.set_uid("first");
        fake
    }

    /// Answers a path; with `?watch` at the end of it, watches on that path; with `?initial`, watches
    /// that are to begin with all there is, which are refused unless told otherwise.
    pub(crate) fn reply(&self, path: &str, reply: Reply) {
        self.state
            .replies
            .lock()
            .unwrap()
            .insert(path.to_owned(), reply);
    }

    /// The uid of `kube-system`.
    pub(crate) fn set_uid(&self, uid: &str) {
        let namespace = json!({"metadata": {"name": "kube-system", "uid": uid}});
        self.reply(
            "/api/v1/namespaces/kube-system",
            Reply::Json(200, namespace),
        );
    }

    /// Closes all connections.
    pub(crate) fn disconnect(&self) {
        let mut connections = self.state.connections.lock().unwrap();
        std::mem::take(&mut *connections).cancel();
    }

    /// How many streams new connections may have.
    pub(crate) fn limit_streams(&self, streams: u32) {
        *self.state.max_streams.lock().unwrap() = Some(streams);
    }

    /// Connections so far; proxies of other tests follow the same hub, so some are theirs.
    pub(crate) fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::Relaxed)
    }

    /// On how many connections requests came whose path holds a text.
    pub(crate) fn connections(&self, text: &str) -> usize {
        let seen = self.seen(text);
        let connections: HashSet<usize> = seen.into_iter().map(|s| s.connection).collect();
        connections.len()
    }

    /// Requests so far whose path holds a text.
    pub(crate) fn seen(&self, text: &str) -> Vec<Seen> {
        let seen = self.state.seen.lock().unwrap();
        seen.iter()
            .filter(|s| s.path.contains(text))
            .cloned()
            .collect()
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, state: Arc<State>) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        let connection = state.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        let max_streams = *state.max_streams.lock().unwrap();
        let end = state.connections.lock().unwrap().clone();
        tokio::spawn(end.run_until_cancelled_owned(async move {
            let Ok(stream) = tls.accept(tcp).await else {
                return;
            };
            let service =
                service_fn(move |request| answer(Arc::clone(&state), connection, request));
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .max_concurrent_streams(max_streams.unwrap_or(200))
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }));
    }
}

type Body = BoxBody<Bytes, Infallible>;

async fn answer(
    state: Arc<State>,
    connection: usize,
    request: Request<Incoming>,
) -> Result<Response<Body>, h2::Error> {
    let uri = request.uri().clone();
    let query = uri.query().unwrap_or_default();
    let initial = query.contains("sendInitialEvents=true");
    let kind = match (query.contains("watch=1"), initial) {
        (_, true) => "?initial",
        (true, false) => "?watch",
        (false, false) => "",
    };
    let path = format!("{}{kind}", uri.path());
    state.seen.lock().unwrap().push(Seen {
        connection,
        path: uri.to_string(),
        headers: request.headers().clone(),
    });
    let reply = state.replies.lock().unwrap().get(&path).cloned();
    let absent = json!({"kind": "Status", "reason": "NotFound", "message": "no such thing",
        "details": {"kind": "configmaps"}});
    let invalid = json!({"kind": "Status", "reason": "Invalid", "message": "not supported"});
    let unknown = if initial {
        Reply::Json(422, invalid)
    } else {
        Reply::Json(404, absent)
    };
    let (status, header, body) = match reply.unwrap_or(unknown) {
        Reply::Json(status, value) => (status, None, full(value.to_string())),
        Reply::Raw(status, header, bytes) => (status, Some(header), full(bytes)),
        Reply::Open(start) => {
            let start = Ok(Frame::data(Bytes::from(start)));
            let body = stream::StreamExt::chain(stream::iter([start]), stream::pending());
            (200, None, BodyExt::boxed(StreamBody::new(body)))
        }
        Reply::Never => std::future::pending().await,
        Reply::Refuse => return Err(h2::Reason::REFUSED_STREAM.into()),
    };
    let mut response = Response::builder().status(status);
    if let Some((key, value)) = header {
        response = response.header(key, value);
    }
    Ok(response.body(body).unwrap())
}

fn full(bytes: impl Into<Bytes>) -> Body {
    BodyExt::boxed(http_body_util::Full::new(bytes.into()))
}
