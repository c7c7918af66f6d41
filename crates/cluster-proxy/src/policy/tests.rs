use std::collections::BTreeMap;

use api_types::key::ClusterKey;

use super::*;

fn gvr(group: &str, resource: &str) -> Gvr {
    Gvr::new(group, "v1", resource).unwrap()
}

fn access<'a>(verb: Verb, gvr: &'a Gvr, namespace: &'a str, name: &'a str) -> Access<'a> {
    Access {
        verb,
        gvr,
        subresource: "",
        namespace,
        name,
    }
}

fn check(policy: &Policy, caller: &str, access: Access<'_>) -> Result<Grant, CallError> {
    policy.rights(caller, access).on(Cluster {
        key: &ClusterKey::attached("default", "m"),
        labels: &BTreeMap::new(),
    })
}

fn allowed(caller: &str, verb: Verb, gvr: &Gvr, namespace: &str, name: &str) -> bool {
    let policy = Policy::builtin().unwrap();
    check(&policy, caller, access(verb, gvr, namespace, name)).is_ok()
}

#[test]
fn the_built_in_policy_lets_controllers_do_their_jobs() {
    let backups = gvr("velero.io", "backups");
    for verb in [
        Verb::Get,
        Verb::List,
        Verb::Watch,
        Verb::Create,
        Verb::Apply,
        Verb::Delete,
    ] {
        assert!(allowed("backup-controller", verb, &backups, "velero", "b"));
    }
    let locations = gvr("velero.io", "backupstoragelocations");
    let may_patch = |name| allowed("backup-controller", Verb::Patch, &locations, "velero", name);
    assert!(may_patch("default") && !may_patch("archive"));
    let nodes = gvr("", "nodes");
    for verb in [Verb::List, Verb::Watch] {
        assert!(allowed("fleet-controller", verb, &nodes, "", ""));
    }
    let policy = Policy::builtin().unwrap();
    let count = access(Verb::Watch, &nodes, "", "");
    let grant = check(&policy, "fleet-controller", count).unwrap();
    assert!(grant.metadata_only, "nodes are only counted");
    let namespaces = gvr("", "namespaces");
    assert!(allowed(
        "backup-controller",
        Verb::Apply,
        &namespaces,
        "",
        "velero"
    ));
    let names = access(Verb::List, &namespaces, "", "");
    let grant = check(&policy, "migrate-controller", names).unwrap();
    assert!(grant.metadata_only, "namespaces are only named");
}

#[test]
fn everything_else_is_denied() {
    let backups = gvr("velero.io", "backups");
    let rows = [
        ("backup-controller", Verb::Patch, &backups, "velero", "b"),
        ("backup-controller", Verb::Get, &backups, "default", "b"),
        ("backup-controller", Verb::List, &backups, "", ""),
        ("fleet-controller", Verb::Get, &backups, "velero", "b"),
        ("stranger", Verb::Get, &backups, "velero", "b"),
        ("", Verb::Get, &backups, "velero", "b"),
        (
            "backup-controller",
            Verb::Apply,
            &gvr("", "namespaces"),
            "",
            "default",
        ),
        (
            "backup-controller",
            Verb::Delete,
            &gvr("", "namespaces"),
            "",
            "velero",
        ),
    ];
    // fleet-controller counts nodes and nothing else: rights come with the feature that needs them.
    let namespaces = gvr("", "namespaces");
    let (nodes, deployments) = (gvr("", "nodes"), gvr("apps", "deployments"));
    let crds = gvr("apiextensions.k8s.io", "customresourcedefinitions");
    let fleet = [
        (Verb::Delete, &namespaces, "", "kube-system"),
        (Verb::Delete, &namespaces, "", "velero"),
        (Verb::Apply, &namespaces, "", "velero"),
        (Verb::List, &namespaces, "", ""),
        (Verb::Get, &crds, "", "backups.velero.io"),
        (Verb::List, &deployments, "", ""),
        (Verb::Get, &deployments, "velero", "velero"),
        (Verb::Get, &nodes, "", "n"),
        (Verb::Apply, &nodes, "", "n"),
        (Verb::Delete, &nodes, "", "n"),
    ];
    let fleet = fleet.map(|(verb, gvr, ns, name)| ("fleet-controller", verb, gvr, ns, name));
    for (caller, verb, gvr, namespace, name) in rows.into_iter().chain(fleet) {
        assert!(
            !allowed(caller, verb, gvr, namespace, name),
            "{caller} {verb:?} {gvr} {namespace}/{name}"
        );
    }
    for verb in [Verb::Get, Verb::Watch, Verb::Apply, Verb::Delete] {
        assert!(!allowed("migrate-controller", verb, &namespaces, "", "n"));
    }
    let secrets = gvr("", "secrets");
    assert!(!allowed(
        "backup-controller",
        Verb::Get,
        &secrets,
        "kube-system",
        "x"
    ));
    assert!(!allowed(
        "backup-controller",
        Verb::List,
        &secrets,
        "velero",
        ""
    ));
    assert!(!allowed(
        "backup-controller",
        Verb::Apply,
        &secrets,
        "velero",
        "f-velero-s3"
    ));
    let bindings = gvr("rbac.authorization.k8s.io", "clusterrolebindings");
    assert!(!allowed(
        "backup-controller",
        Verb::Create,
        &bindings,
        "",
        "root"
    ));
}

#[test]
fn secrets_are_metadata_only_and_written_under_listed_names() {
    let policy = Policy::builtin().unwrap();
    let secrets = gvr("", "secrets");
    let get = access(Verb::Get, &secrets, "velero", "fleet-velero-s3");
    let grant = check(&policy, "backup-controller", get).unwrap();
    assert!(grant.metadata_only);
    let write = |caller, namespace, name| {
        let write = access(Verb::WriteSecret, &secrets, namespace, name);
        check(&policy, caller, write).is_ok()
    };
    assert!(write("backup-controller", "velero", "fleet-velero-s3"));
    assert!(!write(
        "backup-controller",
        "velero",
        "velero-repo-credentials"
    ));
    assert!(!write(
        "backup-controller",
        "kube-system",
        "fleet-velero-s3"
    ));
    assert!(!write("migrate-controller", "velero", "fleet-velero-s3"));
}

#[test]
fn a_denial_names_caller_verb_and_object() {
    let policy = Policy::builtin().unwrap();
    let backups = gvr("velero.io", "backups");
    let delete = access(Verb::Delete, &backups, "velero", "b");
    let error = check(&policy, "fleet-controller", delete).unwrap_err();
    assert_eq!(error.reason, "NOT_ALLOWED");
    assert_eq!(error.code, Code::PermissionDenied);
    assert_eq!(
        error.message,
        "the policy does not let fleet-controller delete velero.io/v1 backups velero/b"
    );
    assert!(error.context.contains(&("rule", "default-deny".to_owned())));
}

#[test]
fn a_subresource_needs_its_own_rule() {
    let policy = Policy::parse(
        "policies: [{subjects: [a], rules: [{group: g.io, resources: [xs], verbs: [apply], namespaces: [n]}]}]",
    )
    .unwrap();
    let xs = gvr("g.io", "xs");
    let mut wanted = access(Verb::Apply, &xs, "n", "x");
    assert!(check(&policy, "a", wanted).is_ok());
    wanted.subresource = "status";
    assert!(check(&policy, "a", wanted).is_err());
}

#[test]
fn policies_that_grant_too_much_or_nothing_are_refused() {
    let rule = |text: &str| format!("policies: [{{subjects: [a], rules: [{{{text}}}]}}]");
    for wrong in [
        "policies: [{subjects: ['*'], rules: []}]".to_owned(),
        "policies: [{subjects: [a], rule: []}]".to_owned(),
        rule("resources: ['*'], verbs: [get]"),
        rule("resources: [secrets], verbs: ['*']"),
        rule("resources: [secrets], secretData: read, names: [x]"),
        rule("resources: [secrets], secretData: write"),
        rule("resources: [pods], verbs: [get], names: ['*']"),
        rule("resources: [pods], verbs: [get], namespaces: ['a*']"),
    ] {
        assert!(Policy::parse(&wrong).is_err(), "{wrong}");
    }
    assert!(Policy::parse("").unwrap().knows("a").is_err());
}

/// The names of those of some clusters that a selector covers.
fn covered(clusters: &str) -> Vec<&'static str> {
    let text = format!(
        "policies: [{{subjects: [a], clusters: {clusters}, rules: [
            {{resources: [pods], verbs: [get], namespaces: [n]}}]}}]"
    );
    let policy = Policy::parse(&text).unwrap();
    let pods = gvr("", "pods");
    let rights = policy.rights("a", access(Verb::Get, &pods, "n", "p"));
    rights.anywhere().unwrap();
    let rows = [
        ("north", "oslo-prod", "prod"),
        ("north", "oslo-test", "test"),
        ("south", "roma-prod", "prod"),
        ("south", "bare", ""),
    ];
    let on = |(namespace, name, env): &(&str, &str, &str)| {
        let labels = BTreeMap::from([("env".to_owned(), (*env).to_owned())]);
        let cluster = Cluster {
            key: &ClusterKey::attached(*namespace, *name),
            labels: if env.is_empty() {
                &BTreeMap::new()
            } else {
                &labels
            },
        };
        let allowed = rights.on(cluster).is_ok();
        assert_eq!(policy.knows_on("a", cluster).is_ok(), allowed);
        allowed
    };
    let covered = rows.into_iter().filter(on);
    covered.map(|(_, name, _)| name).collect()
}

#[test]
fn a_rule_holds_on_the_clusters_of_its_entry_only() {
    let rows: [(&str, &[&str]); 8] = [
        ("{namespaces: [north]}", &["oslo-prod", "oslo-test"]),
        ("{names: [oslo-test, bare]}", &["oslo-test", "bare"]),
        ("{names: ['*-prod']}", &["oslo-prod", "roma-prod"]),
        ("{labelSelector: env=prod}", &["oslo-prod", "roma-prod"]),
        ("{labelSelector: 'env in (test),env!=x'}", &["oslo-test"]),
        ("{labelSelector: '!env'}", &["bare"]),
        (
            "{namespaces: [south], names: ['*o'], labelSelector: env}",
            &[],
        ),
        (
            "{namespaces: [south], names: ['r*'], labelSelector: env}",
            &["roma-prod"],
        ),
    ];
    for (clusters, wanted) in rows {
        assert_eq!(covered(clusters), wanted, "{clusters}");
    }
}

#[test]
fn what_is_granted_is_that_of_a_rule_for_that_very_cluster() {
    let policy = Policy::parse(
        "policies: [
            {subjects: [a], clusters: {names: [narrow]}, rules: [
                {resources: [pods], verbs: [get], namespaces: [n], metadataOnly: true}]},
            {subjects: [a], clusters: {names: [wide]}, rules: [
                {resources: [pods], verbs: [get], namespaces: [n]},
                {resources: [secrets], namespaces: [n], names: [s], secretData: write}]}]",
    )
    .unwrap();
    let (pods, secrets) = (gvr("", "pods"), gvr("", "secrets"));
    let on = |access, name: &str| {
        policy.rights("a", access).on(Cluster {
            key: &ClusterKey::attached("default", name),
            labels: &BTreeMap::new(),
        })
    };
    let get = access(Verb::Get, &pods, "n", "p");
    assert!(on(get, "narrow").unwrap().metadata_only);
    assert!(!on(get, "wide").unwrap().metadata_only);
    let denied = on(get, "third").unwrap_err();
    assert_eq!(denied.reason, "NOT_ALLOWED");
    assert_eq!(
        denied.message,
        "the policy does not let a get v1 pods n/p on AttachedCluster default/third"
    );
    let write = access(Verb::WriteSecret, &secrets, "n", "s");
    assert!(on(write, "wide").is_ok());
    let denied = on(write, "narrow").unwrap_err();
    assert!(
        denied
            .message
            .ends_with("on AttachedCluster default/narrow")
    );
    // What no cluster allows is not said to be about one.
    let delete = access(Verb::Delete, &pods, "n", "p");
    let denied = on(delete, "wide").unwrap_err();
    assert!(denied.message.ends_with("delete v1 pods n/p"), "{denied}");
}

#[test]
fn a_selector_of_clusters_that_means_nothing_or_everything_is_refused() {
    for (clusters, why) in [
        ("{}", "clusters is empty"),
        ("", "clusters"),
        ("{namespaces: []}", "clusters.namespaces is empty"),
        ("{names: []}", "clusters.names is empty"),
        ("{names: [a], namespaces: }", "namespaces"),
        ("{namespaces: ['n*']}", "namespace"),
        ("{names: ['*']}", "a single *"),
        ("{names: ['a*b*']}", "a single *"),
        ("{labelSelector: ''}", "clusters.labelSelector is empty"),
        ("{labelSelector: }", ""),
        ("{labelSelector: ','}", "clusters.labelSelector is empty"),
        (
            "{labelSelector: 'env prod'}",
            "clusters.labelSelector: \"env prod\" is not a requirement",
        ),
        ("{labels: {env: prod}}", "labels"),
    ] {
        let text = format!(
            "policies:\n- subjects: [b]\n- subjects: [a]\n  clusters: {clusters}\n  rules: []\n"
        );
        let error = Policy::parse(&text).unwrap_err().to_string();
        assert!(error.contains(why), "{clusters:?}: {error}");
        if why.starts_with("clusters.") {
            assert!(error.starts_with("policy rule 1: "), "{error}");
        }
    }
}
