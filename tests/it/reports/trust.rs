//! Who may report.

use std::path::Path;

use super::world::{Sizes, TOKEN, World, counter, file};
use crate::support::http::HttpClient;
use crate::support::redis::Certificates;
use crate::support::wait::eventually;

#[tokio::test]
async fn a_wrong_token_reports_nothing_until_the_file_has_the_right_one() {
    let world = World::new(&["ci"]).await;
    let (receiver, string) = (world.receiver().await, world.string("ci").await);
    let wrong = file("battery-staple-correct-horse-4711");
    let (to, token) = (format!("--to=http://{}", world.reports), format!("--token-file={}", wrong.display()));
    let shipper = world.ship(&[&to, &token, "--interval=1s"]);
    let expected = world.requests(&string, "", 3).await;
    let unauthorized = "keyturn_report_batches_total{outcome=\"Unauthorized\"}";
    eventually("reports are refused", async || match counter(&receiver, unauthorized).await? {
        count if count > 0.0 => Ok(()),
        _ => Err(shipper.log()),
    })
    .await;
    let client = HttpClient::new(world.reports);
    for headers in [&[][..], &[("authorization", "Bearer battery-staple-correct-horse-4711")]] {
        let answer = client.send(http::Method::POST, "/v1/bandwidth", headers).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.header("www-authenticate")), (401, Some("Bearer")));
    }
    assert_eq!(world.total("ci").await, Ok(Sizes::default()));
    std::fs::write(&wrong, TOKEN).unwrap();
    world.total_becomes("ci", expected).await;
    let told = shipper.log() + &receiver.log();
    assert!(!told.contains(TOKEN) && !told.contains("battery-staple"), "{told}");
}

/// What a shipper shows that trusts one authority.
fn shown(ca: &Path, certificates: &Certificates) -> [String; 3] {
    [
        format!("--ca-file={}", ca.display()),
        format!("--client-cert={}", certificates.certificate().display()),
        format!("--client-key={}", certificates.key().display()),
    ]
}

#[tokio::test]
async fn only_certificates_of_the_named_authority_report() {
    let world = World::new(&["ci"]).await;
    let (ours, theirs) = (Certificates::of("ours"), Certificates::of("theirs"));
    let client_ca = file(&std::fs::read_to_string(ours.ca()).unwrap());
    let receiver = world
        .receiver_with(&[
            &format!("--report-tls-cert={}", ours.certificate().display()),
            &format!("--report-tls-key={}", ours.key().display()),
            &format!("--report-client-ca={}", client_ca.display()),
        ])
        .await;
    let (string, to) = (world.string("ci").await, format!("--to=https://{}", world.reports));
    let ship = |shown: &[String]| {
        let shown: Vec<&str> =
            [to.as_str(), "--interval=1s"].into_iter().chain(shown.iter().map(String::as_str)).collect();
        world.ship(&shown)
    };
    let expected = world.requests(&string, "", 3).await;
    let token = format!("--token-file={}", world.token.display());
    for (arguments, told) in [
        (shown(&ours.ca(), &theirs).to_vec(), "UnknownCA"),
        (vec![format!("--ca-file={}", ours.ca().display()), token], "CertificateRequired"),
        (shown(&theirs.ca(), &ours).to_vec(), "UnknownIssuer"),
    ] {
        let shipper = ship(&arguments);
        eventually("the shipper gets no connection", async || {
            let log = shipper.log();
            if log.contains(told) { Ok(()) } else { Err(log) }
        })
        .await;
    }
    assert_eq!(counter(&receiver, "keyturn_report_batches_total{outcome=\"Counted\"}").await, Ok(0.0));

    let shipper = ship(&shown(&ours.ca(), &ours));
    world.total_becomes("ci", expected).await;
    drop(shipper);
    // The authority is replaced while the port is open.
    std::fs::copy(theirs.ca(), &client_ca).unwrap();
    let expected = expected + world.requests(&string, "", 2).await;
    let _shipper = ship(&shown(&ours.ca(), &theirs));
    world.total_becomes("ci", expected).await;
}
