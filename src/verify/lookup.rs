//! Whose a presented string is, whichever pepper its digest was made with.

use std::sync::Arc;

use smallvec::SmallVec;

use super::entry::Entry;
use super::index::View;
use crate::core::digest::{Digest, StringHash};
use crate::core::pepper::{MAX_PEPPERS, Peppers};
use crate::core::policy::Api;

/// A key of the API, and the digest that it was found by. Of several the oldest.
pub(super) fn find(view: &View, peppers: &Peppers, api: &Api, presented: &[u8]) -> Option<(Arc<Entry>, Digest)> {
    let hash = StringHash::of(presented);
    let mut digests = peppers.iter().map(|pepper| pepper.digest_of_hash(hash));
    if digests.len() == 1 {
        let digest = digests.next()?;
        return Some((view.key(&digest, api)?, digest));
    }
    let digests: SmallVec<[Digest; MAX_PEPPERS]> = digests.collect();
    let look = || {
        let known = digests.iter().filter_map(|digest| Some((view.key(digest, api)?, *digest)));
        known.reduce(|oldest, other| if other.0.is_before(&oldest.0) { other } else { oldest })
    };
    // A key that goes over to another pepper is known by its new digest before it loses the old one. Whoever
    // looked for the new one too early and for the old one too late finds it when looking again.
    look().or_else(look)
}
