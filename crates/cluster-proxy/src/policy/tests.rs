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

fn allowed(caller: &str, verb: Verb, gvr: &Gvr, namespace: &str, name: &str) -> bool {
    let policy = Policy::builtin().unwrap();
    policy
        .check(caller, access(verb, gvr, namespace, name))
        .is_ok()
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
    let grant = policy.check("fleet-controller", count).unwrap();
    assert!(grant.metadata_only, "nodes are only counted");
    assert!(allowed(
        "backup-controller",
        Verb::Apply,
        &gvr("", "namespaces"),
        "",
        "velero"
    ));
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
    let grant = policy.check("backup-controller", get).unwrap();
    assert!(grant.metadata_only);
    let write = |caller, namespace, name| {
        policy
            .check_secret_write(caller, &secrets, namespace, name)
            .is_ok()
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
    let error = policy
        .check(
            "fleet-controller",
            access(Verb::Delete, &backups, "velero", "b"),
        )
        .unwrap_err();
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
    assert!(policy.check("a", wanted).is_ok());
    wanted.subresource = "status";
    assert!(policy.check("a", wanted).is_err());
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
