//! A verifier whose clock and the API server's are far apart, as the `Date` of the answers tells.

use axum::http::{HeaderMap, HeaderValue, header};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::world::{MAX_STALENESS, World, client};
use crate::support::apiserver::{Dress, Fault, FaultyApiServer};
use crate::support::keyturn::Keyturn;
use crate::support::wait::eventually;

const SKEW: &str = "keyturn_clock_skew_seconds";

fn in_1994(headers: &mut HeaderMap) {
    headers.insert(header::DATE, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
}

fn in_2094(headers: &mut HeaderMap) {
    headers.insert(header::DATE, HeaderValue::from_static("Sat, 06 Nov 2094 08:49:37 GMT"));
}

fn nowhen(headers: &mut HeaderMap) {
    headers.remove(header::DATE);
}

/// A verifier, and the door through which its API server comes to it: with these header fields.
async fn verifier(world: &World, dress: Dress) -> (Keyturn, FaultyApiServer) {
    let kubeconfig = Kubeconfig::read_from(world.kubeconfig("verifier")).expect("it is complete");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let account = Client::try_from(config.expect("it is complete")).expect("a kubeconfig makes a client");
    let door = FaultyApiServer::start(&account, move |_| Fault::Dress(dress)).await;
    let namespace = world.namespace().name();
    let (only, own) = (format!("--namespace={namespace}"), format!("--operator-namespace={namespace}"));
    let further = [MAX_STALENESS, "--drain-delay=0s", only.as_str(), &own];
    (Keyturn::start_as("verifier", &door.kubeconfig(), &further), door)
}

#[tokio::test]
async fn a_verifier_whose_clock_is_wrong_says_so_and_is_ready_once_it_is_right() {
    let world = World::new().await;
    let string = world.mint("ci").await;
    let cases: [(Dress, &str, f64); 2] = [(in_1994, "ahead of", 1.0), (in_2094, "behind", -1.0)];
    for (dress, side, sign) in cases {
        let (mut verifier, door) = verifier(&world, dress).await;
        eventually(&format!("nothing is missing but that the clock is {side} the server's"), async || {
            let answer = verifier.health().get("/readyz", &[]).await?;
            let reasons: Vec<_> = answer.body.lines().skip(1).collect();
            let clock = format!("{side} the API server's, and --max-clock-skew is 5 s");
            let only = reasons.len() == 1 && reasons[0].contains(&clock);
            if answer.status == 503 && only { Ok(()) } else { Err(answer.body) }
        })
        .await;
        let ahead = verifier.metric(SKEW).await;
        assert!(ahead.as_ref().is_ok_and(|ahead| ahead * sign > 5.0), "{ahead:?}");
        assert_eq!(world.ask(&client(&verifier), &string).await.as_deref(), Ok("ALLOWED"), "it is asked all the same");

        door.rule(|_| Fault::Pass);
        verifier.ready().await;
        // An answer that was under way may have come later.
        eventually("the clock is the server's, as it is on one machine", async || {
            let ahead = verifier.metric(SKEW).await?;
            if ahead.abs() < 1.0 { Ok(()) } else { Err(format!("{ahead} s")) }
        })
        .await;
    }
}

#[tokio::test]
async fn without_a_date_nothing_is_known_and_that_is_said_once() {
    let world = World::new().await;
    world.mint("ci").await;
    let (mut verifier, _door) = verifier(&world, nowhen).await;
    verifier.ready().await;
    let ahead = verifier.metric(SKEW).await;
    assert!(ahead.as_ref().is_ok_and(|ahead| ahead.is_nan()), "{ahead:?}");
    let log = verifier.log();
    assert_eq!(log.matches("does not tell the time").count(), 1, "{log}");
}
