//! Servers that speak the protocol of Redis: one, or a cluster of them, with a password and TLS where asked for.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use redis::{Client, FromRedisValue, RedisResult};

use super::ports;
use super::process::{Process, Signal, scratch, tool};
use super::wait::eventually;

/// How many slots every cluster has.
pub(crate) const SLOTS: u32 = 16_384;

/// A server that keeps nothing on disk. Gone when dropped.
pub(crate) struct Redis {
    address: SocketAddr,
    tls: Option<SocketAddr>,
    password: Option<&'static str>,
    arguments: Vec<String>,
    process: Process,
}

impl Redis {
    /// Starts a server without a password.
    pub(crate) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options<'_>) -> Self {
        let Options { password, certificates, cluster } = options;
        let (address, folder) = (ports::free(), scratch("redis"));
        std::fs::create_dir(&folder).unwrap_or_else(|error| panic!("creating {}: {error}", folder.display()));
        let mut arguments = vec![format!("--bind {} --port {}", address.ip(), address.port())];
        arguments.push(format!("--dir {} --save '' --appendonly no --enable-debug-command yes", folder.display()));
        arguments.extend(password.map(|password| format!("--requirepass {password} --masterauth {password}")));
        let tls = certificates.map(|_| ports::free());
        if let (Some(tls), Some(Certificates { folder })) = (tls, certificates) {
            let folder = folder.display();
            arguments.push(format!(
                "--tls-port {} --tls-auth-clients no --tls-ca-cert-file {folder}/ca.crt --tls-cert-file \
                 {folder}/server.crt --tls-key-file {folder}/server.key",
                tls.port()
            ));
        }
        if cluster {
            // A server that is not missed for half a second is not away.
            let bus = ports::free().port();
            arguments.push(format!("--cluster-enabled yes --cluster-node-timeout 1000 --cluster-port {bus}"));
            arguments.push("--repl-diskless-sync-delay 0".to_owned());
            // Otherwise servers name each other by the ports that have no TLS.
            arguments.extend(tls.map(|_| "--tls-cluster yes --tls-replication yes".to_owned()));
        }
        let arguments: Vec<String> =
            arguments.iter().flat_map(|line| line.split(' ')).map(|word| word.replace('\'', "")).collect();
        let process = Process::start("redis", &tool("redis-server"), &arguments);
        let started = Self { address, tls, password, arguments, process };
        started.answers().await;
        started
    }

    /// Ends it as a power cut does.
    pub(crate) async fn kill(&mut self) {
        self.process.signal(Signal::KILL);
        self.process.ended().await;
    }

    /// Starts it again, empty, where it was.
    pub(crate) async fn restart(&mut self) {
        self.process = Process::start("redis", &tool("redis-server"), &self.arguments);
        self.answers().await;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Where a store finds it, with TLS if it has that.
    pub(crate) fn url(&self) -> String {
        self.tls.map_or_else(|| format!("valkey://{}", self.address), |tls| format!("valkeys://{tls}"))
    }

    /// Where other servers and plain clients find it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it answers to a command.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &str) -> RedisResult<T> {
        let password = self.password.map(|password| format!(":{password}@")).unwrap_or_default();
        let client = Client::open(format!("redis://{password}{}", self.address))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().unwrap_or_default());
        words.for_each(|word| {
            command.arg(word);
        });
        command.query_async(&mut connection).await
    }

    /// Has it do something.
    pub(crate) async fn tell(&self, command: &str) {
        let answer = self.ask::<redis::Value>(command).await;
        answer.unwrap_or_else(|error| panic!("{command} at {}: {error}", self.address));
    }

    async fn answers(&self) {
        eventually("redis answers", async || {
            let pong = self.ask::<String>("PING").await.map_err(|error| format!("{error}: {}", self.process.log()));
            pong.map(drop)
        })
        .await;
    }
}

/// How a server is to be.
#[derive(Clone, Copy, Default)]
pub(crate) struct Options<'a> {
    pub(crate) password: Option<&'static str>,
    pub(crate) certificates: Option<&'a Certificates>,
    pub(crate) cluster: bool,
}

/// A certificate authority and a certificate for 127.0.0.1 that it has signed.
pub(crate) struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Those of an authority of that name.
    pub(crate) fn of(authority: &str) -> Self {
        let folder = scratch("certificates");
        std::fs::create_dir(&folder).unwrap_or_else(|error| panic!("creating {}: {error}", folder.display()));
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        openssl(&folder, &format!("req -x509 {key} -days 30 -subj /CN={authority} -keyout ca.key -out ca.crt"));
        openssl(&folder, &format!("req -new {key} -subj /CN=server -keyout server.key -out server.csr"));
        let extensions = folder.join("extensions");
        std::fs::write(&extensions, "subjectAltName=IP:127.0.0.1").expect("the folder can be written to");
        let signing = "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -set_serial 1 -days 30 -out server.crt";
        openssl(&folder, &format!("{signing} -extfile extensions"));
        Self { folder }
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("server.crt")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.join("server.key")
    }
}

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new(tool("openssl")).current_dir(folder).args(arguments.split(' ')).output();
    let output = output.expect("openssl runs");
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Three servers that share the slots, and a fourth that takes over from the first, if asked for.
pub(crate) struct Cluster {
    pub(crate) servers: Vec<Redis>,
}

impl Cluster {
    pub(crate) async fn start(options: Options<'_>) -> Self {
        let options = Options { cluster: true, ..options };
        let mut servers = Vec::new();
        for _ in 0..3 {
            servers.push(Redis::with(options).await);
        }
        let cluster = Self { servers };
        for (at, server) in (0..).zip(&cluster.servers) {
            let (first, last) = (at * SLOTS / 3, (at + 1) * SLOTS / 3 - 1);
            server.tell(&format!("CLUSTER ADDSLOTSRANGE {first} {last}")).await;
            server.tell(&format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1)).await;
        }
        for server in &cluster.servers[1..] {
            cluster.meet(server).await;
        }
        cluster.agrees().await;
        cluster
    }

    /// Adds a replica of the first server, and waits until everybody knows it.
    pub(crate) async fn with_replica(mut self, options: Options<'_>) -> Self {
        let replica = Redis::with(Options { cluster: true, ..options }).await;
        self.meet(&replica).await;
        self.servers.push(replica);
        self.agrees().await;
        let (first, replica) = (&self.servers[0], &self.servers[3]);
        let id: String = first.ask("CLUSTER MYID").await.expect("a server has an id");
        replica.tell(&format!("CLUSTER REPLICATE {id}")).await;
        for server in &self.servers {
            eventually("the replica is known and up to date", async || {
                let nodes: String = server.ask("CLUSTER NODES").await.map_err(|error| error.to_string())?;
                let replication: String = replica.ask("INFO replication").await.map_err(|error| error.to_string())?;
                let known = nodes.contains(&format!("slave {id}"));
                let ready = known && replication.contains("master_link_status:up");
                if ready { Ok(()) } else { Err(format!("{nodes}{replication}")) }
            })
            .await;
        }
        self
    }

    async fn meet(&self, server: &Redis) {
        let bus = server.arguments.windows(2).find(|pair| pair[0] == "--cluster-port").expect("it is for a cluster");
        let (ip, port) = (server.address.ip(), server.address.port());
        self.servers[0].tell(&format!("CLUSTER MEET {ip} {port} {}", bus[1])).await;
    }

    /// Waits until all servers know each other and who has which slot.
    async fn agrees(&self) {
        let all = format!("cluster_known_nodes:{}", self.servers.len());
        for server in &self.servers {
            eventually("the cluster is up", async || {
                let info: String = server.ask("CLUSTER INFO").await.map_err(|error| error.to_string())?;
                if info.contains("cluster_state:ok") && info.contains(&all) { Ok(()) } else { Err(info) }
            })
            .await;
        }
    }

    /// Where a store begins to look.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.servers.iter().map(Redis::url).collect()
    }
}
