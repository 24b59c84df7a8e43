//! Every order of events within stated bounds, with the very functions of [`permit`](super::permit) and
//! [`judgement`](super::judgement): "enforced and yet accepted" is unreachable, and for each rule of the protocol
//! a test shows what is reached without it.
//!
//! Nothing here ever has to happen: any message may take for ever, any process may stand still between any two of
//! its steps. So a partition, a frozen process and a crash without a restart are all just orders of events in which
//! the rest does not come. Time passes in steps. In each, a slow clock advances by 20 s and a fast one by 21 s, the
//! 5 % that are allowed; what decides is relative to `max-staleness`, here two or three steps.
//!
//! Requests reach the API server at once: one that is late equals one that was begun later, but for an earlier
//! begin, from which everything is counted. Answers come at once too, unless [`Bounds::slow_answers`] says that they
//! take any time. Watches of Leases are left out; what they tell is what lists tell.
//!
//! One process is explored in every detail, in each of these respects by itself. Two and three are explored in less
//! ([`Bounds::detailed`]) and with answers that come at once: two with restarts, fail-over, deleted Leases, lost
//! writes and a restore, three with fail-over. Where that would be too much, one of them starts after the revocation
//! ([`Bounds::late`]). All of it takes half a minute of one processor and 300 MB.

mod controller;
mod verifier;

use std::collections::BTreeMap;
use std::time::Duration;

use stateright::Property;

use controller::Controller;
use verifier::Verifier;

/// A sentence of the protocol, which a test can take out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Rule {
    /// A process claims its Lease before it lists.
    ClaimBeforeList,
    /// Lists are consistent, not from a cache.
    ConsistentList,
    /// The Lease says what is applied, not what is known to exist.
    SaysWhatIsApplied,
    /// `leaseDurationSeconds` is `max-staleness`.
    DurationIsMaxStaleness,
    /// A permit needs everything applied that its LIST has shown to exist.
    AppliedUpToTheCheck,
    /// A permit needs a Lease write that was begun after its LIST.
    WriteBegunAfterTheCheck,
    /// A permit counts from the begin of its LIST, not from the answer.
    PermitFromTheBegin,
    /// Permits are timed by a clock that does not stand still in suspend.
    Boottime,
    /// The permit is looked at for every decision, not when a timer gets round to it.
    ReadAtEveryDecision,
    /// A lapsed permit is not renewed: the process starts over.
    StartOverOnceLapsed,
    /// The first permit must come before the Lease has lain unchanged for its duration.
    FirstPermitInTime,
    /// A process whose Lease is gone, or is somebody else's, starts over.
    StartOverOnceLost,
    /// Every other kind was heard of within `max-staleness`.
    OtherKindsHeardOf,
    /// A process stops answering before it releases its Lease.
    StopBeforeRelease,
    /// A process has applied r, or it is waited for.
    AppliedR,
    /// Whoever does not live is waited for too.
    NotOnlyTheLiving,
    /// Leases are listed after the status write, not taken from a cache.
    LeasesListedAfterR,
    /// A Lease must be unchanged for a tenth more than its duration.
    TenPercentMore,
    /// A Lease must be seen unchanged by this very controller process.
    SeenByThisController,
    /// How long a Lease is unchanged counts up to the begin of the list that shows it, not to its answer.
    AgeAtTheBeginOfTheList,
    /// A Lease that is seen to vanish still counts.
    VanishedCounts,
    /// etcd is restored with `--bump-revision --mark-compacted`.
    RestoreWithBump,
}

/// How far the model goes.
#[derive(Clone, Debug)]
struct Bounds {
    verifiers: usize,
    /// How many of them start after the revocation.
    late: usize,
    /// Of time.
    steps: u8,
    max_staleness: Duration,
    /// By process slot, restarts and starting over included.
    starts: u8,
    /// Whether a process lists, checks and writes at any time, and may leave. If not, it lists as soon as it has
    /// claimed, writes after each check at once, and so does the controller after a revocation.
    detailed: bool,
    /// Whether answers take any time. If not, they are there at once.
    slow_answers: bool,
    /// Whether a write whose answer is lost may take place after it counts as failed.
    ghosts: bool,
    failovers: u8,
    /// Leases deleted by somebody else.
    deletions: u8,
    restores: u8,
    /// Changes of something that is no ApiKey; 0: there is nothing else.
    tier_changes: u8,
    /// Seconds a step on the clocks of the verifiers and of the controller.
    rates: &'static [(u64, u64)],
}

const SLOW: u64 = 20;
const FAST: u64 = 21;

#[derive(Clone, Debug)]
struct Model {
    bounds: Bounds,
    without: Option<Rule>,
}

/// What the API server stores.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Etcd {
    /// Of ApiKeys only.
    revision: u64,
    /// Watches from before this fail.
    compacted: u64,
    /// At which revision the key was revoked.
    revoked: Option<u64>,
    /// The status write that speaks of it.
    r: Option<u64>,
    enforced: bool,
    leases: BTreeMap<u8, StoredLease>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct StoredLease {
    /// A function of time and content: who writes the same again at the same time makes no new state.
    version: u64,
    held: bool,
    applied: Option<u64>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct World {
    step: u8,
    verifier_rate: u64,
    controller_rate: u64,
    etcd: Etcd,
    snapshot: Option<Box<Etcd>>,
    revoked_at_step: Option<u8>,
    tier_changed_at_step: Option<u8>,
    verifiers: Vec<Verifier>,
    controller: Controller,
    /// Leases are never named the same.
    claims: u8,
    failovers: u8,
    deletions: u8,
    restores: u8,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Action {
    TimePasses,
    /// The machine of this verifier is suspended meanwhile.
    TimePassesInSuspend(usize),
    Revoke,
    ChangeAnotherKey,
    ChangeTier,
    /// The controller writes the status that carries the revocation.
    WriteStatus,
    Verifier(usize, verifier::Action),
    Controller(controller::Action),
    FailOver,
    DeleteLease(u8),
    Snapshot,
    Restore,
}

impl Model {
    fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn max_staleness(&self) -> Duration {
        self.bounds.max_staleness
    }
}

impl StoredLease {
    fn new(step: u8, held: bool, applied: Option<u64>) -> Self {
        let content = applied.map_or(0, |applied| applied + 1) * 2 + u64::from(!held);
        Self { version: u64::from(step) * 1000 + content, held, applied }
    }
}

impl Etcd {
    /// Replaces a Lease, if it is as it was last confirmed, and answers its new version.
    fn write(&mut self, lease: u8, replaces: u64, new: StoredLease) -> Option<u64> {
        let stored = self.leases.get_mut(&lease).filter(|stored| stored.version == replaces)?;
        *stored = new;
        Some(stored.version)
    }
}

impl World {
    fn verifier_now(&self, verifier: usize) -> Duration {
        let stood_still = self.verifiers[verifier].stood_still;
        Duration::from_secs(u64::from(self.step - stood_still) * self.verifier_rate)
    }

    fn controller_now(&self) -> Duration {
        Duration::from_secs(u64::from(self.step) * self.controller_rate)
    }

    /// Whether this verifier would accept the key now, although that is revoked.
    fn accepts_what_is_revoked(&self, model: &Model, verifier: usize) -> bool {
        self.etcd.revoked.is_some() && self.verifiers[verifier].accepts(model, self.verifier_now(verifier))
    }

    fn is_enforced_and_accepted(&self, model: &Model) -> bool {
        self.etcd.enforced && (0..self.verifiers.len()).any(|verifier| self.accepts_what_is_revoked(model, verifier))
    }

    /// Whether somebody accepts what was revoked longer than `max-staleness` ago by its own clock.
    fn is_stale(&self, model: &Model) -> bool {
        let Some(revoked) = self.revoked_at_step else {
            return false;
        };
        let ago = Duration::from_secs(u64::from(self.step - revoked) * self.verifier_rate);
        ago >= model.max_staleness()
            && (0..self.verifiers.len()).any(|verifier| self.accepts_what_is_revoked(model, verifier))
    }

    /// Since when somebody answers by what the tier was before, if anybody does.
    fn judges_by_the_old_tier(&self, model: &Model) -> Option<Duration> {
        let changed = self.tier_changed_at_step?;
        let mut verifiers = self.verifiers.iter().enumerate();
        let is_behind = |(number, it): (usize, &Verifier)| it.judges_by_the_old_tier(model, self.verifier_now(number));
        verifiers.any(is_behind).then(|| Duration::from_secs(u64::from(self.step - changed) * self.verifier_rate))
    }

    fn restore(&mut self, model: &Model) {
        let Some(snapshot) = self.snapshot.take() else {
            return;
        };
        let lost = std::mem::replace(&mut self.etcd, *snapshot);
        if model.keeps(Rule::RestoreWithBump) {
            self.etcd.revision = lost.revision + 1;
            self.etcd.compacted = self.etcd.revision;
        }
        self.revoked_at_step = self.etcd.revoked.and(self.revoked_at_step);
    }
}

impl stateright::Model for Model {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let Bounds { verifiers, starts, failovers, deletions, restores, .. } = self.bounds;
        let leases = BTreeMap::new();
        let etcd = Etcd { revision: 1, compacted: 0, revoked: None, r: None, enforced: false, leases };
        let world = |&(verifier_rate, controller_rate): &(u64, u64)| World {
            step: 0,
            verifier_rate,
            controller_rate,
            etcd: etcd.clone(),
            snapshot: None,
            revoked_at_step: None,
            tier_changed_at_step: None,
            verifiers: vec![Verifier::new(starts); verifiers],
            controller: Controller::default(),
            claims: 0,
            failovers,
            deletions,
            restores,
        };
        self.bounds.rates.iter().map(world).collect()
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.step < self.bounds.steps {
            actions.push(Action::TimePasses);
            if !self.keeps(Rule::Boottime) {
                actions.extend((0..world.verifiers.len()).map(Action::TimePassesInSuspend));
            }
        }
        if world.etcd.revoked.is_none() {
            actions.push(Action::Revoke);
            if world.restores > 0 && world.etcd.revision == 1 {
                actions.push(Action::ChangeAnotherKey);
            }
        } else if world.etcd.r.is_none() {
            actions.push(Action::WriteStatus);
        }
        if self.bounds.tier_changes > 0 && world.tier_changed_at_step.is_none() {
            actions.push(Action::ChangeTier);
        }
        for (number, verifier) in world.verifiers.iter().enumerate() {
            // They are all alike, so let them start in this order.
            if number > usize::from(world.claims) {
                break;
            }
            if number >= self.bounds.verifiers - self.bounds.late && world.revoked_at_step.is_none() {
                break;
            }
            verifier.actions(self, world, world.verifier_now(number), |action| {
                actions.push(Action::Verifier(number, action));
            });
        }
        world.controller.actions(self, world, |action| actions.push(Action::Controller(action)));
        if world.failovers > 0 {
            actions.push(Action::FailOver);
        }
        if world.deletions > 0 {
            // Of one that no controller has seen nobody can know that it is gone.
            let leases = world.etcd.leases.iter();
            let known = leases.filter(|(number, lease)| world.controller.knows(**number, lease.version));
            actions.extend(known.map(|(number, _)| Action::DeleteLease(*number)));
        }
        if world.restores > 0 {
            match &world.snapshot {
                None => actions.push(Action::Snapshot),
                // As with a Lease that is deleted: a controller must have seen what is lost.
                Some(snapshot) => {
                    let leases = &world.etcd.leases;
                    let mut lost = leases.iter().filter(|(number, lease)| snapshot.leases.get(number) != Some(lease));
                    if lost.all(|(number, lease)| world.controller.knows(*number, lease.version)) {
                        actions.push(Action::Restore);
                    }
                }
            }
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        match action {
            Action::TimePasses => next.step += 1,
            Action::TimePassesInSuspend(verifier) => {
                next.step += 1;
                next.verifiers[verifier].stood_still += 1;
            }
            Action::Revoke => {
                next.etcd.revision += 1;
                next.etcd.revoked = Some(next.etcd.revision);
                next.revoked_at_step = Some(next.step);
                if !self.bounds.detailed {
                    next.etcd.r = next.etcd.revoked;
                }
            }
            Action::ChangeAnotherKey => next.etcd.revision += 1,
            Action::ChangeTier => next.tier_changed_at_step = Some(next.step),
            Action::WriteStatus => {
                next.etcd.revision += 1;
                next.etcd.r = Some(next.etcd.revision);
            }
            Action::Verifier(number, action) => verifier::next(self, &mut next, number, action),
            Action::Controller(action) => controller::next(self, &mut next, action),
            Action::FailOver => {
                next.failovers -= 1;
                next.controller = Controller::default();
            }
            Action::DeleteLease(lease) => {
                next.deletions -= 1;
                // A controller that has seen neither the Lease nor its end could not know.
                next.failovers = 0;
                next.etcd.leases.remove(&lease);
            }
            Action::Snapshot => next.snapshot = Some(Box::new(next.etcd.clone())),
            Action::Restore => {
                next.restores -= 1;
                next.failovers = 0;
                next.restore(self);
            }
        }
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(SAFE, |model, world: &World| !world.is_enforced_and_accepted(model)),
            Property::always(FRESH, |model, world: &World| !world.is_stale(model)),
            Property::sometimes(USEFUL, |model, world: &World| {
                let now = |number| world.verifier_now(number);
                let mut verifiers = world.verifiers.iter().enumerate();
                world.etcd.enforced && verifiers.all(|(number, verifier)| verifier.answers(model, now(number)))
            }),
            Property::sometimes(SURVIVES, |_, world: &World| {
                world.etcd.enforced && world.verifiers.iter().any(Verifier::is_behind)
            }),
            Property::always(OTHERS_FRESH, |model, world: &World| {
                world.judges_by_the_old_tier(model).is_none_or(|since| since <= model.max_staleness())
            }),
        ];
        if self.bounds.tier_changes > 0 {
            properties.push(Property::sometimes(OTHERS_NOT_CLAIMED, |model, world: &World| {
                world.etcd.enforced && world.judges_by_the_old_tier(model).is_some()
            }));
        }
        properties
    }
}

const SAFE: &str = "what is enforced is accepted by nobody";
const FRESH: &str = "nothing revoked longer ago than max-staleness is accepted";
const USEFUL: &str = "a revocation is enforced while everybody goes on answering";
const SURVIVES: &str = "a revocation is enforced although a process is not heard of any more";
const OTHERS_FRESH: &str = "nobody judges by what was changed in another kind longer ago than max-staleness";
const OTHERS_NOT_CLAIMED: &str = "a revocation is enforced while somebody judges by what another kind was";

#[cfg(test)]
mod tests;
