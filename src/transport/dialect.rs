//! How each proxy describes the original request, as data: a new proxy is a new row.
//!
//! A dialect reads only its own proxy's description and none falls back to another, since every proxy passes the
//! other proxies' headers through from the client.

mod carries;
mod read;

use http::HeaderName;

use super::decisions::Reading;

pub(super) use carries::Carries;
pub(super) use read::Call;

/// One proxy's way of asking and of passing answers on.
#[derive(Debug)]
pub(super) struct Dialect {
    pub(super) name: &'static str,
    original: Place,
    client: Client,
    pub(super) carries: Carries,
    /// `x-envoy-auth-headers-to-remove` on an answer takes headers out of the request that is passed on.
    pub(super) removes_headers: bool,
}

/// Where the method and the target of the original request are.
#[derive(Debug)]
enum Place {
    /// Each in a header of its own.
    Headers { method: HeaderName, target: HeaderName, form: Form },
    /// The call itself has the original method, and the original target behind the path of the policy.
    RequestLine,
}

/// How a header spells the target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    /// `/path?query`
    Origin,
    /// `http://host/path?query`
    Absolute,
}

/// Where the address is from which the proxy was called.
#[derive(Debug)]
enum Client {
    /// In this header, always.
    Header(HeaderName),
    /// In this header, unless the proxy has nothing to say.
    Optional(HeaderName),
    /// `X-Forwarded-For`, from the right.
    Forwarded,
    Nowhere,
}

const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// As `auth_request` is set up to ask.
const fn nginx(name: &'static str, target: &'static str, form: Form) -> Dialect {
    let method = HeaderName::from_static("x-original-method");
    let target = HeaderName::from_static(target);
    Dialect {
        name,
        original: Place::Headers { method, target, form },
        client: Client::Header(X_REAL_IP),
        carries: Carries::Only401And403,
        removes_headers: false,
    }
}

const fn forwarding(name: &'static str) -> Dialect {
    let method = HeaderName::from_static("x-forwarded-method");
    let target = HeaderName::from_static("x-forwarded-uri");
    Dialect {
        name,
        original: Place::Headers { method, target, form: Form::Origin },
        client: Client::Forwarded,
        carries: Carries::Everything,
        removes_headers: false,
    }
}

const fn envoy(name: &'static str, client: Client) -> Dialect {
    Dialect { name, original: Place::RequestLine, client, carries: Carries::Everything, removes_headers: true }
}

static DIALECTS: [Dialect; 9] = [
    nginx("nginx", "x-original-uri", Form::Origin),
    nginx("ingress-nginx", "x-original-url", Form::Absolute),
    forwarding("traefik"),
    forwarding("caddy"),
    forwarding("apisix"),
    forwarding("haproxy"),
    envoy("envoy", Client::Forwarded),
    // Envoy leaves the header out for addresses that it was told are its own network's.
    envoy("envoy-edge", Client::Optional(HeaderName::from_static("x-envoy-external-address"))),
    Dialect {
        name: "ngf",
        original: Place::Headers {
            method: HeaderName::from_static("method"),
            target: HeaderName::from_static("path"),
            form: Form::Origin,
        },
        client: Client::Nowhere,
        carries: Carries::Only401And403,
        removes_headers: false,
    },
];

impl Dialect {
    /// The headers that the description of a request is read from.
    pub(super) fn reads(&self) -> Vec<(&str, Reading)> {
        let original = match &self.original {
            Place::Headers { method, target, .. } => {
                vec![(method.as_str(), Reading::Method), (target.as_str(), Reading::Target)]
            }
            Place::RequestLine => Vec::new(),
        };
        let client = match &self.client {
            Client::Header(name) | Client::Optional(name) => Some(name.as_str()),
            Client::Forwarded => Some("x-forwarded-for"),
            Client::Nowhere => None,
        };
        original.into_iter().chain(client.map(|name| (name, Reading::Client))).collect()
    }

    /// The dialect of this name.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        DIALECTS.iter().find(|dialect| dialect.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_dialect_is_not_found() {
        assert!(["", "Nginx", "envoy-", "istio"].into_iter().all(|name| Dialect::find(name).is_none()));
    }

    #[test]
    fn every_dialect_is_found_by_its_name() {
        for dialect in &DIALECTS {
            assert_eq!(Dialect::find(dialect.name).map(|found| found.name), Some(dialect.name));
        }
    }
}
