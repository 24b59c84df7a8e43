//! Verifiers that are killed, frozen, cut off and lied to while they spend: never more than there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keyturn::resources::ApiKeyUsage;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt as _};
use serde_json::json;

use super::world::{Answers, World};
use crate::support::apiserver::{Call, Fault, FaultyApiServer};
use crate::support::keyturn::Keyturn;
use crate::support::network::Network;
use crate::support::process::{Process, Signal};
use crate::support::wait::eventually;

const GRANTED: u64 = 4_000;
/// A chunk is 5 % of what is left at most, divided by the number of processes.
const CHUNK: u64 = GRANTED / 20;
const CONNECTIONS: usize = 16;
const END: &str = "CREDITS_EXHAUSTED";

async fn mint(world: &World) -> String {
    world.mint("ci", json!({"credits": {"granted": GRANTED}})).await
}

/// Waits until so much was handed out.
async fn reserved(world: &World, amount: u64) {
    eventually(&format!("{amount} are handed out"), async || {
        let ledger = world.usage_of("ci").await?.status.unwrap_or_default().ledger;
        match ledger.first() {
            Some(line) if line.reserved >= amount => Ok(()),
            line => Err(format!("{line:?}")),
        }
    })
    .await;
}

fn sum(all: impl IntoIterator<Item = Answers>) -> Answers {
    all.into_iter().fold(Answers::default(), Answers::and)
}

#[tokio::test]
async fn a_verifier_that_is_killed_loses_one_chunk_and_a_frozen_one_nothing() {
    let world = World::new().await;
    let string = mint(&world).await;
    let mut verifiers = world.verifiers(4).await;
    let spending: Vec<_> = verifiers.iter().map(|verifier| world.spender(verifier.auth(), &string)).collect();
    let spending = futures::future::join_all(spending.iter().map(|spender| spender.spend(CONNECTIONS, END)));
    let meanwhile = async {
        reserved(&world, GRANTED / 8).await;
        verifiers[0].signal(Signal::STOP);
        reserved(&world, GRANTED / 4).await;
        verifiers[1].signal(Signal::KILL);
        reserved(&world, GRANTED).await;
        verifiers[0].signal(Signal::CONT);
    };
    let (answers, ()) = tokio::join!(spending, meanwhile);
    verifiers[1].process().ended().await;
    let allowed = sum(answers).allowed();
    let lost = CHUNK + u64::try_from(CONNECTIONS).expect("it is small");
    assert!(allowed <= GRANTED && allowed >= GRANTED - lost, "{allowed} of {GRANTED}, of which {lost} may be lost");
    assert_eq!(world.line_of("ci").await.reserved, GRANTED);
}

#[tokio::test]
async fn verifiers_that_are_killed_again_and_again_never_grant_more_than_there_is() {
    let world = World::new().await;
    let string = mint(&world).await;
    let lasting = world.verifier().await;
    let mut allowed = 0;
    for round in 1..=4 {
        let mut killed = world.verifier().await;
        let spender = world.spender(killed.auth(), &string);
        let kill = async {
            reserved(&world, GRANTED * round / 8).await;
            killed.signal(Signal::KILL);
        };
        let (answers, ()) = tokio::join!(spender.spend(CONNECTIONS, END), kill);
        killed.process().ended().await;
        allowed += answers.allowed();
    }
    allowed += world.spender(lasting.auth(), &string).spend(CONNECTIONS, END).await.allowed();
    assert!(allowed <= GRANTED, "{allowed} of {GRANTED}");
    assert!(allowed >= GRANTED - 4 * (CHUNK + 16), "at most one chunk each is lost: {allowed} of {GRANTED}");
}

#[tokio::test]
async fn whoever_else_writes_the_object_is_in_the_way_and_nothing_is_lost() {
    let world = World::new().await;
    let string = mint(&world).await;
    let verifiers = world.verifiers(2).await;
    let usages: Api<ApiKeyUsage> = world.namespace().api();
    let name = world.usage_of("ci").await.expect("the key has an ApiKeyUsage").name_any();
    let done = AtomicBool::new(false);
    let meddling = async {
        let mut written = 0_u64;
        while !done.load(Ordering::Relaxed) {
            let mut usage = usages.get(&name).await.expect("the object is there");
            let counted = usage.status.get_or_insert_default().usage.get_or_insert_default();
            counted.denied.insert("MEDDLED".to_owned(), written);
            written += u64::from(usages.replace_status(&name, &PostParams::default(), &usage).await.is_ok());
        }
        written
    };
    let spending = async {
        let spenders = verifiers.iter().map(|verifier| world.spender(verifier.auth(), &string));
        let answers = spenders.map(|spender| async move { spender.spend(CONNECTIONS, END).await });
        let answers = futures::future::join_all(answers).await;
        done.store(true, Ordering::Relaxed);
        sum(answers)
    };
    let (answers, written) = tokio::join!(spending, meddling);
    assert_eq!(answers.allowed(), GRANTED, "{answers:?}");
    let mut conflicts = 0.0;
    for verifier in &verifiers {
        let name = r#"keyturn_reservations_total{purpose="Request",outcome="Conflict"}"#;
        conflicts += verifier.metric(name).await.unwrap_or(0.0);
    }
    assert!(written > 0 && conflicts > 0.0, "{written} writes were in the way {conflicts} times");
}

/// A verifier whose writes to ledgers go through a door; `fault` is asked about each, with its number from 1.
async fn behind_a_door(
    world: &World,
    fault: impl Fn(u32) -> Fault + Send + Sync + 'static,
) -> (Keyturn, FaultyApiServer) {
    let kubeconfig = Kubeconfig::read_from(world.kubeconfig()).expect("it is complete");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let account = Client::try_from(config.expect("it is complete")).expect("a kubeconfig makes a client");
    let mut number = 0;
    let rule = move |call: &Call| {
        let ledger = call.is_write() && call.concerns("apikeyusages");
        number += u32::from(ledger);
        if ledger { fault(number) } else { Fault::Pass }
    };
    let door = FaultyApiServer::start(&account, rule).await;
    let arguments = world.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut verifier = Keyturn::start_as("verifier", &door.kubeconfig(), &arguments);
    verifier.ready().await;
    (verifier, door)
}

#[tokio::test]
async fn what_may_have_been_reserved_is_not_spent_and_what_may_have_been_given_back_is_not_given_back_again() {
    let world = World::new().await;
    let string = mint(&world).await;
    let other = world.verifier().await;
    let ending = Arc::new(AtomicBool::new(false));
    let is_ending = Arc::clone(&ending);
    let (mut lied_to, _door) = behind_a_door(&world, move |number| match number % 4 {
        _ if is_ending.load(Ordering::Relaxed) => Fault::BreakAfter,
        1 => Fault::BreakAfter,
        2 => Fault::AnswerAfter(504, "Timeout"),
        3 => Fault::Answer(503, "ServiceUnavailable"),
        _ => Fault::Pass,
    })
    .await;
    let spender = world.spender(lied_to.auth(), &string);
    // Half of it is spent behind the door, and some of that is lost.
    let mut allowed = 0;
    eventually("half of it is handed out", async || {
        allowed += u64::from(spender.once().await? == "ALLOWED");
        let ledger = world.usage_of("ci").await?.status.unwrap_or_default().ledger;
        if ledger.first().is_some_and(|line| line.reserved >= GRANTED / 2) {
            Ok(())
        } else {
            Err(format!("{ledger:?}"))
        }
    })
    .await;
    ending.store(true, Ordering::Relaxed);
    lied_to.signal(Signal::TERM);
    assert!(lied_to.process().ended().await.success());
    allowed += world.spender(other.auth(), &string).spend(CONNECTIONS, END).await.allowed();
    assert!(allowed <= GRANTED, "{allowed} of {GRANTED}");
    assert!(allowed >= GRANTED / 2, "{allowed} of {GRANTED}");
}

#[tokio::test]
async fn a_verifier_that_is_cut_off_spends_what_it_has_and_then_says_that_it_cannot_tell() {
    let world = World::new().await;
    let string = mint(&world).await;
    let other = world.verifier().await;
    let kubeconfig = Kubeconfig::read_from(world.kubeconfig()).expect("it is complete");
    let (network, kubeconfig) = Network::connected(kubeconfig).await;
    let auth = network.inside(8080);
    let mut command = network.command(env!("CARGO_BIN_EXE_keyturn"));
    command.env("KUBECONFIG", kubeconfig).arg("verifier").args(world.arguments());
    let _process = Process::spawn("cut-off verifier", command);
    let cut_off = world.spender(auth, &string);
    cut_off.is_answered("ALLOWED").await;

    network.cut();
    let before = cut_off.spend(CONNECTIONS, "UNAVAILABLE").await.allowed();
    let elsewhere = world.spender(other.auth(), &string).spend(CONNECTIONS, END).await.allowed();
    assert_eq!(cut_off.once().await.as_deref(), Ok("UNAVAILABLE"), "there may be more, for all that it knows");
    network.mend();
    cut_off.is_answered(END).await;
    let allowed = 1 + before + elsewhere;
    // What was on its way when the cable was cut is lost.
    assert!((GRANTED - CHUNK..=GRANTED).contains(&allowed), "{allowed} of {GRANTED}");
    assert!(before > 0, "it had a chunk");
}
