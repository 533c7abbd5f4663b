//! `haldane unlink-keys`: what the Job of a Redis step runs. Finds keys by SCAN and deletes them by UNLINK in batches, so that
//! the server is never held up; neither keys nor the address are printed, for both may tell secrets.

use std::{env, fs, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use redis::{AsyncConnectionConfig, Client, TlsCertificates, aio::MultiplexedConnection};

/// Where a container leaves its last words.
const LAST_WORDS: &str = "/dev/termination-log";
/// How long connecting and each answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The address is read from `HALDANE_REDIS_URL`, a certificate authority from `HALDANE_REDIS_CA`.
#[derive(clap::Args)]
pub struct Args {
    /// Which keys, as in Redis' KEYS; may be given several times
    #[arg(long = "pattern", required = true)]
    patterns: Vec<String>,
    /// Count them and delete none
    #[arg(long)]
    dry_run: bool,
    /// About so many keys are looked at, and at most so many deleted, by one command
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: u32,
}

pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let outcome = unlink(args).await;
    let words = match &outcome {
        Ok(said) => said.clone(),
        Err(error) => format!("{error:#}"),
    };
    let _ = fs::write(LAST_WORDS, &words); // outside a container there is no such file
    match outcome {
        Ok(said) => {
            println!("{said}");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Err(error),
    }
}

async fn unlink(args: &Args) -> anyhow::Result<String> {
    let mut redis = connect().await?;
    let mut counts = Vec::new();
    for pattern in &args.patterns {
        let n = matching(&mut redis, pattern, args).await?;
        counts.push(format!("{n} {} like {pattern}", if n == 1 { "key" } else { "keys" }));
    }
    let done = if args.dry_run { "found, none deleted (dry run)" } else { "deleted" };
    Ok(format!("{done}: {}", counts.join(", ")))
}

async fn connect() -> anyhow::Result<MultiplexedConnection> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = env::var("HALDANE_REDIS_URL").context("HALDANE_REDIS_URL is not set: key url of the step's Secret")?;
    // The client's own words would name the address with its password.
    let wrong = "key url of the step's Secret is not a Redis address such as redis://user:password@host:6379/0";
    let client = match env::var("HALDANE_REDIS_CA").ok().filter(|ca| !ca.is_empty()) {
        Some(ca) => {
            Client::build_with_tls(url.trim(), TlsCertificates { client_tls: None, root_cert: Some(ca.into_bytes()) })
        }
        None => Client::open(url.trim()),
    };
    let Ok(client) = client else { bail!(wrong) };
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE));
    let made = client.get_multiplexed_async_connection_with_config(&config).await;
    made.map_err(|e| anyhow::anyhow!("no connection to the Redis of the step's Secret: {}", e.category()))
}

/// How many keys match; they are deleted on the way.
async fn matching(redis: &mut MultiplexedConnection, pattern: &str, args: &Args) -> anyhow::Result<u64> {
    let (mut cursor, mut n) = (0_u64, 0_u64);
    loop {
        let (next, keys): (u64, Vec<Vec<u8>>) = redis::cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg(pattern)
            .arg("COUNT")
            .arg(args.batch)
            .query_async(redis)
            .await
            .map_err(|e| refused("SCAN", &e))?;
        for some in keys.chunks(args.batch as usize) {
            n += if args.dry_run {
                some.len() as u64
            } else {
                let gone = redis::cmd("UNLINK").arg(some).query_async::<u64>(redis).await;
                gone.map_err(|e| refused("UNLINK", &e))?
            };
        }
        cursor = next;
        if cursor == 0 {
            return Ok(n);
        }
    }
}

/// The server's code alone: what comes after it may quote what was sent.
fn refused(command: &str, error: &redis::RedisError) -> anyhow::Error {
    anyhow::anyhow!("Redis refused {command}: {}", error.code().unwrap_or_else(|| error.category()))
}
