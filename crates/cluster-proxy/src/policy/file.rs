//! The policy file and its compilation.

use std::sync::Arc;

use serde::Deserialize;

use super::{
    Namespaces, Pattern, Policy, Rule, SecretData, Verb,
    clusters::{self, Clusters, FileClusters, given},
};
use crate::{error::CallError, request::name};

/// Why a policy cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PolicyError {
    /// Not YAML of the right shape.
    #[error("the policy cannot be read: {0}")]
    Syntax(String),
    /// A rule that means nothing or too much.
    #[error("policy rule {rule}: {why}")]
    Rule {
        /// Its id.
        rule: String,
        /// What is wrong.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    policies: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    subjects: Vec<String>,
    #[serde(default, deserialize_with = "given")]
    clusters: Option<FileClusters>,
    #[serde(default)]
    rules: Vec<FileRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileRule {
    #[serde(default)]
    group: String,
    resources: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    namespaces: Vec<String>,
    names: Option<Vec<String>>,
    #[serde(default)]
    secret_data: FileSecretData,
    #[serde(default)]
    metadata_only: bool,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum FileSecretData {
    #[default]
    None,
    Write,
    Read,
}

pub(super) fn compile(text: &str) -> Result<Policy, PolicyError> {
    if text.trim().is_empty() {
        return Ok(Policy::default());
    }
    let file: File =
        serde_saphyr::from_str(text).map_err(|e| PolicyError::Syntax(e.to_string()))?;
    let mut policy = Policy::default();
    for (entry_index, entry) in file.policies.iter().enumerate() {
        let wrong = |why: String| PolicyError::Rule {
            rule: format!("{entry_index}"),
            why,
        };
        let clusters = match &entry.clusters {
            None => Clusters::default(),
            Some(clusters) => clusters::compile(clusters).map_err(wrong)?,
        };
        let clusters = Arc::new(clusters);
        for subject in &entry.subjects {
            name::caller(subject)
                .map_err(|e| wrong(format!("subject {subject:?}: {}", e.message)))?;
            let known = policy.callers.entry(subject.clone()).or_default();
            known.push(Arc::clone(&clusters));
        }
        for (rule_index, rule) in entry.rules.iter().enumerate() {
            let id = format!("{}/{rule_index}", entry.subjects.join("+"));
            let compiled = compile_rule(&id, rule, &clusters).map_err(|why| PolicyError::Rule {
                rule: id.clone(),
                why,
            })?;
            for subject in &entry.subjects {
                for resource in &rule.resources {
                    let key = (subject.clone(), rule.group.clone(), resource.clone());
                    policy.rules.entry(key).or_default().push(compiled.clone());
                }
            }
        }
    }
    Ok(policy)
}

fn compile_rule(id: &str, rule: &FileRule, clusters: &Arc<Clusters>) -> Result<Rule, String> {
    name::group(&rule.group).map_err(CallError::into_message)?;
    for resource in &rule.resources {
        let (base, sub) = resource.split_once('/').unwrap_or((resource, ""));
        name::resource(base).map_err(CallError::into_message)?;
        name::subresource(sub).map_err(CallError::into_message)?;
    }
    let mut verbs = 0;
    for verb in &rule.verbs {
        verbs |= Verb::parse(verb)
            .ok_or_else(|| {
                format!("verb {verb:?} is not get, list, watch, create, apply, patch or delete")
            })?
            .bit();
    }
    let namespaces = match rule.namespaces.as_slice() {
        [] => Namespaces::ClusterScoped,
        [any] if any == "*" => Namespaces::Any,
        named => {
            for namespace in named {
                name::namespace(namespace).map_err(CallError::into_message)?;
            }
            Namespaces::Named(named.iter().cloned().collect())
        }
    };
    let names = match &rule.names {
        None => None,
        Some(names) => Some(
            names
                .iter()
                .map(|name| pattern(name))
                .collect::<Result<_, _>>()?,
        ),
    };
    let secret_data = match rule.secret_data {
        FileSecretData::None => SecretData::None,
        FileSecretData::Write if rule.names.is_none() => {
            return Err("secretData: write needs the names of the Secrets".to_owned());
        }
        FileSecretData::Write => SecretData::Write,
        FileSecretData::Read => return Err("secretData: read is never granted".to_owned()),
    };
    Ok(Rule {
        id: id.to_owned(),
        clusters: Arc::clone(clusters),
        verbs,
        namespaces,
        names,
        secret_data,
        metadata_only: rule.metadata_only,
    })
}

pub(super) fn pattern(text: &str) -> Result<Pattern, String> {
    let (before, after) = match text.split_once('*') {
        None => (text, None),
        Some((before, after)) => (before, Some(after)),
    };
    let plain = !after.is_some_and(|after| after.contains('*'));
    if text == "*" || text.is_empty() || !plain {
        return Err(format!(
            "name {text:?} must be a name, or one with a single * in it"
        ));
    }
    Ok(Pattern {
        before: before.to_owned(),
        after: after.map(str::to_owned),
    })
}
