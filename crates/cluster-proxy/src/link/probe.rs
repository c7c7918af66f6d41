//! Asks a member who it is and how it does.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::{
    call::exchange_on,
    connection::Connection,
    exchange::{Accept, Request},
    status::Condition,
};
use crate::{
    error::{CallError, WriteOutcome},
    json,
    request::{
        answer::Asked,
        path::{Gvr, Path},
    },
};

const TIMEOUT: Duration = Duration::from_secs(5);

const ASKED: Asked<'static> = Asked::of("a health probe");

/// More than any API server has to say to these questions.
const BODY_MAX: usize = 2 * 1024 * 1024;
/// Both go to every controller with each change of the member's state.
const VERSION_MAX: usize = 64;
const UID_MAX: usize = 128;

/// What a connection that works tells about its member.
pub(super) struct Proof {
    /// Such as v1.34.4.
    pub(super) version: String,
    /// Uid of `kube-system`; None when the credentials may not read it.
    pub(super) member_uid: Option<String>,
    /// How long the first answer took.
    pub(super) rtt: Duration,
}

/// Why a connection is of no use.
pub(super) enum Unproven {
    /// For this reason.
    Condition(Condition),
    /// The member answers 401.
    Unauthorized,
}

impl From<CallError> for Unproven {
    fn from(error: CallError) -> Self {
        if error.http_code == Some(401) {
            return Self::Unauthorized;
        }
        Self::Condition(Condition::unreachable(error.into_message()))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    git_version: String,
}

#[derive(Deserialize)]
struct Named {
    metadata: NamedMeta,
}

#[derive(Deserialize)]
struct NamedMeta {
    uid: String,
}

/// Asks for the version and the identity.
pub(super) async fn prove(connection: &Connection) -> Result<Proof, Unproven> {
    let started = Instant::now();
    let version: Version = ask(connection, Path::fixed("/version")).await?;
    let version = word("gitVersion", version.git_version, VERSION_MAX)?;
    let rtt = started.elapsed();
    Ok(Proof {
        version,
        member_uid: identity(connection).await?,
        rtt,
    })
}

/// Asks for the uid of `kube-system`; None when the credentials may not read it.
pub(super) async fn identity(connection: &Connection) -> Result<Option<String>, CallError> {
    let namespaces = Gvr::new("", "v1", "namespaces")?;
    let path = Path::object(&namespaces, "", "kube-system", "")?;
    match ask::<Named>(connection, path).await {
        Ok(named) => word("metadata.uid", named.metadata.uid, UID_MAX).map(Some),
        Err(error) if error.http_code == Some(403) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Asks whether the API server is well.
pub(super) async fn is_ready(connection: &Connection) -> Result<(), CallError> {
    let request = get(Path::fixed("/readyz"));
    exchange_on(connection, &request, ASKED, Instant::now() + TIMEOUT).await?;
    Ok(())
}

async fn ask<T: for<'a> Deserialize<'a>>(
    connection: &Connection,
    path: Path,
) -> Result<T, CallError> {
    let request = get(path);
    let answer = exchange_on(connection, &request, ASKED, Instant::now() + TIMEOUT).await?;
    json::text(&answer.body)
        .and_then(json::parse)
        .map_err(|e| CallError::malformed(e, WriteOutcome::NotSent))
}

fn get(path: Path) -> Request {
    Request {
        max_body: BODY_MAX,
        ..Request::get(path, Accept::Json)
    }
}

/// A word of printable ASCII: what a member says of itself is not passed on otherwise.
fn word(field: &str, text: String, max: usize) -> Result<String, CallError> {
    if (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(text);
    }
    let what = format_args!("{field} is not a word of 1 to {max} characters");
    Err(CallError::malformed(what, WriteOutcome::NotSent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_plain_words_are_believed() {
        for good in ["v1.34.4", "v1.27.3-gke.100", "v1.31.0+k3s1"] {
            assert_eq!(word("f", good.to_owned(), VERSION_MAX).unwrap(), good);
        }
        let long = "v".repeat(VERSION_MAX + 1);
        for bad in ["", "v1 or so", "v1\n", "v\u{e4}", &long] {
            let error = word("f", bad.to_owned(), VERSION_MAX).unwrap_err();
            assert_eq!(error.reason, "MEMBER_MALFORMED");
        }
    }
}
