//! Several controllers of which one leads, and what happens to a rotation when that one is killed or paused.

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::{Value, json};

use super::world::World;
use crate::support::apply::field;
use crate::support::keyturn::Keyturn;
use crate::support::process::Signal;
use crate::support::wait::eventually;

/// Waits until one of these leads who is not `but`, and answers which.
async fn leader(world: &World, controllers: &[Keyturn], but: Option<usize>) -> usize {
    let leases: Api<Lease> = world.leases();
    eventually("a controller leads", async || {
        let lease = leases.get("keyturn-controller").await.map_err(|error| error.to_string())?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
        let leads = |controller: &Keyturn| {
            let log = controller.log();
            log.lines().any(|line| line.contains("this controller leads") && line.contains(&holder))
        };
        let found = controllers.iter().position(leads).filter(|number| !holder.is_empty() && Some(*number) != but);
        found.ok_or_else(|| format!("'{holder}' holds the Lease"))
    })
    .await
}

/// Ready, whoever leads.
async fn controllers(world: &World, count: usize) -> Vec<Keyturn> {
    let mut controllers: Vec<_> = (0..count).map(|_| world.controller()).collect();
    for controller in &mut controllers {
        controller.ready().await;
    }
    controllers
}

async fn request_rotation(world: &World, id: &str) {
    world.apply_key("ci", json!({"rotation": {"request": {"id": id, "gracePeriod": "1h"}}})).await;
}

/// Number and state of each version, newest first.
fn versions(status: &Value) -> Vec<(u64, String)> {
    let versions = status["versions"].as_array().expect("the key has versions").iter();
    versions
        .map(|it| (it["number"].as_u64().unwrap_or_default(), it["state"].as_str().unwrap_or_default().to_owned()))
        .collect()
}

/// Waits until this rotation is through, and answers the string and the status.
async fn rotated(world: &World, id: &str, number: u64) -> (String, Value) {
    eventually(&format!("the rotation {id} is through"), async || {
        let status = field(&world.key("ci").await?, "/status").clone();
        let current = versions(&status).first().cloned();
        let done = status["rotationRequest"] == id && current == Some((number, "Current".to_owned()));
        if done { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    world.enforced("ci").await;
    let status = field(&world.key("ci").await.expect("the key is there"), "/status").clone();
    (world.string("ci").await, status)
}

#[tokio::test]
async fn the_next_leads_at_once_when_the_leader_is_told_to_stop() {
    let world = World::without_controller().await;
    let mut controllers = controllers(&world, 2).await;
    let first = leader(&world, &controllers, None).await;
    world.mint("ci").await;
    controllers[first].signal(Signal::TERM);
    assert!(controllers[first].process().ended().await.success());
    leader(&world, &controllers, Some(first)).await;
    assert!(controllers[first].log().contains("another controller may lead"));
    request_rotation(&world, "r1").await;
    rotated(&world, "r1", 2).await;
}

#[tokio::test]
async fn a_rotation_survives_its_leaders_being_killed_one_after_the_other() {
    let world = World::without_controller().await;
    let mut controllers = controllers(&world, 3).await;
    leader(&world, &controllers, None).await;
    world.mint("ci").await;
    let mut last = None;
    for number in 2..=4 {
        let id = format!("r{number}");
        request_rotation(&world, &id).await;
        let leads = leader(&world, &controllers, last).await;
        controllers[leads].signal(Signal::KILL);
        last = Some(leads);
        controllers[leads].process().ended().await;
        let (_, status) = rotated(&world, &id, number).await;
        let states: Vec<_> = versions(&status).into_iter().map(|(_, state)| state).collect();
        assert_eq!(states.iter().filter(|state| *state == "Current").count(), 1, "{states:?}");
        assert!(!states.iter().any(|state| state == "Staged"), "{states:?}");
        controllers[leads] = world.controller();
        controllers[leads].ready().await;
    }
}

#[tokio::test]
async fn a_leader_that_was_paused_in_the_middle_of_a_rotation_changes_nothing_when_it_goes_on() {
    let world = World::without_controller().await;
    let controllers = controllers(&world, 2).await;
    leader(&world, &controllers, None).await;
    world.mint("ci").await;
    let mut last = None;
    for number in 2..=3 {
        let id = format!("r{number}");
        let leads = leader(&world, &controllers, last).await;
        request_rotation(&world, &id).await;
        controllers[leads].signal(Signal::STOP);
        leader(&world, &controllers, Some(leads)).await;
        let before = rotated(&world, &id, number).await;
        controllers[leads].signal(Signal::CONT);
        eventually("the paused leader has noticed", async || {
            let log = controllers[leads].log();
            let noticed = log.matches("must not lead any more").count();
            if noticed >= 1 { Ok(()) } else { Err(log) }
        })
        .await;
        // Whoever stands by has dropped everything; only what leads may have written meanwhile, and it is at rest.
        let after = (world.string("ci").await, field(&world.key("ci").await.unwrap(), "/status").clone());
        assert_eq!(before, after);
        last = Some(leads);
    }
}
