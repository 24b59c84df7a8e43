//! What many keys have in common: the claim that they make and what it is granted. One instance each, however
//! many keys share it, so that a change of policy is judged once for all of them.

use std::sync::Arc;

use super::limits::Limits;
use crate::core::acceptance::{self, Claim, Entitlement, Rejection};
use crate::core::policy::{Key, ObjectName, Policies, RateLimit, Tier};
use crate::core::resource::Access;
use crate::core::scope::{Scope, ScopeSet};

/// Bytes of the longest list of scopes that proxies are told.
const MAX_SCOPES_TEXT: usize = 2_048;

/// What a key asks for, without anything that is its own alone.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Ask {
    api: ObjectName,
    owner: Option<Arc<str>>,
    /// The namespace of a stranger, on which only the claims of strangers depend.
    stranger: Option<Arc<str>>,
    tier: Option<Arc<str>>,
    scopes: Option<Vec<Scope>>,
    roles: Vec<Arc<str>>,
    resources: Vec<Access>,
    rate_limits: Vec<RateLimit>,
    not_yet_supported: Vec<&'static str>,
}

impl From<&Key> for Ask {
    fn from(key: &Key) -> Self {
        Self {
            api: key.api.clone(),
            owner: key.owner.clone(),
            stranger: Claim::from(key).foreign.cloned(),
            tier: key.tier.clone(),
            scopes: key.scopes.clone(),
            roles: key.roles.clone(),
            resources: key.resources.clone(),
            rate_limits: key.rate_limits.clone(),
            not_yet_supported: key.not_yet_supported.clone(),
        }
    }
}

/// What is granted to an [`Ask`].
#[derive(Debug, PartialEq)]
pub(super) struct Granted {
    pub(super) tier: Option<Arc<Tier>>,
    pub(super) scopes: ScopeSet,
    pub(super) resources: Box<[Access]>,
    pub(super) limits: Arc<Limits>,
    /// The scopes separated by spaces; empty unless the API asks for them.
    pub(super) scopes_text: Box<str>,
}

type Judged = Result<Granted, Rejection>;

/// A claim's judgement by the policies of the moment.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) api: ObjectName,
    pub(super) judged: Judged,
}

impl Terms {
    pub(super) fn new(ask: &Ask, policies: &Policies) -> Self {
        Self { api: ask.api.clone(), judged: judge(ask, policies) }
    }

    /// The judgement by other policies, if it differs.
    pub(super) fn anew(&self, ask: &Ask, policies: &Policies) -> Option<Self> {
        let mut judged = judge(ask, policies);
        if let (Ok(new), Ok(old)) = (&mut judged, &self.judged)
            && new.limits == old.limits
        {
            // The same list lets counters see at a glance that nothing has changed.
            new.limits = Arc::clone(&old.limits);
        }
        (judged != self.judged).then(|| Self { api: self.api.clone(), judged })
    }
}

fn judge(ask: &Ask, policies: &Policies) -> Judged {
    let claim = Claim {
        api: &ask.api,
        tier: ask.tier.as_ref(),
        scopes: ask.scopes.as_deref(),
        roles: &ask.roles,
        owner: ask.owner.as_ref(),
        foreign: ask.stranger.as_ref(),
        not_yet_supported: &ask.not_yet_supported,
    };
    let Entitlement { api, tier, scopes, .. } = acceptance::entitle(claim, policies)?;
    let limits = Arc::new(Limits::new(&ask.rate_limits, tier.as_deref(), ask.stranger.is_none()));
    let scopes_text = if api.identify_scopes { scopes_text(&scopes) } else { Box::default() };
    let resources = ask.resources.as_slice().into();
    Ok(Granted { tier, scopes, resources, limits, scopes_text })
}

/// As many whole scopes as fit: a backend that reads the list must never see half a scope.
fn scopes_text(scopes: &ScopeSet) -> Box<str> {
    let mut text = String::new();
    for scope in scopes.iter() {
        let separator = usize::from(!text.is_empty());
        if text.len() + separator + scope.len() > MAX_SCOPES_TEXT {
            break;
        }
        if separator > 0 {
            text.push(' ');
        }
        text.push_str(scope);
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_scopes_ends_with_a_whole_one() {
        let scopes = |count: usize| ScopeSet::new((0..count).map(|at| Scope::parse(&format!("{at:0>127}")).unwrap()));
        assert_eq!(&*scopes_text(&scopes(0)), "");
        assert_eq!(scopes_text(&scopes(16)).len(), 16 * 128 - 1);
        assert_eq!(scopes_text(&scopes(17)), scopes_text(&scopes(16)));
    }
}
