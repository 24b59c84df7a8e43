//! The gRPC port of a process: files of TLS that are replaced, and how it leaves.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use keyturn::tls::ClientFiles;

use super::{Namespace, Signal, eventually, start_with};
use crate::support::grpc::{CHECK, EMPTY, GrpcClient};
use crate::support::keyturn::Keyturn;
use crate::support::ports;
use crate::support::process::scratch;
use crate::support::redis::Certificates;

/// What a process is told to serve over TLS; the files are copies that the test may replace.
struct Files(PathBuf);

impl Files {
    fn of(server: &Certificates, clients: &Certificates) -> Self {
        let folder = scratch("tls");
        std::fs::create_dir(&folder).expect("the folder for tests can be written to");
        let files = Self(folder);
        files.replace("tls.crt", &server.certificate());
        files.replace("tls.key", &server.key());
        files.replace("ca.crt", &clients.ca());
        files
    }

    fn replace(&self, name: &str, by: &Path) {
        std::fs::copy(by, self.0.join(name)).expect("the file can be replaced");
    }

    fn options(&self, address: SocketAddr) -> [String; 4] {
        let file = |option: &str, name: &str| format!("--grpc-{option}={}", self.0.join(name).display());
        let listen = format!("--grpc-listen={address}");
        [listen, file("tls-cert", "tls.crt"), file("tls-key", "tls.key"), file("client-ca", "ca.crt")]
    }
}

/// Trusts one authority, and shows a certificate of the other.
fn client(trusted: &Certificates, own: &Certificates) -> ClientFiles {
    ClientFiles { ca: Some(trusted.ca()), identity: Some((own.certificate(), own.key())) }
}

/// What a call over a new connection is answered.
async fn ask(address: SocketAddr, files: &ClientFiles) -> Result<String, String> {
    GrpcClient::connect(address, Some(files)).await?.call(CHECK).await
}

async fn files_are(verifier: &Keyturn, usable: bool) {
    let unusable = if usable { 0.0 } else { 1.0 };
    eventually(&format!("that the files are usable is said to be {usable}"), async || {
        let value = verifier.metric("keyturn_tls_files_unusable{port=\"Grpc\"}").await?;
        if value.total_cmp(&unusable).is_eq() { Ok(()) } else { Err(value.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn while_certificate_and_key_do_not_fit_the_pair_before_is_shown() {
    let namespace = Namespace::create().await;
    let (old, new, proxies) = (Certificates::of("old"), Certificates::of("new"), Certificates::of("proxies"));
    let (address, files) = (ports::free(), Files::of(&old, &proxies));
    let options = files.options(address);
    let verifier = start_with(&namespace, &options.each_ref().map(String::as_str)).await;
    let (of_old, of_new) = (client(&old, &proxies), client(&new, &proxies));
    let mut kept = GrpcClient::connect(address, Some(&of_old)).await.expect("it is connected");
    assert_eq!(kept.call(CHECK).await, Ok("0".to_owned()));
    files_are(&verifier, true).await;

    files.replace("tls.crt", &new.certificate());
    assert_eq!(ask(address, &of_old).await, Ok("0".to_owned()), "the old pair is shown");
    assert!(ask(address, &of_new).await.is_err());
    files_are(&verifier, false).await;
    let log = verifier.log();
    assert!(log.contains("the files of TLS cannot be used") && log.contains("tls.crt"), "{log}");

    files.replace("tls.key", &new.key());
    assert_eq!(ask(address, &of_new).await, Ok("0".to_owned()), "the new pair is shown at once");
    assert!(ask(address, &of_old).await.is_err());
    files_are(&verifier, true).await;
    assert_eq!(kept.call(CHECK).await, Ok("0".to_owned()), "open connections go on");

    std::fs::remove_file(files.0.join("tls.key")).expect("the file is there");
    files_are(&verifier, false).await;
    assert_eq!(ask(address, &of_new).await, Ok("0".to_owned()), "the pair before is shown");
}

#[tokio::test]
async fn while_it_cannot_be_said_who_may_ask_nobody_new_does() {
    let namespace = Namespace::create().await;
    let (server, proxies, others) =
        (Certificates::of("server"), Certificates::of("proxies"), Certificates::of("others"));
    let (address, files) = (ports::free(), Files::of(&server, &proxies));
    let options = files.options(address);
    let verifier = start_with(&namespace, &options.each_ref().map(String::as_str)).await;
    let (of_proxies, of_others) = (client(&server, &proxies), client(&server, &others));
    assert_eq!(ask(address, &of_proxies).await, Ok("0".to_owned()));
    assert!(ask(address, &of_others).await.is_err());

    std::fs::write(files.0.join("ca.crt"), "no certificate").expect("the file can be written");
    for client in [&of_proxies, &of_others] {
        assert!(ask(address, client).await.is_err(), "nobody is known");
    }
    files_are(&verifier, false).await;

    files.replace("ca.crt", &others.ca());
    assert_eq!(ask(address, &of_others).await, Ok("0".to_owned()));
    assert!(ask(address, &of_proxies).await.is_err(), "who was trusted before is not any more");
    files_are(&verifier, true).await;
}

#[tokio::test]
async fn a_call_that_is_open_at_sigterm_is_answered() {
    let namespace = Namespace::create().await;
    let address = ports::free();
    let mut verifier = start_with(&namespace, &[&format!("--grpc-listen={address}")]).await;
    let mut client = GrpcClient::connect(address, None).await.expect("it is connected");
    assert_eq!(client.call(CHECK).await, Ok("0".to_owned()));
    let call = client.begin(CHECK);
    call.send(&EMPTY[..2]);
    verifier.signal(Signal::TERM);
    eventually("nobody new is served", async || match GrpcClient::connect(address, None).await {
        Ok(_) => Err("somebody is connected".to_owned()),
        Err(_) => Ok(()),
    })
    .await;
    assert!(call.is_open() && verifier.process().status().is_none(), "it waits for the call");
    call.send(&EMPTY[2..]);
    assert_eq!(call.finish().await, Ok("0".to_owned()));
    let status = verifier.process().ended().await;
    assert!(status.success(), "{status}");
}
