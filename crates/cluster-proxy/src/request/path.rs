//! Request paths from checked parts.

use std::fmt;

use proxy_client::proto;
use url::form_urlencoded;

use super::name;
use crate::error::CallError;

/// A resource type whose parts have been checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gvr {
    group: String,
    version: String,
    resource: String,
}

impl Gvr {
    /// Checks the three parts.
    pub fn new(group: &str, version: &str, resource: &str) -> Result<Self, CallError> {
        name::group(group)?;
        name::version(version)?;
        name::resource(resource)?;
        Ok(Self {
            group: group.to_owned(),
            version: version.to_owned(),
            resource: resource.to_owned(),
        })
    }

    /// Checks what a caller sent.
    pub fn from_proto(gvr: Option<proto::Gvr>) -> Result<Self, CallError> {
        let gvr = gvr.ok_or_else(|| CallError::invalid("gvr", "is required"))?;
        Self::new(&gvr.group, &gvr.version, &gvr.resource)
    }

    /// The form in answers.
    pub fn to_proto(&self) -> proto::Gvr {
        proto::Gvr {
            group: self.group.clone(),
            version: self.version.clone(),
            resource: self.resource.clone(),
        }
    }

    /// The API group, empty for the core group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The plural name.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// `apiVersion` of this type's objects.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Secrets are never read with their data.
    pub fn is_secret(&self) -> bool {
        self.group.is_empty() && self.resource == "secrets"
    }
}

impl fmt::Display for Gvr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.api_version(), self.resource)
    }
}

/// A path with its query, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    text: String,
    has_query: bool,
}

impl Path {
    /// The collection of a type: in one namespace, or everywhere when that is empty.
    pub fn collection(gvr: &Gvr, namespace: &str) -> Result<Self, CallError> {
        let root = if gvr.group.is_empty() {
            "/api"
        } else {
            "/apis"
        };
        let mut text = format!("{root}/{}", gvr.api_version());
        if !namespace.is_empty() {
            name::namespace(namespace)?;
            text.push_str("/namespaces/");
            text.push_str(namespace);
        }
        text.push('/');
        text.push_str(&gvr.resource);
        Ok(Self {
            text,
            has_query: false,
        })
    }

    /// One object, or a subresource of it.
    pub fn object(
        gvr: &Gvr,
        namespace: &str,
        object: &str,
        subresource: &str,
    ) -> Result<Self, CallError> {
        name::object(object)?;
        name::subresource(subresource)?;
        let mut path = Self::collection(gvr, namespace)?;
        path.text.push('/');
        path.text.push_str(object);
        if !subresource.is_empty() {
            path.text.push('/');
            path.text.push_str(subresource);
        }
        Ok(path)
    }

    /// The resource list of a group version, for servers without aggregated discovery.
    pub fn group_version(group: &str, version: &str) -> Result<Self, CallError> {
        name::group(group)?;
        name::version(version)?;
        let text = if group.is_empty() {
            format!("/api/{version}")
        } else {
            format!("/apis/{group}/{version}")
        };
        Ok(Self {
            text,
            has_query: false,
        })
    }

    /// A path of the proxy's own, such as `/version`.
    pub fn fixed(path: &'static str) -> Self {
        Self {
            text: path.to_owned(),
            has_query: path.contains('?'),
        }
    }

    /// Adds a query parameter; empty values are left out.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: &str) -> Self {
        if value.is_empty() {
            return self;
        }
        self.text.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        self.text.push_str(key);
        self.text.push('=');
        self.text
            .extend(form_urlencoded::byte_serialize(value.as_bytes()));
        self
    }

    /// The path alone; selectors in the query may be long.
    pub fn without_query(&self) -> &str {
        self.text.split('?').next().unwrap_or_default()
    }

    /// Path and query.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backups() -> Gvr {
        Gvr::new("velero.io", "v1", "backups").unwrap()
    }

    #[test]
    fn paths_have_kubernetes_shape() {
        let core = Gvr::new("", "v1", "namespaces").unwrap();
        let path = |p: Result<Path, CallError>| p.unwrap().as_str().to_owned();
        assert_eq!(
            path(Path::object(&core, "", "velero", "")),
            "/api/v1/namespaces/velero"
        );
        assert_eq!(
            path(Path::object(&backups(), "velero", "b", "status")),
            "/apis/velero.io/v1/namespaces/velero/backups/b/status"
        );
        assert_eq!(
            path(Path::collection(&backups(), "")),
            "/apis/velero.io/v1/backups"
        );
    }

    #[test]
    fn query_values_are_escaped() {
        let path = Path::collection(&backups(), "velero")
            .unwrap()
            .with("labelSelector", "a=b&watch=1")
            .with("limit", "")
            .with("fieldManager", "x y");
        assert_eq!(
            path.as_str(),
            "/apis/velero.io/v1/namespaces/velero/backups?labelSelector=a%3Db%26watch%3D1&fieldManager=x+y"
        );
    }

    #[test]
    fn no_part_can_leave_its_place_in_the_path() {
        assert!(Path::object(&backups(), "velero", "../../secrets/x", "").is_err());
        assert!(Path::object(&backups(), "velero/..", "x", "").is_err());
        assert!(Path::object(&backups(), "velero", "x", "log").is_err());
        assert!(Gvr::new("velero.io/v1", "v1", "backups").is_err());
    }
}
