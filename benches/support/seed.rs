//! Keys by the hundred thousand, put into etcd as the API server would have stored them: copies of one that was minted
//! through the API, each with a name, uids, id and string of its own. Minting so many takes hours on a small machine,
//! this takes a minute, and whoever reads them cannot tell the difference.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use http::Method;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use keyturn::core::digest::Pepper;
use keyturn::core::key::{Environment, KeyFormat, PlainKey};
use keyturn::core::source;
use keyturn::resources::names::{PEPPER_SECRET, SECRET_PROOF_KEY, usage_of_key};
use keyturn::resources::{ApiKey, ApiKeyUsage, pepper};
use kube::api::{DynamicObject, ListParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::support::apply::{apply, field, objects};
use super::support::cluster::Namespace;
use super::support::http::HttpClient;
use super::support::keyturn::Keyturn;
use super::support::wait::eventually;
use super::{machine, print};

/// How long the API server may take to catch up with etcd.
const PATIENCE: Duration = Duration::from_mins(5);

/// Transactions at the same time.
const WRITERS: usize = 32;

/// The API that every key is of.
pub(crate) const API: &str = "transcripts";

/// A controller, and an API that it has seen.
pub(crate) async fn controller(namespace: &Namespace) -> Keyturn {
    let mut controller = Keyturn::start("controller", namespace, &["--leader-lease=2s"]);
    controller.ready().await;
    let api = json!({
        "apiVersion": "keyturn.dev/v1alpha1", "kind": "ProtectedApi", "metadata": {"name": API},
        "spec": {"credentials": [{"header": "X-API-Key"}], "routes": [{"name": "one", "path": "/one"}]},
    });
    apply(namespace, &api).await.expect("the API server takes the API");
    controller
}

/// What a request with that string is answered: the status, and the code of a refusal.
pub(crate) async fn ask(client: &HttpClient, target: &str, string: &str) -> String {
    let headers =
        [("x-original-method", "GET"), ("x-original-uri", "/one"), ("x-real-ip", "127.0.0.1"), ("x-api-key", string)];
    match client.get(target, &headers).await {
        Ok(answer) => {
            let code = answer.header("x-auth-code").map(|code| format!(" {code}")).unwrap_or_default();
            format!("{}{code}", answer.status.as_u16())
        }
        Err(error) => error,
    }
}

/// A key as etcd has it, and what has to be another in each copy.
pub(crate) struct Pattern {
    namespace: String,
    pepper: Pepper,
    own: Own,
    stored: Vec<Stored>,
}

/// An object of the pattern.
struct Stored {
    prefix: String,
    kind: &'static str,
    text: String,
}

/// What one key has and no other.
struct Own {
    name: String,
    uid: String,
    /// Of its ApiKeyUsage.
    usage: String,
    /// Of its Secret.
    secret: String,
    id: String,
    string: PlainKey,
    proof: String,
}

impl Pattern {
    /// Has a key minted, with these further fields of its spec, by a controller that is running. No other
    /// word of its objects may have its name in it.
    pub(crate) async fn mint(namespace: &Namespace, name: &str, further: Value) -> Self {
        let mut spec = json!({"apiRef": {"name": API}});
        for (field, value) in further.as_object().expect("the fields of a spec") {
            spec[field] = value.clone();
        }
        let key = json!({
            "apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKey", "metadata": {"name": name}, "spec": spec,
        });
        apply(namespace, &key).await.expect("the API server takes the key");
        eventually("the pattern is minted", async || {
            let key = objects(namespace, "ApiKey").get(name).await.map_err(|error| error.to_string())?;
            let enforced = field(&key, "/status/conditions").to_string().contains(r#""reason":"Enforced""#);
            if enforced && field(&key, "/status/state") == "Active" {
                Ok(())
            } else {
                Err(field(&key, "/status").to_string())
            }
        })
        .await;
        Self::read(namespace, name).await
    }

    async fn read(namespace: &Namespace, name: &str) -> Self {
        let key = namespace.api::<ApiKey>().get(name).await.expect("the pattern is there");
        let uid = key.uid().expect("an object has a uid");
        let usage = namespace.api::<ApiKeyUsage>().get(&usage_of_key(&uid)).await.expect("it has an ApiKeyUsage");
        let secrets: Api<Secret> = namespace.api();
        let secret = secrets.get(name).await.expect("it has a Secret");
        let mut peppers = secrets.get(PEPPER_SECRET).await.expect("the controller has made the pepper");
        let pepper = pepper::parse(&mut peppers).expect("the controller's pepper can be used").active().clone();
        let text = |entry: &str| {
            let data = secret.data.as_ref().expect("the Secret has data");
            String::from_utf8(data[entry].0.clone()).expect("it is text")
        };
        let own = Own {
            name: name.to_owned(),
            uid: uid.clone(),
            usage: usage.uid().expect("an object has a uid"),
            secret: secret.uid().expect("an object has a uid"),
            id: text("api-key-id"),
            string: PlainKey::new(text("api-key")),
            proof: text(SECRET_PROOF_KEY),
        };
        let within = namespace.name();
        let of_ours = |plural| format!("/registry/keyturn.dev/{plural}/{within}/");
        let stored = vec![
            Stored::new(of_ours("apikeys"), "ApiKey", &key),
            Stored::new(of_ours("apikeyusages"), "ApiKeyUsage", &usage),
            Stored::new(format!("/registry/secrets/{within}/"), "Secret", &secret),
        ];
        Self { namespace: within.to_owned(), pepper, own, stored }
    }

    /// The string of the pattern itself.
    pub(crate) fn string(&self) -> &str {
        self.own.string.expose()
    }

    /// How many bytes the objects of a key take in etcd.
    pub(crate) fn bytes(&self) -> String {
        let each = self.stored.iter().map(|stored| format!("{} {}", stored.kind, stored.text.len()));
        each.collect::<Vec<_>>().join(", ")
    }

    /// Copies get no Secret: for those who read none.
    pub(crate) fn without_secrets(&mut self) {
        self.stored.retain(|stored| stored.kind != "Secret");
    }

    /// Has every copy say `to` where the pattern says `from`.
    pub(crate) fn replace(&mut self, from: &str, to: &str) {
        for stored in &mut self.stored {
            stored.text = stored.text.replace(from, to);
        }
    }

    /// What `pointer` leads to in the ApiKey.
    pub(crate) fn key(&self, pointer: &str) -> String {
        self.object().pointer(pointer).and_then(Value::as_str).expect("it is text").to_owned()
    }

    /// Has the ApiKey of every copy carry a label.
    pub(crate) fn label(&mut self, label: &str, value: &str) {
        let mut key = self.object();
        key["metadata"]["labels"][label] = json!(value);
        self.stored[0].text = key.to_string();
    }

    fn object(&self) -> Value {
        serde_json::from_str(&self.stored[0].text).expect("it was written by this")
    }

    /// Puts copies of these numbers into etcd, and waits until the API server has taken them all in; their strings, in
    /// that order.
    pub(crate) async fn multiply(&self, namespace: &Namespace, numbers: Range<usize>) -> Vec<String> {
        let etcd = Arc::new(HttpClient::new(machine::server("etcd").address()));
        let put = |number: usize| {
            let own = self.own(number);
            let (body, etcd) = (self.transaction(&own), Arc::clone(&etcd));
            async move {
                let answer = etcd.send_body(Method::POST, "/v3/kv/txn", &[], body).await;
                let answer = answer.expect("etcd answers");
                assert!(answer.status.is_success(), "etcd takes no key: {answer:?}");
                if (number + 1).is_multiple_of(10_000) {
                    print(&format!("    {} keys are in etcd", number + 1));
                }
                own.string.expose().to_owned()
            }
        };
        let strings = stream::iter(numbers).map(put).buffered(WRITERS).collect().await;
        for kind in ["ApiKey", "ApiKeyUsage"] {
            let began = Instant::now();
            while let Err(error) = list_as_of_now(&objects(namespace, kind)).await {
                assert!(began.elapsed() < PATIENCE, "the API server does not catch up with etcd: {error}");
            }
        }
        strings
    }

    fn own(&self, number: usize) -> Own {
        let format = KeyFormat { prefix: "sk".into(), length: 32 };
        let string = format.mint(Environment::Live, keyturn::entropy::fill).expect("there is entropy");
        let (name, id) = (name(number), format!("key_{number:022}"));
        let api = format!("{}/{API}", self.namespace);
        let parts = ["adopt", &self.namespace, &name, &api, &id, "1", string.expose()];
        let proof = self.pepper.prove(&parts.map(str::as_bytes));
        let uid = |kind: u8| format!("{kind:08x}-0000-4000-8000-{number:012x}");
        Own { name, uid: uid(1), usage: uid(2), secret: uid(3), id, string, proof }
    }

    /// All of its objects at once: none of a kind has the revision of another.
    fn transaction(&self, own: &Own) -> String {
        let changes = self.own.parts(&self.pepper).into_iter().zip(own.parts(&self.pepper));
        let changes: Vec<_> = changes.flat_map(|(from, to)| [(base64(&from), base64(&to)), (from, to)]).collect();
        let puts = self.stored.iter().map(|Stored { prefix, kind, text }| {
            let name = if *kind == "ApiKeyUsage" { usage_of_key(&own.uid) } else { own.name.clone() };
            let text = changes.iter().fold(text.clone(), |text, (from, to)| text.replace(from, to));
            json!({"requestPut": {"key": base64(&format!("{prefix}{name}")), "value": base64(&text)}})
        });
        json!({"success": puts.collect::<Vec<_>>()}).to_string()
    }
}

impl Own {
    fn parts(&self, pepper: &Pepper) -> [String; 9] {
        let Self { name, uid, usage, secret, id, string, proof } = self;
        let digest = pepper.digest(string).to_hex();
        // The whole string before its start.
        let [string, start] = [string.expose(), source::start(string)];
        [string, start, name, uid, usage, secret, id, proof, &digest].map(str::to_owned)
    }
}

/// The name of the copy of that number.
pub(crate) fn name(number: usize) -> String {
    format!("copy-{number:06}")
}

impl Stored {
    /// Without what the API server adds while it reads.
    fn new(prefix: String, kind: &'static str, object: &impl serde::Serialize) -> Self {
        let mut object = serde_json::to_value(object).expect("an object can be written");
        let api_version = if kind == "Secret" { "v1" } else { "keyturn.dev/v1alpha1" };
        object["apiVersion"] = json!(api_version);
        object["kind"] = json!(kind);
        object["metadata"].as_object_mut().expect("it has metadata").remove("resourceVersion");
        Self { prefix, kind, text: object.to_string() }
    }
}

/// The second page as of the first: refused as long as the API server's cache is behind etcd.
async fn list_as_of_now(api: &Api<DynamicObject>) -> Result<(), kube::Error> {
    let mut page = ListParams::default().limit(1);
    page.continue_token = api.list(&page).await?.metadata.continue_;
    api.list(&page).await.map(drop)
}

fn base64(text: &str) -> String {
    let encoded = serde_json::to_value(ByteString(text.as_bytes().to_vec())).expect("bytes can be written");
    encoded.as_str().expect("as base64").to_owned()
}
