//! The identity of a caller's body must be the target's.

use std::borrow::Cow;

use proxy_client::proto;
use serde::{Deserialize, de::IgnoredAny};

use super::path::Gvr;
use crate::error::CallError;

/// The largest body that a caller may send.
pub const BODY_MAX: usize = 3 * 1024 * 1024;

/// What a body claims to be.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claim<'a> {
    #[serde(borrow)]
    api_version: Option<Cow<'a, str>>,
    #[serde(borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    metadata: Option<ClaimMeta<'a>>,
}

#[derive(Debug, Deserialize)]
struct ClaimMeta<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    namespace: Option<Cow<'a, str>>,
}

/// What the body must be.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The type asked for.
    pub gvr: &'a Gvr,
    /// The type's kind as the member's discovery has it, if known.
    pub kind: Option<&'a str>,
    /// The target's namespace, empty for cluster-scoped types.
    pub namespace: &'a str,
    /// The target's name.
    pub name: &'a str,
}

/// Checks a whole object, for create and apply.
pub fn check_object(json: &[u8], expected: Expected<'_>) -> Result<(), CallError> {
    let claim = read(json)?;
    let metadata = claim.metadata.as_ref();
    same(
        "apiVersion",
        claim.api_version.as_deref(),
        &expected.gvr.api_version(),
    )?;
    let kind = claim.kind.as_deref().unwrap_or_default();
    match expected.kind {
        Some(wanted) => same("kind", Some(kind), wanted)?,
        None if kind.is_empty() || kind == "Status" || kind.ends_with("List") => {
            return Err(CallError::invalid("kind", "must be the kind of one object"));
        }
        None => {}
    }
    same(
        "metadata.name",
        metadata.and_then(|m| m.name.as_deref()),
        expected.name,
    )?;
    let namespace = metadata.and_then(|m| m.namespace.as_deref());
    same(
        "metadata.namespace",
        Some(namespace.unwrap_or_default()),
        expected.namespace,
    )
}

/// Checks a merge patch: identity fields may be absent, but not different.
pub fn check_patch(
    body: &[u8],
    kind: proto::patch_request::Type,
    expected: Expected<'_>,
) -> Result<(), CallError> {
    if kind == proto::patch_request::Type::Json {
        check_size(body)?;
        // The server refuses operations on identity fields; only the form is ours to check.
        let _: Vec<IgnoredAny> = serde_json::from_slice(body)
            .map_err(|e| CallError::invalid("body", format_args!("not a JSON patch: {e}")))?;
        return Ok(());
    }
    let claim = read(body)?;
    let metadata = claim.metadata.as_ref();
    let pairs = [
        (
            "apiVersion",
            claim.api_version.as_deref(),
            Some(expected.gvr.api_version()),
        ),
        (
            "kind",
            claim.kind.as_deref(),
            expected.kind.map(str::to_owned),
        ),
        (
            "metadata.name",
            metadata.and_then(|m| m.name.as_deref()),
            Some(expected.name.to_owned()),
        ),
        (
            "metadata.namespace",
            metadata.and_then(|m| m.namespace.as_deref()),
            Some(expected.namespace.to_owned()),
        ),
    ];
    for (field, claimed, wanted) in pairs {
        if let (Some(claimed), Some(wanted)) = (claimed, wanted) {
            same(field, Some(claimed), &wanted)?;
        }
    }
    Ok(())
}

/// Whether a body, or a merge patch, says nothing but an object's identity and metadata.
pub fn is_metadata(json: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[allow(dead_code, reason = "only which fields there are counts")]
    struct Identity {
        api_version: Option<IgnoredAny>,
        kind: Option<IgnoredAny>,
        metadata: Option<IgnoredAny>,
    }
    serde_json::from_slice::<Identity>(json).is_ok()
}

/// Whether a patch changes, copies and tests nothing but an object's metadata.
pub fn changes_metadata(body: &[u8], kind: proto::patch_request::Type) -> bool {
    #[derive(Deserialize)]
    struct Operation<'a> {
        #[serde(borrow)]
        path: Cow<'a, str>,
        #[serde(borrow)]
        from: Option<Cow<'a, str>>,
    }
    if kind != proto::patch_request::Type::Json {
        return is_metadata(body);
    }
    let operations: Result<Vec<Operation<'_>>, _> = serde_json::from_slice(body);
    operations.is_ok_and(|operations| {
        let paths = |o: &Operation<'_>| {
            let mut paths = std::iter::once(&o.path).chain(&o.from);
            paths.all(|path| path.starts_with("/metadata/"))
        };
        operations.iter().all(paths)
    })
}

fn read(json: &[u8]) -> Result<Claim<'_>, CallError> {
    check_size(json)?;
    serde_json::from_slice(json)
        .map_err(|e| CallError::invalid("json", format_args!("not a Kubernetes object: {e}")))
}

fn check_size(body: &[u8]) -> Result<(), CallError> {
    if body.len() > BODY_MAX {
        return Err(CallError::invalid(
            "json",
            format_args!("{} bytes are more than the limit of {BODY_MAX}", body.len()),
        ));
    }
    Ok(())
}

fn same(field: &'static str, claimed: Option<&str>, wanted: &str) -> Result<(), CallError> {
    match claimed {
        Some(claimed) if claimed == wanted => Ok(()),
        claimed => Err(CallError::invalid(
            field,
            format_args!(
                "the body says {:?}, the target says {wanted:?}",
                claimed.unwrap_or_default()
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::patch_request::Type;

    fn check(json: &str, kind: Option<&str>) -> Result<(), CallError> {
        let gvr = Gvr::new("velero.io", "v1", "backups")?;
        check_object(
            json.as_bytes(),
            Expected {
                gvr: &gvr,
                kind,
                namespace: "velero",
                name: "b",
            },
        )
    }

    fn body(api_version: &str, kind: &str, namespace: &str, name: &str) -> String {
        format!(
            r#"{{"apiVersion":"{api_version}","kind":"{kind}","metadata":{{"namespace":"{namespace}","name":"{name}"}}}}"#
        )
    }

    #[test]
    fn a_body_that_is_the_target_passes() {
        let body = body("velero.io/v1", "Backup", "velero", "b");
        check(&body, Some("Backup")).unwrap();
        check(&body, None).unwrap();
    }

    #[test]
    fn a_body_that_claims_another_identity_is_refused() {
        for (wrong, field) in [
            (body("v1", "Backup", "velero", "b"), "apiVersion"),
            (body("velero.io/v1", "Restore", "velero", "b"), "kind"),
            (
                body("velero.io/v1", "Backup", "kube-system", "b"),
                "metadata.namespace",
            ),
            (
                body("velero.io/v1", "Backup", "velero", "c"),
                "metadata.name",
            ),
            ("{}".to_owned(), "apiVersion"),
        ] {
            let error = check(&wrong, Some("Backup")).unwrap_err();
            assert_eq!(error.field.as_deref(), Some(field), "{wrong}");
        }
        for kind in ["BackupList", "Status", ""] {
            let wrong = body("velero.io/v1", kind, "velero", "b");
            assert!(check(&wrong, None).is_err(), "{kind}");
        }
        let doubled = r#"{"apiVersion":"velero.io/v1","kind":"Backup","metadata":{"name":"b","namespace":"velero"},"metadata":{"name":"x"}}"#;
        assert!(check(doubled, None).is_err());
    }

    #[test]
    fn a_patch_may_leave_identity_out_but_not_change_it() {
        let gvr = Gvr::new("velero.io", "v1", "backups").unwrap();
        let expected = Expected {
            gvr: &gvr,
            kind: Some("Backup"),
            namespace: "velero",
            name: "b",
        };
        check_patch(br#"{"spec":{}}"#, Type::Merge, expected).unwrap();
        check_patch(br#"{"metadata":{"name":"c"}}"#, Type::Merge, expected).unwrap_err();
        check_patch(br#"[{"op":"add"}]"#, Type::Json, expected).unwrap();
        check_patch(br#"{"spec":{}}"#, Type::Json, expected).unwrap_err();
    }

    #[test]
    fn metadata_is_told_from_everything_else() {
        use proto::patch_request::Type::{Json, Merge, Strategic};
        let whole = r#"{"apiVersion":"v1","kind":"Node","metadata":{"labels":{"a":"b"}}}"#;
        assert!(is_metadata(whole.as_bytes()));
        for more in [
            r#""spec":{}"#,
            r#""status":null"#,
            r#""$patch":"replace""#,
            r#""sp\u0065c":1"#,
        ] {
            let body = format!(r#"{{"kind":"Node","metadata":{{}},{more}}}"#);
            assert!(!is_metadata(body.as_bytes()), "{body}");
            assert!(!changes_metadata(body.as_bytes(), Merge), "{body}");
        }
        assert!(changes_metadata(whole.as_bytes(), Strategic));
        for (patch, within) in [
            (
                r#"[{"op":"add","path":"/metadata/labels/a","value":"b"}]"#,
                true,
            ),
            ("[]", true),
            (r#"[{"op":"add","path":"/spec/taints","value":[]}]"#, false),
            (
                r#"[{"op":"copy","from":"/spec/x","path":"/metadata/labels/a"}]"#,
                false,
            ),
            (r#"[{"op":"replace","path":"","value":{}}]"#, false),
            (r#"[{"op":"remove"}]"#, false),
            ("{}", false),
        ] {
            assert_eq!(changes_metadata(patch.as_bytes(), Json), within, "{patch}");
        }
    }
}
