//! Who may do what on members: default-deny, by caller, cluster, verb, type, namespace and
//! name.

mod clusters;
mod file;
pub mod rbac;
pub mod store;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tonic::Code;

use self::clusters::Clusters;
pub use self::{clusters::Cluster, file::PolicyError};
use crate::{
    error::{CallError, Retryable},
    request::path::Gvr,
};

/// What a caller wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read a collection.
    List,
    /// Follow a collection.
    Watch,
    /// Create an object.
    Create,
    /// Server-side apply.
    Apply,
    /// Patch.
    Patch,
    /// Delete.
    Delete,
    /// Write the data of a Secret. No policy lists it among the verbs: `secretData` grants it.
    WriteSecret,
}

impl Verb {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "get" => Self::Get,
            "list" => Self::List,
            "watch" => Self::Watch,
            "create" => Self::Create,
            "apply" => Self::Apply,
            "patch" => Self::Patch,
            "delete" => Self::Delete,
            _ => return None,
        })
    }

    /// As policies and denials write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Apply | Self::WriteSecret => "apply",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }

    fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

/// One thing that a caller wants to do.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// What.
    pub verb: Verb,
    /// On which type.
    pub gvr: &'a Gvr,
    /// A subresource, or empty.
    pub subresource: &'a str,
    /// Empty for cluster-scoped objects and for all namespaces at once.
    pub namespace: &'a str,
    /// Empty for a collection.
    pub name: &'a str,
}

/// What a rule grants beyond the plain yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Only metadata may be read.
    pub metadata_only: bool,
}

/// Which Secrets' data a rule lets a caller handle. There is no way to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SecretData {
    None,
    Write,
}

#[derive(Clone, Debug)]
struct Rule {
    id: String,
    clusters: Arc<Clusters>,
    verbs: u8,
    namespaces: Namespaces,
    /// None: every name.
    names: Option<Vec<Pattern>>,
    secret_data: SecretData,
    metadata_only: bool,
}

#[derive(Clone, Debug)]
enum Namespaces {
    /// Objects outside of namespaces.
    ClusterScoped,
    /// These.
    Named(HashSet<String>),
    /// Any, and all at once.
    Any,
}

/// A name, in which one `*` stands for anything.
#[derive(Clone, Debug)]
struct Pattern {
    before: String,
    after: Option<String>,
}

impl Pattern {
    fn matches(&self, name: &str) -> bool {
        match &self.after {
            None => name == self.before,
            Some(after) => {
                name.len() >= self.before.len() + after.len()
                    && name.starts_with(&self.before)
                    && name.ends_with(after)
            }
        }
    }
}

/// A compiled policy.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Each with the clusters that it may know of.
    callers: HashMap<String, Vec<Arc<Clusters>>>,
    rules: HashMap<(String, String, String), Vec<Rule>>,
}

impl Policy {
    /// The built-in policy of Kurator's own controllers.
    pub fn builtin() -> Result<Self, PolicyError> {
        Self::parse(include_str!("builtin.yaml"))
    }

    /// Compiles a policy file, YAML or JSON.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        file::compile(text)
    }

    /// Whether the policy names the caller at all.
    pub fn knows(&self, caller: &str) -> Result<(), CallError> {
        if self.callers.contains_key(caller) {
            return Ok(());
        }
        Err(denied(format!(
            "the policy does not name caller {caller:?}"
        )))
    }

    /// Whether the policy names the caller for this cluster.
    pub fn knows_on(&self, caller: &str, cluster: Cluster<'_>) -> Result<(), CallError> {
        let mut known = self.callers.get(caller).into_iter().flatten();
        if known.any(|clusters| clusters.covers(cluster)) {
            return Ok(());
        }
        let key = cluster.key;
        Err(denied(format!(
            "the policy does not name caller {caller:?} for {key}"
        )))
    }

    /// Where a caller may do something.
    pub fn rights<'a>(&'a self, caller: &'a str, access: Access<'a>) -> Rights<'a> {
        let rules = self.rules_for(caller, access);
        Rights {
            caller,
            access,
            nearest: rules.first(),
            rules: rules.iter().filter(|rule| rule.covers(access)).collect(),
        }
    }

    fn rules_for(&self, caller: &str, access: Access<'_>) -> &[Rule] {
        let resource = if access.subresource.is_empty() {
            access.gvr.resource().to_owned()
        } else {
            format!("{}/{}", access.gvr.resource(), access.subresource)
        };
        let key = (caller.to_owned(), access.gvr.group().to_owned(), resource);
        self.rules.get(&key).map_or(&[], Vec::as_slice)
    }
}

/// The rules that let a caller do something, each on its clusters.
#[derive(Debug)]
pub struct Rights<'a> {
    caller: &'a str,
    access: Access<'a>,
    /// Of the caller and the type.
    nearest: Option<&'a Rule>,
    rules: Vec<&'a Rule>,
}

impl Rights<'_> {
    /// Whether there may be a cluster where it is allowed.
    pub fn anywhere(&self) -> Result<(), CallError> {
        if self.rules.is_empty() {
            return Err(self.denial(""));
        }
        Ok(())
    }

    /// Whether it is allowed on this cluster.
    pub fn on(&self, cluster: Cluster<'_>) -> Result<Grant, CallError> {
        self.anywhere()?;
        let mut rules = self.rules.iter();
        match rules.find(|rule| rule.clusters.covers(cluster)) {
            Some(rule) => Ok(Grant {
                metadata_only: rule.metadata_only || self.access.gvr.is_secret(),
            }),
            None => Err(self.denial(&format!(" on {}", cluster.key))),
        }
    }

    fn denial(&self, on: &str) -> CallError {
        let Access {
            verb,
            gvr,
            subresource,
            namespace,
            name,
        } = self.access;
        let slash = if subresource.is_empty() { "" } else { "/" };
        let place = match (namespace, name) {
            ("", "") => "everywhere".to_owned(),
            ("", name) => name.to_owned(),
            (namespace, "") => format!("in {namespace}"),
            (namespace, name) => format!("{namespace}/{name}"),
        };
        let nearest = self.rules.first().copied().or(self.nearest);
        denied(format!(
            "the policy does not let {} {} {gvr}{slash}{subresource} {place}{on}",
            self.caller,
            verb.as_str()
        ))
        .about("rule", nearest.map_or("default-deny", |rule| &rule.id))
    }
}

impl Rule {
    fn covers(&self, access: Access<'_>) -> bool {
        let verb = match access.verb {
            Verb::WriteSecret => self.secret_data == SecretData::Write,
            verb => self.verbs & verb.bit() != 0,
        };
        verb && self.place(access)
    }

    fn place(&self, access: Access<'_>) -> bool {
        let namespace = match &self.namespaces {
            Namespaces::ClusterScoped => access.namespace.is_empty(),
            Namespaces::Named(names) => names.contains(access.namespace),
            Namespaces::Any => true,
        };
        let name = match &self.names {
            None => true,
            // A collection holds every name.
            Some(patterns) => {
                !access.name.is_empty() && patterns.iter().any(|p| p.matches(access.name))
            }
        };
        namespace && name
    }
}

fn denied(message: String) -> CallError {
    CallError::proxy(Code::PermissionDenied, "NOT_ALLOWED", message).retry(Retryable::No, None)
}

#[cfg(test)]
mod tests;
