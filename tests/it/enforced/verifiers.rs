//! Verifiers that are stopped, cut off, killed, started late and robbed of their Leases while a key is revoked.

use std::process::Command;

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::world::{MAX_STALENESS, World, client};
use crate::support::http::HttpClient;
use crate::support::network::Network;
use crate::support::process::{Process, Signal, tool};
use crate::support::wait::eventually;

/// Asks until the verifier refuses the key as revoked.
///
/// # Panics
/// When it lets the key pass even once.
async fn refuses_before_it_accepts(world: &World, verifier: &HttpClient, string: &str) {
    eventually("the verifier knows of the revocation", async || match world.ask(verifier, string).await?.as_str() {
        "ALLOWED" => panic!("it is enforced, and accepted all the same"),
        "REVOKED" => Ok(()),
        other => Err(other.to_owned()),
    })
    .await;
}

/// Whether `kubectl wait` is content within two seconds.
fn kubectl_waits(world: &World) -> bool {
    let output = Command::new(tool("kubectl"))
        .args([
            "wait",
            "--for=condition=Enforced",
            "apikey/ci",
            "--timeout=2s",
            "--namespace",
            world.namespace().name(),
        ])
        .output()
        .expect("kubectl runs");
    output.status.success()
}

#[tokio::test]
async fn a_frozen_verifier_is_waited_for_and_refuses_when_it_wakes_up() {
    let world = World::new().await;
    let frozen = world.verifier().await;
    let lease = world.lease().await;
    let other = world.verifier().await;
    let string = world.mint("ci").await;
    for verifier in [&frozen, &other] {
        world.answers(&client(verifier), &string, "ALLOWED").await;
    }
    assert!(kubectl_waits(&world));

    frozen.signal(Signal::STOP);
    world.apply_key("ci", json!({"revoked": true})).await;
    let message = world.enforcement("ci", "False").await;
    assert!(message.contains(&lease), "{message} does not name {lease}");
    world.answers(&client(&other), &string, "REVOKED").await;
    assert!(!kubectl_waits(&world), "what was enforced is another generation");

    world.enforced("ci").await;
    assert!(kubectl_waits(&world));
    frozen.signal(Signal::CONT);
    refuses_before_it_accepts(&world, &client(&frozen), &string).await;
}

#[tokio::test]
async fn a_killed_verifier_is_waited_for_and_its_lease_deleted() {
    let world = World::new().await;
    let killed = world.verifier().await;
    let lease = world.lease().await;
    world.mint("ci").await;
    killed.signal(Signal::KILL);
    world.apply_key("ci", json!({"revoked": true})).await;
    let message = world.enforcement("ci", "False").await;
    assert!(message.contains(&lease), "{message} does not name {lease}");
    world.enforced("ci").await;
    eventually("its Lease is deleted", async || {
        let found = world.leases().get_opt(&lease).await.map_err(|error| error.to_string())?;
        found.map_or(Ok(()), |lease| Err(format!("{lease:?}")))
    })
    .await;
}

#[tokio::test]
async fn a_verifier_that_is_told_to_stop_is_not_waited_for() {
    let world = World::new().await;
    let mut stopped = world.verifier().await;
    world.mint("ci").await;
    stopped.signal(Signal::TERM);
    assert!(stopped.process().ended().await.success());
    assert_eq!(world.held_leases().await, Ok(vec![]));
    world.apply_key("ci", json!({"revoked": true})).await;
    world.enforced("ci").await;
}

#[tokio::test]
async fn a_verifier_that_is_cut_off_stops_before_anything_is_enforced_without_it() {
    let world = World::new().await;
    let kubeconfig = kube::config::Kubeconfig::read_from(world.kubeconfig("verifier")).expect("it is complete");
    let (network, kubeconfig) = Network::connected(kubeconfig).await;
    let auth = network.inside(8080);
    let mut command = network.command(env!("CARGO_BIN_EXE_keyturn"));
    let namespace = world.namespace().name();
    command.env("KUBECONFIG", kubeconfig).args(["verifier", MAX_STALENESS, "--drain-delay=0s"]);
    command.args([format!("--namespace={namespace}"), format!("--operator-namespace={namespace}")]);
    let _process = Process::spawn("cut-off verifier", command);
    let verifier = HttpClient::new(auth);
    let string = world.mint("ci").await;
    world.answers(&verifier, &string, "ALLOWED").await;
    let lease = world.lease().await;

    network.cut();
    world.apply_key("ci", json!({"revoked": true})).await;
    let message = world.enforcement("ci", "False").await;
    assert!(message.contains(&lease), "{message} does not name {lease}");
    eventually("the revocation is enforced without the verifier", async || {
        // In this order: what is enforced by now must be refused from now on.
        let enforced = world.is_enforced("ci").await;
        let code = world.ask(&verifier, &string).await?;
        assert!(!(enforced && code == "ALLOWED"), "it is enforced, and accepted all the same");
        if enforced { Ok(()) } else { Err(code) }
    })
    .await;
    world.answers(&verifier, &string, "UNAVAILABLE").await;
    network.mend();
    refuses_before_it_accepts(&world, &verifier, &string).await;
}

#[tokio::test]
async fn a_verifier_that_starts_in_the_middle_knows_of_the_revocation() {
    let world = World::new().await;
    let frozen = world.verifier().await;
    let lease = world.lease().await;
    let string = world.mint("ci").await;
    frozen.signal(Signal::STOP);
    world.apply_key("ci", json!({"revoked": true})).await;
    world.enforcement("ci", "False").await;
    let late = world.verifier().await;
    assert_eq!(world.ask(&client(&late), &string).await.as_deref(), Ok("REVOKED"));
    let message = world.enforcement("ci", "False").await;
    assert!(message.contains(&lease), "{message} does not name {lease}");
    frozen.signal(Signal::CONT);
    world.enforced("ci").await;
    refuses_before_it_accepts(&world, &client(&frozen), &string).await;
}

#[tokio::test]
async fn a_verifier_that_is_robbed_of_its_lease_starts_over() {
    let world = World::new().await;
    let verifier = world.verifier().await;
    let string = world.mint("ci").await;
    for robbery in ["deleted", "taken"] {
        let lease = world.lease().await;
        if robbery == "deleted" {
            world.leases().delete(&lease, &DeleteParams::default()).await.expect("the Lease is deleted");
        } else {
            let theft = Patch::Merge(json!({"spec": {"holderIdentity": "somebody else"}}));
            world.leases().patch(&lease, &PatchParams::default(), &theft).await.expect("the Lease is taken");
        }
        eventually(&format!("another Lease is held after one was {robbery}"), async || {
            let held = world.held_leases().await?;
            let others = held.iter().filter(|name| **name != lease).count();
            if others == 1 { Ok(()) } else { Err(format!("{held:?}")) }
        })
        .await;
        world.answers(&client(&verifier), &string, "ALLOWED").await;
        // The thief's stands for a process, as far as anybody knows.
        world.leases().delete(&lease, &DeleteParams::default()).await.ok();
    }
    world.apply_key("ci", json!({"revoked": true})).await;
    world.enforced("ci").await;
    assert_eq!(world.ask(&client(&verifier), &string).await.as_deref(), Ok("REVOKED"));
}
