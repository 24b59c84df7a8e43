//! A network namespace with a cable to the host that leads to the API server and can be cut, while requests to the
//! process in it still arrive. Needs root and iproute2.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use kube::config::Kubeconfig;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::process::scratch;

/// How many there can be: each has four addresses of 10.213.0.0/16.
const NETWORKS: u32 = 1 << 14;

/// Gone, with everything in it, when it is dropped.
pub(crate) struct Network {
    name: String,
    /// Of the host, where the API server seems to be.
    api: Ipv4Addr,
    inside: Ipv4Addr,
    forwarder: JoinHandle<()>,
}

impl Network {
    /// Connected to the server that `kubeconfig` names; answers a kubeconfig to use inside too.
    pub(crate) async fn connected(mut kubeconfig: Kubeconfig) -> (Self, PathBuf) {
        let (name, number) = reserve(std::process::id());
        let address = |last| Ipv4Addr::from_bits(Ipv4Addr::new(10, 213, 0, 0).to_bits() + number * 4 + last);
        let (api, host, inside) = (address(0), address(1), address(2));
        let (outer, inner) = (format!("{name}o"), format!("{name}i"));
        ip(&["link", "add", &outer, "type", "veth", "peer", "name", &inner, "netns", &name]);
        ip(&["address", "add", &format!("{api}/32"), "dev", &outer]);
        ip(&["address", "add", &format!("{host}/32"), "peer", &inside.to_string(), "dev", &outer]);
        ip(&["link", "set", &outer, "up"]);
        let within = |arguments: &[&str]| ip(&[&["-n", name.as_str()], arguments].concat());
        within(&["address", "add", &format!("{inside}/32"), "peer", &host.to_string(), "dev", &inner]);
        within(&["link", "set", "lo", "up"]);
        within(&["link", "set", &inner, "up"]);
        within(&["route", "add", &api.to_string(), "dev", &inner]);

        let cluster = kubeconfig.clusters[0].cluster.as_mut().expect("the kubeconfig has a cluster");
        let server = cluster.server.take().expect("the cluster has a server");
        let server = server.trim_start_matches("https://").to_owned();
        let listener = TcpListener::bind((api, 0)).await.expect("the cable's end has a free port");
        cluster.server = Some(format!("https://{}", listener.local_addr().expect("a listener has an address")));
        // What the server's certificate is for.
        cluster.tls_server_name = Some("localhost".to_owned());
        let file = scratch("network.kubeconfig");
        std::fs::write(&file, serde_json::to_string(&kubeconfig).expect("a kubeconfig can be written"))
            .unwrap_or_else(|error| panic!("writing {}: {error}", file.display()));
        (Self { name, api, inside, forwarder: tokio::spawn(forward(listener, server)) }, file)
    }

    /// Where a process inside listens.
    pub(crate) fn inside(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.inside, port))
    }

    /// Runs a program inside; it has the process id that it would have outside.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// From now on nothing gets to the API server, and nobody is told.
    pub(crate) fn cut(&self) {
        ip(&["-n", &self.name, "route", "replace", "blackhole", &format!("{}/32", self.api)]);
    }

    /// Puts it back.
    pub(crate) fn mend(&self) {
        let (api, device) = (format!("{}/32", self.api), format!("{}i", self.name));
        ip(&["-n", &self.name, "route", "replace", &api, "dev", &device]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.forwarder.abort();
        // Its end of the cable goes with it, and so does the other.
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}

async fn forward(listener: TcpListener, server: String) {
    while let Ok((mut inside, _)) = listener.accept().await {
        let server = server.clone();
        tokio::spawn(async move {
            if let Ok(mut outside) = TcpStream::connect(server).await {
                let _ = copy_bidirectional(&mut inside, &mut outside).await;
            }
        });
    }
}

/// Makes the first namespace from that number on which nobody has: neither a test that runs at the same time, nor one that
/// was killed and has left it. Its name and number.
pub(crate) fn reserve(from: u32) -> (String, u32) {
    let numbers = (0..NETWORKS).map(|further| (from % NETWORKS + further) % NETWORKS);
    let mut named = numbers.map(|number| (format!("keyturn-{number}"), number));
    let reserved = named.find(|(name, _)| match try_ip(&["netns", "add", name]) {
        Err(told) if told.contains("File exists") => false,
        made => made.map_or_else(|told| panic!("{told}"), |()| true),
    });
    reserved.expect("a network is free; `ip -all netns delete` removes what killed tests have left")
}

fn ip(arguments: &[&str]) {
    try_ip(arguments).unwrap_or_else(|told| panic!("{told}"));
}

fn try_ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("running ip: {error}; apt-get install iproute2"));
    let told = String::from_utf8_lossy(&output.stderr);
    let failed = || format!("ip {}: {told}; network namespaces need root", arguments.join(" "));
    output.status.success().then_some(()).ok_or_else(failed)
}
