//! Random histories of months: edits, crashes between any two writes, tampering, verifiers that lag, clocks
//! that are set. After every single write the invariants must hold.

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::digest::{Digest, Pepper};
use super::super::fixtures;
use super::super::policy::{Policies, RotationRequest};
use super::super::usage::VersionUse;
use super::super::usage::object::UsageObject;
use super::*;

const DAY: u64 = 86_400;

/// Histories that one run of the test goes through.
const HISTORIES: u32 = 10_000;

#[derive(Clone, Debug)]
enum Edit {
    Interval(Option<u64>),
    Grace(Option<u64>),
    Request {
        id: u8,
        grace: Option<u64>,
    },
    ExpireIn(Option<u64>),
    Enable(bool),
    Revoke(bool),
    Rename(u8),
    Retype(u8),
    DeleteApi(bool),
    /// What revocations made from now on are.
    Reversible(bool),
    Deliver(Delivery),
    /// What `sealTo` says is no public key.
    SpoilSealTo(bool),
}

#[derive(Clone, Debug)]
enum Action {
    Edit(Edit),
    /// The controller makes so many writes and dies.
    RunAndCrash(u8),
    /// Time passes with the controller at work.
    Live(u64),
    /// Time passes without it.
    Away(u64),
    /// The wall clock is set.
    SetClock(i64),
    VerifierLags(usize),
    /// The reader says that it has the newest version but so many.
    Acknowledge(u32),
    LoseSecret,
    LoseStaged,
    LoseUsage,
    /// The newest version but so many is used.
    Use(u32),
    TakeName(bool),
    /// All is lost and comes back from a backup: manifests without status, Secrets without owners.
    Restore,
}

fn edits() -> impl Strategy<Value = Edit> {
    let grace = prop_oneof![Just(0), 1..120_u64, Just(3600), Just(DAY)];
    prop_oneof![
        1 => prop::option::of(prop_oneof![60..600_u64, Just(3600), Just(30 * DAY)]).prop_map(Edit::Interval),
        1 => prop::option::of(grace.clone()).prop_map(Edit::Grace),
        3 => (0..5_u8, prop::option::of(grace)).prop_map(|(id, grace)| Edit::Request { id, grace }),
        1 => prop::option::weighted(0.7, 1..60 * DAY).prop_map(Edit::ExpireIn),
        1 => any::<bool>().prop_map(Edit::Enable),
        1 => prop::bool::weighted(0.2).prop_map(Edit::Revoke),
        1 => any::<bool>().prop_map(Edit::Reversible),
        2 => deliveries().prop_map(Edit::Deliver),
        1 => prop::bool::weighted(0.3).prop_map(Edit::SpoilSealTo),
        1 => (0..2_u8).prop_map(Edit::Rename),
        1 => (0..2_u8).prop_map(Edit::Retype),
        1 => prop::bool::weighted(0.3).prop_map(Edit::DeleteApi),
    ]
}

fn deliveries() -> impl Strategy<Value = Delivery> {
    let ttl = prop_oneof![1..10_u64, 60..7200_u64].prop_map(Duration::from_secs);
    prop_oneof![
        Just(Delivery::Retain),
        ttl.clone().prop_map(|ttl| Delivery::Once { ttl }),
        ttl.prop_map(|ttl| Delivery::Sealed { ttl }),
    ]
}

fn actions() -> impl Strategy<Value = Action> {
    let span = prop_oneof![1..90_u64, 60..7200_u64, DAY / 2..20 * DAY];
    prop_oneof![
        3 => edits().prop_map(Action::Edit),
        3 => (0..7_u8).prop_map(Action::RunAndCrash),
        4 => span.clone().prop_map(Action::Live),
        1 => span.prop_map(Action::Away),
        1 => (-7200..7200_i64).prop_map(Action::SetClock),
        1 => (0..2_usize).prop_map(Action::VerifierLags),
        2 => (0..2_u32).prop_map(Action::Acknowledge),
        1 => Just(Action::LoseSecret),
        1 => Just(Action::LoseStaged),
        1 => Just(Action::LoseUsage),
        2 => (0..3_u32).prop_map(Action::Use),
        1 => any::<bool>().prop_map(Action::TakeName),
        1 => Just(Action::Restore),
    ]
}

/// A Secret's strings, each by the data key that it stands under.
type Strings = BTreeMap<&'static str, Digest>;

struct Stored {
    strings: Strings,
    /// The type of the Secret, which cannot be changed.
    kind: u8,
}

/// What is lost with the process.
#[derive(Default)]
struct Memory {
    staged: BTreeMap<u32, Minted>,
    sealed: Option<SealedString>,
}

/// What one verifier knows. It follows at once unless it lags, and stops answering after 30 s of lagging.
struct Verifier {
    key: Key,
    record: Record,
    lagging_since: Option<u64>,
}

struct Simulation {
    now: Timestamp,
    /// Seconds that nobody sets.
    uptime: u64,
    key: Key,
    policies: Policies,
    record: Record,
    secrets: BTreeMap<Arc<str>, Stored>,
    kind: u8,
    seal_to_spoilt: bool,
    acknowledged: Vec<u32>,
    reversible: bool,
    /// What was never to stand in a Secret.
    sealed: HashSet<Digest>,
    foreign: Option<Arc<str>>,
    staged: BTreeMap<u32, Digest>,
    /// Which of the ApiKeyUsages that were ever made is there.
    usage: Option<u32>,
    usages: u32,
    last_uses: Vec<VersionUse>,
    /// The number in the Secret that came back from a backup, until the key owns it again.
    orphan: Option<u32>,
    minted: u32,
    verifiers: Vec<Verifier>,
    waiting_since: Option<(u32, u64)>,
    /// Somebody destroyed strings by hand: what that costs is not the controller's fault until it has healed it.
    tampered: bool,
    /// The digest that each number ever had in the status.
    numbers: HashMap<u32, Digest>,
    /// The latest instant at which each superseded number may still be accepted.
    grace_ends: HashMap<u32, Timestamp>,
}

impl Simulation {
    fn new() -> Self {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let key = Key { created_at: now, secret_name: "a".into(), ..fixtures::key() };
        let mut simulation = Self {
            now,
            uptime: 0,
            policies: Policies::default(),
            record: Record::default(),
            secrets: BTreeMap::new(),
            kind: 0,
            seal_to_spoilt: false,
            acknowledged: Vec::new(),
            reversible: false,
            sealed: HashSet::new(),
            foreign: None,
            staged: BTreeMap::new(),
            usage: None,
            usages: 0,
            last_uses: Vec::new(),
            orphan: None,
            minted: 0,
            verifiers: Vec::new(),
            waiting_since: None,
            tampered: false,
            numbers: HashMap::new(),
            grace_ends: HashMap::new(),
            key,
        };
        simulation.create_api();
        for _ in 0..2 {
            let (key, record) = (simulation.key.clone(), simulation.record.clone());
            simulation.verifiers.push(Verifier { key, record, lagging_since: None });
        }
        simulation
    }

    fn create_api(&mut self) {
        let name = self.key.api.clone();
        self.policies.apis.insert(name, Ok(Arc::new(fixtures::api())));
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Action::Edit(ref edit) => self.edit(edit),
            Action::RunAndCrash(writes) => {
                self.run(writes.into());
            }
            Action::Live(seconds) => self.live(seconds),
            Action::Away(seconds) => self.pass(seconds),
            Action::SetClock(seconds) => {
                self.now = Timestamp::from_second(self.now.as_second() + seconds).unwrap();
            }
            Action::VerifierLags(which) => {
                self.verifiers[which].lagging_since.get_or_insert(self.uptime);
            }
            Action::Acknowledge(but) => {
                let newest = self.record.versions.next_number() - 1;
                self.acknowledged = newest.checked_sub(but).into_iter().collect();
            }
            Action::LoseSecret => {
                self.tampered = true;
                self.lose_orphan();
                self.secrets.clear();
            }
            Action::LoseStaged => {
                self.tampered = true;
                self.staged.clear();
            }
            Action::LoseUsage => self.usage = None,
            Action::Use(but) => {
                let number = self.record.versions.next_number().saturating_sub(1 + but);
                self.last_uses.retain(|last| last.number != number);
                self.last_uses.push(VersionUse { number, at: self.now });
            }
            Action::Restore => self.restore(),
            Action::TakeName(taken) => {
                let free = !self.secrets.contains_key(&self.key.secret_name);
                self.foreign = (taken && free).then(|| Arc::clone(&self.key.secret_name));
            }
        }
        self.verifiers_follow();
        self.check();
    }

    fn edit(&mut self, edit: &Edit) {
        let seconds = |value: Option<u64>| value.map(Duration::from_secs);
        match *edit {
            Edit::Interval(interval) => self.key.rotation.interval = seconds(interval),
            Edit::Grace(grace) => self.key.rotation.grace_period = seconds(grace),
            Edit::Request { id, grace } => {
                let id = format!("request-{id}").into();
                self.key.rotation_request = Some(RotationRequest { id, grace_period: seconds(grace) });
            }
            Edit::ExpireIn(after) => self.key.expires_at = after.map(|after| self.in_seconds(after)),
            Edit::Enable(enabled) => self.key.enabled = enabled,
            Edit::Revoke(true) => self.key.revoked = true,
            // The schema refuses to take back a revocation that is permanent.
            Edit::Revoke(false) => self.key.revoked &= self.record.revocation.is_some_and(|it| !it.reversible),
            Edit::Reversible(reversible) => self.reversible = reversible,
            Edit::Deliver(delivery) => self.key.delivery = delivery,
            Edit::SpoilSealTo(spoilt) => self.seal_to_spoilt = spoilt,
            Edit::Retype(kind) => self.kind = kind,
            Edit::Rename(name) => {
                self.key.secret_name = if name == 0 { "a" } else { "b" }.into();
                // What nobody owns is found by its name only.
                if self.lose_orphan() {
                    self.tampered = true;
                    self.secrets.clear();
                }
            }
            Edit::DeleteApi(true) => self.policies.apis.clear(),
            Edit::DeleteApi(false) => self.create_api(),
        }
    }

    /// As the documents say: the controller is away until the Secrets are back, staged ones are in no backup.
    fn restore(&mut self) {
        let restored = self.secrets.remove(&self.key.secret_name);
        let string = restored.as_ref().and_then(|stored| stored.strings.get("api-key")).copied();
        self.orphan =
            string.and_then(|string| self.numbers.iter().find(|(_, known)| **known == string).map(|(n, _)| *n));
        self.secrets.clear();
        if let (Some(stored), Some(_)) = (restored, self.orphan) {
            self.secrets.insert(Arc::clone(&self.key.secret_name), stored);
        }
        self.record = Record::default();
        self.usage = None;
        self.staged.clear();
        self.waiting_since = None;
        self.numbers.retain(|number, _| Some(*number) == self.orphan);
        self.grace_ends.clear();
        for verifier in &mut self.verifiers {
            verifier.lagging_since = None;
        }
    }

    /// A key that has not adopted it begins anew, with numbers of its own.
    fn lose_orphan(&mut self) -> bool {
        if self.record.id.is_none() {
            self.numbers.clear();
        }
        self.orphan.take().is_some()
    }

    fn in_seconds(&self, seconds: u64) -> Timestamp {
        rotation::after(self.now, Duration::from_secs(seconds))
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.in_seconds(seconds);
        self.uptime += seconds;
        // A connection that is silent for 15 s is opened anew.
        for verifier in &mut self.verifiers {
            if verifier.lagging_since.is_some_and(|since| self.uptime - since > 60) {
                verifier.lagging_since = None;
            }
        }
        self.verifiers_follow();
    }

    fn live(&mut self, seconds: u64) {
        let end = self.uptime + seconds;
        // A short interval over a long span would only repeat itself.
        for _ in 0..40 {
            let wake = self.run(100);
            let left = end.saturating_sub(self.uptime);
            let until = wake.map_or(left, |wake| wake.max(1));
            if until >= left {
                break;
            }
            self.pass(until);
        }
        self.pass(end.saturating_sub(self.uptime));
        self.run(100);
    }

    /// Up to so many writes; answers after how many seconds the controller wants to look again.
    fn run(&mut self, writes: usize) -> Option<u64> {
        let mut fresh = Memory::default();
        for _ in 0..writes {
            let plan = self.plan(&fresh);
            let Some(step) = plan.step else {
                self.settled(&plan);
                return plan.next_look.map(|at| (at.as_second() - self.now.as_second()).try_into().unwrap_or(0));
            };
            if let Step::AwaitVerifiers { at_most } = step {
                let staged = self.record.versions.staged().unwrap().number;
                if self.waiting_since.is_none_or(|(number, _)| number != staged) {
                    self.waiting_since = Some((staged, self.uptime));
                }
                return Some(at_most.as_secs().min(5));
            }
            self.write(step, &mut fresh);
            self.verifiers_follow();
            self.check();
        }
        // Only a crash ends a run early; a controller that is left alone comes to rest.
        assert!(writes < 100, "the controller does not come to rest: {:?}", self.record);
        None
    }

    fn plan(&self, fresh: &Memory) -> Plan {
        let acceptance = crate::core::acceptance::accept(&self.key, &self.policies);
        let moved = self.secrets.keys().filter(|name| **name != self.key.secret_name).map(|name| {
            let Secret::Ours { holds, .. } = self.look(name) else {
                unreachable!("somebody else's name is not in secrets")
            };
            MovedSecret { name: Arc::clone(name), holds }
        });
        let staged = self.staged.iter().map(|(number, digest)| StagedSecret {
            number: *number,
            digest: Some(*digest),
            fresh: fresh.staged.get(number).cloned(),
        });
        let waited = self.record.versions.staged().and_then(|staged| {
            self.waiting_since.filter(|(number, _)| *number == staged.number).map(|(_, since)| self.uptime - since)
        });
        let world = World {
            key: &self.key,
            acceptance: &acceptance,
            record: self.record.clone(),
            secret: self.look(&self.key.secret_name),
            moved_secrets: moved.collect(),
            staged: staged.collect(),
            usage: UsageObject { found: self.usage_uid(), ..UsageObject::default() },
            last_uses: self.last_uses.clone(),
            ledger: None,
            sealed: fresh.sealed.clone(),
            obstacle: (self.key.delivery.is_sealed() && self.seal_to_spoilt)
                .then(|| Obstacle { reason: "SealToInvalid", message: String::new() }),
            acknowledged: self.acknowledged.clone(),
            reversible_revocation: self.reversible,
            import: None,
            redigested: Vec::new(),
            lost_pepper: None,
            known_to_verifiers: self.verifiers.iter().all(|verifier| verifier.record == self.record),
            waited: Duration::from_secs(waited.unwrap_or(0)),
        };
        plan(&world, self.now)
    }

    fn look(&self, name: &Arc<str>) -> Secret {
        if self.foreign.as_ref() == Some(name) {
            return Secret::Foreign;
        }
        let Some(stored) = self.secrets.get(name) else {
            return Secret::Absent;
        };
        if let (Some(number), None) = (self.orphan, &self.record.id) {
            let (digest, id) = (stored.strings["api-key"], "key_1".into());
            let minted = Minted { digest, pepper: "p1".into(), start: "sk".into(), at: self.now, id };
            return Secret::Restored(Restored { number, minted });
        }
        let number =
            |digest: &Digest| self.record.versions.iter().find(|version| version.digest == *digest).map(|v| v.number);
        let holds: Vec<u32> = stored.strings.values().filter_map(number).collect();
        let in_order_for =
            holds.iter().copied().find(|number| self.orphan.is_none() && self.wanted(*number) == stored.strings);
        Secret::Ours { holds, in_order_for, fixed: stored.kind != self.kind }
    }

    /// What the Secret is to hold for a version.
    fn wanted(&self, number: u32) -> Strings {
        let versions = &self.record.versions;
        let version = versions.by_number(number).unwrap();
        let previous = match version.state {
            VersionState::Staged => versions.current(),
            _ => versions.in_grace(),
        };
        let available =
            |digest| self.secrets.values().any(|stored| stored.strings.values().any(|held| *held == digest));
        let previous = previous.filter(|previous| previous.handover.is_none() && available(previous.digest));
        let previous = previous.map(|previous| ("previous", previous.digest));
        previous.into_iter().chain([("api-key", version.digest)]).collect()
    }

    fn write(&mut self, step: Step, fresh: &mut Memory) {
        match step {
            Step::Stage { number } => {
                let minted = self.mint();
                assert_eq!(self.staged.insert(number, minted.digest), None, "a staged Secret is never overwritten");
                fresh.staged.insert(number, minted);
            }
            Step::Seal { number } => {
                let minted = self.mint();
                self.sealed.insert(minted.digest);
                fresh.sealed = Some(SealedString { number, minted, text: "sealed".into() });
            }
            Step::KeepBeside { number } => {
                let digest = self.record.versions.by_number(number).unwrap().digest;
                assert!(self.stands_somewhere(digest), "a string that is nowhere is copied");
                assert_eq!(self.staged.insert(number, digest), None, "a staged Secret is never overwritten");
            }
            Step::CreateUsage => {
                assert_eq!(self.usage, None, "an ApiKeyUsage is made beside another");
                self.usages += 1;
                self.usage = Some(self.usages);
            }
            Step::Record { record, .. } => self.write_record(record),
            Step::AwaitVerifiers { .. } => unreachable!("handled by the caller"),
            Step::Publish { number, .. } => {
                let digest = self.record.versions.by_number(number).unwrap().digest;
                assert!(self.stands_somewhere(digest), "a string that is nowhere is published");
                assert_ne!(self.foreign.as_ref(), Some(&self.key.secret_name), "somebody else's Secret is overwritten");
                let stored = Stored { strings: self.wanted(number), kind: self.kind };
                let before = self.secrets.insert(Arc::clone(&self.key.secret_name), stored);
                assert!(before.is_none_or(|before| before.kind == self.kind), "the type of a Secret is changed");
                self.orphan = None;
            }
            Step::DeleteSecret { name } => {
                assert!(self.secrets.remove(&name).is_some());
                self.orphan = None;
            }
            Step::DeleteStaged { number, .. } => {
                assert!(self.staged.remove(&number).is_some());
            }
        }
        let strings = self.secrets.values().flat_map(|stored| stored.strings.values()).chain(self.staged.values());
        assert!(strings.into_iter().all(|digest| !self.sealed.contains(digest)), "a sealed string stands in a Secret");
    }

    fn mint(&mut self) -> Minted {
        self.minted += 1;
        let digest = Pepper::new("p1", &[7; 32]).unwrap().digest_of(&self.minted.to_be_bytes());
        Minted { digest, pepper: "p1".into(), start: "sk".into(), at: self.now, id: "key_1".into() }
    }

    fn usage_uid(&self) -> Option<Arc<str>> {
        self.usage.map(|number| format!("usage-{number}").into())
    }

    fn stands_somewhere(&self, digest: Digest) -> bool {
        let published = self.secrets.values().flat_map(|stored| stored.strings.values());
        self.staged.values().chain(published).any(|held| *held == digest)
    }

    fn write_record(&mut self, record: Record) {
        assert!(record.versions.iter().count() <= rotation::MAX_VERSIONS);
        assert!(record.usage.is_some() || record.versions.next_number() == 1, "nothing counts for a version");
        for version in record.versions.iter() {
            let known = *self.numbers.entry(version.number).or_insert(version.digest);
            assert_eq!(known, version.digest, "one number stands for two strings");
            let current_before = self.record.versions.current().map(|current| current.number);
            if version.state == VersionState::Grace && current_before == Some(version.number) {
                self.grace_ends
                    .insert(version.number, rotation::after(self.now, self.longest_grace() + Duration::from_secs(1)));
            }
        }
        self.record = record;
    }

    /// An upper bound that is computed apart from the code under test.
    fn longest_grace(&self) -> Duration {
        let own = self.key.rotation.grace_period.unwrap_or(Duration::from_secs(DAY));
        let requested = self.key.rotation_request.as_ref().and_then(|request| request.grace_period);
        own.max(requested.unwrap_or_default())
    }

    fn verifiers_follow(&mut self) {
        for verifier in self.verifiers.iter_mut().filter(|verifier| verifier.lagging_since.is_none()) {
            verifier.key = self.key.clone();
            verifier.record = self.record.clone();
        }
    }

    /// Invariants 1 and 2, at this instant.
    fn check(&self) {
        for verifier in &self.verifiers {
            let answers = verifier.lagging_since.is_none_or(|since| self.uptime - since < 30);
            if answers {
                self.check_verifier(verifier);
            }
        }
    }

    fn check_verifier(&self, verifier: &Verifier) {
        let versions = &verifier.record.versions;
        for version in versions.iter().filter(|version| version.is_accepted(self.now)) {
            // A verifier that lags may not have heard yet that a grace has begun.
            if let (Some(end), Some(not_after)) = (self.grace_ends.get(&version.number), version.not_after) {
                assert!(self.now <= *end || self.now < not_after, "accepted past its grace: {version:?}");
            }
        }
        let active = verifier.key.enabled && !verifier.key.revoked && verifier.record.revocation.is_none();
        if !active || self.tampered || verifier.record.last_rotated_at.is_none() {
            return;
        }
        assert!(versions.iter().any(|version| version.is_accepted(self.now)), "no version is accepted: {versions:?}");
        for stored in self.secrets.values() {
            let readable = stored.strings["api-key"];
            // Grace 0 is the wish that the old string be dead before the new one is out.
            let known = self.record.versions.iter().find(|version| version.digest == readable);
            let retired_on_purpose =
                known.is_some_and(|version| version.state == VersionState::Retired && version.superseded_at.is_none());
            let accepted = versions.iter().any(|version| version.digest == readable && version.is_accepted(self.now));
            assert!(accepted || retired_on_purpose, "a readable string is refused: {readable:?} by {versions:?}");
        }
    }

    /// What holds whenever the controller has nothing left to do.
    fn settled(&mut self, plan: &Plan) {
        let versions = &self.record.versions;
        let graces = versions.iter().filter(|version| version.state == VersionState::Grace);
        // A revoked key's versions stay as they were: none of them is accepted.
        for version in graces.filter(|_| plan.report.state != State::Revoked) {
            assert!(version.is_accepted(self.now), "past its grace and not retired: {version:?}");
        }
        let secret = &plan.report.secret;
        if *secret == SecretState::Deleted {
            assert_eq!(plan.report.state, State::Revoked);
            assert!(self.secrets.is_empty() && self.staged.is_empty(), "strings outlive a revocation");
        }
        self.check_deliveries(secret);
        if plan.report.state == State::Active {
            assert_eq!(self.record.usage, self.usage_uid(), "another ApiKeyUsage counts than the status names");
            let current = versions.current().unwrap();
            match secret {
                SecretState::Synced | SecretState::Waiting | SecretState::Undelivered => {
                    assert_eq!(self.secrets.len(), 1);
                    let (name, stored) = self.secrets.first_key_value().unwrap();
                    assert_eq!(stored.strings["api-key"], current.digest);
                    let taken = self.foreign.as_ref() == Some(&self.key.secret_name) && self.key.delivery.is_sealed();
                    assert!(*name == self.key.secret_name || taken, "the string does not stand under its name");
                    assert!(self.staged.is_empty(), "a staged Secret is left behind");
                }
                SecretState::Sealed | SecretState::Delivered => {
                    assert!(self.secrets.is_empty() && self.staged.is_empty(), "a string is left behind");
                }
                SecretState::RotationDue => assert!(self.key.delivery.is_sealed()),
                SecretState::NameTaken => assert!(self.foreign.is_some()),
                SecretState::Obstructed(_) => assert!(self.seal_to_spoilt),
                SecretState::Lost | SecretState::Pending | SecretState::Deleted => panic!("at rest with {secret:?}"),
            }
            self.tampered = false;
        }
    }

    /// After it was acknowledged, or its time has run out, a string stands nowhere.
    fn check_deliveries(&self, secret: &SecretState) {
        for version in self.record.versions.iter() {
            match &version.handover {
                None => {}
                Some(Handover::Done) => {
                    // As the previous string it goes with the rotation that is held up.
                    let held_up = self.record.versions.staged().is_some();
                    let gone = held_up || !self.stands_somewhere(version.digest);
                    assert!(gone, "handed over and still there: {version:?}");
                }
                Some(waiting) => {
                    assert!(waiting.until().is_none_or(|until| until > self.now), "past its time: {version:?}");
                    let readable = version.state != VersionState::Staged || matches!(waiting, Handover::Sealed { .. });
                    let acknowledged = self.acknowledged.contains(&version.number);
                    assert!(!(readable && acknowledged), "acknowledged and still there: {version:?} {secret:?}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: HISTORIES, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_through_random_histories(actions in vec(actions(), 1..40)) {
        let mut simulation = Simulation::new();
        simulation.live(1);
        prop_assert_eq!(simulation.record.versions.current().map(|current| current.number), Some(1));
        for action in &actions {
            simulation.act(action);
        }
        simulation.live(120);
    }
}
