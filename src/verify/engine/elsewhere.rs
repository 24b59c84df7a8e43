//! A request whose rate limits are counted outside of this process: what is asked there, and what comes of the answer.

use std::sync::Arc;

use smallvec::SmallVec;

use super::checks::Accounts;
use super::{Case, Verdict};
use crate::core::check::Check;
use crate::core::ratelimit::{Cells, Standing};
use crate::core::verdict::{Code, Denial, LimitState};
use crate::verify::allowance::{Allowance, Limit, Origin, Shadow};
use crate::verify::entry::Entry;
use crate::verify::limits::{closeness, longest};
use crate::verify::purse::Drawn;
use crate::verify::store::{OnStoreError, StoreAnswer, StoreCharge, StoreRequest};
use crate::verify::terms::Granted;
use crate::verify::transaction::{self, Spending, rate_limited};

/// What has to be asked elsewhere before there is a verdict. Quotas and credits are charged already, if nothing has
/// refused the request yet; when the verdict is another one, or nobody waits for it any more, that is undone.
#[derive(Debug)]
pub struct Inquiry {
    limits: SmallVec<[Limit; 4]>,
    request: StoreRequest,
    refusal: Option<Denial>,
    /// The refusal counts more than what the limits say.
    is_before_limits: bool,
    /// What is to be undone.
    charged: Option<Charged>,
}

/// Quotas and credits that are given back unless the request passes.
#[derive(Debug)]
struct Charged {
    /// `None`: they are spent for good.
    entry: Option<Arc<Entry>>,
    drawn: SmallVec<[(usize, Drawn); 2]>,
}

impl Charged {
    fn keep(mut self) {
        self.entry = None;
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        if let Some(entry) = &self.entry
            && let Ok(granted) = entry.granted()
        {
            Accounts::open(entry, granted).with(|parts| transaction::refund(parts, &self.drawn));
        }
    }
}

/// What all other checks have found.
pub(super) enum Found {
    /// One that counts more than limits refuses.
    Before(Denial),
    /// One that counts less than limits refuses.
    After(Denial),
    /// Nothing refuses, and this was charged to quotas and credits.
    Charged(SmallVec<[(usize, Drawn); 2]>),
}

impl Inquiry {
    pub(super) fn new(entry: &Arc<Entry>, granted: &Granted, spending: &Spending<'_>, found: Found) -> Self {
        let mut limits = SmallVec::new();
        let mut charges = SmallVec::new();
        let mut add = |allowance: &Allowance, shadow: Shadow, uid: &str| {
            for (at, limit) in allowance.limits.iter().enumerate() {
                let Some(cost) = spending.demand.cost(limit).filter(|_| !shadow.hides_limit(at)) else { continue };
                charges.push(StoreCharge { key: key(limit, uid), rule: limit.rule, cost });
                limits.push(limit.clone());
            }
        };
        add(&granted.allowance, Shadow::default(), entry.uid());
        if let Some(share) = &granted.owner {
            add(&share.allowance, share.shadow, &share.account.uid);
        }
        // Limits that are charged together have to be kept in one place: the owner's.
        let tag = granted.owner.as_ref().map_or_else(|| entry.uid().into(), |share| Arc::clone(&share.account.uid));
        let (refusal, is_before_limits, charged) = match found {
            Found::Before(denial) => (Some(denial), true, None),
            Found::After(denial) => (Some(denial), false, None),
            Found::Charged(drawn) => (None, false, Some(Charged { entry: Some(Arc::clone(entry)), drawn })),
        };
        let request = StoreRequest { tag, charges, commit: refusal.is_none() };
        Self { limits, request, refusal, is_before_limits, charged }
    }

    /// What is asked.
    #[must_use]
    pub fn request(&self) -> StoreRequest {
        self.request.clone()
    }

    /// Comes to a verdict with what was answered, or with what is to be done without an answer, and with what the
    /// request was refused for meanwhile (`super::Engine::recheck`).
    #[must_use]
    pub fn finish(
        mut self,
        case: Case,
        answer: Result<StoreAnswer, OnStoreError>,
        standing: Result<(), Denial>,
    ) -> Verdict {
        let (room, limit) = match &answer {
            Ok(answer) => (self.room(answer), self.closest(answer)),
            Err(OnStoreError::Local) => self.ask_here(&case),
            Err(OnStoreError::Deny) => {
                let denial = Denial::new(Code::Unavailable, "the store of rate limits has not answered");
                (Err(denial.by(Check::RateLimits)), None)
            }
        };
        let outcome = standing.and_then(|()| match (self.refusal.take(), room) {
            (Some(refusal), _) if self.is_before_limits => Err(refusal),
            (_, Err(no_room)) => Err(no_room),
            (Some(refusal), Ok(())) => Err(refusal),
            (None, Ok(())) => Ok(()),
        });
        // Before the case is settled under the same lock.
        match (&outcome, self.charged.take()) {
            (Ok(()), Some(charged)) => charged.keep(),
            (_, undone) => drop(undone),
        }
        case.settle(outcome, limit)
    }

    fn room(&self, answer: &StoreAnswer) -> Result<(), Denial> {
        if answer.admitted {
            return Ok(());
        }
        let all = self.request.charges.iter().zip(&answer.cells);
        let room = |(charge, cells): (&StoreCharge, &Cells)| {
            cells.charge(charge.rule, answer.at, charge.cost).map(|_| ()).map_err(|refusal| refusal.retry_after)
        };
        Err(rate_limited(all.map(room).fold(Ok(()), longest).err().flatten()))
    }

    fn closest(&self, answer: &StoreAnswer) -> Option<LimitState> {
        let standing = |(limit, cells): (&Limit, &Cells)| -> (Limit, Standing) {
            (limit.clone(), cells.standing(limit.rule, answer.at))
        };
        let all = self.limits.iter().zip(&answer.cells).map(standing);
        all.min_by_key(|(_, standing)| closeness(*standing)).map(|(limit, standing)| limit.state(standing))
    }

    /// What this process counts by itself meanwhile.
    fn ask_here(&self, case: &Case) -> (Result<(), Denial>, Option<LimitState>) {
        let Some((entry, granted)) = case.known_key() else { return (Ok(()), None) };
        let Some(demand) = case.demand() else {
            return (Err(transaction::unknown_share()), None);
        };
        let mut accounts = Accounts::open(entry, granted);
        accounts.with(|parts| {
            let room = transaction::charge_limits(parts, &demand, self.request.commit);
            (room, transaction::closest(parts, &demand))
        })
    }
}

fn key(limit: &Limit, uid: &str) -> String {
    let of = match limit.origin {
        Origin::Key => "key",
        Origin::Tier => "tier",
        Origin::Owner => "owner",
    };
    format!("{of}:{uid}:{}", limit.name)
}
