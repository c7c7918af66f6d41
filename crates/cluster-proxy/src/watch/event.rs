//! Lines of a watch and pages of a list, as the member sends them.

use std::{borrow::Cow, collections::HashMap};

use serde::Deserialize;
use serde_json::value::RawValue;

pub use crate::json::OBJECT_MAX;
use crate::json::{self, JsonError, KIND_MAX, Projected, Projection, REVISION_MAX, TypeHint};

/// A member's place in a list; those of real servers are a key in base64.
const TOKEN_MAX: usize = 4096;

/// The annotation of the bookmark after the initial events.
const INITIAL_END: &str = "k8s.io/initial-events-end";

/// One event of a watch.
#[derive(Debug)]
pub enum Event {
    /// Added or modified.
    Upsert(Projected),
    /// Deleted.
    Delete(Projected),
    /// About something that no API server can hold; to be dropped.
    Unbelievable,
    /// Only the resource version has moved.
    Bookmark {
        /// To this.
        revision: String,
        /// All that there was has been sent; what follows is news.
        ends_initial: bool,
    },
    /// The watch is over; 410 asks for a new list.
    Error {
        /// HTTP status.
        code: u16,
        /// The member's text.
        message: String,
    },
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct BookmarkLine {
    metadata: BookmarkMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BookmarkMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    annotations: Option<HashMap<String, String>>,
}

#[derive(Deserialize)]
struct StatusLine {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

/// One page of a list.
#[derive(Debug)]
pub struct Page {
    /// The objects.
    pub items: Vec<Projected>,
    /// How many objects were too large.
    pub oversized: usize,
    /// How many objects cannot be what they say; left out.
    pub unbelievable: usize,
    /// The list's resource version.
    pub resource_version: String,
    /// Set while there are more pages.
    pub continue_token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPage<'a> {
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    metadata: PageMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    continue_token: String,
}

/// Reads one line of a watch.
pub fn parse_event(
    line: &[u8],
    projection: Projection,
    hint: TypeHint<'_>,
) -> Result<Event, JsonError> {
    let line: Line<'_> = json::parse(json::text(line)?)?;
    let object = line.object.get();
    match line.kind.as_ref() {
        kind @ ("ADDED" | "MODIFIED" | "DELETED") => {
            match json::project(object, projection, hint) {
                Ok(object) if kind == "DELETED" => Ok(Event::Delete(object)),
                Ok(object) => Ok(Event::Upsert(object)),
                Err(JsonError::Beyond(_)) => Ok(Event::Unbelievable),
                Err(error) => Err(error),
            }
        }
        "BOOKMARK" => {
            let BookmarkLine { metadata } = json::parse(object)?;
            if metadata.resource_version.len() > REVISION_MAX {
                return Ok(Event::Unbelievable);
            }
            let annotations = metadata.annotations.unwrap_or_default();
            Ok(Event::Bookmark {
                revision: metadata.resource_version,
                ends_initial: annotations.get(INITIAL_END).is_some_and(|v| v == "true"),
            })
        }
        "ERROR" => {
            let status: StatusLine = json::parse(object)?;
            Ok(Event::Error {
                code: status.code,
                message: status.message,
            })
        }
        other => Err(JsonError::syntax(&format!("unknown event type {other:?}"))),
    }
}

/// Reads one page of a list.
pub fn parse_page(
    body: &[u8],
    projection: Projection,
    hint: TypeHint<'_>,
) -> Result<Page, JsonError> {
    let page: RawPage<'_> = json::parse(json::text(body)?)?;
    // A list of built-in objects names their kind only in its own.
    let kind = match page.kind.strip_suffix("List") {
        Some("PartialObjectMetadata") | None => hint.kind,
        Some(kind) => kind,
    };
    let hint = TypeHint { kind, ..hint };
    let PageMeta {
        resource_version,
        continue_token,
    } = page.metadata;
    json::within("the list's kind", kind, KIND_MAX)?;
    json::within(
        "the list's resourceVersion",
        &resource_version,
        REVISION_MAX,
    )?;
    json::within("the list's continue", &continue_token, TOKEN_MAX)?;
    let (mut items, mut oversized, mut unbelievable) = (Vec::new(), 0, 0);
    for item in page.items.unwrap_or_default() {
        if item.get().len() > OBJECT_MAX {
            oversized += 1;
            continue;
        }
        match json::project(item.get(), projection, hint) {
            Ok(item) => items.push(item),
            Err(JsonError::Beyond(_)) => unbelievable += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(Page {
        items,
        oversized,
        unbelievable,
        resource_version,
        continue_token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HINT: TypeHint<'static> = TypeHint {
        api_version: "v1",
        kind: "",
    };

    #[test]
    fn events_of_every_type_are_read() {
        let parse = |line: &str| parse_event(line.as_bytes(), Projection::Full, HINT);
        let object = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","namespace":"n","resourceVersion":"7"}}"#;
        let line = |kind: &str| format!(r#"{{"type":"{kind}","object":{object}}}"#);
        assert!(matches!(parse(&line("ADDED")), Ok(Event::Upsert(o)) if o.name == "c"));
        assert!(
            matches!(parse(&line("DELETED")), Ok(Event::Delete(o)) if o.resource_version == "7")
        );
        assert!(matches!(
            parse(&line("BOOKMARK")),
            Ok(Event::Bookmark { revision, ends_initial: false }) if revision == "7"
        ));
        let end = r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"8",
            "annotations":{"k8s.io/initial-events-end":"true"}}}}"#;
        assert!(matches!(
            parse(end),
            Ok(Event::Bookmark { revision, ends_initial: true }) if revision == "8"
        ));
        let gone = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}}"#;
        assert!(matches!(parse(gone), Ok(Event::Error { code: 410, .. })));
        for wrong in [line("EXPLODED"), "{}".into(), "[]".into(), object.into()] {
            assert!(parse(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_no_api_server_can_hold_is_dropped_and_the_rest_is_read() {
        let long = "x".repeat(1000);
        let parse = |line: &str| parse_event(line.as_bytes(), Projection::Full, HINT);
        for kind in ["ADDED", "MODIFIED", "DELETED", "BOOKMARK"] {
            let line = format!(
                r#"{{"type":"{kind}","object":{{"metadata":{{"resourceVersion":"{long}"}}}}}}"#
            );
            assert!(matches!(parse(&line), Ok(Event::Unbelievable)), "{kind}");
        }
        let page = |revision: &str, token: &str| {
            let items =
                format!(r#"{{"metadata":{{"name":"{long}"}}}},{{"metadata":{{"name":"c"}}}}"#);
            let meta = format!(r#"{{"resourceVersion":"{revision}","continue":"{token}"}}"#);
            let body = format!(r#"{{"kind":"ConfigMapList","metadata":{meta},"items":[{items}]}}"#);
            parse_page(body.as_bytes(), Projection::Full, HINT)
        };
        let read = page("1", &long).unwrap();
        assert_eq!(
            (read.items.len(), read.unbelievable, read.oversized),
            (1, 1, 0)
        );
        assert!(page(&long, "").is_err());
        assert!(page("1", &long.repeat(5)).is_err());
    }

    #[test]
    fn items_of_a_built_in_list_get_their_kind_from_it() {
        let body = br#"{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"9","continue":"next"},
            "items":[{"metadata":{"name":"c"},"data":{}}]}"#;
        let page = parse_page(body, Projection::Full, HINT).unwrap();
        assert_eq!(page.items[0].kind, "ConfigMap");
        assert_eq!(
            (page.resource_version.as_str(), page.continue_token.as_str()),
            ("9", "next")
        );
        let empty = br#"{"kind":"ConfigMapList","metadata":{},"items":null}"#;
        assert!(
            parse_page(empty, Projection::Full, HINT)
                .unwrap()
                .items
                .is_empty()
        );
    }
}
