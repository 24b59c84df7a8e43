//! What Envoy says of a request: whose it is to be judged by, and what it looks like.

use std::net::IpAddr;

use super::wire::{AttributeContext, HeaderValue, HttpRequest, Pair, Value};
use crate::transport::body::{CUT_OFF, is_cut_off};
use crate::verify::request::{ClientAddress, Headers, MAX_BODY, Original};

/// The namespace of Envoy Gateway among a route's metadata.
const ENVOY_GATEWAY: &str = "envoy-gateway";

/// The annotations of a route that name the API and the route, `gateway.envoyproxy.io/keyturn-api` and `-route`: Envoy
/// Gateway passes on those of its own prefix only, without it.
const API_ANNOTATION: &str = "keyturn-api";
const ROUTE_ANNOTATION: &str = "keyturn-route";

/// What the proxy's configuration says of how to judge.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Policy<'a> {
    /// `NAMESPACE/NAME`, if it names an API.
    pub(super) api: Option<&'a str>,
    pub(super) route: Option<&'a str>,
}

impl<'a> Policy<'a> {
    /// By `context_extensions`, else by what Envoy Gateway tells of the route. Nothing of it is the client's.
    pub(super) fn read(attributes: &'a AttributeContext) -> Self {
        let extension = |name: &str| {
            let found = attributes.context_extensions.iter().find(|pair| *pair.key == *name.as_bytes());
            found.map(|pair| text(&pair.value)).filter(|text| !text.is_empty())
        };
        Self {
            api: extension("api").or_else(|| annotation(attributes, API_ANNOTATION)),
            route: extension("route").or_else(|| annotation(attributes, ROUTE_ANNOTATION)),
        }
    }
}

/// The annotation of the objects that the request was routed by; of two that say different things, none that exists.
fn annotation<'a>(attributes: &'a AttributeContext, name: &str) -> Option<&'a str> {
    let metadata = &attributes.route_metadata_context.filter_metadata;
    let metadata = metadata.iter().find(|entry| *entry.filter == *ENVOY_GATEWAY.as_bytes())?;
    let resources = metadata.metadata.field("resources").and_then(|resources| resources.list.as_ref())?;
    let mut found = None;
    for resource in &resources.values {
        let annotations = resource.object.as_ref().and_then(|object| object.field("annotations"));
        let said = annotations.and_then(|annotations| annotations.object.as_ref()?.field(name)).and_then(string);
        match (said, found) {
            (Some(said), Some(known)) if said != known => return Some(""),
            (Some(said), None) => found = Some(said),
            _ => {}
        }
    }
    found
}

fn string(value: &Value) -> Option<&str> {
    value.string.as_ref().map(|string| text(string))
}

/// What is not UTF-8 names nothing.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// The headers that the client sent.
#[derive(Clone, Copy)]
pub(super) struct ClientHeaders<'a> {
    /// As they came.
    lines: &'a [HeaderValue],
    /// Lines of one name joined by commas.
    joined: &'a [Pair],
}

impl<'a> From<&'a HttpRequest> for ClientHeaders<'a> {
    fn from(http: &'a HttpRequest) -> Self {
        let lines = http.header_map.as_ref();
        Self { lines: lines.map_or(&[], |map| &map.headers), joined: if lines.is_some() { &[] } else { &http.headers } }
    }
}

impl Headers for ClientHeaders<'_> {
    /// Joined lines are taken apart: two keys must not look like one string that is none, nor two models like one that
    /// a pattern takes for another.
    fn values<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let lines = self.lines.iter().filter(move |line| *line.key == *name.as_bytes());
        let lines = lines.map(|line| if line.raw_value.is_empty() { &*line.value } else { &*line.raw_value });
        let joined = self.joined.iter().filter(move |pair| *pair.key == *name.as_bytes());
        lines.chain(joined.flat_map(|pair| pair.value.split(|byte| *byte == b',')))
    }
}

/// The request that the client sent to the proxy.
///
/// # Errors
/// A sentence for the log when it has no method or path.
pub(super) fn original(attributes: &AttributeContext) -> Result<Original<'_>, &'static str> {
    let http = &attributes.request.http;
    let method = std::str::from_utf8(&http.method).ok().filter(|method| !method.is_empty());
    let method = method.ok_or("the attributes have no method")?;
    if http.path.is_empty() {
        return Err("the attributes have no path");
    }
    // What is no address, such as the path of a local socket, is not known: an allowlist refuses it.
    let peer = text(&attributes.source.address.socket_address.address).parse::<IpAddr>();
    let client = peer.map_or(ClientAddress::Unknown, ClientAddress::Through);
    Ok(Original { method, target: &http.path, client })
}

/// The body that the client sent.
///
/// # Errors
/// A sentence for the log when there is one and the proxy does not send all of it, or more than is read.
pub(super) fn body(http: &HttpRequest) -> Result<&[u8], &'static str> {
    let headers = ClientHeaders::from(http);
    if is_cut_off(&headers) {
        return Err(CUT_OFF);
    }
    let body = if http.raw_body.is_empty() { &http.body } else { &http.raw_body };
    if body.len() > MAX_BODY {
        return Err("the body is longer than what is read of bodies");
    }
    let announces_one = headers.values("content-length").any(|length| length.trim_ascii() != b"0")
        || headers.values("transfer-encoding").next().is_some();
    if body.is_empty() && announces_one {
        return Err("the proxy does not send bodies; have it do so by with_request_body");
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use prost::bytes::Bytes;

    use super::super::wire::{Field, FilterMetadata, HeaderMap, List, Metadata, Struct};
    use super::*;

    fn pairs(pairs: &[(&'static str, &'static str)]) -> Vec<Pair> {
        let pair = |(key, value): &(&'static str, &'static str)| Pair { key: (*key).into(), value: (*value).into() };
        pairs.iter().map(pair).collect()
    }

    fn object(fields: Vec<(&'static str, Value)>) -> Value {
        let fields = fields.into_iter().map(|(key, value)| Field { key: key.into(), value }).collect();
        Value { object: Some(Struct { fields }), ..Value::default() }
    }

    /// As Envoy Gateway describes the route: by what it was made from.
    fn route_metadata(filter: &'static str, annotations: &[(&'static str, &'static str)]) -> Metadata {
        let text = |text: &'static str| Value { string: Some(text.into()), ..Value::default() };
        let resource = |(key, value): &(&'static str, &'static str)| {
            object(vec![("kind", text("HTTPRoute")), ("annotations", object(vec![(key, text(value))]))])
        };
        let values = annotations.iter().map(resource).collect();
        let resources = Value { list: Some(List { values }), ..Value::default() };
        let metadata = Struct { fields: vec![Field { key: "resources".into(), value: resources }] };
        Metadata { filter_metadata: vec![FilterMetadata { filter: filter.into(), metadata }] }
    }

    #[test]
    fn the_api_is_named_by_the_proxys_configuration_only() {
        let speech = ("keyturn-api", "speech/transcripts");
        for (extensions, filter, annotations, expected) in [
            (&[][..], ENVOY_GATEWAY, &[][..], Policy::default()),
            (&[("api", "")], ENVOY_GATEWAY, &[], Policy::default()),
            (&[("API", "a/b")], "another", &[speech], Policy::default()),
            (&[], ENVOY_GATEWAY, &[("keyturn.dev/api", "a/b")], Policy::default()),
            (&[], ENVOY_GATEWAY, &[speech, ("keyturn-api", "a/b")], Policy { api: Some(""), route: None }),
            (&[], ENVOY_GATEWAY, &[speech, speech], Policy { api: Some("speech/transcripts"), route: None }),
            (
                &[],
                ENVOY_GATEWAY,
                &[speech, ("keyturn-route", "read")],
                Policy { api: Some("speech/transcripts"), route: Some("read") },
            ),
            (
                &[("api", "a/b"), ("route", "write")],
                ENVOY_GATEWAY,
                &[speech, ("keyturn-route", "read")],
                Policy { api: Some("a/b"), route: Some("write") },
            ),
        ] {
            let attributes = AttributeContext {
                context_extensions: pairs(extensions),
                route_metadata_context: route_metadata(filter, annotations),
                ..AttributeContext::default()
            };
            assert_eq!(Policy::read(&attributes), expected, "{extensions:?} {annotations:?}");
        }
    }

    fn values(http: &HttpRequest, name: &str) -> Vec<String> {
        let headers = ClientHeaders::from(http);
        headers.values(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
    }

    #[test]
    fn joined_header_lines_are_taken_apart() {
        let headers = pairs(&[("x-model", "a,b"), ("x-api-key", "k"), ("x-api-keys", "no")]);
        let http = HttpRequest { headers, ..HttpRequest::default() };
        assert_eq!(values(&http, "x-model"), ["a", "b"]);
        assert_eq!(values(&http, "x-api-key"), ["k"]);
        assert_eq!(values(&http, "x-none"), [""; 0]);
    }

    #[test]
    fn with_raw_headers_they_are_the_truth() {
        let line = |key: &'static str, value: &'static str, raw_value: &'static str| HeaderValue {
            key: key.into(),
            value: value.into(),
            raw_value: raw_value.into(),
        };
        let lines = vec![line("x-model", "", "a,b"), line("x-model", "c", ""), line("x-other", "", "d")];
        let http = HttpRequest {
            headers: pairs(&[("x-model", "forged")]),
            header_map: Some(HeaderMap { headers: lines }),
            ..HttpRequest::default()
        };
        assert_eq!(values(&http, "x-model"), ["a,b", "c"]);
    }

    #[test]
    fn a_request_without_method_or_path_is_not_understood() {
        let of = |method: &'static str, path: &'static str, address: &'static str| {
            let mut attributes = AttributeContext::default();
            attributes.request.http.method = method.into();
            attributes.request.http.path = path.into();
            attributes.source.address.socket_address.address = address.into();
            original(&attributes).map(|original| {
                let target = String::from_utf8_lossy(original.target).into_owned();
                (original.method.to_owned(), target, original.client)
            })
        };
        assert_eq!(of("", "/", "192.0.2.1"), Err("the attributes have no method"));
        assert_eq!(of("GET", "", "192.0.2.1"), Err("the attributes have no path"));
        for (address, client) in [
            ("", ClientAddress::Unknown),
            ("@internal", ClientAddress::Unknown),
            ("192.0.2.1", ClientAddress::Through([192, 0, 2, 1].into())),
            ("2001:db8::1", ClientAddress::Through("2001:db8::1".parse().unwrap())),
        ] {
            assert_eq!(of("GET", "/a?b", address), Ok(("GET".to_owned(), "/a?b".to_owned(), client)), "{address}");
        }
    }

    #[test]
    fn a_body_that_is_not_all_there_is_not_taken_for_none() {
        const PARTIAL_BODY: &str = "x-envoy-auth-partial-body";
        let partial = Err(CUT_OFF);
        let withheld = Err("the proxy does not send bodies; have it do so by with_request_body");
        let long = || Bytes::from(vec![b'a'; MAX_BODY + 1]);
        for (headers, body_text, raw_body, expected) in [
            (&[(PARTIAL_BODY, "true")][..], "{".into(), Bytes::new(), partial),
            (&[(PARTIAL_BODY, "false,true")], "{}".into(), Bytes::new(), partial),
            (&[("content-length", "2")], Bytes::new(), Bytes::new(), withheld),
            (&[("transfer-encoding", "chunked")], Bytes::new(), Bytes::new(), withheld),
            (&[], long(), Bytes::new(), Err("the body is longer than what is read of bodies")),
            (&[], Bytes::new(), long(), Err("the body is longer than what is read of bodies")),
            (&[("content-length", "0")], Bytes::new(), Bytes::new(), Ok(&b""[..])),
            (&[], Bytes::new(), Bytes::new(), Ok(b"")),
            (&[("content-length", "2"), (PARTIAL_BODY, "false")], "{}".into(), Bytes::new(), Ok(b"{}")),
            (&[], Bytes::new(), "{}".into(), Ok(b"{}")),
        ] {
            let http = HttpRequest { headers: pairs(headers), body: body_text, raw_body, ..HttpRequest::default() };
            assert_eq!(body(&http), expected, "{headers:?}");
        }
    }
}
