//! Finding the key in a request.

use zeroize::Zeroizing;

use super::parameters::{self, Octets};
use super::request::Headers;
use crate::core::policy::{Api, Credential};
use crate::core::source;

/// Bytes of the longest key, which is an imported one.
const MAX_KEY: usize = *source::LENGTHS.end();

/// Why a request has no key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NoKey {
    /// There is nothing where a key may be.
    Missing,
    /// What is there can't be one of the API's keys.
    Malformed,
    /// There are two different ones.
    Ambiguous,
}

impl NoKey {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "no key was presented",
            Self::Malformed => "what was presented is not a well-formed key of this API",
            Self::Ambiguous => "two different keys were presented",
        }
    }
}

/// A string that a client presented, where it stands or, percent-decoded, in memory of its own. Nobody needs to
/// encode a minted key, so that memory is hardly ever asked for.
#[derive(Debug)]
pub(super) enum Presented<'a> {
    Verbatim(&'a [u8]),
    Decoded(Zeroizing<Vec<u8>>),
}

impl Presented<'_> {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Verbatim(bytes) => bytes,
            Self::Decoded(bytes) => bytes,
        }
    }
}

/// The one key in the places where the API looks: a well-formed string, or one that `is_imported` knows. Other
/// strings beside it, such as a JWT meant for the backend, are none of our business.
pub(super) fn find<'a, H>(
    api: &'a Api,
    headers: &'a H,
    target: &'a [u8],
    is_imported: impl Fn(&[u8]) -> bool,
) -> Result<Presented<'a>, NoKey>
where
    H: Headers + ?Sized,
{
    let is_key = |presented: &[u8]| {
        api.key_format.recognises(presented) || (source::may_be_imported(presented) && is_imported(presented))
    };
    let mut search = Search { is_key, found: Err(NoKey::Missing) };
    for credential in &api.credentials {
        match credential {
            Credential::Header { name, scheme } => {
                for value in headers.values(name) {
                    let value = value.trim_ascii();
                    let key = scheme.as_deref().map_or(Some(value), |scheme| after_scheme(value, scheme));
                    search.offer(key.map(Presented::Verbatim));
                }
            }
            Credential::Query { name } => {
                parameters::values(target, name).for_each(|value| search.offer(decoded(value)));
            }
        }
    }
    search.found
}

struct Search<'a, F> {
    is_key: F,
    found: Result<Presented<'a>, NoKey>,
}

impl<'a, F: Fn(&[u8]) -> bool> Search<'a, F> {
    /// Something stands where a key may be; `None` if not even in a form that holds one.
    fn offer(&mut self, presented: Option<Presented<'a>>) {
        let key = presented.filter(|presented| (self.is_key)(presented.bytes()));
        match (key, &self.found) {
            (_, Err(NoKey::Ambiguous)) => {}
            (Some(new), Ok(known)) if new.bytes() != known.bytes() => self.found = Err(NoKey::Ambiguous),
            (Some(new), Err(_)) => self.found = Ok(new),
            (None, Err(_)) => self.found = Err(NoKey::Malformed),
            (_, Ok(_)) => {}
        }
    }
}

/// What follows `<scheme> ` (RFC 9110, section 11.4: the scheme in any case, then spaces).
fn after_scheme<'a>(value: &'a [u8], scheme: &str) -> Option<&'a [u8]> {
    let (start, rest) = value.split_at_checked(scheme.len())?;
    let is_scheme = start.eq_ignore_ascii_case(scheme.as_bytes()) && rest.starts_with(b" ");
    is_scheme.then(|| rest.trim_ascii_start())
}

fn decoded(value: &[u8]) -> Option<Presented<'_>> {
    if !value.contains(&b'%') {
        return Some(Presented::Verbatim(value));
    }
    // Room for all of it at once: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_KEY));
    // A broken encoding stands for itself, and no minted key has a `%`.
    for octet in Octets(value) {
        if bytes.len() == MAX_KEY {
            return None;
        }
        bytes.push(octet);
    }
    Some(Presented::Decoded(bytes))
}
