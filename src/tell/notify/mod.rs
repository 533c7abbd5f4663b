//! Notices to other systems. A Release only names a Notifier; addresses and secrets are the administrators'.
//!
//! `text` says once what a notice says. One file per channel gives it the channel's form, and knows what its answers mean.

pub mod alertmanager;
pub mod call;
pub mod dingtalk;
pub mod email;
pub mod escape;
pub mod feishu;
pub mod github;
pub mod pagerduty;
pub mod preview;
pub mod rates;
pub mod secrets;
pub mod sign;
pub mod slack;
pub mod teams;
pub mod text;
pub mod webhook;
pub mod wecom;
mod words;

#[cfg(test)]
mod fakes;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::time::Duration;

use futures::future::BoxFuture;
use kube::{Api, Client};

use self::{
    call::{Fault, Outcome},
    rates::Rates,
    secrets::Secrets,
    text::Text,
};
use super::{
    events,
    outbox::{Letter, Sender, Sent},
};
use crate::{
    api::{
        Notifier,
        notice::EVENT_CHANNEL,
        notifier::{Channel, NotifierSpec},
        provider::allows,
    },
    observe::clock,
};

/// A wait for one's turn that is no failure yet.
const A_MOMENT: Duration = Duration::from_secs(3);

/// All ways out: Events, and the Notifiers of the operator's own namespace.
pub struct Post {
    client: Client,
    web: reqwest::Client,
    operator_namespace: String,
    instance: String,
    rates: Rates,
}

impl Post {
    /// `instance` is the name of this process, as Events show it.
    pub fn new(client: Client, operator_namespace: String, instance: String) -> reqwest::Result<Self> {
        let web = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("haldane/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, web, operator_namespace, instance, rates: Rates::default() })
    }

    async fn notify(&self, letter: &Letter) -> Sent {
        let name = &letter.channel;
        let api: Api<Notifier> = Api::namespaced(self.client.clone(), &self.operator_namespace);
        let later = |why| Sent::Later { why, after: None };
        let notifier = match api.get_opt(name).await {
            Ok(Some(notifier)) => notifier,
            Ok(None) => {
                return later(format!("Notifier {name} does not exist in namespace {}", self.operator_namespace));
            }
            Err(error) => return later(format!("Notifier {name} cannot be read: {error}")),
        };
        if !allows(&notifier.spec.allowed_namespaces, &letter.subject.namespace) {
            return later(format!("Notifier {name} does not allow namespace {}", letter.subject.namespace));
        }
        self.deliver(&notifier.spec, letter).await
    }

    /// Sends a letter by a Notifier, whatever namespaces that allows.
    pub async fn deliver(&self, spec: &NotifierSpec, letter: &Letter) -> Sent {
        match Box::pin(self.send_by(spec, letter)).await {
            Ok(()) => Sent::Delivered,
            Err(fault) => fault.told(&letter.channel),
        }
    }

    async fn send_by(&self, spec: &NotifierSpec, letter: &Letter) -> Outcome {
        let Some(channel) = spec.channel() else {
            return Err(Fault::mend("its spec must have exactly one channel"));
        };
        let text = Text::of(letter, spec.language);
        let (web, now) = (&self.web, clock::now());
        let secrets = Secrets { client: &self.client, namespace: &self.operator_namespace };
        let turn = || self.turn(channel, letter);
        match channel {
            Channel::Webhook(it) => webhook::Receiver::resolve(it, &secrets).await?.send(web, letter, now).await,
            Channel::DingTalk(it) => {
                let robot = dingtalk::Robot::resolve(it, &secrets).await?;
                turn().await?;
                robot.send(web, &text, now).await
            }
            Channel::Feishu(it) => {
                let bot = feishu::Bot::resolve(it, &secrets).await?;
                turn().await?;
                bot.send(web, &text, now).await
            }
            Channel::WeCom(it) => {
                let robot = wecom::Robot::resolve(it, &secrets).await?;
                turn().await?;
                robot.send(web, &text).await
            }
            Channel::Slack(it) => {
                let way = slack::Way::resolve(it, &secrets).await?;
                turn().await?;
                way.send(web, &text).await
            }
            Channel::Teams(it) => teams::Workflow::resolve(it, &secrets).await?.send(web, &text).await,
            Channel::PagerDuty(it) => pagerduty::Service::resolve(it, &secrets).await?.send(web, letter, &text).await,
            Channel::Alertmanager(it) => {
                alertmanager::Receiver::resolve(it, &secrets).await?.send(web, letter, &text).await
            }
            Channel::Email(it) => email::Server::resolve(it, &secrets).await?.send(letter, &text).await,
            Channel::GitHub(it) => github::Repository::resolve(it, &secrets).await?.send(web, letter, &text).await,
        }
    }

    /// Waits a moment until the service takes another message; not for longer, which is the outbox's affair.
    async fn turn(&self, channel: Channel<'_>, letter: &Letter) -> Outcome {
        let Some(rate) = rates::of(channel) else { return Ok(()) };
        let severity = letter.notice.reason.severity();
        let messages = rates::messages(channel, severity);
        for _ in 0..A_MOMENT.as_secs() {
            match self.rates.take(&letter.channel, rate, messages, severity, clock::now()) {
                Ok(()) => return Ok(()),
                Err(wait) if wait <= A_MOMENT => tokio::time::sleep(wait).await,
                Err(_) => break,
            }
        }
        self.rates.take(&letter.channel, rate, messages, severity, clock::now()).map_err(|wait| {
            let (most, seconds) = (rate.most, rate.span.as_secs());
            Fault::Later(
                format!("it waits its turn: {most} messages in {seconds} s are what the service takes"),
                Some(wait),
            )
        })
    }
}

impl Sender for Post {
    fn send<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Sent> {
        Box::pin(async move {
            if letter.channel == EVENT_CHANNEL {
                events::send(&self.client, letter, &self.instance).await
            } else {
                self.notify(letter).await
            }
        })
    }
}
