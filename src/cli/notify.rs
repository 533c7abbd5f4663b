//! `kubectl haldane notify test`: one notice by a Notifier, from this machine and with the caller's rights.

use std::{io::Write as _, process::ExitCode};

use anyhow::{anyhow, bail};
use clap::Subcommand;
use kube::{Api, Client};

use super::{
    client::{Cluster, within},
    render::clean,
};
use crate::{
    api::{
        Notifier,
        notice::{Notice, Reason},
        notifier::NotifierSpec,
        units::At,
    },
    observe::clock,
    tell::{
        notify::{Post, preview::preview},
        outbox::{Letter, Sent, Subject},
    },
};

pub const ABOUT: &str = "\
It reads the Notifier, and without --dry-run the Secrets it names: you need the rights to. The notice leaves from this machine,
which may reach other addresses than the operator does. It speaks of a Release haldane-test that does not exist, and goes out
whatever spec.allowedNamespaces says.

PagerDuty and Alertmanager open something for RollingBack and close it for RolledBack, GitHub closes for Succeeded: to see both,
send both in this order. RollbackFailed is critical: in DingTalk, Feishu and WeCom it calls everybody.

Exit codes:
  0  the receiver has taken it, or it was shown
  1  wrong usage, or it was not taken; the sentence says why";

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Send one notice by a Notifier, or show what would be sent
    #[command(after_help = ABOUT)]
    Test(Test),
}

#[derive(clap::Args)]
struct Test {
    /// The Notifier; -n is the operator's namespace
    #[arg(value_name = "NOTIFIER")]
    name: String,
    /// Show what would be sent; Secrets are not read
    #[arg(long)]
    dry_run: bool,
    /// What it tells of, such as RollingBack, RolledBack or RollbackFailed
    #[arg(long, default_value = "RolledBack", value_parser = reason)]
    reason: Reason,
    #[command(flatten)]
    cluster: Cluster,
}

fn reason(text: &str) -> Result<Reason, String> {
    serde_json::from_value(text.into()).map_err(|_| format!("'{text}' is not a reason; docs/operations.md lists them"))
}

pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let What::Test(test) = &args.what;
    let reach = test.cluster.connect().await?;
    let (name, namespace) = (&test.name, &reach.namespace);
    let api: Api<Notifier> = Api::namespaced(reach.client.clone(), namespace);
    let Some(notifier) = within(&format!("reading Notifier {name}"), api.get_opt(name)).await? else {
        bail!(
            "there is no Notifier {name} in namespace {namespace}; they count in the operator's namespace, give it with -n"
        );
    };
    let letter = letter(name, namespace, test.reason, clock::now());
    if test.dry_run {
        // A closed pipe is nobody's error.
        let _ = std::io::stdout().write_all(shown(&notifier.spec, &letter)?.as_bytes());
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}", clean(&sent(reach.client, namespace, &notifier.spec, &letter).await?));
    Ok(ExitCode::SUCCESS)
}

async fn sent(client: Client, namespace: &str, spec: &NotifierSpec, letter: &Letter) -> anyhow::Result<String> {
    let post = Post::new(client, namespace.to_owned(), "kubectl-haldane".into())?;
    match post.deliver(spec, letter).await {
        Sent::Delivered => Ok(format!("the receiver of Notifier {} has taken it", letter.channel)),
        Sent::Later { why, .. } | Sent::Never(why) => bail!("{why}"),
    }
}

/// What would be sent, fit for a terminal.
pub fn shown(spec: &NotifierSpec, letter: &Letter) -> anyhow::Result<String> {
    let parts = preview(spec, letter, letter.notice.at).map_err(|why| anyhow!("Notifier {}: {why}", letter.channel))?;
    let lines: Vec<String> = parts.concat().lines().map(|line| clean(line) + "\n").collect();
    Ok(lines.concat())
}

/// A notice of a Release that does not exist. The UID is always the same: what one test opens another closes.
pub fn letter(notifier: &str, namespace: &str, reason: Reason, now: At) -> Letter {
    Letter {
        subject: Subject {
            namespace: namespace.to_owned(),
            name: "haldane-test".into(),
            uid: "haldane-test".into(),
            state: "Test".into(),
            version: Some("1.2.3".into()),
        },
        notice: Notice {
            seq: u64::try_from(now.timestamp().as_second()).unwrap_or_default(),
            reason,
            at: now,
            message: "a test sent by hand: error rate 7.31 % > 5 % at 20 %, stable 0.40 %".into(),
            revision: Some("0123456789".into()),
            pending: vec![notifier.to_owned()],
            attempts: 0,
        },
        channel: notifier.to_owned(),
    }
}
