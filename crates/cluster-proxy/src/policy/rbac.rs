//! What the credentials for a member must be allowed there, so that the proxy can do what a policy
//! lets callers ask for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{Namespaces, Policy, Rule, SecretData, Verb};

/// The account, and the namespace that it lives in.
const ACCOUNT: &str = "kurator";
const HOME: &str = "kurator-system";

/// What the proxy asks every member by itself: who it is, how it is and what it serves.
const OWN_PATHS: &str = "/api, /api/*, /apis, /apis/*, /readyz, /version";
const IDENTITY: &str = "kube-system";

const HEAD: &str = "\
# What the kubeconfig of a member needs for cluster-proxy to do what its built-in policy lets Kurator's
# controllers ask for: `kubectl apply -f` this to the member. See docs/member-access.md.
# Written by `cluster-proxy --print-member-access`, which with --policy does the same for another policy.
";

type Verbs = BTreeSet<&'static str>;
/// Group, resource and, if only some objects, their names.
type Objects = (String, String, Vec<String>);
/// The namespace, or none for the whole cluster.
type Place = Option<String>;
type Needs = BTreeMap<Place, BTreeMap<Objects, Verbs>>;

/// The manifests of an account with just the rights that the policy's callers have together and
/// the proxy's own.
///
/// Kubernetes has no patterns in names and no rights to metadata only: where the policy has these, the
/// account gets the whole type in the rule's namespace, and the proxy alone keeps the rest out. The
/// manifests are for any member, whichever clusters a rule is about.
pub fn member_access(policy: &Policy) -> String {
    let mut needs = Needs::from([(None, BTreeMap::new())]);
    for ((_, group, resource), rules) in &policy.rules {
        for rule in rules {
            add(&mut needs, (group.as_str(), resource.as_str()), rule);
        }
    }
    let own = (
        String::new(),
        "namespaces".to_owned(),
        vec![IDENTITY.to_owned()],
    );
    let cluster = needs.entry(None).or_default();
    cluster.entry(own).or_default().insert("get");
    render(&needs)
}

fn add(needs: &mut Needs, (group, resource): (&str, &str), rule: &Rule) {
    let places: Vec<Place> = match &rule.namespaces {
        Namespaces::ClusterScoped | Namespaces::Any => vec![None],
        Namespaces::Named(names) => names.iter().cloned().map(Some).collect(),
    };
    let exact = rule.names.as_ref().and_then(|patterns| {
        let names = patterns.iter();
        let names = names.map(|p| p.after.is_none().then(|| p.before.clone()));
        names.collect::<Option<Vec<String>>>()
    });
    // A collection holds every name, so a rule about some names never allows one.
    let allowed = |verb: &&str| rule.names.is_none() || !matches!(*verb, "list" | "watch");
    for place in places {
        let objects = needs.entry(place).or_default();
        for verb in verbs(rule).into_iter().filter(allowed) {
            // There is no name to check yet when an object is created.
            let names = exact.clone().filter(|_| verb != "create");
            let names = names.unwrap_or_default();
            let key = (group.to_owned(), resource.to_owned(), names);
            objects.entry(key).or_default().insert(verb);
        }
    }
}

/// As Kubernetes names them.
fn verbs(rule: &Rule) -> Verbs {
    let rows: [(Verb, &[&'static str]); 7] = [
        (Verb::Get, &["get"]),
        (Verb::List, &["list"]),
        // A watch that cannot go on begins anew with a list.
        (Verb::Watch, &["list", "watch"]),
        (Verb::Create, &["create"]),
        // A server-side apply is a patch, and of what is absent a create too. A namespace is looked
        // at first.
        (Verb::Apply, &["create", "get", "patch"]),
        (Verb::Patch, &["patch"]),
        (Verb::Delete, &["delete"]),
    ];
    let granted = rows.iter().filter(|(verb, _)| rule.verbs & verb.bit() != 0);
    let mut verbs: Verbs = granted.flat_map(|(_, verbs)| *verbs).copied().collect();
    if rule.secret_data == SecretData::Write {
        verbs.extend(["create", "get", "update"]);
    }
    verbs
}

fn render(needs: &Needs) -> String {
    let mut out = HEAD.to_owned();
    let home = [
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {HOME}}}\n"),
        format!(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {ACCOUNT}, namespace: {HOME}}}\n"
        ),
    ];
    let places = needs.iter().flat_map(|(place, objects)| match place {
        None => cluster_documents(objects),
        Some(namespace) => namespace_documents(namespace, objects),
    });
    for document in home.into_iter().chain(places) {
        let _ = write!(out, "---\n{document}");
    }
    out
}

fn cluster_documents(objects: &BTreeMap<Objects, Verbs>) -> Vec<String> {
    let rules = rules(objects);
    let paths = format!("  - nonResourceURLs: [{OWN_PATHS}]\n    verbs: [get]\n");
    let metadata = format!("metadata: {{name: {ACCOUNT}}}");
    vec![
        format!("{API}kind: ClusterRole\n{metadata}\nrules:\n{paths}{rules}"),
        format!(
            "{API}kind: ClusterRoleBinding\n{metadata}\n{}",
            bind("ClusterRole")
        ),
    ]
}

fn namespace_documents(namespace: &str, objects: &BTreeMap<Objects, Verbs>) -> Vec<String> {
    let rules = rules(objects);
    let metadata = format!("metadata: {{name: {ACCOUNT}, namespace: {namespace}}}");
    vec![
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n"),
        format!("{API}kind: Role\n{metadata}\nrules:\n{rules}"),
        format!("{API}kind: RoleBinding\n{metadata}\n{}", bind("Role")),
    ]
}

const API: &str = "apiVersion: rbac.authorization.k8s.io/v1\n";

fn bind(role: &str) -> String {
    format!(
        "roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: {role}, name: {ACCOUNT}}}\n\
         subjects:\n  - {{kind: ServiceAccount, name: {ACCOUNT}, namespace: {HOME}}}\n"
    )
}

/// Types that may be treated alike share a rule.
fn rules(objects: &BTreeMap<Objects, Verbs>) -> String {
    let mut alike: BTreeMap<(&str, &[String], &Verbs), Vec<&str>> = BTreeMap::new();
    for ((group, resource, names), verbs) in objects {
        let kind = (group.as_str(), names.as_slice(), verbs);
        alike.entry(kind).or_default().push(resource);
    }
    let mut out = String::new();
    for ((group, names, verbs), resources) in alike {
        let verbs: Vec<&str> = verbs.iter().copied().collect();
        let _ = writeln!(out, "  - apiGroups: [\"{group}\"]");
        let _ = writeln!(out, "    resources: [{}]", resources.join(", "));
        if !names.is_empty() {
            let _ = writeln!(out, "    resourceNames: [{}]", names.join(", "));
        }
        let _ = writeln!(out, "    verbs: [{}]", verbs.join(", "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMITTED: &str = include_str!("../../../../deploy/member-access.yaml");

    #[test]
    fn the_committed_manifests_are_what_the_built_in_policy_needs() {
        let needed = member_access(&Policy::builtin().unwrap());
        assert_eq!(
            COMMITTED, needed,
            "write it anew: cargo run -p cluster-proxy -- --print-member-access > deploy/member-access.yaml"
        );
    }

    #[test]
    fn nothing_is_granted_on_everything_or_on_secrets_of_the_whole_cluster() {
        let whole = COMMITTED
            .split("---")
            .find(|d| d.contains("kind: ClusterRole\n"));
        let whole = whole.unwrap();
        assert!(!whole.contains("secrets"), "{whole}");
        for too_much in ["\"*\"", "[*", "deletecollection", "escalate", "impersonate"] {
            assert!(!COMMITTED.contains(too_much), "{too_much}");
        }
        assert!(
            !COMMITTED.contains("rbac.authorization.k8s.io\"]"),
            "no rights to give rights"
        );
    }

    #[test]
    fn each_rule_becomes_the_verbs_and_names_that_kubernetes_knows() {
        let policy = Policy::parse(
            "policies: [{subjects: [a], rules: [
                {group: g.io, resources: [xs], verbs: [watch], namespaces: ['*']},
                {resources: [namespaces], verbs: [get, list, apply], names: [n]},
                {resources: [secrets], namespaces: [n], names: ['*-x'], secretData: write}]},
              {subjects: [b], rules: [{group: g.io, resources: [ys], verbs: [list, watch], namespaces: ['*']}]}]",
        );
        let text = member_access(&policy.unwrap());
        for rule in [
            "apiGroups: [\"g.io\"]\n    resources: [xs, ys]\n    verbs: [list, watch]",
            "apiGroups: [\"\"]\n    resources: [namespaces]\n    verbs: [create]",
            "resources: [namespaces]\n    resourceNames: [n]\n    verbs: [get, patch]",
            "resources: [namespaces]\n    resourceNames: [kube-system]\n    verbs: [get]",
            "namespace: n}\nrules:\n  - apiGroups: [\"\"]\n    resources: [secrets]\n    verbs: [create, get, update]",
        ] {
            assert!(text.contains(rule), "no {rule} in {text}");
        }
    }
}
