//! What each account may do and, more so, must not: the API server is asked for every verb on everything that it has.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};

use super::helm::{NAMESPACE, template};
use crate::support::own_cluster::OwnCluster;
use crate::support::wait::eventually;

const VERBS: [&str; 11] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "bind",
    "escalate",
    "impersonate",
];

/// What no list of resources has, and roles can give all the same.
const UNLISTED: [(&str, &str); 4] =
    [("keyturn.dev", "apikeys/finalizers"), ("", "users"), ("", "groups"), ("authentication.k8s.io", "uids")];

/// Verbs by `resource.group`, or `resource` of the core; in the order of [`VERBS`].
type Rights = BTreeMap<String, Vec<&'static str>>;

/// Somebody who is logged in.
#[derive(Clone)]
struct Who {
    user: String,
    groups: Vec<String>,
}

impl Who {
    fn account(namespace: &str, name: &str) -> Self {
        let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}"), "system:authenticated"];
        Self { user: format!("system:serviceaccount:{namespace}:{name}"), groups: groups.map(str::to_owned).into() }
    }

    fn person(user: &str) -> Self {
        Self { user: user.to_owned(), groups: vec!["system:authenticated".to_owned()] }
    }
}

/// The API server, and all that it has.
struct Server {
    client: Client,
    /// Group, and resource with its subresource.
    resources: BTreeSet<(String, String)>,
    /// What everybody may who is logged in: the same in every namespace.
    everybody: Rights,
}

impl Server {
    async fn new(cluster: &OwnCluster) -> Self {
        let client = cluster.client(None).await;
        let mut lists = vec![(String::new(), client.list_core_api_resources("v1").await.expect("the core is listed"))];
        for group in client.list_api_groups().await.expect("groups are listed").groups {
            for version in group.versions {
                let listed = client.list_api_group_resources(&version.group_version).await;
                lists.push((group.name.clone(), listed.expect("resources are listed")));
            }
        }
        let listed = lists
            .into_iter()
            .flat_map(|(group, list)| list.resources.into_iter().map(move |resource| (group.clone(), resource.name)));
        let unlisted = UNLISTED.map(|(group, resource)| (group.to_owned(), resource.to_owned()));
        let resources: BTreeSet<_> = listed.chain(unlisted).collect();
        assert!(resources.len() > 80, "{resources:?}");
        let mut server = Self { client, resources, everybody: Rights::new() };
        server.everybody = server.rights(&Who::account("default", "default"), "").await;
        server
    }

    /// Whether somebody may do this in a namespace, to the object of that name, or to any where there is none.
    async fn may(&self, who: &Who, namespace: &str, verb: &str, of: (&str, &str), name: Option<&str>) -> bool {
        let (group, path) = of;
        let (resource, subresource) = path.split_once('/').map_or((path, None), |(all, part)| (all, Some(part)));
        let attributes = ResourceAttributes {
            namespace: Some(namespace.to_owned()),
            verb: Some(verb.to_owned()),
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource: subresource.map(str::to_owned),
            name: name.map(str::to_owned),
            ..ResourceAttributes::default()
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(who.user.clone()),
                groups: Some(who.groups.clone()),
                resource_attributes: Some(attributes),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await.expect("it is answered");
        answer.status.is_some_and(|status| status.allowed)
    }

    /// Everything that somebody may do in a namespace (the empty one: in the whole cluster) to objects of any name.
    async fn rights(&self, who: &Who, namespace: &str) -> Rights {
        let questions = self.resources.iter().flat_map(|of| VERBS.map(|verb| (of, verb)));
        let answers = futures::stream::iter(questions).map(async |((group, resource), verb)| {
            let may = self.may(who, namespace, verb, (group, resource), None).await;
            may.then(|| (format!("{resource}.{group}").trim_end_matches('.').to_owned(), verb))
        });
        let mut rights = Rights::new();
        for (resource, verb) in answers.buffered(32).filter_map(std::future::ready).collect::<Vec<_>>().await {
            rights.entry(resource).or_default().push(verb);
        }
        rights
    }

    /// As [`Server::rights`], without what everybody may who is logged in.
    async fn special(&self, who: &Who, namespace: &str) -> Rights {
        let mut rights = self.rights(who, namespace).await;
        rights.retain(|resource, verbs| self.everybody.get(resource) != Some(verbs));
        rights
    }
}

const KINDS: [&str; 5] = ["apikeys", "apikeyowners", "apikeyroles", "apikeytiers", "protectedapis"];

/// The same verbs on several resources, each as it is written in [`Rights`].
fn expected(lines: &[(&[&str], &[&'static str])]) -> Rights {
    let pairs =
        lines.iter().flat_map(|(resources, verbs)| resources.iter().map(|one| ((*one).to_owned(), verbs.to_vec())));
    pairs.collect()
}

fn ours(part: &str) -> Vec<String> {
    KINDS.map(|kind| format!("{kind}{part}.keyturn.dev")).into()
}

fn texts(strings: &[String]) -> Vec<&str> {
    strings.iter().map(String::as_str).collect()
}

/// What a controller may in namespaces whose keys it looks after.
fn controller() -> Rights {
    expected(&[
        (&texts(&ours("")), &["get", "list", "watch"]),
        (&texts(&ours("/status")), &["update"]),
        (&["apikeyusages.keyturn.dev"], &["get", "list", "watch", "create"]),
        (&["apikeys/finalizers.keyturn.dev"], &["update"]),
        (&["secrets"], &["get", "list", "watch", "create", "update", "delete"]),
        (&["events.events.k8s.io"], &["create", "patch"]),
    ])
}

/// What a controller may beside Keyturn's own objects.
fn controller_own() -> Rights {
    expected(&[
        (&["leases.coordination.k8s.io"], &["get", "list", "watch", "create", "update", "delete"]),
        (&["configmaps"], &["create"]),
    ])
}

fn verifier() -> Rights {
    expected(&[
        (&texts(&ours("")), &["list", "watch"]),
        (&["apikeyusages.keyturn.dev"], &["get"]),
        (&["apikeyusages/status.keyturn.dev"], &["update"]),
    ])
}

fn verifier_own() -> Rights {
    expected(&[(&["leases.coordination.k8s.io"], &["get", "list", "create", "update"])])
}

fn namespaces() -> Rights {
    expected(&[(&["namespaces"], &["list", "watch"])])
}

fn both(mut rights: Rights, more: Rights) -> Rights {
    rights.extend(more);
    rights
}

#[tokio::test]
async fn every_account_may_do_what_it_needs_and_nothing_else() {
    let cluster = OwnCluster::start().await;
    for namespace in [NAMESPACE, "elsewhere"] {
        cluster.kubectl(&["create", "namespace", namespace]);
    }
    cluster.apply(&template(&[]).expect("the chart renders"), &[]).expect("it is installed");
    let server = Server::new(&cluster).await;
    let [controlling, verifying] = ["keyturn-controller", "keyturn-verifier"].map(|name| Who::account(NAMESPACE, name));
    known(&server, &controlling, NAMESPACE, ("coordination.k8s.io", "leases")).await;

    let everywhere = both(controller(), namespaces());
    assert_eq!(server.special(&controlling, "").await, everywhere);
    assert_eq!(server.special(&controlling, "elsewhere").await, everywhere);
    assert_eq!(server.special(&controlling, NAMESPACE).await, both(everywhere, controller_own()));
    let everywhere = both(verifier(), namespaces());
    assert_eq!(server.special(&verifying, "").await, everywhere);
    assert_eq!(server.special(&verifying, "elsewhere").await, everywhere);
    assert_eq!(server.special(&verifying, NAMESPACE).await, both(everywhere, verifier_own()));

    // Where a name decides.
    let secrets = ("", "secrets");
    for (who, verb, of, name, may) in [
        (&verifying, "get", secrets, "keyturn-pepper", true),
        (&verifying, "watch", secrets, "keyturn-pepper", true),
        (&verifying, "update", secrets, "keyturn-pepper", false),
        (&verifying, "get", secrets, "ci", false),
        (&controlling, "update", ("", "configmaps"), "keyturn-actor", true),
        (&controlling, "get", ("", "configmaps"), "kube-root-ca.crt", false),
    ] {
        assert_eq!(server.may(who, NAMESPACE, verb, of, Some(name)).await, may, "{} {verb} {name}", who.user);
    }
    assert!(!server.may(&verifying, "elsewhere", "get", secrets, Some("keyturn-pepper")).await);
    let policies = ("admissionregistration.k8s.io", "mutatingadmissionpolicies");
    assert!(server.may(&controlling, "", "get", policies, Some("keyturn-actor")).await);
    assert!(!server.may(&controlling, "", "update", policies, Some("keyturn-actor")).await);
    assert!(!server.may(&controlling, "", "get", policies, Some("another")).await);
}

#[tokio::test]
async fn with_a_namespace_of_its_own_an_account_has_no_rights_in_others() {
    let cluster = OwnCluster::start().await;
    for namespace in [NAMESPACE, "team-a", "elsewhere"] {
        cluster.kubectl(&["create", "namespace", namespace]);
    }
    let manifest = template(&["--values", "charts/keyturn/ci/namespaced-values.yaml"]).expect("the chart renders");
    assert!(!manifest.contains("kind: Cluster"), "something is for the whole cluster");
    cluster.apply(&manifest, &[]).expect("it is installed");
    let server = Server::new(&cluster).await;
    for (name, everywhere, own) in
        [("keyturn-controller", controller(), controller_own()), ("keyturn-verifier", verifier(), verifier_own())]
    {
        let who = Who::account(NAMESPACE, name);
        known(&server, &who, NAMESPACE, ("coordination.k8s.io", "leases")).await;
        for namespace in ["", "elsewhere"] {
            assert_eq!(server.special(&who, namespace).await, Rights::new(), "{name} in {namespace:?}");
        }
        assert_eq!(server.special(&who, "team-a").await, everywhere, "{name}");
        assert_eq!(server.special(&who, NAMESPACE).await, own, "{name}");
    }
}

#[tokio::test]
async fn people_read_and_write_keys_where_they_may_view_and_edit_and_never_what_is_trusted() {
    let cluster = OwnCluster::start().await;
    cluster.kubectl(&["create", "namespace", NAMESPACE]);
    cluster.apply(&template(&[]).expect("the chart renders"), &[]).expect("it is installed");
    for role in ["view", "edit"] {
        let role_of = format!("--clusterrole={role}");
        cluster.kubectl(&["create", "rolebinding", role, &role_of, &format!("--user={role}er"), "--namespace=default"]);
    }
    let server = Server::new(&cluster).await;
    let reads: &[&str] = &["get", "list", "watch"];
    let writes = &["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
    for (role, verbs) in [("view", reads), ("edit", writes)] {
        let who = Who::person(&format!("{role}er"));
        // The roles are put together by the controller manager.
        known(&server, &who, "default", ("keyturn.dev", "apikeys")).await;
        let mut rights = server.special(&who, "default").await;
        rights.retain(|resource, _| resource.ends_with("keyturn.dev"));
        assert_eq!(rights, expected(&[(&texts(&ours("")), verbs)]), "{role}");
        assert_eq!(server.special(&who, NAMESPACE).await, Rights::new(), "{role}");
    }
}

/// Waits until the API server has heard of its own roles.
async fn known(server: &Server, who: &Who, namespace: &str, of: (&str, &str)) {
    eventually(&format!("{} may list {of:?}", who.user), async || {
        if server.may(who, namespace, "list", of, None).await { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
}
