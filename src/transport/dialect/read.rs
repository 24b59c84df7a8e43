//! Reading what a proxy says about the original request.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{Client, Dialect, Form, Place};
use crate::verify::request::{ClientAddress, Original};

/// A proxy's call.
#[derive(Clone, Copy, Debug)]
pub(in crate::transport) struct Call<'a> {
    pub(in crate::transport) method: &'a Method,
    /// What follows the path of the policy in the request target, query included.
    pub(in crate::transport) rest: &'a str,
    pub(in crate::transport) headers: &'a HeaderMap,
}

impl Dialect {
    /// Reads the description.
    ///
    /// # Errors
    /// A sentence for the log when part of the description is missing, there twice, or not visible ASCII.
    pub(in crate::transport) fn read<'a>(&self, call: Call<'a>) -> Result<Original<'a>, &'static str> {
        let Call { headers, .. } = call;
        let (method, target) = match &self.original {
            Place::RequestLine if call.rest.starts_with('/') => (call.method.as_str(), call.rest),
            Place::RequestLine => return Err("the original path does not follow the path of the policy"),
            Place::Headers { method, target, form } => {
                let method = once(headers, method, "the header with the original method is not there exactly once")?;
                let target = once(headers, target, "the header with the original URI is not there exactly once")?;
                (method, form.target(target).ok_or("the original URL is not one of HTTP with a path")?)
            }
        };
        Ok(Original { method, target: target.as_bytes(), client: self.client.read(headers)? })
    }
}

impl Form {
    fn target(self, text: &str) -> Option<&str> {
        match self {
            Self::Origin => Some(text),
            // What the client said is its host may be anything but a slash.
            Self::Absolute => {
                let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
                rest.find('/').and_then(|at| rest.get(at..))
            }
        }
    }
}

impl Client {
    fn read(&self, headers: &HeaderMap) -> Result<ClientAddress, &'static str> {
        let otherwise = "the header with the client's address is not there exactly once";
        Ok(match self {
            Self::Nowhere => ClientAddress::Unknown,
            Self::Forwarded => ClientAddress::Forwarded,
            Self::Optional(name) if !headers.contains_key(name) => ClientAddress::Unknown,
            // What is no address, such as the `unix:` of a local socket, is not known: an allowlist refuses it.
            Self::Header(name) | Self::Optional(name) => once(headers, name, otherwise)?.parse().ok().into(),
        })
    }
}

fn once<'a>(headers: &'a HeaderMap, name: &HeaderName, otherwise: &'static str) -> Result<&'a str, &'static str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => HeaderValue::to_str(value).ok().filter(|text| !text.is_empty()).ok_or(otherwise),
        _ => Err(otherwise),
    }
}

#[cfg(test)]
mod tests {
    use super::super::DIALECTS;
    use super::*;

    type Line = (&'static str, &'static [u8]);

    fn headers(lines: &[Line]) -> HeaderMap {
        let parse = |(name, value): &Line| (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in lines.iter().map(parse) {
            headers.append(name, value);
        }
        headers
    }

    /// Method, target and address, as read from a GET with these headers.
    fn read(dialect: &str, rest: &str, lines: &[Line]) -> Result<(String, String, ClientAddress), &'static str> {
        let headers = headers(lines);
        let call = Call { method: &Method::GET, rest, headers: &headers };
        let original = Dialect::find(dialect).unwrap().read(call)?;
        let target = String::from_utf8(original.target.to_vec()).unwrap();
        Ok((original.method.to_owned(), target, original.client))
    }

    /// What each dialect reads of a POST for `/a?b=c`; the last one is the client's address, where a header must tell it.
    fn lines(dialect: &str) -> Vec<Line> {
        match dialect {
            "nginx" => vec![("x-original-method", b"POST"), ("x-original-uri", b"/a?b=c"), ("x-real-ip", b"192.0.2.1")],
            "ingress-nginx" => vec![
                ("x-original-method", b"POST"),
                ("x-original-url", b"https://api.example/a?b=c"),
                ("x-real-ip", b"192.0.2.1"),
            ],
            "ngf" => vec![("method", b"POST"), ("path", b"/a?b=c")],
            "envoy" | "envoy-edge" => vec![],
            _ => vec![("x-forwarded-method", b"POST"), ("x-forwarded-uri", b"/a?b=c")],
        }
    }

    #[test]
    fn a_header_that_is_missing_twice_empty_or_unreadable_is_refused() {
        for Dialect { name, .. } in &DIALECTS {
            let lines = lines(name);
            for (at, (header, value)) in lines.iter().enumerate() {
                let without: Vec<Line> = [&lines[..at], &lines[at + 1..]].concat();
                let with = |line: Line| [&without[..], &[line]].concat();
                for broken in [
                    without.clone(),
                    [&lines[..], &[(*header, *value)]].concat(),
                    with((header, b"")),
                    with((header, b"/\xff")),
                ] {
                    assert!(read(name, "", &broken).is_err(), "{name} {broken:?}");
                }
            }
        }
    }

    #[test]
    fn the_description_is_read_from_its_own_place_only() {
        let all: Vec<&str> = DIALECTS.iter().map(|dialect| dialect.name).collect();
        for name in &all {
            // What all other proxies would say of something else.
            let own: Vec<&str> = lines(name).iter().map(|(header, _)| *header).collect();
            let others: Vec<Line> =
                all.iter().flat_map(|other| lines(other)).filter(|(header, _)| !own.contains(header)).collect();
            assert!(read(name, "", &others).is_err(), "{name}");
            let told = read(name, "/x", &[lines(name), others].concat()).unwrap();
            let expected = if name.starts_with("envoy") { ("GET", "/x") } else { ("POST", "/a?b=c") };
            assert_eq!((told.0.as_str(), told.1.as_str()), expected, "{name}");
        }
    }

    #[test]
    fn the_clients_address_is_where_the_proxy_puts_it() {
        let known = |address: &str| ClientAddress::Known(address.parse().unwrap());
        let lies: [Line; 2] = [("x-forwarded-for", b"10.0.0.9"), ("forwarded", b"for=10.0.0.9")];
        for (dialect, client, expected) in [
            ("nginx", Some(("x-real-ip", &b"192.0.2.1"[..])), known("192.0.2.1")),
            ("nginx", Some(("x-real-ip", b"2001:db8::1")), known("2001:db8::1")),
            ("nginx", Some(("x-real-ip", b"unix:")), ClientAddress::Unknown),
            ("nginx", Some(("x-real-ip", b"192.0.2.1, 10.0.0.1")), ClientAddress::Unknown),
            ("ingress-nginx", Some(("x-real-ip", b"192.0.2.1")), known("192.0.2.1")),
            ("envoy-edge", Some(("x-envoy-external-address", b"192.0.2.1")), known("192.0.2.1")),
            ("envoy-edge", None, ClientAddress::Unknown),
            ("envoy", Some(("x-envoy-external-address", b"192.0.2.1")), ClientAddress::Forwarded),
            ("traefik", Some(("x-real-ip", b"192.0.2.1")), ClientAddress::Forwarded),
            ("ngf", Some(("x-real-ip", b"192.0.2.1")), ClientAddress::Unknown),
        ] {
            let mut all: Vec<Line> = lines(dialect).into_iter().filter(|(header, _)| *header != "x-real-ip").collect();
            all.extend(lies.into_iter().chain(client));
            assert_eq!(read(dialect, "/", &all).unwrap().2, expected, "{dialect} {client:?}");
        }
        let twice = [("x-envoy-external-address", &b"192.0.2.1"[..]); 2];
        assert!(read("envoy-edge", "/", &twice).is_err());
    }

    #[test]
    fn of_an_absolute_url_only_path_and_query_count() {
        let target = |url: &'static [u8]| {
            let lines: [Line; 3] =
                [("x-original-method", b"GET"), ("x-original-url", url), ("x-real-ip", b"192.0.2.1")];
            read("ingress-nginx", "", &lines).map(|(_, target, _)| target)
        };
        for url in [&b"/a"[..], b"ftp://h/a", b"http:/a", b"http://h", b"http://h?/a?b"] {
            let read = target(url);
            assert!(read.is_err() || read == Ok("/a?b".to_owned()), "{url:?} {read:?}");
        }
        for (url, expected) in [
            (&b"http://h/"[..], "/"),
            (b"http:///a", "/a"),
            (b"https://u:p@h:8443//a?b=http://x/y", "//a?b=http://x/y"),
            // A client's Host header has no slash, but may have anything else.
            (b"http://h?x#y/a", "/a"),
        ] {
            assert_eq!(target(url).as_deref(), Ok(expected), "{url:?}");
        }
    }

    #[test]
    fn envoy_puts_the_original_path_behind_the_policy() {
        for (rest, read_as) in [("", None), ("?a", None), ("a", None), ("/", Some("/")), ("//a?b", Some("//a?b"))] {
            assert_eq!(read("envoy", rest, &[]).ok().map(|(_, target, _)| target).as_deref(), read_as, "{rest}");
        }
    }
}
