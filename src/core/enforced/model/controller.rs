//! A controller process, as the model sees it. Two of them at once reach nothing that one and its successor do not,
//! for what one concludes stays true.

use std::sync::Arc;
use std::time::Duration;

use super::{Model, Rule, World};
use crate::core::enforced::judgement::{Judgement, Lease, List, Processes};

#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Controller {
    processes: Processes,
    /// A list of Leases on its way, and the version of the key that was written before it was begun.
    list: Option<(List, Option<u64>)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Action {
    List,
    HearOfList,
    /// Lists, and deletes what stands for nobody any more.
    TidyUp,
}

impl Controller {
    /// Whether it has seen this Lease at this version.
    pub(super) fn knows(&self, lease: u8, version: u64) -> bool {
        self.processes.has_seen(&lease.to_string(), version)
    }

    pub(super) fn actions(&self, model: &Model, world: &World, mut may: impl FnMut(Action)) {
        match self.list {
            Some(_) => may(Action::HearOfList),
            None if !world.etcd.enforced => {
                may(Action::List);
                if model.bounds.detailed {
                    may(Action::TidyUp);
                }
            }
            None => {}
        }
    }
}

/// Carries out one action.
pub(super) fn next(model: &Model, world: &mut World, action: Action) {
    let now = world.controller_now();
    if action != Action::HearOfList {
        world.controller.list = Some((list(model, world, now), world.etcd.r));
    }
    if action != Action::List || !model.bounds.slow_answers {
        hear_of_list(model, world, now);
    }
    if action == Action::TidyUp {
        for expendable in world.controller.processes.expendable(now) {
            world.controller.processes.deleted(&expendable);
            world.etcd.leases.retain(|lease, _| *lease.to_string() != *expendable.name);
        }
    }
    if world.etcd.enforced && model.bounds.restores == 0 {
        // It has nothing more to find out.
        world.controller = Controller::default();
    }
}

fn hear_of_list(model: &Model, world: &mut World, now: Duration) {
    let Some((list, r)) = world.controller.list.take() else {
        return;
    };
    let r = if model.keeps(Rule::LeasesListedAfterR) { r } else { world.etcd.r };
    let r = r.map(|r| if model.keeps(Rule::AppliedR) { r } else { 1 });
    let as_of = if model.keeps(Rule::AgeAtTheBeginOfTheList) { list.begun } else { now };
    let seen_at = if model.keeps(Rule::SeenByThisController) { now } else { Duration::ZERO };
    let processes = &mut world.controller.processes;
    if !model.keeps(Rule::VanishedCounts) {
        processes.forget_all_but(&list);
    }
    processes.listed(list, seen_at);
    let is_enforced = |r| {
        if model.keeps(Rule::NotOnlyTheLiving) {
            processes.judge(r, as_of) == Judgement::Enforced
        } else {
            processes.living_have_applied(r, as_of)
        }
    };
    world.etcd.enforced |= r.is_some_and(is_enforced);
}

fn list(model: &Model, world: &World, begun: Duration) -> List {
    let full = model.max_staleness();
    let duration = match (model.keeps(Rule::DurationIsMaxStaleness), model.keeps(Rule::TenPercentMore)) {
        (true, true) => full,
        (false, _) => full / 2,
        (_, false) => full * 10 / 11,
    };
    let lease = |(number, stored): (&u8, &super::StoredLease)| {
        let name: Arc<str> = number.to_string().into();
        let lease = Lease {
            uid: Arc::clone(&name),
            version: Some(stored.version),
            held: stored.held,
            applied: stored.applied,
            duration: Some(duration),
        };
        (name, lease)
    };
    List { begun, version: Some(u64::MAX), leases: world.etcd.leases.iter().map(lease).collect() }
}
