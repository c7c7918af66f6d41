//! What the proxy reads of a Kubernetes object: its identity, borrowed from the bytes.
//!
//! Bodies stay opaque. `managedFields` is cut out by byte range, so that nothing is parsed twice and
//! unknown fields and large numbers survive as they are.

use std::{borrow::Cow, collections::BTreeMap};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::request::answer::clean;

/// Deeper JSON than this is refused.
const DEPTH_MAX: usize = 128;
/// What Kubernetes allows at most, in bytes. No envelope of an object gets larger by a member's doing.
const NAME_MAX: usize = 253;
const NAMESPACE_MAX: usize = 63;
/// A kind, as a definition may name it.
pub const KIND_MAX: usize = 63;
/// Group, slash and version.
const API_VERSION_MAX: usize = 253 + 1 + 63;
/// Uids and resource versions are opaque; those of real servers are much shorter.
pub const REVISION_MAX: usize = 128;
/// An object is no larger, be it for its numbers that are written in full.
pub const OBJECT_MAX: usize = 4 * 1024 * 1024;
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Why an answer cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum JsonError {
    /// Not UTF-8.
    #[error("not UTF-8")]
    Utf8,
    /// Nested too deeply.
    #[error("nested deeper than {DEPTH_MAX} levels")]
    Depth,
    /// Not the JSON that was expected.
    #[error("{0}")]
    Syntax(String),
    /// A part of an object's identity, or the object, is larger than Kubernetes lets it be.
    #[error("{0} is larger than Kubernetes allows")]
    Beyond(&'static str),
}

impl JsonError {
    /// An error about JSON; the text may quote the member.
    pub fn syntax(text: &str) -> Self {
        Self::Syntax(clean(text))
    }
}

/// Checks a part of what identifies an object.
pub fn within(what: &'static str, text: &str, max: usize) -> Result<(), JsonError> {
    if text.len() > max {
        return Err(JsonError::Beyond(what));
    }
    Ok(())
}

/// The borrowed part of an object.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope<'a> {
    /// `apiVersion`; absent in the items of some lists.
    #[serde(borrow, default)]
    pub api_version: Cow<'a, str>,
    /// `kind`; absent in the items of some lists.
    #[serde(borrow, default)]
    pub kind: Cow<'a, str>,
    #[serde(borrow)]
    metadata: &'a RawValue,
}

/// The borrowed part of an object's metadata.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta<'a> {
    /// Name.
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    /// Namespace, empty for cluster-scoped objects.
    #[serde(borrow, default)]
    pub namespace: Cow<'a, str>,
    /// Uid.
    #[serde(borrow, default)]
    pub uid: Cow<'a, str>,
    /// Resource version.
    #[serde(borrow, default)]
    pub resource_version: Cow<'a, str>,
    /// Generation, 0 for types without one.
    #[serde(default)]
    pub generation: i64,
    #[serde(borrow, default)]
    managed_fields: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Labelled {
    metadata: LabelledMeta,
}

#[derive(Deserialize)]
struct LabelledMeta {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

/// Which part of an object is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Projection {
    /// All but `managedFields`.
    Full,
    /// All.
    WithManagedFields,
    /// `apiVersion`, `kind` and metadata without `managedFields`.
    Metadata,
    /// The same for Secrets, where an annotation may repeat the data.
    SecretMetadata,
}

impl Projection {
    /// Whether the other one can be made of this one.
    pub fn holds(self, other: Self) -> bool {
        match (self, other) {
            (Self::WithManagedFields, Self::Full | Self::Metadata)
            | (Self::Full, Self::Metadata) => true,
            _ => self == other,
        }
    }
}

/// An object's identity, and its bytes after projection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Projected {
    /// `apiVersion` as the member sent it.
    pub api_version: String,
    /// `kind` as the member sent it.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// Uid.
    pub uid: String,
    /// Resource version.
    pub resource_version: String,
    /// Generation.
    pub generation: i64,
    /// The projected object.
    pub json: Bytes,
}

/// `apiVersion` and `kind` for objects that lack them or that are metadata only.
#[derive(Clone, Copy, Debug)]
pub struct TypeHint<'a> {
    /// The version that was asked for.
    pub api_version: &'a str,
    /// The kind, empty when unknown.
    pub kind: &'a str,
}

/// Checks bytes of a member: UTF-8 and not nested too deeply.
pub fn text(bytes: &[u8]) -> Result<&str, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|_| JsonError::Utf8)?;
    if depth_exceeds(bytes, DEPTH_MAX) {
        return Err(JsonError::Depth);
    }
    Ok(text)
}

/// Parses a borrowed type.
pub fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, JsonError> {
    serde_json::from_str(text).map_err(|e| JsonError::syntax(&e.to_string()))
}

/// The labels of a projected object; none if they are not what labels are.
pub fn labels(json: &[u8]) -> BTreeMap<String, String> {
    serde_json::from_slice(json)
        .ok()
        .and_then(|Labelled { metadata }| metadata.labels)
        .unwrap_or_default()
}

/// Reads an object's identity and cuts it down to the projection.
pub fn project(
    text: &str,
    projection: Projection,
    hint: TypeHint<'_>,
) -> Result<Projected, JsonError> {
    let envelope: Envelope<'_> = parse(text)?;
    let meta_text = envelope.metadata.get();
    let meta: Meta<'_> = parse(meta_text)?;
    let known = if matches!(projection, Projection::Full | Projection::WithManagedFields) {
        envelope.kind.as_ref()
    } else {
        ""
    };
    let (api_version, kind) = if known.is_empty() {
        (hint.api_version, hint.kind)
    } else {
        (envelope.api_version.as_ref(), known)
    };
    for (what, text, max) in [
        ("apiVersion", api_version, API_VERSION_MAX),
        ("kind", kind, KIND_MAX),
        ("metadata.name", &meta.name, NAME_MAX),
        ("metadata.namespace", &meta.namespace, NAMESPACE_MAX),
        ("metadata.uid", &meta.uid, REVISION_MAX),
        (
            "metadata.resourceVersion",
            &meta.resource_version,
            REVISION_MAX,
        ),
    ] {
        within(what, text, max)?;
    }
    let json = match projection {
        Projection::WithManagedFields => complete(text, &envelope, hint).into_bytes(),
        Projection::Full => match meta.managed_fields {
            Some(fields) => {
                complete(&cut_member(text, "managedFields", fields)?, &envelope, hint).into_bytes()
            }
            None => complete(text, &envelope, hint).into_bytes(),
        },
        Projection::Metadata => {
            let metadata = match meta.managed_fields {
                Some(fields) => cut_member(meta_text, "managedFields", fields)?,
                None => meta_text.to_owned(),
            };
            metadata_only(api_version, kind, &metadata)
        }
        Projection::SecretMetadata => {
            metadata_only(api_version, kind, &secret_metadata(meta_text)?)
        }
    };
    Ok(Projected {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: meta.name.into_owned(),
        namespace: meta.namespace.into_owned(),
        uid: meta.uid.into_owned(),
        resource_version: meta.resource_version.into_owned(),
        generation: meta.generation,
        json: Bytes::from(json),
    })
}

/// List items of built-in types come without `apiVersion` and `kind`; readers want them.
fn complete(text: &str, envelope: &Envelope<'_>, hint: TypeHint<'_>) -> String {
    if !envelope.kind.is_empty() || hint.kind.is_empty() {
        return text.to_owned();
    }
    match text.trim_start().strip_prefix('{') {
        Some(rest) => format!(
            r#"{{"apiVersion":"{}","kind":"{}",{rest}"#,
            hint.api_version, hint.kind
        ),
        None => text.to_owned(),
    }
}

fn metadata_only(api_version: &str, kind: &str, metadata: &str) -> Vec<u8> {
    let kind = if kind.is_empty() {
        r#""apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata""#.to_owned()
    } else {
        format!(r#""apiVersion":"{api_version}","kind":"{kind}""#)
    };
    format!(r#"{{{kind},"metadata":{metadata}}}"#).into_bytes()
}

fn secret_metadata(meta_text: &str) -> Result<String, JsonError> {
    let mut meta: serde_json::Map<String, serde_json::Value> = parse(meta_text)?;
    meta.remove("managedFields");
    if let Some(serde_json::Value::Object(annotations)) = meta.get_mut("annotations") {
        annotations.remove(LAST_APPLIED);
    }
    let text = serde_json::to_string(&meta).map_err(|e| JsonError::syntax(&e.to_string()))?;
    within("metadata", &text, OBJECT_MAX)?;
    Ok(text)
}

/// Removes `"key": value` and one comma from `text`, where `value` is a slice of `text`.
fn cut_member(text: &str, key: &str, value: &RawValue) -> Result<String, JsonError> {
    let value = value.get();
    let start = (value.as_ptr() as usize)
        .checked_sub(text.as_ptr() as usize)
        .filter(|start| start + value.len() <= text.len())
        .ok_or_else(|| JsonError::Syntax("value outside of its object".to_owned()))?;
    let (before, after) = (&text[..start], &text[start + value.len()..]);
    let quoted = format!("\"{key}\"");
    let before = before
        .trim_end()
        .strip_suffix(':')
        .and_then(|head| head.trim_end().strip_suffix(quoted.as_str()))
        // The key is there but written with escapes, which no API server does.
        .ok_or_else(|| JsonError::Syntax(format!("{key} is written with escapes")))?
        .trim_end();
    let rest = after.trim_start();
    let (before, after) = match (rest.strip_prefix(','), before.strip_suffix(',')) {
        (Some(rest), _) => (before, rest),
        (None, Some(before)) => (before, after),
        (None, None) => (before, after),
    };
    let mut out = String::with_capacity(before.len() + after.len());
    out.push_str(before);
    out.push_str(after);
    Ok(out)
}

/// One pass over the bytes that counts brackets outside of strings.
fn depth_exceeds(bytes: &[u8], max: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > max {
                    return true;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests;
