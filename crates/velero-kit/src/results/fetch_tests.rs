//! The stores here are fakes: no real one can be made to answer so.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::results::tests::gzip;

/// How long a store may take that answers at all.
const PATIENCE: Duration = Duration::from_secs(30);
const FILE: &str = "/b/restores/r/restore-r-results.gz?X-Amz-Signature=secret-of-the-link";

/// How a store answers a request.
#[derive(Clone)]
enum Answer {
    /// With this, and closes.
    Whole(Vec<u8>),
    /// With this, and then nothing, for ever.
    Stalled(Vec<u8>),
    /// With this, and then zeros without end.
    Endless(Vec<u8>),
}

/// A store that answers every request alike, and counts them.
struct Fake {
    port: u16,
    asked: Arc<AtomicUsize>,
}

impl Fake {
    async fn start(answer: Answer) -> Self {
        Self::start_with(answer, None).await
    }

    async fn start_with(answer: Answer, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                seen.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(talk(stream, tls.clone(), answer.clone()));
            }
        });
        Self { port, asked }
    }

    fn link(&self) -> String {
        format!("http://127.0.0.1:{}{FILE}", self.port)
    }

    fn store(&self) -> Store {
        store(&format!("http://127.0.0.1:{}", self.port))
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    async fn read(&self) -> Result<Vec<String>, Unread> {
        self.store().read(&self.link(), soon()).await
    }
}

async fn talk(stream: TcpStream, tls: Option<TlsAcceptor>, answer: Answer) {
    match tls {
        None => respond(stream, answer).await,
        // A client that does not trust us breaks the handshake off.
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                respond(stream, answer).await;
            }
        }
    }
}

async fn respond(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: Answer) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let (Answer::Whole(bytes) | Answer::Stalled(bytes) | Answer::Endless(bytes)) = &answer;
    if stream.write_all(bytes).await.is_err() {
        return;
    }
    match answer {
        Answer::Whole(_) => {
            stream.shutdown().await.ok();
        }
        Answer::Stalled(_) => std::future::pending().await,
        Answer::Endless(_) => while stream.write_all(&[0; 4096]).await.is_ok() {},
    }
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

fn store(endpoint: &str) -> Store {
    let location = json!({ "bucket": "b", "provider": "aws", "endpoint": endpoint });
    Store::at(&serde_json::from_value(location).unwrap()).unwrap()
}

fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// What Velero would have written.
fn file() -> Vec<u8> {
    gzip(br#"{"errors":{"namespaces":{"shop":["quota exceeded"]}},"warnings":{}}"#)
}

#[tokio::test]
async fn the_file_at_the_fleet_s_endpoint_is_read() {
    let fake = Fake::start(Answer::Whole(ok(&file()))).await;
    assert_eq!(fake.read().await.unwrap(), ["quota exceeded"]);
    assert_eq!(fake.asked(), 1);
}

#[tokio::test]
async fn another_host_or_port_is_not_even_asked() {
    let other = Fake::start(Answer::Whole(ok(&file()))).await;
    let own = Fake::start(Answer::Whole(ok(&file()))).await;
    let port = other.port;
    let links = [
        // The same host, another port; another name of that host; another scheme.
        other.link(),
        format!("http://localhost:{}{FILE}", own.port),
        format!("https://127.0.0.1:{}{FILE}", own.port),
        format!("http://127.0.0.1:{}@127.0.0.1:{port}{FILE}", own.port),
    ];
    for link in links {
        let refused = own.store().read(&link, soon()).await;
        assert!(
            matches!(refused, Err(Unread::NotAllowed(_))),
            "{link}: {refused:?}"
        );
    }
    assert_eq!((own.asked(), other.asked()), (0, 0));
}

#[tokio::test]
async fn a_redirect_is_not_followed_not_even_to_the_same_place() {
    let other = Fake::start(Answer::Whole(ok(&file()))).await;
    for status in [301, 302, 303, 307, 308] {
        for target in [other.link(), FILE.to_owned()] {
            let redirect = format!(
                "HTTP/1.1 {status} Moved\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n"
            );
            let fake = Fake::start(Answer::Whole(redirect.into_bytes())).await;
            let refused = fake.read().await;
            assert!(
                matches!(&refused, Err(Unread::Answer(code)) if code.as_u16() == status),
                "{refused:?}"
            );
            assert_eq!(fake.asked(), 1);
        }
    }
    assert_eq!(other.asked(), 0);
}

#[tokio::test]
async fn a_file_that_is_too_large_is_not_read_to_its_end() {
    let more = results::MAX_COMPRESSED + 1;
    let declared = format!("HTTP/1.1 200 OK\r\nContent-Length: {more}\r\n\r\n");
    let answers = [
        // Says so, and sends nothing.
        Answer::Stalled(declared.into_bytes()),
        // Says nothing, and sends for ever.
        Answer::Endless(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
        // In pieces, one byte too many.
        Answer::Stalled(
            [
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice(),
                format!("{more:x}\r\n").as_bytes(),
                &vec![0; more],
            ]
            .concat(),
        ),
    ];
    for answer in answers {
        let refused = Fake::start(answer).await.read().await;
        assert!(matches!(refused, Err(Unread::TooLarge)), "{refused:?}");
    }
}

#[tokio::test]
async fn a_small_file_that_inflates_without_end_is_given_up() {
    let limit = usize::try_from(results::MAX_INFLATED).unwrap();
    let bomb = gzip(&vec![b' '; limit + 1]);
    assert!(bomb.len() < results::MAX_COMPRESSED);
    let refused = Fake::start(Answer::Whole(ok(&bomb))).await.read().await;
    assert!(
        matches!(refused, Err(Unread::Unreadable(Unreadable::TooLarge))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_store_that_stalls_is_given_up_wherever_it_does() {
    let whole = ok(&file());
    let head = whole.len() - file().len();
    for sent in [0, head / 2, head, whole.len() - 1] {
        let fake = Fake::start(Answer::Stalled(whole[..sent].to_vec())).await;
        let end = Instant::now() + Duration::from_millis(300);
        let refused = fake.store().read(&fake.link(), end).await;
        assert!(
            matches!(refused, Err(Unread::TooSlow)),
            "after {sent} bytes: {refused:?}"
        );
    }
}

#[tokio::test]
async fn other_answers_are_no_results() {
    let missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    let refused = Fake::start(Answer::Whole(missing.to_vec()))
        .await
        .read()
        .await;
    assert!(
        matches!(&refused, Err(Unread::Answer(StatusCode::NOT_FOUND))),
        "{refused:?}"
    );
    let page = ok(b"<html>log in first</html>");
    let refused = Fake::start(Answer::Whole(page)).await.read().await;
    assert!(matches!(refused, Err(Unread::Unreadable(_))), "{refused:?}");
    let whole = ok(&file());
    for broken in [&b"SSH-2.0-OpenSSH\r\n"[..], &whole[..whole.len() - 1]] {
        let refused = Fake::start(Answer::Whole(broken.to_vec()))
            .await
            .read()
            .await;
        assert!(matches!(refused, Err(Unread::Connection(_))), "{refused:?}");
    }
}

/// Whoever reads the log could read the file with the link.
#[tokio::test]
async fn no_error_tells_the_link() {
    let own = Fake::start(Answer::Whole(b"no answer".to_vec())).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = nobody.local_addr().unwrap().port();
    drop(nobody);
    let closed = format!("http://127.0.0.1:{free}");
    let errors = [
        own.read().await.unwrap_err(),
        store(&closed)
            .read(&format!("{closed}{FILE}"), soon())
            .await
            .unwrap_err(),
        own.store()
            .read(&format!("{closed}{FILE}"), soon())
            .await
            .unwrap_err(),
    ];
    for error in errors {
        let text = format!("{} {error:?}", controller_kit::text::chain(&error));
        assert!(!text.contains("secret-of-the-link"), "{text}");
    }
}

#[tokio::test]
async fn a_private_authority_is_trusted_only_if_the_fleet_names_it() {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let tls = TlsAcceptor::from(Arc::new(config));
    let fake = Fake::start_with(Answer::Whole(ok(&file())), Some(tls)).await;

    let endpoint = format!("https://127.0.0.1:{}", fake.port);
    let link = format!("{endpoint}{FILE}");
    let with = |ca_cert: Option<String>| Store {
        ca_cert,
        ..store(&endpoint)
    };
    let named = Some(STANDARD.encode(own.cert.pem()));
    assert_eq!(
        with(named).read(&link, soon()).await.unwrap(),
        ["quota exceeded"]
    );
    let unknown = with(None).read(&link, soon()).await;
    assert!(matches!(unknown, Err(Unread::Connection(_))), "{unknown:?}");
    let broken = with(Some("not base64".to_owned()))
        .read(&link, soon())
        .await;
    assert!(matches!(broken, Err(Unread::Tls(_))), "{broken:?}");
}
