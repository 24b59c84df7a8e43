//! A call to be judged, as a proxy describes it; everything is borrowed from the proxy's own request.

use std::net::IpAddr;

use crate::core::address::AddressSet;
use crate::core::forwarded;
use crate::core::policy::Api;

/// The longest body that is read, in bytes: what names a resource stands in documents, not in uploads.
pub const MAX_BODY: usize = 64 * 1024;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The headers that the client sent.
pub trait Headers {
    /// Every value under a name that is given in lower case, in the order of arrival.
    fn values<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a [u8]>;
}

/// A list of names (in any case) and values.
impl Headers for [(&str, &str)] {
    fn values<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_bytes())
    }
}

/// A question to the engine.
#[derive(Debug)]
pub struct Request<'a, H: ?Sized> {
    /// Namespace of the ProtectedApi.
    pub namespace: &'a str,
    /// Name of the ProtectedApi.
    pub api: &'a str,
    /// Judge as this route, whatever the path is.
    pub route: Option<&'a str>,
    /// What the client asked for, or why the proxy's description of it can't be understood.
    pub original: Result<Original<'a>, &'static str>,
    /// The body that the client sent, empty if there is none, or why it is not known.
    pub body: Result<&'a [u8], &'static str>,
    pub headers: &'a H,
}

impl<H: Headers + ?Sized> Request<'_, H> {
    /// Where the client is, as far as anybody whom that API believes can tell.
    #[must_use]
    pub fn client(&self, api: &Api) -> Option<IpAddr> {
        self.original.ok().and_then(|original| original.client.resolve(self.headers, &api.trusted_forwarders))
    }
}

/// The request that the client sent to the proxy.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    pub method: &'a str,
    /// Path and query as sent.
    pub target: &'a [u8],
    /// Where the request came from.
    pub client: ClientAddress,
}

/// Where a request came from, as far as a proxy says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientAddress {
    /// The proxy can't tell.
    Unknown,
    Known(IpAddr),
    /// `X-Forwarded-For` tells: how far back it is believed is the API's to say.
    Forwarded,
    /// The proxy was called from there, which it does not add to `X-Forwarded-For`, or not always.
    Through(IpAddr),
}

impl ClientAddress {
    /// The address itself; `None`: nobody knows.
    pub(super) fn resolve<H: Headers + ?Sized>(self, headers: &H, trusted: &AddressSet) -> Option<IpAddr> {
        match self {
            Self::Unknown => None,
            Self::Known(address) => Some(address),
            Self::Forwarded => forwarded::client(headers.values(X_FORWARDED_FOR), trusted),
            // A trusted proxy that calls by itself forwards for nobody.
            Self::Through(peer) if trusted.contains(peer) && headers.values(X_FORWARDED_FOR).next().is_some() => {
                forwarded::client(headers.values(X_FORWARDED_FOR), trusted)
            }
            Self::Through(peer) => Some(peer),
        }
    }
}

/// What is no address is not known.
impl From<Option<IpAddr>> for ClientAddress {
    fn from(address: Option<IpAddr>) -> Self {
        address.map_or(Self::Unknown, Self::Known)
    }
}
