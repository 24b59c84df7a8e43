//! How each proxy describes the original request, as data: a new proxy is a new row.
//!
//! A dialect reads only its own proxy's headers and none falls back to another, since every proxy passes the
//! other proxies' headers through from the client.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::core::verdict::Code;
use crate::verify::request::Original;

/// One proxy's way of asking and of passing answers on.
#[derive(Debug)]
pub(super) struct Dialect {
    pub(super) name: &'static str,
    method: HeaderName,
    uri: HeaderName,
    client: HeaderName,
    pub(super) carries: Carries,
}

/// Which answers a proxy hands on to its client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Carries {
    /// Statuses 401 and 403 without a body; 503 becomes an error of the proxy. Everything else has to look
    /// like one of these.
    Only401And403,
}

static DIALECTS: [Dialect; 1] = [Dialect {
    name: "nginx",
    method: HeaderName::from_static("x-original-method"),
    uri: HeaderName::from_static("x-original-uri"),
    client: HeaderName::from_static("x-real-ip"),
    carries: Carries::Only401And403,
}];

impl Dialect {
    /// The dialect of this name.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        DIALECTS.iter().find(|dialect| dialect.name == name)
    }

    /// Reads the description.
    ///
    /// # Errors
    /// A sentence for the log when a header is missing, there twice, or not visible ASCII.
    pub(super) fn read<'a>(&self, headers: &'a HeaderMap) -> Result<Original<'a>, &'static str> {
        let method = once(headers, &self.method, "the header with the original method is not there exactly once")?;
        let uri = once(headers, &self.uri, "the header with the original URI is not there exactly once")?;
        let client = once(headers, &self.client, "the header with the client's address is not there exactly once")?;
        // What is no address, such as the `unix:` of a local socket, is not known: an allowlist refuses it.
        Ok(Original { method, target: uri.as_bytes(), client: client.parse().ok() })
    }
}

impl Carries {
    /// The status to answer with where `code` has the truth. Fails closed: whatever this says is a refusal.
    pub(super) fn status(self, code: Code) -> StatusCode {
        match (self, code.status()) {
            (Self::Only401And403, 401) => StatusCode::UNAUTHORIZED,
            (Self::Only401And403, 503) => StatusCode::SERVICE_UNAVAILABLE,
            (Self::Only401And403, _) => StatusCode::FORBIDDEN,
        }
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
    use super::*;

    fn headers(lines: &[(&'static str, &'static [u8])]) -> HeaderMap {
        let parse = |(name, value): &(&'static str, &'static [u8])| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())
        };
        let mut headers = HeaderMap::new();
        for (name, value) in lines.iter().map(parse) {
            headers.append(name, value);
        }
        headers
    }

    const METHOD: (&str, &[u8]) = ("x-original-method", b"GET");
    const URI: (&str, &[u8]) = ("x-original-uri", b"/a?b=c");
    const CLIENT: (&str, &[u8]) = ("x-real-ip", b"192.0.2.1");

    #[test]
    fn a_header_that_is_missing_twice_empty_or_unreadable_is_refused() {
        let nginx = Dialect::find("nginx").unwrap();
        for lines in [
            &[][..],
            &[URI, CLIENT],
            &[METHOD, CLIENT],
            &[METHOD, URI],
            &[METHOD, METHOD, URI, CLIENT],
            &[METHOD, URI, URI, CLIENT],
            &[METHOD, URI, CLIENT, CLIENT],
            &[METHOD, ("x-original-uri", b""), CLIENT],
            &[METHOD, ("x-original-uri", b"/\xff"), CLIENT],
            &[METHOD, ("x-original-url", b"/a"), CLIENT],
            &[METHOD, ("x-forwarded-uri", b"/a"), CLIENT],
            &[("x-forwarded-method", b"GET"), URI, CLIENT],
            &[METHOD, URI, ("x-forwarded-for", b"192.0.2.1")],
        ] {
            assert!(nginx.read(&headers(lines)).is_err(), "{lines:?}");
        }
    }

    #[test]
    fn the_description_is_read_from_its_own_headers_only() {
        let nginx = Dialect::find("nginx").unwrap();
        for (client, address) in [
            (&b"192.0.2.1"[..], Some("192.0.2.1".parse().unwrap())),
            (b"2001:db8::1", Some("2001:db8::1".parse().unwrap())),
            (b"unix:", None),
            (b"192.0.2.1, 10.0.0.1", None),
        ] {
            let headers = headers(&[METHOD, URI, ("x-real-ip", client), ("x-forwarded-for", b"10.0.0.9")]);
            let original = nginx.read(&headers).unwrap();
            let read = (original.method, original.target, original.client);
            assert_eq!(read, ("GET", &b"/a?b=c"[..], address), "{client:?}");
        }
    }

    #[test]
    fn nginx_is_told_401_and_503_as_they_are_and_403_for_the_rest() {
        for code in Code::ALL {
            let expected = match code {
                Code::Unauthorized | Code::Revoked => 401,
                Code::Unavailable => 503,
                _ => 403,
            };
            assert_eq!(Carries::Only401And403.status(code), expected, "{code}");
        }
    }

    #[test]
    fn an_unknown_dialect_is_not_found() {
        assert!(["", "Nginx", "traefik"].into_iter().all(|name| Dialect::find(name).is_none()));
    }
}
