//! What the Job of a Redis step runs, against a real Redis: patterns, an ACL user, TLS, and what it says when it cannot.

use std::{net::TcpListener, path::Path, process::Stdio};

use redis::AsyncTypedCommands;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::harness::{SOON, eventually};

/// Ended when it is dropped.
struct Redis {
    _process: Child,
    dir: TempDir,
    port: u16,
    tls: u16,
}

fn free() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

async fn certificates(dir: &Path) {
    for line in [
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.crt",
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=redis -addext subjectAltName=IP:127.0.0.1 -keyout redis.key -out redis.csr",
        "x509 -req -in redis.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy -out redis.crt",
    ] {
        let out = Command::new("openssl").args(line.split(' ')).current_dir(dir).output().await.expect("openssl runs");
        assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
    }
}

impl Redis {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        certificates(dir.path()).await;
        let (port, tls) = (free(), free());
        let config = format!(
            "bind 127.0.0.1\nport {port}\ntls-port {tls}\ntls-cert-file redis.crt\ntls-key-file redis.key\ntls-ca-cert-file ca.crt\n\
             tls-auth-clients no\nsave \"\"\nuser sweeper on >s3cret ~coupon:* ~cart:* +scan +unlink\n\
             user reader on >s3cret ~* +scan\n"
        );
        std::fs::write(dir.path().join("redis.conf"), config).expect("written");
        let process = Command::new("redis-server")
            .arg("redis.conf")
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("redis-server is installed");
        let redis = Self { _process: process, dir, port, tls };
        eventually("Redis answers", SOON, async || redis.client().await.ok().map(drop)).await;
        redis
    }

    async fn client(&self) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
        redis::Client::open(format!("redis://127.0.0.1:{}/0", self.port))?.get_multiplexed_async_connection().await
    }

    async fn fill(&self) {
        let mut redis = self.client().await.expect("a connection");
        let names = (0..3_000).map(|n| format!("coupon:{n}")).chain((0..5).map(|n| format!("cart:{n}")));
        let names = names.chain((0..10).map(|n| format!("order:{n}")));
        let all: Vec<(String, u32)> = names.map(|name| (name, 1)).collect();
        redis.mset(&all).await.expect("stored");
    }

    async fn size(&self) -> usize {
        let mut redis = self.client().await.expect("a connection");
        redis::cmd("DBSIZE").query_async(&mut redis).await.expect("a number")
    }

    fn url(&self, user: &str) -> String {
        format!("redis://{user}:s3cret@127.0.0.1:{}/0", self.port)
    }
}

async fn unlink(url: &str, ca: Option<&str>, args: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haldane"));
    command.arg("unlink-keys").args(args).env("HALDANE_REDIS_URL", url).kill_on_drop(true);
    if let Some(ca) = ca {
        command.env("HALDANE_REDIS_CA", ca);
    }
    let output = tokio::time::timeout(SOON, command.output()).await.expect("it ends").expect("it runs");
    let said =
        String::from_utf8_lossy(if output.status.success() { &output.stdout } else { &output.stderr }).into_owned();
    assert!(!said.contains("s3cret") && !said.contains("127.0.0.1"), "{said}");
    (output.status.success(), said.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_found_by_their_patterns_and_nothing_else_goes() {
    let redis = Redis::start().await;
    redis.fill().await;
    let both = ["--pattern=coupon:*", "--pattern=cart:*"];
    let dry = unlink(&redis.url("sweeper"), None, &[&both[..], &["--dry-run"]].concat()).await;
    assert_eq!(dry, (true, "found, none deleted (dry run): 3000 keys like coupon:*, 5 keys like cart:*".into()));
    assert_eq!(redis.size().await, 3_015);
    let done = unlink(&redis.url("sweeper"), None, &both).await;
    assert_eq!(done, (true, "deleted: 3000 keys like coupon:*, 5 keys like cart:*".into()));
    assert_eq!(redis.size().await, 10);
    let again = unlink(&redis.url("sweeper"), None, &["--pattern=coupon:*"]).await;
    assert_eq!(again, (true, "deleted: 0 keys like coupon:*".into()));

    // By TLS, with the Secret's authority; without it nobody vouches for the server.
    redis.fill().await;
    let ca = std::fs::read_to_string(redis.dir.path().join("ca.crt")).expect("a certificate");
    let url =
        redis.url("sweeper").replace("redis://", "rediss://").replace(&redis.port.to_string(), &redis.tls.to_string());
    let (done, said) = unlink(&url, None, &["--pattern=cart:*"]).await;
    assert!(!done && said.contains("no connection to the Redis of the step's Secret"), "{said}");
    let done = unlink(&url, Some(&ca), &["--pattern=cart:*"]).await;
    assert_eq!(done, (true, "deleted: 5 keys like cart:*".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stops_it_is_told_without_address_and_password() {
    let redis = Redis::start().await;
    redis.fill().await;
    let (done, said) = unlink(&redis.url("reader"), None, &["--pattern=coupon:*"]).await;
    assert!(!done && said.contains("Redis refused UNLINK: NOPERM"), "{said}");
    let (done, said) = unlink(&redis.url("nobody"), None, &["--pattern=coupon:*"]).await;
    assert!(!done && said.contains("no connection to the Redis of the step's Secret"), "{said}");
    let nowhere = format!("redis://sweeper:s3cret@127.0.0.1:{}/0", free());
    let (done, said) = unlink(&nowhere, None, &["--pattern=coupon:*"]).await;
    assert!(!done && said.contains("no connection to the Redis of the step's Secret"), "{said}");
    let (done, said) = unlink("s3cret", None, &["--pattern=coupon:*"]).await;
    assert!(!done && said.contains("key url of the step's Secret is not a Redis address"), "{said}");
    assert_eq!(redis.size().await, 3_015);
}
