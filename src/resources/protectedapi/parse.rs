//! From a ProtectedApi to what acceptance and verification work with.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Credential, Identity, Mode, Preflight, ProtectedApi, ProtectedApiSpec, RevocationMode, Unmatched, denial};
use crate::core::acceptance::{Reason, Rejection};
use crate::core::denials::Denials;
use crate::core::hosts::HostClaim;
use crate::core::key::{KeyFormat, PAYLOAD_LENGTHS};
use crate::core::pointer::Pointer;
use crate::core::policy;
use crate::core::query::Query;
use crate::core::resource::{Kind, RouteResource, ValueSource};
use crate::core::route::{Route, RouteCharge, Routes};
use crate::resources::parse;

impl ProtectedApi {
    /// What the API comes to.
    ///
    /// # Errors
    /// Routes that conflict, a query that cannot be read, or a value that the schema should have refused.
    pub fn parse(&self) -> Result<policy::Api, Rejection> {
        let spec = &self.spec;
        let defaults = &spec.defaults;
        let mut api = policy::Api {
            name: parse::object_name(&self.metadata)?,
            key_format: key_format(&spec.key_format)?,
            mode: match spec.mode {
                Mode::Enforce => policy::Mode::Enforce,
                Mode::Audit => policy::Mode::Audit,
            },
            credentials: spec.credentials.iter().enumerate().map(credential).collect::<Result<_, _>>()?,
            grants: spec.grants.iter().map(super::Grant::parse).collect::<Result<_, _>>()?,
            default_tier: spec.default_tier.as_deref().map(Into::into),
            default_schedule: parse::schedule(
                "spec.defaults.rotation",
                defaults.rotation.interval.as_ref(),
                defaults.rotation.grace_period.as_ref(),
            )?,
            expires_after: parse::duration_from(
                "spec.defaults.expiresAfter",
                parse::SHORTEST_LIFE,
                defaults.expires_after.as_ref(),
            )?,
            default_scopes: parse::scopes("spec.defaults.scopes", &defaults.scopes)?,
            reversible_revocation: spec.revocation == RevocationMode::Reversible,
            routes: routes(spec)?,
            unmatched: unmatched(spec),
            preflight: match spec.preflight {
                Preflight::Pass => policy::Preflight::Pass,
                Preflight::RequireKey => policy::Preflight::RequireKey,
            },
            trusted_forwarders: parse::addresses("spec.trustedForwarders", &spec.trusted_forwarders)?,
            denials: Denials::default(),
            identify_scopes: spec.identity.contains(&Identity::Scopes),
        };
        api.denials = denial::parse(&spec.denials, |code| api.code(code).is_some())?;
        Ok(api)
    }

    /// The hosts that the API claims, whatever else it comes to.
    #[must_use]
    pub fn host_claim(&self) -> HostClaim {
        let hosts = self.spec.hosts.iter().map(|host| host.as_str().into()).collect();
        HostClaim { age: parse::age(&self.metadata), hosts }
    }
}

fn key_format(format: &super::KeyFormat) -> Result<KeyFormat, Rejection> {
    let prefix = &format.prefix;
    let characters = prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !characters || !(1..=32).contains(&prefix.len()) {
        let cause = format_args!("{prefix:?} is no prefix; use 1 to 32 letters, digits and _");
        return Err(parse::invalid("spec.keyFormat.prefix", cause));
    }
    if !PAYLOAD_LENGTHS.contains(&format.length) {
        let cause = format_args!("{} is out of range; make it 32 to 64", format.length);
        return Err(parse::invalid("spec.keyFormat.length", cause));
    }
    Ok(KeyFormat { prefix: prefix.as_str().into(), length: format.length })
}

fn credential((at, credential): (usize, &Credential)) -> Result<policy::Credential, Rejection> {
    match credential {
        Credential { header: Some(name), scheme, query: None } => Ok(policy::Credential::Header {
            name: name.to_ascii_lowercase().into(),
            scheme: scheme.as_deref().map(Into::into),
        }),
        Credential { header: None, scheme: None, query: Some(name) } => {
            Ok(policy::Credential::Query { name: name.as_str().into() })
        }
        _ => {
            let cause = "it must have a header, with or without scheme, or else a query; correct it";
            Err(parse::invalid(&format!("spec.credentials[{at}]"), cause))
        }
    }
}

fn routes(spec: &ProtectedApiSpec) -> Result<Routes, Rejection> {
    let mut kinds = Kinds::default();
    for catalog in &spec.resource_catalogs {
        kinds.insert(&catalog.kind, Arc::new(Kind::new(&catalog.kind, Some(catalog.parse()?))));
    }
    let routes = spec.routes.iter().map(|it| route(it, &mut kinds)).collect::<Result<Vec<_>, _>>()?;
    Routes::build(routes)
        .map_err(|error| Rejection::new(Reason::InvalidRoutes, format!("spec.routes: {error}; change one of them")))
}

/// The kinds of resources that have a catalog or are in use.
type Kinds<'a> = HashMap<&'a str, Arc<Kind>>;

fn route<'a>(route: &'a super::Route, kinds: &mut Kinds<'a>) -> Result<Route, Rejection> {
    let name: Arc<str> = route.name.as_str().into();
    let require = route.require.as_deref().map(Query::parse).transpose().map_err(|error| {
        let query = route.require.as_deref().unwrap_or_default();
        let message = format!("spec.routes[{name}].require {query:?}, {error}");
        Rejection::new(Reason::InvalidQuery, message)
    })?;
    let mut parsed = Route {
        name,
        methods: route.methods.iter().map(|method| method.as_str().into()).collect(),
        path: route.path.as_str().into(),
        require,
        resource: None,
        cost: route.cost,
        charges: route.rate_limits.iter().map(charge).collect(),
        public: route.public,
    };
    if let Some(resource) = &route.resource {
        let kind = kinds.entry(&resource.kind).or_insert_with(|| Arc::new(Kind::new(&resource.kind, None)));
        let from = resource.from.iter().map(|source| value_source(&parsed, source)).collect::<Result<_, _>>()?;
        parsed.resource = Some(RouteResource { kind: Arc::clone(kind), from });
    }
    Ok(parsed)
}

fn charge(limit: &super::RouteLimit) -> RouteCharge {
    RouteCharge { limit: limit.name.as_str().into(), cost: limit.cost }
}

fn value_source(route: &Route, source: &super::ValueSource) -> Result<ValueSource, Rejection> {
    let field = format!("spec.routes[{}].resource.from", route.name);
    match source {
        super::ValueSource { path: Some(name), header: None, query: None, body: None } => {
            let at = route.parameter(name).ok_or_else(|| {
                let path = &route.path;
                let message =
                    format!("{field}: path {path:?} has no parameter {{{name}}}; add it or name one that it has");
                Rejection::new(Reason::InvalidRoutes, message)
            })?;
            Ok(ValueSource::Path(at))
        }
        super::ValueSource { path: None, header: Some(name), query: None, body: None } => {
            Ok(ValueSource::Header(name.to_ascii_lowercase().into()))
        }
        super::ValueSource { path: None, header: None, query: Some(name), body: None } => {
            Ok(ValueSource::Query(name.as_str().into()))
        }
        super::ValueSource { path: None, header: None, query: None, body: Some(pointer) } => {
            let parsed = Pointer::parse(pointer);
            parsed
                .map(ValueSource::Body)
                .map_err(|error| parse::invalid(&field, format_args!("body {pointer:?} {error}")))
        }
        _ => Err(parse::invalid(&field, "it must have exactly one of path, header, query and body; correct it")),
    }
}

fn unmatched(spec: &ProtectedApiSpec) -> policy::Unmatched {
    match (spec.unmatched, spec.routes.is_empty()) {
        (Some(Unmatched::RequireKey), _) | (None, true) => policy::Unmatched::RequireKey,
        (Some(Unmatched::Deny), _) | (None, false) => policy::Unmatched::Deny,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::core::verdict::Code;

    fn api(spec: &Value) -> ProtectedApi {
        serde_json::from_value(json!({
            "apiVersion": "keyturn.dev/v1alpha1",
            "kind": "ProtectedApi",
            "metadata": {"name": "transcripts", "namespace": "speech"},
            "spec": spec,
        }))
        .unwrap()
    }

    fn route(name: &str, path: &str) -> Value {
        json!({"name": name, "path": path})
    }

    fn rejection(spec: &Value) -> Rejection {
        api(spec).parse().unwrap_err()
    }

    #[test]
    fn names_conflicting_routes_and_where_a_query_is_wrong() {
        let conflict = rejection(&json!({"routes": [route("a", "/{x}"), route("b", "/{y}")]}));
        assert_eq!(conflict.reason, Reason::InvalidRoutes);
        assert!(conflict.message.starts_with("spec.routes: "), "{conflict}");
        assert!(conflict.message.contains("\"a\"") && conflict.message.contains("\"b\""), "{conflict}");
        let query = rejection(&json!({"routes": [{"name": "a", "path": "/", "require": "a AND"}]}));
        assert_eq!(query.reason, Reason::InvalidQuery);
        assert!(query.message.starts_with("spec.routes[a].require \"a AND\", byte 5: "), "{query}");
    }

    #[test]
    fn a_resource_is_read_where_the_route_says() {
        let resource = |path: &str, from: Value| {
            let route = json!({"name": "get", "path": path, "resource": {"kind": "model", "from": from}});
            api(&json!({"routes": [route], "resourceCatalogs": [{"kind": "model", "required": true}]})).parse()
        };
        let wrong = resource("/v1/{name}", json!([{"path": "model"}])).unwrap_err();
        assert_eq!(wrong.reason, Reason::InvalidRoutes);
        assert_eq!(
            wrong.message,
            "spec.routes[get].resource.from: path \"/v1/{name}\" has no parameter {model}; add it or name one that it has"
        );
        let places = json!([{"path": "model"}, {"header": "X-Model"}, {"query": "m"}, {"body": "/model"}]);
        let parsed = resource("/v1/{a}/{*model}", places).unwrap();
        let resource = parsed.routes.by_name("get").unwrap().resource.as_ref().unwrap();
        let from = [
            ValueSource::Path(1),
            ValueSource::Header("x-model".into()),
            ValueSource::Query("m".into()),
            ValueSource::Body(Pointer::parse("/model").unwrap()),
        ];
        assert_eq!(*resource.from, from);
        assert!(resource.kind.judge(None, &[]).is_err(), "the catalog says that a resource is required");
    }

    #[test]
    fn what_the_schema_should_have_refused_is_said_instead_of_used() {
        for spec in [
            json!({"keyFormat": {"prefix": "a-b"}}),
            json!({"keyFormat": {"length": 31}}),
            json!({"credentials": [{}]}),
            json!({"credentials": [{"header": "A", "query": "b"}]}),
            json!({"credentials": [{"scheme": "A", "query": "b"}]}),
            json!({"resourceCatalogs": [{"kind": "model", "denyCode": "model"}]}),
            json!({"resourceCatalogs": [{"kind": "model", "denyCode": "REVOKED"}]}),
            json!({"routes": [{"name": "r", "path": "/", "resource": {"kind": "model", "from": [{}]}}]}),
            json!({"routes": [{"name": "r", "path": "/", "resource": {"kind": "model", "from": [{"body": "model"}]}}]}),
            json!({"defaults": {"expiresAfter": "1s"}}),
            json!({"trustedForwarders": ["10.0.0.0/33"]}),
            json!({"denials": [{"code": "REVOKED", "status": 399}]}),
            json!({"denials": [{"code": "REVOKED", "status": 407}]}),
            json!({"denials": [{"code": "REVOKED", "status": 600}]}),
            json!({"denials": [{"code": "API_NOT_FOUND", "status": 403}]}),
            json!({"denials": [{"code": "REVOKD", "status": 403}]}),
            json!({"denials": [{"code": "MODEL_FORBIDDEN", "status": 404}]}),
            json!({"defaults": {"scopes": ["a b"]}}),
        ] {
            assert_eq!(rejection(&spec).reason, Reason::Invalid, "{spec}");
        }
    }

    #[test]
    fn refusals_of_resources_are_told_as_the_api_says_where_it_has_them() {
        let resource = json!({"kind": "model", "from": [{"query": "m"}]});
        let spec = json!({
            "routes": [{"name": "get", "path": "/", "resource": resource}],
            "denials": [{"code": "MODEL_FORBIDDEN", "status": 404}, {"code": "EXPIRED", "detail": "Too late."}],
        });
        let denials = api(&spec).parse().unwrap().denials;
        assert_eq!(denials.told(Code::ResourceForbidden, "MODEL_FORBIDDEN").status, 404);
        assert_eq!(denials.told(Code::Expired, "EXPIRED").detail, "Too late.");
        let unknown = rejection(&json!({"denials": [{"code": "REVOKD", "status": 403}]})).message;
        let expected =
            "spec.denials[REVOKD].code: this API answers with no such code; write one that it does, such as REVOKED";
        assert_eq!(unknown, expected);
    }

    #[test]
    fn an_empty_spec_has_the_defaults_of_the_server() {
        assert_eq!(api(&json!({})).spec, ProtectedApiSpec::default());
        let parsed = api(&json!({})).parse().unwrap();
        assert_eq!(
            parsed.credentials,
            [
                policy::Credential::Header { name: "authorization".into(), scheme: Some("Bearer".into()) },
                policy::Credential::Header { name: "x-api-key".into(), scheme: None },
            ]
        );
        assert_eq!(parsed.key_format, KeyFormat { prefix: "sk".into(), length: 32 });
        assert_eq!((parsed.unmatched, parsed.preflight), (policy::Unmatched::RequireKey, policy::Preflight::Pass));
    }

    #[test]
    fn revocations_are_permanent_unless_the_api_says_otherwise() {
        for (spec, reversible) in [(json!({}), false), (json!({"revocation": "Reversible"}), true)] {
            assert_eq!(api(&spec).parse().unwrap().reversible_revocation, reversible);
        }
    }

    #[test]
    fn routes_deny_what_they_do_not_match_unless_told_otherwise() {
        for (spec, expected) in [
            (json!({"routes": [route("a", "/")]}), policy::Unmatched::Deny),
            (json!({"routes": [route("a", "/")], "unmatched": "RequireKey"}), policy::Unmatched::RequireKey),
            (json!({"unmatched": "Deny"}), policy::Unmatched::Deny),
        ] {
            assert_eq!(api(&spec).parse().unwrap().unmatched, expected, "{spec}");
        }
    }
}
