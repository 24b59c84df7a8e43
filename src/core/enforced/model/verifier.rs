//! A process that judges keys, as the model sees it.

use std::time::Duration;

use super::{Etcd, Model, Rule, StoredLease, World};
use crate::core::enforced::permit::{Over, Permit, is_fresh};

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Verifier {
    starts: u8,
    /// Steps of time in which its clock stood still.
    pub(super) stood_still: u8,
    run: Option<Run>,
    /// Writes that release a Lease, on their way: Lease, and version that they replace.
    releases: Vec<(u8, u64)>,
}

/// A process under one Lease.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Run {
    lease: u8,
    /// Of its Lease, as confirmed.
    version: u64,
    permit: Permit,
    /// What is in memory.
    applied: Option<u64>,
    revoked: bool,
    /// When something was heard of the tier, and whether of its change.
    tier: Option<(Duration, bool)>,
    /// Listed before the claim, and as old as the cluster.
    early: bool,
    /// The answer to a check on its way: its begin and version.
    check: Option<(Duration, u64)>,
    /// The answer to a write on its way: its begin, and the new version if it took place.
    write: Option<(Duration, Option<u64>)>,
    /// A write that counts as failed and may yet take place.
    ghost: Option<Ghost>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Ghost {
    replaces: u64,
    content: StoredLease,
    landed: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Action {
    Start,
    List,
    Apply,
    /// An event or a bookmark.
    HearOfTier,
    Check,
    HearOfCheck,
    Write,
    HearOfWrite,
    /// No answer comes; the write is not there when it is looked for, and may take place later.
    LoseWrite,
    LandGhost,
    /// Its timer finds that it may answer no more.
    NoticeLapse,
    Crash,
    ShutDown,
    /// Says goodbye too early.
    ReleaseWhileAnswering,
    LandRelease,
}

impl Verifier {
    pub(super) fn new(starts: u8) -> Self {
        Self { starts, stood_still: 0, run: None, releases: Vec::new() }
    }

    pub(super) fn answers(&self, model: &Model, now: Duration) -> bool {
        let Some(run) = &self.run else { return false };
        let heard = run.tier.map(|(heard, _)| heard);
        let hears = is_fresh(heard, model.max_staleness(), now) || !model.keeps(Rule::OtherKindsHeardOf);
        let until = run.permit.until();
        until.is_some_and(|until| now < until || !model.keeps(Rule::ReadAtEveryDecision))
            && (hears || model.bounds.tier_changes == 0)
    }

    pub(super) fn judges_by_the_old_tier(&self, model: &Model, now: Duration) -> bool {
        let knows = self.run.as_ref().and_then(|run| run.tier).is_some_and(|(_, changed)| changed);
        self.answers(model, now) && !knows
    }

    pub(super) fn accepts(&self, model: &Model, now: Duration) -> bool {
        self.answers(model, now) && self.run.as_ref().is_some_and(|run| !run.revoked)
    }

    /// Has had a permit, and knows nothing of a revocation.
    pub(super) fn is_behind(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.permit.until().is_some() && !run.revoked)
    }

    pub(super) fn actions(&self, model: &Model, world: &World, now: Duration, mut may: impl FnMut(Action)) {
        if !self.releases.is_empty() {
            may(Action::LandRelease);
        }
        let Some(run) = &self.run else {
            if self.starts > 0 {
                may(Action::Start);
            }
            return;
        };
        run.actions(model, &world.etcd, &mut may);
        if model.bounds.detailed && now >= run.permit.over_at() {
            may(Action::NoticeLapse);
        }
        if self.starts > 0 {
            // Without a further start nothing follows from a crash that does not from standing still.
            may(Action::Crash);
        }
        if model.bounds.detailed {
            may(Action::ShutDown);
        }
        if !model.keeps(Rule::StopBeforeRelease) && self.releases.is_empty() {
            may(Action::ReleaseWhileAnswering);
        }
    }

    /// Stops answering, releases the Lease and may start over.
    fn end(&mut self) {
        if let Some(run) = self.run.take() {
            self.releases.push((run.lease, run.version));
        }
    }
}

/// Carries out one action of the verifier of this number.
pub(super) fn next(model: &Model, world: &mut World, number: usize, action: Action) {
    let (now, step) = (world.verifier_now(number), world.step);
    let tier_changed = world.tier_changed_at_step.is_some();
    let (verifier, etcd) = (&mut world.verifiers[number], &mut world.etcd);
    match action {
        Action::Start => {
            verifier.starts -= 1;
            world.claims += 1;
            let claim = StoredLease::new(step, true, None);
            verifier.run = Some(Run::claimed(model, world.claims, claim.version, now));
            etcd.leases.insert(world.claims, claim);
            if !model.bounds.detailed {
                next(model, world, number, Action::List);
            }
        }
        Action::LandRelease => {
            let (lease, replaces) = verifier.releases.remove(0);
            etcd.write(lease, replaces, StoredLease::new(step, false, None));
        }
        Action::Crash => verifier.run = None,
        Action::NoticeLapse | Action::ShutDown => verifier.end(),
        Action::ReleaseWhileAnswering => {
            verifier.releases.extend(verifier.run.iter().map(|run| (run.lease, run.version)));
        }
        _ => {
            let over = verifier
                .run
                .as_mut()
                .is_some_and(|run| run.next(model, etcd, action, Now { time: now, step, tier_changed }).is_err());
            if over {
                verifier.end();
            }
        }
    }
}

/// The instant on the process's clock, the step in which that is, and what was changed until then besides ApiKeys.
#[derive(Clone, Copy)]
struct Now {
    time: Duration,
    step: u8,
    tier_changed: bool,
}

impl Run {
    fn claimed(model: &Model, lease: u8, version: u64, now: Duration) -> Self {
        Self {
            lease,
            version,
            permit: Permit::claimed(now, model.max_staleness()),
            applied: None,
            revoked: false,
            tier: None,
            early: !model.keeps(Rule::ClaimBeforeList),
            check: None,
            write: None,
            ghost: None,
        }
    }

    fn actions(&self, model: &Model, etcd: &Etcd, may: &mut impl FnMut(Action)) {
        let must_list = self.applied.is_none_or(|applied| applied < etcd.compacted);
        if must_list {
            may(Action::List);
        } else if self.applied < Some(etcd.revision) {
            may(Action::Apply);
        }
        may(match (self.check, self.applied) {
            (Some(_), _) => Action::HearOfCheck,
            (None, Some(_)) => Action::Check,
            (None, None) => Action::List,
        });
        if model.bounds.tier_changes > 0 && self.tier.is_some() {
            may(Action::HearOfTier);
        }
        if self.write.is_some() {
            may(Action::HearOfWrite);
        } else if model.bounds.detailed {
            may(Action::Write);
        }
        match &self.ghost {
            Some(Ghost { landed: false, .. }) => may(Action::LandGhost),
            None if model.bounds.ghosts && self.write.is_none() => may(Action::LoseWrite),
            _ => {}
        }
    }

    fn next(&mut self, model: &Model, etcd: &mut Etcd, action: Action, now: Now) -> Result<(), Over> {
        match action {
            Action::List => {
                let consistent = model.keeps(Rule::ConsistentList) && !self.early;
                // A cache may show anything that has ever been.
                let (version, revoked) = if consistent { (etcd.revision, etcd.revoked.is_some()) } else { (1, false) };
                self.permit.listed(now.time, version, now.time)?;
                (self.applied, self.revoked) = (Some(version), revoked);
                self.tier = (model.bounds.tier_changes > 0).then_some((now.time, now.tier_changed));
            }
            Action::HearOfTier => self.tier = Some((now.time, now.tier_changed)),
            Action::Apply => {
                let applied = self.applied.unwrap_or_default() + 1;
                self.revoked |= etcd.revoked == Some(applied);
                self.applied = Some(applied);
                self.permit.applied(applied, now.time)?;
            }
            Action::Check => {
                self.check = Some((now.time, etcd.revision));
                if !model.bounds.slow_answers {
                    self.hear_of_check(model, now.time)?;
                }
                if !model.bounds.detailed && self.write.is_none() {
                    return self.next(model, etcd, Action::Write, now);
                }
            }
            Action::HearOfCheck => return self.hear_of_check(model, now.time),
            Action::Write => {
                self.write =
                    Some((now.time, etcd.write(self.lease, self.version, self.content(model, etcd, now.step))));
                if !model.bounds.slow_answers {
                    return self.hear_of_write(model, now.time);
                }
            }
            Action::HearOfWrite => return self.hear_of_write(model, now.time),
            Action::LoseWrite => {
                let content = self.content(model, etcd, now.step);
                self.ghost = Some(Ghost { replaces: self.version, content, landed: false });
            }
            Action::LandGhost => {
                // It is there for good, or never will be.
                self.ghost =
                    self.ghost.take().filter(|it| etcd.write(self.lease, it.replaces, it.content.clone()).is_some());
                self.ghost.iter_mut().for_each(|ghost| ghost.landed = true);
            }
            _ => {}
        }
        Ok(())
    }

    fn content(&self, model: &Model, etcd: &Etcd, step: u8) -> StoredLease {
        let applied = if model.keeps(Rule::SaysWhatIsApplied) { self.applied } else { Some(etcd.revision) };
        StoredLease::new(step, true, applied)
    }

    fn hear_of_check(&mut self, model: &Model, now: Duration) -> Result<(), Over> {
        let Some((begun, listed)) = self.check.take() else {
            return Ok(());
        };
        let begun = if model.keeps(Rule::PermitFromTheBegin) { begun } else { now };
        let version = if model.keeps(Rule::AppliedUpToTheCheck) { listed } else { self.applied.unwrap_or(listed) };
        self.permit.checked(begun, version, now)
    }

    fn hear_of_write(&mut self, model: &Model, now: Duration) -> Result<(), Over> {
        let Some((begun, written)) = self.write.take() else {
            return Ok(());
        };
        match (written, self.ghost.take_if(|ghost| ghost.landed)) {
            (Some(version), _) => self.version = version,
            // Read back: what stands there is a write of one's own that counted as failed.
            (None, Some(ghost)) => {
                self.version = ghost.content.version;
                return Ok(());
            }
            // It is gone, or somebody else's.
            (None, None) if model.keeps(Rule::StartOverOnceLost) => return Err(Over::Lapsed),
            (None, None) => {}
        }
        let begun = if model.keeps(Rule::WriteBegunAfterTheCheck) { begun } else { now };
        let first = self.permit.until().is_none();
        let outcome = self.permit.written(begun, now);
        if outcome.is_err() && !model.keeps(if first { Rule::FirstPermitInTime } else { Rule::StartOverOnceLapsed }) {
            self.permit.revive(begun);
            return Ok(());
        }
        outcome
    }
}
