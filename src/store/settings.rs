//! Where the servers are, and how to log in.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http::Uri;

/// The port that such servers listen on, unless told otherwise.
const DEFAULT_PORT: u16 = 6379;

/// What a store needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Servers to begin with: one, or several of one cluster.
    pub urls: Vec<ServerUrl>,
    /// The user of an access control list; none: the default user.
    pub username: Option<String>,
    /// Holds the password; white space around it does not count. Read whenever a connection is made.
    pub password_file: Option<PathBuf>,
    /// Certificates in PEM that the servers' may be signed by, instead of those that the system trusts. Read
    /// whenever a connection is made.
    pub ca_file: Option<PathBuf>,
    /// How long a request waits for an answer.
    pub timeout: Duration,
    /// How many requests wait at once; more fail at once.
    pub max_waiting: usize,
}

/// Where a server is: `valkey://host:6379`, or `valkeys://` with TLS. Never with a password, so it can be logged.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ServerUrl {
    pub(super) tls: bool,
    /// A name or an address, IPv6 without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

/// A string that says not, or says too much, where a server is. It is not repeated: there may be a password in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UrlError {
    #[error("write it as valkey://HOST:PORT, or valkeys://HOST:PORT for TLS; redis:// and rediss:// mean the same")]
    Malformed,
    #[error(
        "leave the password out, everybody can see it; put it into a file and name that with --valkey-password-file"
    )]
    Password,
    #[error("end it after the port: databases other than 0 are not used, since clusters have none")]
    Path,
}

impl FromStr for ServerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.contains('@') {
            return Err(UrlError::Password);
        }
        let url: Uri = text.parse().map_err(|_| UrlError::Malformed)?;
        let tls = match url.scheme_str() {
            Some("valkey" | "redis") => false,
            Some("valkeys" | "rediss") => true,
            _ => return Err(UrlError::Malformed),
        };
        if !matches!(url.path(), "" | "/" | "/0") || url.query().is_some() {
            return Err(UrlError::Path);
        }
        let host = url.host().filter(|host| !host.is_empty()).ok_or(UrlError::Malformed)?;
        // `Uri` passes over a port that is none.
        let port = match url.authority().and_then(|authority| authority.as_str().strip_prefix(host)) {
            Some("") => DEFAULT_PORT,
            rest => rest.and_then(|rest| rest.strip_prefix(':')?.parse().ok()).ok_or(UrlError::Malformed)?,
        };
        Ok(Self { tls, host: host.trim_start_matches('[').trim_end_matches(']').to_owned(), port })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls, host, port } = self;
        let scheme = if *tls { "valkeys" } else { "valkey" };
        if host.contains(':') { write!(f, "{scheme}://[{host}]:{port}") } else { write!(f, "{scheme}://{host}:{port}") }
    }
}

impl ServerUrl {
    /// Whether it is spoken to with TLS.
    #[must_use]
    pub const fn has_tls(&self) -> bool {
        self.tls
    }

    /// Another server of the same cluster, as this one spells it: `HOST:PORT`, with this one's host if there is none.
    pub(super) fn sibling(&self, address: &str) -> Option<Self> {
        let (host, port) = address.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some(self.with_address(Some(host).filter(|host| !host.is_empty()), port.parse().ok()?))
    }

    /// Another server of the same cluster, on this one's host if none is given.
    pub(super) fn with_address(&self, host: Option<&str>, port: u16) -> Self {
        Self { tls: self.tls, host: host.unwrap_or(&self.host).to_owned(), port }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_not_where_a_server_is_is_refused() {
        for (text, expected) in [
            ("", UrlError::Malformed),
            ("localhost", UrlError::Malformed),
            ("localhost:6379", UrlError::Malformed),
            ("http://localhost", UrlError::Malformed),
            ("valkey://", UrlError::Malformed),
            ("valkey://:6379", UrlError::Malformed),
            ("valkey://host:66666", UrlError::Malformed),
            ("valkey://host:", UrlError::Malformed),
            ("valkey://[::1]7000", UrlError::Malformed),
            ("valkey+unix:///run/valkey.sock", UrlError::Malformed),
            ("valkey://:secret@host", UrlError::Password),
            ("valkey://user@host", UrlError::Password),
            ("valkey://host/1", UrlError::Path),
            ("valkey://host/?protocol=resp3", UrlError::Path),
        ] {
            assert_eq!(text.parse::<ServerUrl>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn urls_are_read_and_written() {
        for (text, expected) in [
            ("valkey://host", "valkey://host:6379"),
            ("redis://10.0.0.1:7000/", "valkey://10.0.0.1:7000"),
            ("rediss://host/0", "valkeys://host:6379"),
            ("valkeys://[::1]:7000", "valkeys://[::1]:7000"),
        ] {
            assert_eq!(text.parse::<ServerUrl>().unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn a_sibling_is_spoken_to_in_the_same_way() {
        let url: ServerUrl = "valkeys://first:7000".parse().unwrap();
        for (address, expected) in [
            ("second:7001", Some("valkeys://second:7001")),
            (":7002", Some("valkeys://first:7002")),
            ("::1:7003", Some("valkeys://[::1]:7003")),
            ("[::1]:7003", Some("valkeys://[::1]:7003")),
            ("second", None),
            ("second:port", None),
        ] {
            let sibling = url.sibling(address).map(|url| url.to_string());
            assert_eq!(sibling.as_deref(), expected, "{address}");
        }
    }
}
