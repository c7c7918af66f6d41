use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

const PREFACE: usize = 24;
const HEADERS: u8 = 1;
/// A frame of settings that leaves all as it is.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// A frame that says which streams were looked at, the first one or none, and why the member goes.
fn go_away(last_stream: u8, reason: h2::Reason) -> Vec<u8> {
    let mut frame = vec![0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, last_stream];
    frame.extend(u32::from(reason).to_be_bytes());
    frame
}

/// A member that takes one request, sends `answer` and closes the connection. No real one can be made
/// to go between a request and its answer.
async fn leaving(mut stream: DuplexStream, answer: Vec<u8>) {
    stream.read_exact(&mut [0; PREFACE]).await.unwrap();
    stream.write_all(&SETTINGS).await.unwrap();
    let mut head = [0; 9];
    while head[3] != HEADERS {
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut body = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut body).await.unwrap();
    }
    stream.write_all(&answer).await.unwrap();
}

/// What comes of the first request to such a member.
async fn asked(answer: Vec<u8>) -> hyper::Error {
    let (ours, theirs) = duplex(4096);
    tokio::spawn(leaving(theirs, answer));
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(ours))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("http://member/").body(Full::new(Bytes::from("x")));
    sender.send_request(request.unwrap()).await.unwrap_err()
}

#[tokio::test]
async fn only_a_request_that_the_member_says_it_has_not_looked_at_was_refused() {
    let gone = h2::Reason::NO_ERROR;
    assert!(is_refused(&asked(go_away(0, gone)).await));
    // It may have done what was asked before it went.
    assert!(!is_refused(&asked(go_away(1, gone)).await));
    assert!(!is_refused(&asked(Vec::new()).await));
    // Who goes for another reason may be wrong in what it says it has looked at.
    let broken = h2::Reason::INTERNAL_ERROR;
    assert!(!is_refused(&asked(go_away(0, broken)).await));
}
