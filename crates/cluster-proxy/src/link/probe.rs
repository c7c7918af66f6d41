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
    let rtt = started.elapsed();
    let namespaces = Gvr::new("", "v1", "namespaces")?;
    let path = Path::object(&namespaces, "", "kube-system", "")?;
    let member_uid = match ask::<Named>(connection, path).await {
        Ok(named) => Some(named.metadata.uid),
        Err(error) if error.http_code == Some(403) => None,
        Err(error) => return Err(error.into()),
    };
    Ok(Proof {
        version: version.git_version,
        member_uid,
        rtt,
    })
}

/// Asks whether the API server is well.
pub(super) async fn is_ready(connection: &Connection) -> Result<(), CallError> {
    let request = Request::get(Path::fixed("/readyz"), Accept::Json);
    exchange_on(connection, &request, ASKED, Instant::now() + TIMEOUT).await?;
    Ok(())
}

async fn ask<T: for<'a> Deserialize<'a>>(
    connection: &Connection,
    path: Path,
) -> Result<T, CallError> {
    let request = Request::get(path, Accept::Json);
    let answer = exchange_on(connection, &request, ASKED, Instant::now() + TIMEOUT).await?;
    json::text(&answer.body)
        .and_then(json::parse)
        .map_err(|e| CallError::malformed(e, WriteOutcome::NotSent))
}
