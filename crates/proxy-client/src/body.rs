//! Objects on the wire: what goes out has an identity and a bounded size, what comes in is a `K`.

use serde::Serialize;
use serde_json::{Value, json};
use tonic::{Response, Status, Streaming};

use crate::{
    api::MemberResource,
    call::Subject,
    error::Error,
    proto::{self, write_result::Outcome},
};

/// The proxy accepts messages up to 4 MiB; an object leaves room for its envelope.
const MAX_OBJECT_BYTES: usize = 3 * 1024 * 1024;

/// A body that says what it is, whatever its type left out.
pub(crate) fn identified<K: MemberResource>(
    subject: &Subject,
    namespace: &str,
    name: &str,
    body: &(impl Serialize + ?Sized),
) -> Result<Vec<u8>, Error> {
    let invalid = |error: serde_json::Error| Error::unsendable(subject, error.to_string());
    let mut body = serde_json::to_value(body).map_err(invalid)?;
    identify::<K>(&mut body, namespace, name);
    encode(subject, &body)
}

/// Gives a body the identity that the proxy compares with the target.
fn identify<K: MemberResource>(body: &mut Value, namespace: &str, name: &str) {
    let Value::Object(fields) = body else { return };
    let mut fill = |field: &str, value: &str| {
        fields.entry(field).or_insert_with(|| json!(value));
    };
    fill("apiVersion", &K::api_version(&()));
    fill("kind", &K::kind(&()));
    let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
    if let Value::Object(metadata) = metadata {
        metadata.entry("name").or_insert_with(|| json!(name));
        if !namespace.is_empty() {
            metadata
                .entry("namespace")
                .or_insert_with(|| json!(namespace));
        }
    }
}

pub(crate) fn encode(subject: &Subject, body: &Value) -> Result<Vec<u8>, Error> {
    let bytes =
        serde_json::to_vec(body).map_err(|error| Error::unsendable(subject, error.to_string()))?;
    if bytes.len() > MAX_OBJECT_BYTES {
        let message = format!(
            "{} bytes are too many, the limit is {MAX_OBJECT_BYTES}",
            bytes.len()
        );
        return Err(Error::unsendable(subject, message));
    }
    Ok(bytes)
}

/// All items, or None when the stream ended before its last chunk.
pub(crate) async fn collect(
    response: Response<Streaming<proto::ListChunk>>,
) -> Result<Option<Vec<proto::Object>>, Status> {
    let mut stream = response.into_inner();
    let mut objects = Vec::new();
    while let Some(chunk) = stream.message().await? {
        objects.extend(chunk.items);
        if chunk.last {
            return Ok(Some(objects));
        }
    }
    Ok(None)
}

pub(crate) fn written<K: MemberResource>(
    subject: &Subject,
    result: proto::WriteResult,
) -> Result<K, Error> {
    match (result.outcome(), result.object) {
        (Outcome::Created | Outcome::Configured | Outcome::Unchanged, Some(object)) => {
            decode(subject, &object)
        }
        (outcome, _) => Err(Error::unreadable(
            subject,
            format!("outcome {} without object", outcome.as_str_name()),
        )),
    }
}

pub(crate) fn decode<K: MemberResource>(
    subject: &Subject,
    object: &proto::Object,
) -> Result<K, Error> {
    serde_json::from_slice(&object.json).map_err(|error| {
        let message = format!("{}/{}: {error}", object.namespace, object.name);
        Error::unreadable(subject, message)
    })
}

pub(crate) fn gvr<K: MemberResource>() -> proto::Gvr {
    proto::Gvr {
        group: K::group(&()).into_owned(),
        version: K::version(&()).into_owned(),
        resource: K::plural(&()).into_owned(),
    }
}

pub(crate) fn projection(metadata_only: bool) -> proto::Projection {
    let mode = if metadata_only {
        proto::projection::Mode::Metadata
    } else {
        proto::projection::Mode::Full
    };
    proto::Projection { mode: mode.into() }
}

/// Such as `backups.velero.io`, or `nodes` for the core group.
pub(crate) fn resource_name<K: MemberResource>() -> String {
    match (K::plural(&()), K::group(&())) {
        (plural, group) if group.is_empty() => plural.into_owned(),
        (plural, group) => format!("{plural}.{group}"),
    }
}
