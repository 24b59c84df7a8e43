//! The test support itself: a helper that lies makes every other test lie.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::support::apiserver::{Fault, FaultyApiServer};
use crate::support::backend::Backend;
use crate::support::cluster::Namespace;
use crate::support::http::HttpClient;
use crate::support::network;
use crate::support::nginx::Nginx;
use crate::support::process::{Process, Signal, tool};

fn config_map(name: &str) -> ConfigMap {
    ConfigMap { metadata: ObjectMeta { name: Some(name.to_owned()), ..Default::default() }, ..Default::default() }
}

#[tokio::test]
async fn a_namespace_is_there_for_the_test_and_gone_after_it() {
    let (name, client) = {
        let namespace = Namespace::create().await;
        namespace.api::<ConfigMap>().create(&PostParams::default(), &config_map("here")).await.unwrap();
        (namespace.name().to_owned(), namespace.client().clone())
    };
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client);
    let left = namespaces.get_opt(&name).await.unwrap();
    assert!(left.is_none_or(|left| left.metadata.deletion_timestamp.is_some()));
}

#[tokio::test]
async fn a_stopped_process_is_gone_when_it_is_dropped() {
    let process = Process::start("sleep", &tool("sleep"), ["600"]);
    process.signal(Signal::STOP);
    drop(process);

    let mut process = Process::start("sh", &tool("sh"), ["-c", "echo heard; exit 3"]);
    assert_eq!(process.ended().await.code(), Some(3));
    assert_eq!(process.log(), "heard\n");
}

#[tokio::test]
async fn nginx_passes_requests_on_with_the_address_they_came_from() {
    let backend = Backend::start().await;
    let proxy = "proxy_pass http://{backend}; proxy_set_header X-Real-IP $remote_addr;";
    let server = format!("server {{ listen {{listen}}; location / {{ {proxy} }} }}");
    let nginx = Nginx::start(&server.replace("{backend}", &backend.address().to_string())).await;

    let near = HttpClient::new(nginx.address()).get("/a?b=c", &[("X-Two", "2")]).await.unwrap();
    assert_eq!((near.status.as_u16(), near.body.as_str()), (200, "from the backend\n"));
    assert_eq!(near.header("content-length"), Some("17"));
    let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    HttpClient::from_address(source, nginx.address()).get("/far", &[]).await.unwrap();

    let seen = backend.take();
    let seen: Vec<_> =
        seen.iter().map(|one| (one.method.as_str(), one.uri.to_string(), one.header("x-real-ip"))).collect();
    assert_eq!(seen, [("GET", "/a?b=c".to_owned(), Some("127.0.0.1")), ("GET", "/far".to_owned(), Some("127.0.0.2"))]);
    assert_eq!(nginx.log(), "");
}

#[test]
fn a_network_that_a_killed_test_has_left_is_in_nobodys_way() {
    let (left, number) = network::reserve(std::process::id());
    let (next, other) = network::reserve(number);
    for name in [&left, &next] {
        let deleted = Command::new("ip").args(["netns", "delete", name]).status().expect("ip can be run");
        assert!(deleted.success(), "{name} is not there");
    }
    assert_ne!((left, number), (next, other));
}

#[tokio::test]
async fn a_test_is_told_of_a_write_whose_caller_has_not_waited_for_the_answer() {
    let namespace = Namespace::create().await;
    let (arrived, happened) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (arrives, fault) = (Arc::clone(&arrived), Fault::HangAfter(Arc::clone(&happened)));
    let rule = move |_: &_| {
        arrives.notify_one();
        fault.clone()
    };
    let server = FaultyApiServer::start(namespace.client(), rule).await;
    let maps: Api<ConfigMap> = Api::namespaced(server.client(), namespace.name());
    let caller = tokio::spawn(async move { maps.create(&PostParams::default(), &config_map("there")).await });
    arrived.notified().await;
    caller.abort();
    timeout(Duration::from_mins(1), happened.notified()).await.expect("the test is told");
    namespace.api::<ConfigMap>().get("there").await.expect("the write took effect");
}
