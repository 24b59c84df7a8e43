//! What of an answer a proxy hands on to its client.

use http::StatusCode;

/// Which answers a proxy hands on to its client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::transport) enum Carries {
    /// Statuses 401 and 403 without a body; 503 becomes an error of the proxy. Everything else has to look
    /// like one of these.
    Only401And403,
    /// Every status that refuses, with its header fields and its body.
    Everything,
}

impl Carries {
    /// The status to answer with where `told` is the one that the client is to be told. Fails closed: whatever this
    /// says is a refusal.
    pub(in crate::transport) fn status(self, told: u16) -> StatusCode {
        match (self, told) {
            (Self::Only401And403, 401) => StatusCode::UNAUTHORIZED,
            (Self::Only401And403, 503) => StatusCode::SERVICE_UNAVAILABLE,
            (Self::Only401And403, _) => StatusCode::FORBIDDEN,
            (Self::Everything, told) => refusing(told),
        }
    }

    /// Whether a body reaches the client, and does no harm on the way.
    pub(in crate::transport) fn has_body(self) -> bool {
        self == Self::Everything
    }
}

/// The status of that number, if it refuses.
fn refusing(told: u16) -> StatusCode {
    let status = StatusCode::from_u16(told).ok();
    status.filter(|status| status.is_client_error() || status.is_server_error()).unwrap_or(StatusCode::FORBIDDEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_told_in_a_status_that_lets_pass() {
        for told in [0, 100, 200, 204, 302, 600, 999, 1000] {
            assert_eq!(Carries::Everything.status(told), 403, "{told}");
            assert_eq!(Carries::Only401And403.status(told), 403, "{told}");
        }
    }

    #[test]
    fn who_knows_only_401_and_403_is_told_those_and_503() {
        for (told, expected) in [(400, 403), (401, 401), (402, 403), (404, 403), (429, 403), (500, 403), (503, 503)] {
            assert_eq!(Carries::Only401And403.status(told), expected, "{told}");
            assert_eq!(Carries::Everything.status(told), told);
        }
    }
}
