//! Lines of a watch and pages of a list, as the member sends them.

use std::{borrow::Cow, collections::HashMap};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::{self, JsonError, Projected, Projection, TypeHint};

/// An object beyond this is left out.
pub const OBJECT_MAX: usize = 4 * 1024 * 1024;

/// The annotation of the bookmark after the initial events.
const INITIAL_END: &str = "k8s.io/initial-events-end";

/// One event of a watch.
#[derive(Debug)]
pub enum Event {
    /// Added or modified.
    Upsert(Projected),
    /// Deleted.
    Delete(Projected),
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
        "ADDED" | "MODIFIED" => Ok(Event::Upsert(json::project(object, projection, hint)?)),
        "DELETED" => Ok(Event::Delete(json::project(object, projection, hint)?)),
        "BOOKMARK" => {
            let BookmarkLine { metadata } = json::parse(object)?;
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
        other => Err(JsonError::Syntax(format!("unknown event type {other:?}"))),
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
    let raw = page.items.unwrap_or_default();
    let fitting = raw.iter().filter(|item| item.get().len() <= OBJECT_MAX);
    let items = fitting
        .map(|item| json::project(item.get(), projection, hint))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Page {
        oversized: raw.len() - items.len(),
        items,
        resource_version: page.metadata.resource_version,
        continue_token: page.metadata.continue_token,
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
