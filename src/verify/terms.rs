//! What many keys have in common: the claim that they make and what it is granted. One instance each, however
//! many keys share it, so that a change of policy is judged once for all of them.

use std::sync::Arc;

use super::allowance::{Allowance, Own};
use super::common::Common;
use super::owners::OwnerShare;
use crate::core::acceptance::{self, Claim, Entitlement, Rejection};
use crate::core::budget::{Credits, Quota};
use crate::core::policy::{Key, ObjectName, Policies, RateLimit, Tier};
use crate::core::resource::Access;
use crate::core::scope::{Scope, ScopeSet};

/// Bytes of the longest list of scopes that proxies are told.
const MAX_SCOPES_TEXT: usize = 2_048;

/// What a key asks for, without anything that is its own alone.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Ask {
    api: ObjectName,
    /// Whom the key says it was issued to, where that makes a difference.
    owner: Option<Arc<str>>,
    /// The namespace of a stranger, on which only the claims of strangers depend.
    stranger: Option<Arc<str>>,
    tier: Option<Arc<str>>,
    scopes: Option<Vec<Scope>>,
    roles: Vec<Arc<str>>,
    resources: Vec<Access>,
    rate_limits: Vec<RateLimit>,
    quotas: Vec<Quota>,
    credits: Option<Credits>,
}

impl Ask {
    pub(super) fn new(key: &Key, policies: &Policies) -> Self {
        let ask = Self {
            api: key.api.clone(),
            owner: None,
            stranger: Claim::from(key).foreign.cloned(),
            tier: key.tier.clone(),
            scopes: key.scopes.clone(),
            roles: key.roles.clone(),
            resources: key.resources.clone(),
            rate_limits: key.rate_limits.clone(),
            quotas: key.quotas.clone(),
            credits: key.credits,
        };
        let owner = key.owner.as_ref().filter(|owner| ask.depends_on(owner, policies)).cloned();
        Self { owner, ..ask }
    }

    /// The same with the common instance of the API's name, which every request is compared with.
    pub(super) fn with(self, common: &mut Common) -> Self {
        Self { api: common.object(&self.api), ..self }
    }

    /// Whether it makes a difference that the key says it was issued to that owner. It makes none, as a rule, and
    /// keys that differ in nothing else are judged as one.
    fn depends_on(&self, owner: &Arc<str>, policies: &Policies) -> bool {
        self.stranger.is_some() || policies.owners.is_claimed(&self.api.namespace, owner)
    }

    /// The claim after a change of owners, if it is another one. `owner` is what the key says; empty for nobody.
    pub(super) fn after_change_of_owners(&self, owner: &str, policies: &Policies) -> Option<Self> {
        let owner: Arc<str> = owner.into();
        let depends = !owner.is_empty() && self.depends_on(&owner, policies);
        (depends != self.owner.is_some()).then(|| Self { owner: depends.then_some(owner), ..self.clone() })
    }
}

/// What is granted to an [`Ask`].
#[derive(Debug, PartialEq)]
pub(super) struct Granted {
    pub(super) tier: Option<Arc<Tier>>,
    pub(super) scopes: Arc<ScopeSet>,
    pub(super) resources: Box<[Access]>,
    pub(super) allowance: Arc<Allowance>,
    /// What it shares with the other keys of its owner.
    pub(super) owner: Option<OwnerShare>,
    /// The scopes separated by spaces; empty unless the API asks for them.
    pub(super) scopes_text: Box<str>,
}

type Judged = Result<Granted, Rejection>;

/// A claim's judgement by the policies of the moment.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) ask: Arc<Ask>,
    pub(super) judged: Judged,
}

impl Terms {
    pub(super) fn new(ask: Arc<Ask>, policies: &Policies, common: &mut Common) -> Self {
        Self { judged: judge(&ask, policies, common), ask }
    }

    /// The judgement by other policies, if it differs.
    pub(super) fn anew(&self, policies: &Policies, common: &mut Common) -> Option<Self> {
        let judged = judge(&self.ask, policies, common);
        (judged != self.judged).then(|| Self { ask: Arc::clone(&self.ask), judged })
    }

    /// The API that the key is for.
    pub(super) fn api(&self) -> &ObjectName {
        &self.ask.api
    }
}

fn judge(ask: &Ask, policies: &Policies, common: &mut Common) -> Judged {
    let claim = Claim {
        api: &ask.api,
        tier: ask.tier.as_ref(),
        scopes: ask.scopes.as_deref(),
        roles: &ask.roles,
        owner: ask.owner.as_ref(),
        foreign: ask.stranger.as_ref(),
    };
    let Entitlement { api, tier, owner, scopes } = acceptance::entitle(claim, policies)?;
    let own = Own {
        rate_limits: &ask.rate_limits,
        quotas: &ask.quotas,
        credits: ask.credits,
        is_at_home: ask.stranger.is_none(),
    };
    let allowance = Allowance::of_key(&own, owner.as_deref(), tier.as_deref());
    let allowance = common.allowances.instance(Arc::new(allowance));
    let owner = owner.and_then(|owner| {
        let allowance = common.allowances.instance(Arc::new(Allowance::of_owner(&owner)));
        common.owners.share(&own, &owner, allowance)
    });
    let scopes = common.scopes.instance(Arc::new(scopes));
    let scopes_text = if api.identify_scopes { scopes_text(&scopes) } else { Box::default() };
    let resources = ask.resources.as_slice().into();
    Ok(Granted { tier, scopes, resources, allowance, owner, scopes_text })
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
