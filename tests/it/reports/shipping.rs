//! What the shipper reads arrives once, whatever becomes of the log, of the shipper and of who takes reports.

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::world::{Sizes, World, counter};
use crate::support::ports;
use crate::support::process::Signal;
use crate::support::wait::eventually;

#[tokio::test]
async fn what_goes_through_nginx_with_a_key_is_in_its_apikeyusage_to_the_byte() {
    let world = World::new(&["ci", "other"]).await;
    let receiver = world.receiver().await;
    let (ci, other) = (world.string("ci").await, world.string("other").await);
    let other_id = world.id("other").await;
    // A client that tries to have its bytes counted for somebody else.
    let forged = format!(
        "User-Agent: x\",\"in\":0}}{{\"key\":\"{other_id}\",\"in\":9\r\nX-Apikey-Id: {other_id}\r\nReferer: \\\",\\\\x22\r\n"
    );
    let mut expected = world.requests(&ci, "", 20).await;
    expected = expected + world.requests(&ci, &forged, 5).await;
    let uri = format!(
        "/%22,%22key%22:%22{other_id}%22,\"in\":9}}?\"}}{{\"key\":\"{other_id}\",\"in\":1,\"out\":1,\"at\":1.0}}"
    );
    let request = format!("GET {uri} HTTP/1.1\r\nHost: api\r\nX-API-Key: {ci}\r\nConnection: close\r\n\r\n");
    // It is let in; the backend does not understand it.
    expected = expected + world.exchange(&request, "HTTP/1.1 400 ").await;
    // Who is refused, or needs no key, is nobody.
    world
        .exchange("GET / HTTP/1.1\r\nHost: api\r\nX-API-Key: none\r\nConnection: close\r\n\r\n", "HTTP/1.1 401 ")
        .await;
    let open = format!("GET /open/ HTTP/1.1\r\nHost: api\r\nX-API-Key: {ci}\r\n{forged}Connection: close\r\n\r\n");
    world.exchange(&open, "HTTP/1.1 200 ").await;
    let others = world.requests(&other, "", 3).await;

    let _shipper = world.shipper();
    world.total_becomes("ci", expected).await;
    world.total_becomes("other", others).await;
    let usage = world.usage("ci").await.unwrap();
    let bandwidth = usage.bandwidth.expect("it has been reported");
    assert_eq!(bandwidth.this_month.in_bytes.max(bandwidth.today.in_bytes), bandwidth.this_month.in_bytes);
    assert!(!bandwidth.day.is_empty());
    // A report is no request.
    eventually("26 requests are told", async || {
        let requests = world.usage("ci").await?.requests.unwrap_or_default();
        if requests.total == 26 { Ok(()) } else { Err(format!("{requests:?}")) }
    })
    .await;
    let all = expected + others;
    for (direction, bytes) in [("In", all.sent), ("Out", all.received)] {
        let told = counter(&receiver, &format!("keyturn_report_bytes_total{{direction=\"{direction}\"}}")).await;
        assert_eq!(told.unwrap().to_string(), bytes.to_string());
    }
}

#[tokio::test]
async fn a_log_that_is_rotated_or_cut_short_is_read_to_its_end_and_anew() {
    let world = World::new(&["ci"]).await;
    let (_receiver, string) = (world.receiver().await, world.string("ci").await);
    let mut shipper = world.shipper();
    let mut expected = world.requests(&string, "", 4).await;
    world.total_becomes("ci", expected).await;
    for suffix in [".1", "-20261122"] {
        world.move_log(suffix);
        // nginx writes to where the log is now until it is told.
        expected = expected + world.requests(&string, "", 3).await;
        world.reopen_log().await;
        expected = expected + world.requests(&string, "", 5).await;
        world.total_becomes("ci", expected).await;
    }
    OpenOptions::new().write(true).open(&world.log).unwrap().set_len(0).unwrap();
    expected = expected + world.requests(&string, "", 2).await;
    world.total_becomes("ci", expected).await;
    assert!(shipper.status().is_none(), "{}", shipper.log());
}

#[tokio::test]
async fn a_shipper_that_ends_goes_on_where_it_was() {
    let world = World::new(&["ci"]).await;
    let (_receiver, string) = (world.receiver().await, world.string("ci").await);
    let mut expected = Sizes::default();
    for round in 0..3 {
        let mut shipper = world.shipper();
        expected = expected + world.requests(&string, "", 4).await;
        if round > 0 {
            world.total_becomes("ci", expected).await;
        } else {
            world.shipper_has_noted_its_place().await;
        }
        shipper.signal(Signal::KILL);
        shipper.ended().await;
        expected = expected + world.requests(&string, "", 3).await;
        // While nobody reads it.
        world.move_log(&format!(".{round}"));
        world.reopen_log().await;
        expected = expected + world.requests(&string, "", 2).await;
    }
    // The rest is in three files.
    let shipper = world.shipper();
    world.total_becomes("ci", expected).await;
    drop(shipper);
    // One that is told to go reports all that there is first.
    let mut shipper = world.shipper_to(world.reports, &["--interval=1h"]);
    expected = expected + world.requests(&string, "", 6).await;
    eventually("the shipper runs", async || {
        let second = world.shipper().ended().await;
        if second.success() { Err("a second one runs beside it".to_owned()) } else { Ok(()) }
    })
    .await;
    shipper.signal(Signal::TERM);
    assert!(shipper.ended().await.success());
    assert!(shipper.log().contains("what was read is reported"), "{}", shipper.log());
    world.total_becomes("ci", expected).await;
}

#[tokio::test]
async fn while_nobody_takes_reports_they_wait() {
    let world = World::new(&["ci"]).await;
    let mut receiver = world.receiver().await;
    let string = world.string("ci").await;
    let shipper = world.shipper();
    let mut expected = world.requests(&string, "", 3).await;
    world.total_becomes("ci", expected).await;
    receiver.signal(Signal::TERM);
    receiver.process().ended().await;
    expected = expected + world.requests(&string, "", 4).await;
    eventually("the shipper has tried", async || {
        let log = shipper.log();
        if log.contains("a batch is not reported; trying again") { Ok(()) } else { Err(log) }
    })
    .await;
    expected = expected + world.requests(&string, "", 5).await;
    let _receiver = world.receiver().await;
    world.total_becomes("ci", expected).await;
}

/// Passes connections on; of the first one it swallows the answer.
async fn swallow_first_answer(listener: TcpListener, server: SocketAddr) {
    let mut first = true;
    while let Ok((mut near, _)) = listener.accept().await {
        let mut far = TcpStream::connect(server).await.expect("the receiver listens");
        if std::mem::take(&mut first) {
            let (mut read_near, _write_near) = near.split();
            let (mut read_far, mut write_far) = far.split();
            let mut answer = [0; 1024];
            tokio::select! {
                _ = tokio::io::copy(&mut read_near, &mut write_far) => {}
                read = read_far.read(&mut answer) => {
                    assert!(answer[..read.expect("it answers")].starts_with(b"HTTP/1.1 200 OK"));
                }
            }
        } else {
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            let _ = near.shutdown().await;
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_makes_nothing_count_twice() {
    let world = World::new(&["ci"]).await;
    let (receiver, string) = (world.receiver().await, world.string("ci").await);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let between = listener.local_addr().unwrap();
    let passing = tokio::spawn(swallow_first_answer(listener, world.reports));
    let expected = world.requests(&string, "", 5).await;
    let shipper = world.shipper_to(between, &["--interval=1s"]);
    let repeated = "keyturn_report_batches_total{outcome=\"Repeated\"}";
    eventually("the batch has come again", async || match counter(&receiver, repeated).await? {
        count if count > 0.0 => Ok(()),
        _ => Err(shipper.log()),
    })
    .await;
    let further = world.requests(&string, "", 2).await;
    world.total_becomes("ci", expected + further).await;
    passing.abort();
}

#[tokio::test]
async fn a_shipper_that_cannot_work_says_so_at_once() {
    let world = World::new(&[]).await;
    let missing = format!("--token-file={}", world.log.display());
    let nobody = format!("--to=http://{}", ports::free());
    for (arguments, told) in [
        (&["--to=http://127.0.0.1:1"][..], "nothing says who reports"),
        (&["--to=http://192.0.2.1:1", &missing], "the token would be sent in the clear"),
        (&["--to=https://127.0.0.1:1", &missing], "there is no token in it"),
        (
            &[&nobody, &format!("--token-file={}", world.token.display()), "--state-file=/nowhere/state"],
            "/nowhere/state",
        ),
    ] {
        let mut shipper = world.ship(arguments);
        assert!(!shipper.ended().await.success());
        assert!(shipper.log().contains(told), "{}", shipper.log());
    }
}
