//! Steps 6 to 16: a known key and its use.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, MutexGuard};

use jiff::Timestamp;

use super::elsewhere::{Found, Inquiry};
use super::{Matched, Step};
use crate::core::digest::Digest;
use crate::core::policy::Api;
use crate::core::usage::LastUse;
use crate::core::verdict::{Code, Denial, LimitState};
use crate::verify::account::Account;
use crate::verify::allowance::Shadow;
use crate::verify::counters::Open;
use crate::verify::entry::Entry;
use crate::verify::limits::Demand;
use crate::verify::owners::OwnerShare;
use crate::verify::request::{Headers, Original};
use crate::verify::resource::Asked;
use crate::verify::spender::{Shortage, Spender, SpendingKey, SpendingOwner};
use crate::verify::terms::Granted;
use crate::verify::transaction::{self, Outcome, Part, Spending};

/// Credits that a request spends where no route says otherwise.
const CREDITS: u32 = 1;

/// A known key in use.
pub(super) struct Use<'a, H: ?Sized> {
    pub(super) entry: &'a Arc<Entry>,
    pub(super) digest: &'a Digest,
    pub(super) version: u32,
    pub(super) api: &'a Api,
    pub(super) original: &'a Original<'a>,
    pub(super) client: Option<IpAddr>,
    pub(super) headers: &'a H,
    pub(super) body: Result<&'a [u8], &'static str>,
    pub(super) matched: &'a Matched<'a>,
    pub(super) now: Timestamp,
    /// Among how many processes limits are shared, as far as is known.
    pub(super) processes: Option<NonZeroU32>,
    pub(super) limits_elsewhere: bool,
}

/// What came of it.
pub(super) struct Came {
    pub(super) step: Result<Step, Denial>,
    /// How the limits stand.
    pub(super) limit: Option<LimitState>,
    /// It is the first use since usage was last written down.
    pub(super) first_use: bool,
}

impl<H: Headers + ?Sized> Use<'_, H> {
    /// Checks the key and its use, charges what it uses up, and counts what came of it.
    pub(super) fn check_and_charge(&self) -> Came {
        let checked = self.check();
        let Ok(granted) = self.entry.granted() else {
            let step = checked.map(|()| Step::Pass);
            let first_use = self.count(&mut self.entry.counters.open(), &step);
            return Came { step, limit: None, first_use };
        };
        let mut accounts = Accounts::open(self.entry, granted);
        let (step, limit) = if self.limits_elsewhere && self.has_limits(granted) {
            (Ok(self.charge_all_but_limits(checked, &mut accounts)), None)
        } else {
            self.charge(checked, &mut accounts)
        };
        let first_use = self.count(&mut accounts.counters, &step);
        Came { step, limit, first_use }
    }

    /// Checks the key and its use, and charges and counts nothing.
    pub(super) fn check_only(&self) -> Came {
        Came { step: self.check().map(|()| Step::Pass), limit: None, first_use: false }
    }

    fn charge(
        &self,
        checked: Result<(), Denial>,
        accounts: &mut Accounts<'_>,
    ) -> (Result<Step, Denial>, Option<LimitState>) {
        let spending = self.spending();
        let step = checked.and_then(|()| {
            if self.processes.is_none() && self.has_limits(accounts.granted) {
                return Err(transaction::unknown_share());
            }
            match accounts.with(|parts| transaction::charge(parts, &spending)) {
                Outcome::Charged => Ok(Step::Pass),
                Outcome::Refused(denial) => Err(denial),
                Outcome::Short => Ok(Step::Short(self.shortage(accounts.granted))),
            }
        });
        (step, accounts.with(|parts| transaction::closest(parts, &spending.demand)))
    }

    /// Whether limits have room is found out elsewhere, also for a request that is refused for other reasons: it is
    /// told how they stand.
    fn charge_all_but_limits(&self, checked: Result<(), Denial>, accounts: &mut Accounts<'_>) -> Step {
        let spending = self.spending();
        let charge = |parts: &mut [Part<'_>]| match transaction::charge(parts, &spending) {
            Outcome::Charged => Some(Found::Charged(transaction::drawn(parts, spending.credits))),
            Outcome::Refused(denial) => Some(Found::After(denial)),
            Outcome::Short => None,
        };
        let found = match checked {
            Err(denial) => Some(Found::Before(denial)),
            Ok(()) => accounts.with(charge),
        };
        match found {
            Some(found) => Step::Elsewhere(Box::new(Inquiry::new(self.entry, accounts.granted, &spending, found))),
            None => Step::Short(self.shortage(accounts.granted)),
        }
    }

    fn spending(&self) -> Spending<'_> {
        let route = self.matched.route();
        Spending {
            demand: Demand {
                now: self.now,
                charges: route.map_or(&[], |route| &route.charges),
                processes: self.processes.unwrap_or(NonZeroU32::MIN),
            },
            credits: route.map_or(CREDITS, |route| route.cost),
            limits_elsewhere: self.limits_elsewhere,
        }
    }

    /// Whether there are limits that the request has to do with.
    fn has_limits(&self, granted: &Granted) -> bool {
        let demand = self.spending().demand;
        let owner = granted.owner.as_ref().map(|share| &*share.allowance);
        let all = owner.into_iter().chain([&*granted.allowance]);
        all.flat_map(|allowance| &allowance.limits).any(|limit| demand.cost(limit).is_some())
    }

    fn shortage(&self, granted: &Granted) -> Shortage {
        // Whoever has no budgets need not have an ApiKeyUsage that could be asked.
        let key = (!granted.allowance.budgets.is_empty()).then(|| Spender::Key(SpendingKey(Arc::clone(self.entry))));
        let owner = granted.owner.as_ref().filter(|share| share.has_budgets());
        let owner = owner.map(|share| Spender::Owner(SpendingOwner(Arc::clone(&share.account))));
        Shortage { spenders: key.into_iter().chain(owner).collect(), credits: self.spending().credits }
    }

    /// What has not come to an end yet is counted when it has.
    fn count(&self, counters: &mut Open<'_>, step: &Result<Step, Denial>) -> bool {
        let outcome = match step {
            Ok(Step::Pass) => Ok(()),
            Err(denial) => Err(denial),
            Ok(Step::Short(_) | Step::Elsewhere(_)) => return false,
        };
        let request = LastUse { at: self.now, from: self.client };
        counters.count(outcome, request, self.version, self.matched.route())
    }

    /// Steps 6 to 13.
    fn check(&self) -> Result<(), Denial> {
        let deny = |code, cause| Err(Denial::new(code, cause));
        let Self { entry, api, now, .. } = *self;
        if entry.is_revoked() {
            return deny(Code::Revoked, "the key is revoked");
        }
        let granted = entry.granted().map_err(|reason| Denial::new(Code::NotAccepted, reason.as_str()))?;
        if !entry.is_enabled() {
            return deny(Code::Disabled, "the key is disabled");
        }
        if entry.is_expired(self.digest, api, now) {
            return deny(Code::Expired, "the key or this version of it is past its time");
        }
        if !entry.admits(self.client) {
            return deny(Code::IpNotAllowed, "the key may not be used from this address");
        }
        let route = match self.matched {
            Matched::Anything => return Ok(()),
            Matched::Nothing(cause) => return deny(Code::RouteNotFound, cause),
            Matched::Route(route) => route,
        };
        if route.require.as_ref().is_some_and(|query| !query.holds(&granted.scopes)) {
            return deny(Code::InsufficientScope, "the key's scopes do not satisfy the route's query");
        }
        Asked { api, route, original: self.original, headers: self.headers, body: self.body }.check(&granted.resources)
    }
}

/// The accounts of a key and its owner, under lock: the key's first, always.
pub(super) struct Accounts<'a> {
    entry: &'a Entry,
    granted: &'a Granted,
    counters: Open<'a>,
    owner: Option<(&'a OwnerShare, MutexGuard<'a, Account>)>,
}

impl<'a> Accounts<'a> {
    pub(super) fn open(entry: &'a Entry, granted: &'a Granted) -> Self {
        let counters = entry.counters.open();
        let owner = granted.owner.as_ref().map(|share| (share, share.account.open()));
        Self { entry, granted, counters, owner }
    }

    pub(super) fn with<R>(&mut self, act: impl FnOnce(&mut [Part<'_>]) -> R) -> R {
        let key = Part {
            account: self.counters.account(),
            allowance: &self.granted.allowance,
            usage: self.entry.usage(),
            shadow: Shadow::default(),
        };
        match &mut self.owner {
            None => act(&mut [key]),
            Some((share, account)) => {
                let usage = share.usage.as_deref();
                act(&mut [key, Part { account, allowance: &share.allowance, usage, shadow: share.shadow }])
            }
        }
    }
}
