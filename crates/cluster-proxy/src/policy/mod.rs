//! Who may do what on members: default-deny, by caller, verb, type, namespace and name.

mod file;
pub mod rbac;
pub mod store;

use std::collections::{HashMap, HashSet};

use tonic::Code;

pub use self::file::PolicyError;
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

    /// As policies write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Apply => "apply",
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
    callers: HashSet<String>,
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
        if self.callers.contains(caller) {
            return Ok(());
        }
        Err(denied(format!(
            "the policy does not name caller {caller:?}"
        )))
    }

    /// Whether a caller may do something.
    pub fn check(&self, caller: &str, access: Access<'_>) -> Result<Grant, CallError> {
        let hit = self
            .rules_for(caller, access)
            .find(|rule| rule.covers(access));
        match hit {
            Some(rule) => Ok(Grant {
                metadata_only: rule.metadata_only || access.gvr.is_secret(),
            }),
            None => Err(self.denial(caller, access)),
        }
    }

    /// Whether a caller may write the data of a Secret.
    pub fn check_secret_write(
        &self,
        caller: &str,
        gvr: &Gvr,
        namespace: &str,
        name: &str,
    ) -> Result<(), CallError> {
        let access = Access {
            verb: Verb::Apply,
            gvr,
            subresource: "",
            namespace,
            name,
        };
        let may = |rule: &Rule| {
            rule.secret_data == SecretData::Write && rule.place(access) && rule.names.is_some()
        };
        if self.rules_for(caller, access).any(may) {
            return Ok(());
        }
        Err(self.denial(caller, access))
    }

    fn rules_for<'a>(
        &'a self,
        caller: &str,
        access: Access<'_>,
    ) -> impl Iterator<Item = &'a Rule> + use<'a> {
        let resource = if access.subresource.is_empty() {
            access.gvr.resource().to_owned()
        } else {
            format!("{}/{}", access.gvr.resource(), access.subresource)
        };
        let key = (caller.to_owned(), access.gvr.group().to_owned(), resource);
        self.rules.get(&key).into_iter().flatten()
    }

    fn denial(&self, caller: &str, access: Access<'_>) -> CallError {
        let Access {
            verb,
            gvr,
            subresource,
            namespace,
            name,
        } = access;
        let slash = if subresource.is_empty() { "" } else { "/" };
        let place = match (namespace, name) {
            ("", "") => "everywhere".to_owned(),
            ("", name) => name.to_owned(),
            (namespace, "") => format!("in {namespace}"),
            (namespace, name) => format!("{namespace}/{name}"),
        };
        let nearest = self.rules_for(caller, access).map(|r| r.id.clone()).next();
        denied(format!(
            "the policy does not let {caller} {} {gvr}{slash}{subresource} {place}",
            verb.as_str()
        ))
        .about("rule", nearest.unwrap_or_else(|| "default-deny".to_owned()))
    }
}

impl Rule {
    fn covers(&self, access: Access<'_>) -> bool {
        self.verbs & access.verb.bit() != 0 && self.place(access)
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
