//! A call to be judged, as a proxy describes it; everything is borrowed from the proxy's own request.

use std::net::IpAddr;

/// The longest body that is read, in bytes: what names a resource stands in documents, not in uploads.
pub const MAX_BODY: usize = 64 * 1024;

/// The headers that the client sent.
pub trait Headers {
    /// Every value under a name that is given in lower case, in the order of arrival.
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]>;
}

/// A list of names (in any case) and values.
impl Headers for [(&str, &str)] {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
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

/// The request that the client sent to the proxy.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    pub method: &'a str,
    /// Path and query as sent.
    pub target: &'a [u8],
    /// Where the request came from; `None` if the proxy can't tell.
    pub client: Option<IpAddr>,
}
