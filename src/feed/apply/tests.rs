use jiff::Timestamp;
use serde_json::{Value, json};

use tokio::sync::watch;

use super::*;
use crate::clock::since_boot;
use crate::core::digest::{Digest, Pepper};
use crate::core::fixtures;

const AT: Duration = Duration::from_secs(100);
const MAX_STALENESS: Duration = Duration::from_mins(15);

fn digest(seed: u8) -> Digest {
    Pepper::new("p1", &[7; 32]).unwrap().digest_of(&[seed])
}

/// An ApiKey with one version; its string, and so its digest, is another one for every name.
fn key(name: &str, seed: u8) -> Value {
    let version = json!({
        "number": 1, "digest": digest(seed).to_hex(), "pepper": "p1", "start": "sk_live_0000",
        "mintedAt": "2026-01-01T00:00:00Z", "state": "Current",
    });
    json!({
        "apiVersion": "keyturn.dev/v1alpha1",
        "kind": "ApiKey",
        "metadata": {"name": name, "namespace": "speech", "uid": format!("uid of {name}"), "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"apiRef": {"name": "transcripts"}},
        "status": {"id": format!("key_{name}"), "versions": [version]},
    })
}

fn malformed(mut object: Value) -> Value {
    object["spec"] = json!("not an object");
    object
}

fn guarded<K>(object: Value) -> DeserializeGuard<K>
where
    DeserializeGuard<K>: serde::de::DeserializeOwned,
{
    serde_json::from_value(object).unwrap()
}

fn api() -> Value {
    let metadata =
        json!({"name": "transcripts", "namespace": "speech", "uid": "u0", "creationTimestamp": "2026-01-01T00:00:00Z"});
    json!({"apiVersion": "keyturn.dev/v1alpha1", "kind": "ProtectedApi", "metadata": metadata, "spec": {"keyFormat": {"prefix": "sk"}}})
}

/// An ApiKeyOwner that speaks for acme, created at that second.
fn owner_manifest(name: &str, second: u8, namespaces: Value) -> Value {
    let created = format!("2026-01-01T00:00:0{second}Z");
    json!({
        "apiVersion": "keyturn.dev/v1alpha1",
        "kind": "ApiKeyOwner",
        "metadata": {"name": name, "namespace": "speech", "uid": name, "creationTimestamp": created},
        "spec": {"externalId": "acme", "namespaces": namespaces},
    })
}

struct Fed {
    applier: Applier,
    applied: watch::Receiver<Option<u64>>,
}

impl Fed {
    fn new() -> Self {
        let gate = Arc::new(Gate::new(MAX_STALENESS));
        let held = Arc::new(Held::new(since_boot(), MAX_STALENESS, Arc::clone(&gate)));
        let applied = held.progress();
        Self { applier: Applier { index: Arc::default(), gate, held }, applied }
    }

    fn keys(&self, change: Change<DeserializeGuard<ApiKey>>, version: u64) {
        self.applier.apply(Update::Keys(Report { change, version: Some(version), at: AT }));
    }

    fn apis(&self, change: Change<DeserializeGuard<ProtectedApi>>) {
        self.applier.apply(Update::Apis(Report { change, version: Some(1), at: AT }));
    }

    /// Which of the strings 0 to 3 are known.
    fn known(&self) -> Vec<u8> {
        (0..4).filter(|seed| self.applier.index.view().key(&digest(*seed), &fixtures::api()).is_some()).collect()
    }

    fn applied(&self) -> Option<u64> {
        *self.applied.borrow()
    }
}

#[test]
fn a_list_replaces_everything() {
    let fed = Fed::new();
    fed.keys(Change::Listed(vec![guarded(key("a", 0)), guarded(key("b", 1))]), 10);
    fed.keys(Change::Listed(vec![guarded(key("b", 1)), guarded(key("c", 2))]), 20);
    assert_eq!(fed.known(), [1, 2]);
}

#[test]
fn a_malformed_key_is_known_no_more_and_disturbs_no_other() {
    let fed = Fed::new();
    fed.keys(Change::Listed(vec![guarded(key("a", 0)), guarded(malformed(key("b", 1))), guarded(key("c", 2))]), 10);
    assert_eq!(fed.known(), [0, 2]);
    fed.keys(Change::Applied(guarded(malformed(key("a", 0)))), 11);
    assert_eq!(fed.known(), [2]);
    fed.keys(Change::Applied(guarded(key("a", 0))), 12);
    assert_eq!(fed.known(), [0, 2]);
    fed.keys(Change::Deleted(guarded(malformed(key("a", 0)))), 13);
    assert_eq!(fed.known(), [2]);
}

#[test]
fn a_version_whose_digest_cannot_be_read_is_left_out() {
    let fed = Fed::new();
    let mut key = key("a", 0);
    key["status"]["versions"][0]["digest"] = json!("no digest");
    fed.keys(Change::Applied(guarded(key)), 1);
    assert!(fed.applier.index.view().key(&digest(0), &fixtures::api()).is_none());
    assert_eq!(fed.applier.index.len(), 1);
}

#[test]
fn a_list_of_an_older_history_is_not_applied() {
    let fed = Fed::new();
    fed.keys(Change::Listed(vec![guarded(key("a", 0))]), 10);
    fed.keys(Change::Listed(vec![guarded(key("b", 1))]), 9);
    assert_eq!((fed.known(), fed.applied()), (vec![0], Some(10)));
}

#[test]
fn the_applied_version_is_the_highest() {
    let fed = Fed::new();
    for (change, version, expected) in [
        (Change::Listed(vec![]), 10, 10),
        (Change::Bookmark, 12, 12),
        (Change::Applied(guarded(key("a", 0))), 9, 12),
        (Change::Applied(guarded(key("a", 0))), 100, 100),
        (Change::Listed(vec![]), 107, 107),
    ] {
        fed.keys(change, version);
        assert_eq!(fed.applied(), Some(expected));
    }
    fed.apis(Change::Bookmark);
    assert_eq!(fed.applied(), Some(107), "other kinds do not count");
}

#[test]
fn the_gate_opens_by_lists_only() {
    let fed = Fed::new();
    let missing = || fed.applier.gate.missing(AT).collect::<Vec<_>>();
    fed.keys(Change::Bookmark, 1);
    assert_eq!(missing(), Watched::ALL);
    fed.keys(Change::Listed(vec![]), 1);
    fed.apis(Change::Listed(vec![]));
    assert_eq!(missing(), [Watched::Tiers, Watched::Roles, Watched::Owners, Watched::Namespaces]);
}

#[test]
fn a_malformed_api_is_there_but_not_accepted() {
    let fed = Fed::new();
    let api_is = || fed.applier.index.view().api("speech", "transcripts").map(|api| api.is_some());
    assert_eq!(api_is(), None);
    fed.apis(Change::Applied(guarded(api())));
    assert_eq!(api_is(), Some(true));
    fed.apis(Change::Applied(guarded(malformed(api()))));
    assert_eq!(api_is(), Some(false));
    fed.apis(Change::Deleted(guarded(api())));
    assert_eq!(api_is(), None);
}

#[test]
fn a_host_leads_to_the_older_api_also_when_that_cannot_be_read_any_more() {
    let fed = Fed::new();
    let claiming = |name: &str, second: u8, hosts: Value| {
        let mut api = api();
        api["metadata"]["name"] = json!(name);
        api["metadata"]["creationTimestamp"] = json!(format!("2026-01-01T00:00:0{second}Z"));
        api["spec"]["hosts"] = hosts;
        api
    };
    let old = || claiming("old", 1, json!(["a.example"]));
    let young = || claiming("young", 2, json!(["a.example", "b.example"]));
    let held = || {
        let view = fed.applier.index.view();
        ["a.example", "b.example"].map(|host| view.host(host).map(|api| api.name.to_string()).unwrap_or_default())
    };
    fed.apis(Change::Applied(guarded(young())));
    assert_eq!(held(), ["young", "young"]);
    fed.apis(Change::Applied(guarded(old())));
    assert_eq!(held(), ["old", "young"]);
    fed.apis(Change::Applied(guarded(malformed(old()))));
    assert_eq!(held(), ["old", "young"]);
    fed.apis(Change::Deleted(guarded(old())));
    assert_eq!(held(), ["young", "young"]);
    fed.apis(Change::Listed(vec![guarded(old())]));
    assert_eq!(held(), ["old", ""]);
}

/// What a verifier makes of the key team-a/ci of speech/transcripts, which claims the owner acme.
#[test]
fn a_key_of_another_namespace_is_judged_by_labels_and_owners() {
    let fed = Fed::new();
    let mut key = key("ci", 0);
    key["metadata"]["namespace"] = json!("team-a");
    key["spec"] = json!({"apiRef": {"name": "transcripts", "namespace": "speech"}, "owner": "acme"});
    fed.keys(Change::Listed(vec![guarded(key)]), 1);
    let mut granting = api();
    let selector = json!({"matchLabels": {"team": "a"}});
    granting["spec"]["grants"] = json!([{"name": "a", "from": {"selector": selector}, "owners": "Declared"}]);
    fed.apis(Change::Listed(vec![guarded(granting)]));

    let namespace = |labels: Value| -> PartialObjectMeta<Namespace> {
        let metadata = json!({"name": "team-a", "labels": labels});
        serde_json::from_value(
            json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata}),
        )
        .unwrap()
    };
    let owner = |name: &str, second: u8, namespaces: Value| -> DeserializeGuard<ApiKeyOwner> {
        guarded(owner_manifest(name, second, namespaces))
    };
    let namespaces = |change| Update::Namespaces(Report { change, version: Some(1), at: AT });
    let owners = |change| Update::Owners(Report { change, version: Some(1), at: AT });
    let team = || namespace(json!({"team": "a"}));
    for (update, expected) in vec![
        (owners(Change::Listed(vec![owner("first", 1, json!(["team-a"]))])), Err(Reason::NamespaceNotAllowed)),
        (namespaces(Change::Listed(vec![namespace(json!({"team": "b"}))])), Err(Reason::NamespaceNotAllowed)),
        (namespaces(Change::Applied(team())), Ok(())),
        (namespaces(Change::Applied(namespace(json!({})))), Err(Reason::NamespaceNotAllowed)),
        (namespaces(Change::Applied(team())), Ok(())),
        (namespaces(Change::Deleted(team())), Err(Reason::NamespaceNotAllowed)),
        (namespaces(Change::Listed(vec![team()])), Ok(())),
        (owners(Change::Applied(owner("first", 1, json!([])))), Err(Reason::OwnerNotAllowed)),
        (owners(Change::Applied(owner("second", 2, json!(["team-a"])))), Err(Reason::OwnerNotAllowed)),
        (owners(Change::Deleted(owner("first", 1, json!([])))), Ok(())),
        (owners(Change::Bookmark), Ok(())),
        (
            owners(Change::Applied(guarded(malformed(owner_manifest("second", 2, json!([])))))),
            Err(Reason::OwnerNotAllowed),
        ),
        (owners(Change::Listed(vec![])), Err(Reason::OwnerNotAllowed)),
    ] {
        fed.applier.apply(update);
        let entry = fed.applier.index.view().key(&digest(0), &fixtures::api()).unwrap();
        assert_eq!(entry.refusal(), expected.err());
    }
}

#[test]
fn a_key_becomes_a_record() {
    let mut manifest = key("a", 0);
    manifest["status"]["versions"][0]["state"] = json!("Grace");
    manifest["status"]["versions"][0]["notAfter"] = json!("2026-01-02T00:00:00Z");
    manifest["status"]["revocation"] = json!({"at": "2026-01-01T00:00:00Z", "reversible": false});
    manifest["status"]["conditions"] = json!([{
        "type": "Accepted", "status": "False", "reason": "SecretNameTaken", "message": "rename it",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]);
    let record = record(&guarded(manifest)).unwrap();
    assert!(record.key.is_ok(), "{:?}", record.key);
    assert_eq!((record.name.to_string().as_str(), &*record.uid), ("speech/a", "uid of a"));
    assert_eq!(record.created_at, "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap());
    assert_eq!(record.id.as_deref(), Some("key_a"));
    assert!(record.revoked_for_good);
    assert_eq!(record.refused_by_controller, Some(Rejection::new(Reason::SecretNameTaken, "rename it")));
    let version = &record.versions[0];
    assert_eq!((version.number, version.digest), (1, digest(0)));
    assert_eq!(version.state, crate::core::rotation::VersionState::Grace);
    assert_eq!(version.not_after, Some("2026-01-02T00:00:00Z".parse().unwrap()));
}

#[test]
fn other_refusals_of_the_controller_are_found_out_anew() {
    let mut manifest = key("a", 0);
    manifest["status"]["conditions"] = json!([{
        "type": "Accepted", "status": "False", "reason": "TierNotFound", "message": "no such tier",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]);
    assert_eq!(record(&guarded(manifest)).unwrap().refused_by_controller, None);
}
