//! Checks of every word that a caller may put into a member's path or query.

use crate::error::CallError;

const SELECTOR_MAX: usize = 4096;

/// An object's name: 1 to 253 characters that need no escaping in a path.
///
/// Wider than DNS because RBAC objects have names like `system:node`.
pub fn object(name: &str) -> Result<(), CallError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    if name.is_empty() || name.len() > 253 || !name.chars().all(legal) || name.starts_with('.') {
        return Err(CallError::invalid(
            "name",
            "must have 1 to 253 characters of a-z, A-Z, 0-9, '-', '.', '_' or ':' and not start with '.'",
        ));
    }
    Ok(())
}

/// A namespace: a DNS label.
pub fn namespace(name: &str) -> Result<(), CallError> {
    dns_label("namespace", name)
}

/// The caller's name as it stands in the metadata.
pub fn caller(name: &str) -> Result<(), CallError> {
    dns_label("x-kurator-caller", name)
}

/// An API group: empty for the core group, otherwise a DNS name.
pub fn group(group: &str) -> Result<(), CallError> {
    let legal = group.len() <= 253 && group.split('.').all(is_dns_label);
    if group.is_empty() || legal {
        return Ok(());
    }
    Err(CallError::invalid(
        "gvr.group",
        "must be empty or a DNS name such as velero.io",
    ))
}

/// An API version such as `v1` or `v1alpha1`.
pub fn version(version: &str) -> Result<(), CallError> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if version.starts_with('v') && version.len() <= 63 && version.chars().all(legal) {
        return Ok(());
    }
    Err(CallError::invalid(
        "gvr.version",
        "must be a version such as v1 or v1alpha1",
    ))
}

/// A resource's plural name.
pub fn resource(resource: &str) -> Result<(), CallError> {
    dns_label("gvr.resource", resource)
}

/// A subresource; empty for none.
pub fn subresource(subresource: &str) -> Result<(), CallError> {
    match subresource {
        "" | "status" | "scale" => Ok(()),
        _ => Err(CallError::invalid(
            "subresource",
            "must be empty, \"status\" or \"scale\"",
        )),
    }
}

/// A label or field selector: bounded, printable ASCII.
pub fn selector(field: &'static str, selector: &str) -> Result<(), CallError> {
    if selector.len() <= SELECTOR_MAX && is_printable(selector) {
        return Ok(());
    }
    Err(CallError::invalid(
        field,
        "must be printable ASCII of at most 4096 characters",
    ))
}

/// A field manager; required where Kubernetes requires it.
pub fn field_manager(manager: &str, required: bool) -> Result<(), CallError> {
    if (manager.is_empty() && required) || manager.len() > 128 || !is_printable(manager) {
        return Err(CallError::invalid(
            "field_manager",
            "must be printable ASCII of 1 to 128 characters",
        ));
    }
    Ok(())
}

/// An opaque word of the caller that becomes a header or a query value.
pub fn token(field: &'static str, value: &str, max: usize) -> Result<(), CallError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '/' | ':');
    if value.len() <= max && value.chars().all(legal) {
        return Ok(());
    }
    Err(CallError::invalid(
        field,
        format!("must have at most {max} characters of a-z, A-Z, 0-9, '-', '.', '_', '/' or ':'"),
    ))
}

fn dns_label(field: &'static str, value: &str) -> Result<(), CallError> {
    if is_dns_label(value) {
        return Ok(());
    }
    Err(CallError::invalid(
        field,
        "must have 1 to 63 characters of a-z, 0-9 or '-', with a letter or digit at both ends",
    ))
}

fn is_dns_label(value: &str) -> bool {
    let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=63).contains(&value.len())
        && value.bytes().all(legal)
        && !value.starts_with('-')
        && !value.ends_with('-')
}

fn is_printable(value: &str) -> bool {
    value.bytes().all(|c| (0x20..0x7f).contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_object_names_are_refused() {
        let long = "a".repeat(254);
        for name in [
            "",
            ".",
            "..",
            "../secrets",
            "a/b",
            "a%2fb",
            "a?b",
            "a#b",
            "ä",
            "a b",
            "a\nb",
            &long,
        ] {
            assert!(object(name).is_err(), "{name:?} must be refused");
        }
        for name in [
            "a",
            "kurator-member1-backup-default-x",
            "system:node",
            "x.y_z",
        ] {
            assert!(object(name).is_ok(), "{name:?} must be accepted");
        }
    }

    #[test]
    fn hostile_groups_versions_and_namespaces_are_refused() {
        for value in ["a..b", "A.io", "velero.io/v1", ".io", "velero.io."] {
            assert!(group(value).is_err(), "{value:?}");
        }
        for value in ["", "1", "v1/..", "V1", "v1 "] {
            assert!(version(value).is_err(), "{value:?}");
        }
        for value in ["", "a.b", "-a", "a-", "Velero", "kube-system/../x"] {
            assert!(namespace(value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn selectors_with_control_characters_are_refused() {
        assert!(selector("label_selector", "a=b\nc").is_err());
        assert!(selector("label_selector", &"a".repeat(5000)).is_err());
        assert!(selector("label_selector", "kurator.dev/member=$(member),a in (b, c)").is_ok());
    }
}
