use serde_json::{Value, json};

use super::*;

fn served(group_version: &str, resource: &str, namespaced: bool) -> Served {
    let (group, version) = group_version
        .rsplit_once('/')
        .unwrap_or(("", group_version));
    Served {
        group: group.to_owned(),
        version: version.to_owned(),
        resource: resource.to_owned(),
        namespaced,
        verbs: NEEDED.map(str::to_owned).to_vec(),
    }
}

fn filter(filter: Value) -> ResourceFilter {
    serde_json::from_value(filter).unwrap()
}

fn of_source() -> Vec<Served> {
    vec![
        served("v1", "pods", true),
        served("v1", "nodes", false),
        served("v1", "events", true),
        served("apps/v1", "deployments", true),
        served("batch/v1", "cronjobs", true),
        served("batch/v1beta1", "cronjobs", true),
        served("storage.k8s.io/v1", "storageclasses", false),
        served("shop.example.org/v1", "tills", true),
        served("shop.example.org/v1alpha1", "tills", true),
        served("velero.io/v1", "backups", true),
    ]
}

fn warned(of: Value, target: &[Served]) -> Option<String> {
    let selected = selected(&filter(of), &of_source(), None);
    not_served(&selected, ("bergen", target)).map(|problem| {
        assert_eq!(problem.reason, "ApiVersionNotServed");
        problem.message
    })
}

#[test]
fn a_target_that_serves_all_of_it_is_not_warned_of() {
    assert_eq!(warned(json!({}), &of_source()), None);
}

#[test]
fn what_a_target_serves_not_or_in_another_version_is_named() {
    let target = [
        served("v1", "pods", true),
        served("apps/v1", "deployments", true),
        served("batch/v1beta1", "cronjobs", true),
    ];
    let message = warned(json!({}), &target).unwrap();
    assert_eq!(
        message,
        "bergen does not serve batch/v1 cronjobs (it has v1beta1), storage.k8s.io/v1 \
         storageclasses: such objects are not restored there"
    );
    // What the filter leaves out does not matter.
    assert_eq!(
        warned(
            json!({ "includedResources": ["deployments.apps"] }),
            &target
        ),
        None
    );
    let without = json!({ "excludedResources": ["cronjobs", "storageclasses.storage.k8s.io"] });
    assert_eq!(warned(without, &target), None);
}

#[test]
fn the_version_that_counts_is_the_one_that_the_source_backs_up() {
    let only_old = [served("batch/v1beta1", "cronjobs", true)];
    let jobs = json!({ "includedResources": ["cronjobs"] });
    assert!(warned(jobs.clone(), &only_old).is_some());
    let only_new = [served("batch/v1", "cronjobs", true)];
    assert_eq!(warned(jobs, &only_new), None);
}

#[test]
fn a_custom_resource_needs_its_definition_there_or_on_the_way() {
    let of = |of: Value| warned(of, &of_source()[..7]);
    assert_eq!(of(json!({})), None, "its definition comes along");
    assert_eq!(of(json!({ "includedNamespaces": ["shop"] })), None);
    for left_out in [
        json!({ "includedResources": ["tills.shop.example.org"] }),
        json!({ "includeClusterResources": false }),
        json!({ "excludedResources": ["customresourcedefinitions"] }),
    ] {
        let message = of(left_out.clone()).unwrap();
        assert!(
            message.contains("shop.example.org/v1 tills"),
            "{left_out}: {message}"
        );
    }
    // It is there in another version, so the definition that comes along is not used.
    let older = [
        &of_source()[..7],
        &[served("shop.example.org/v1alpha1", "tills", true)],
    ]
    .concat();
    assert!(warned(json!({}), &older).is_some());
}

#[test]
fn a_warning_has_room_for_so_many_names_and_counts_the_rest() {
    let many: Vec<Served> = (0..100)
        .map(|number| served("many.k8s.io/v1", &format!("things{number:03}"), true))
        .collect();
    let all = selected(&ResourceFilter::default(), &many, None);
    let problem = not_served(&all, ("bergen", &[])).unwrap();
    assert!(problem.message.len() <= 256, "{problem:?}");
    assert!(problem.message.contains("things000"), "{problem:?}");
    assert!(problem.message.contains(" more: "), "{problem:?}");
}

/// Velero 1.18 takes cluster-scoped objects by the old family where no namespace is left out, and by the
/// new one only where they are named.
#[test]
fn what_a_filter_selects_follows_its_family() {
    let (pods, classes) = (served("v1", "pods", true), of_source()[6].clone());
    let table = [
        (json!({}), true, true),
        (json!({ "includedNamespaces": ["*"] }), true, false),
        (json!({ "includedNamespaces": ["shop"] }), true, false),
        (json!({ "labelSelector": {} }), true, false),
        (
            json!({ "includedNamespaces": ["shop"], "includeClusterResources": true }),
            true,
            true,
        ),
        (json!({ "includeClusterResources": false }), true, false),
        (json!({ "includedResources": ["pods"] }), true, false),
        (
            json!({ "includedResources": ["storageclasses"] }),
            false,
            true,
        ),
        (
            json!({
                "includedNamespaces": ["shop"],
                "includedResources": ["pods", "storageclasses"],
            }),
            true,
            false,
        ),
        (
            json!({ "includedResources": ["*"], "excludedResources": ["pods"] }),
            false,
            true,
        ),
        (
            json!({ "excludedNamespaces": ["bank"], "excludedResources": ["pods"] }),
            false,
            false,
        ),
        (json!({ "excludedResources": ["*.k8s.io"] }), true, false),
        (
            json!({ "includedNamespaceScopedResources": ["pods"] }),
            true,
            false,
        ),
        (
            json!({ "excludedNamespaceScopedResources": ["*"] }),
            false,
            false,
        ),
        (
            json!({ "includedClusterScopedResources": ["storageclasses"] }),
            true,
            true,
        ),
        (
            json!({
                "includedNamespaces": ["shop"],
                "includedClusterScopedResources": ["*"],
            }),
            true,
            true,
        ),
        (
            json!({ "excludedClusterScopedResources": ["nodes"] }),
            true,
            false,
        ),
        (
            json!({
                "includedClusterScopedResources": ["*"],
                "excludedClusterScopedResources": ["storageclasses.storage.k8s.io"],
            }),
            true,
            false,
        ),
    ];
    for (of, of_pods, of_classes) in table {
        let filter = filter(of.clone());
        let everywhere = is_everywhere(&filter, None);
        assert_eq!(selects(&filter, &pods, everywhere), of_pods, "{of}");
        assert_eq!(selects(&filter, &classes, everywhere), of_classes, "{of}");
    }
}

#[test]
fn a_namespace_that_is_left_out_by_its_label_leaves_cluster_scoped_objects_out() {
    let old = filter(json!({ "excludedResources": ["pods"] }));
    let selected_with = |filter: &ResourceFilter, left_out: bool| {
        let namespace = Namespace {
            name: "bank".to_owned(),
            left_out,
            ..Namespace::default()
        };
        let all = selected(filter, &of_source(), Some(&[namespace]));
        all.iter().any(|it| it.of.resource == "storageclasses")
    };
    assert!(selected_with(&old, false) && !selected_with(&old, true));
    // Without a filter the Velero Backup asks for them.
    assert!(selected_with(&ResourceFilter::default(), true));
}

#[test]
fn what_velero_cannot_move_is_not_warned_of() {
    let mut read_only = served("metrics.k8s.io/v1", "pods", true);
    read_only.verbs = vec!["get".to_owned(), "list".to_owned()];
    let source = [
        read_only,
        served("v1", "pods/log", true),
        served("v1", "nodes", false),
        served("velero.io/v1", "schedules", true),
    ];
    let all = selected(&ResourceFilter::default(), &source, None);
    assert_eq!(not_served(&all, ("bergen", &[])), None);
}

fn names(of: &[&str]) -> Vec<Namespace> {
    let named = |name: &&str| Namespace {
        name: (*name).to_owned(),
        ..Namespace::default()
    };
    of.iter().map(named).collect()
}

fn set(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn namespaces_are_told_by_the_names_that_they_get() {
    let filter = ResourceFilter {
        included_namespaces: ["shop*", "bank"].into_iter().collect(),
        excluded_namespaces: ["shop-test"].into_iter().collect(),
        ..ResourceFilter::default()
    };
    let mapping = [("bank".to_owned(), "bank-oslo".to_owned())].into();
    let mut source = names(&[
        "bank",
        "kube-system",
        "shop",
        "shop-db",
        "shop-test",
        "shop-own",
        "shop-old",
        "velero",
    ]);
    source[5].left_out = true;
    let mut target = names(&["bank", "shop", "default", "shop-old"]);
    target[3].going = true;
    let namespaces = namespaces(&arriving(&filter, &mapping, &source), &target);
    assert_eq!(namespaces.created, set(&["bank-oslo", "shop-db"]));
    assert_eq!(namespaces.present, set(&["shop"]));
    assert_eq!(namespaces.going, set(&["shop-old"]));
    assert_eq!(
        namespaces.note().unwrap(),
        "of namespaces with something to migrate, it creates bank-oslo, shop-db; finds shop, where \
         what is there stays as it is; waits until shop-old is deleted there"
    );
    assert_eq!(Namespaces::default().note(), None);
}

#[test]
fn velero_s_namespace_comes_only_where_it_is_named() {
    let source = names(&["shop", "velero"]);
    let all = arriving(&ResourceFilter::default(), &StringMap::new(), &source);
    assert_eq!(all, set(&["shop"]));
}

#[test]
fn patterns_mean_what_velero_means_by_them() {
    let table = [
        ("shop", "shop", true),
        ("shop", "shops", false),
        ("*", "anything", true),
        ("shop-*", "shop-", true),
        ("*-db", "shop-db", true),
        ("s*p-?b", "shop-db", true),
        ("shop-?", "shop-db", false),
        ("shop-[ab]", "shop-b", true),
        ("shop-[a-c]", "shop-d", false),
        ("shop-[", "shop-[", false),
        ("", "shop", false),
    ];
    for (pattern, name, expected) in table {
        assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
    }
}
