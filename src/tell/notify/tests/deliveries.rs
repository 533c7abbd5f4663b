//! Each channel against a service on this machine that is as strict as the real one.

use std::time::Duration;

use super::super::{
    alertmanager,
    call::Fault,
    dingtalk,
    fakes::{Fake, robots, said, serve, services},
    feishu, github, pagerduty, slack, teams,
    testing::{CANARY, letter, saying, text, web},
    text::Text,
    wecom,
};
use crate::{
    api::{notice::Reason, notifier::Language},
    observe::clock,
    tell::outbox::LONGEST_PAUSE,
};

fn long() -> Text {
    saying(Reason::RollbackFailed, &"*<@é\"".repeat(10_000))
}

fn mend(outcome: &Result<(), Fault>, words: &str) {
    assert!(matches!(outcome, Err(Fault::Later(why, Some(LONGEST_PAUSE))) if why.contains(words)), "{outcome:?}");
}

fn ding(fake: &Fake, token: &str, secret: &str) -> dingtalk::Robot {
    let url = fake.at(&format!("/robot/send?access_token={token}"));
    dingtalk::Robot { url, signing_secret: Some(secret.into()) }
}

#[tokio::test]
async fn dingtalk_takes_signed_messages_and_only_critical_ones_call_everybody() {
    let fake = robots::dingtalk().await;
    let robot = ding(&fake, "T", robots::SECRET);
    assert_eq!(robot.send(&web(), &text(Reason::RolledBack), clock::now()).await, Ok(()));
    assert_eq!(robot.send(&web(), &long(), clock::now()).await, Ok(()));
    let all: Vec<bool> = fake.bodies().iter().map(|b| b["at"]["isAtAll"].as_bool().unwrap()).collect();
    assert_eq!(all, [false, true]);

    let off = clock::now().minus(Duration::from_hours(2));
    for (robot, now) in [(&ding(&fake, "T", "SECother"), clock::now()), (&robot, off)] {
        mend(&robot.send(&web(), &text(Reason::RolledBack), now).await, "signing secret");
    }
    mend(&ding(&fake, "X", robots::SECRET).send(&web(), &text(Reason::RolledBack), clock::now()).await, "access token");
    for _ in 2..20 {
        assert_eq!(robot.send(&web(), &text(Reason::RolledBack), clock::now()).await, Ok(()));
    }
    mend(&robot.send(&web(), &text(Reason::RolledBack), clock::now()).await, "20 messages a minute");
}

#[tokio::test]
async fn feishu_takes_signed_cards() {
    let fake = robots::feishu().await;
    let bot = |path: &str, secret: Option<&str>| feishu::Bot {
        url: fake.at(path),
        signing_secret: secret.map(str::to_owned),
    };
    let hook = "/open-apis/bot/v2/hook/ID";
    let signed = bot(hook, Some(robots::SECRET));
    assert_eq!(signed.send(&web(), &text(Reason::Succeeded), clock::now()).await, Ok(()));
    assert_eq!(signed.send(&web(), &long(), clock::now()).await, Ok(()));
    let colours: Vec<_> = fake.bodies().iter().map(|b| b["card"]["header"]["template"].clone()).collect();
    assert_eq!(colours, ["green", "red"]);
    mend(&bot(hook, None).send(&web(), &text(Reason::Succeeded), clock::now()).await, "signature");
    mend(&bot("/other", Some(robots::SECRET)).send(&web(), &text(Reason::Succeeded), clock::now()).await, "address");
}

#[tokio::test]
async fn wecom_takes_two_messages_when_it_is_critical() {
    let fake = robots::wecom().await;
    let robot = |key: &str| wecom::Robot { url: fake.at(&format!("/cgi-bin/webhook/send?key={key}")) };
    assert_eq!(robot("K").send(&web(), &text(Reason::RolledBack)).await, Ok(()));
    assert_eq!(robot("K").send(&web(), &long()).await, Ok(()));
    let kinds: Vec<_> = fake.bodies().iter().map(|b| b["msgtype"].clone()).collect();
    assert_eq!(kinds, ["markdown", "markdown", "text"]);
    assert_eq!(fake.bodies()[2]["text"]["mentioned_list"][0], "@all");
    mend(&robot("X").send(&web(), &text(Reason::RolledBack)).await, "key");
    for _ in 3..20 {
        assert_eq!(robot("K").send(&web(), &text(Reason::RolledBack)).await, Ok(()));
    }
    let full = robot("K").send(&web(), &text(Reason::RolledBack)).await;
    assert!(matches!(&full, Err(Fault::Later(why, None)) if why.contains("20 messages")), "{full:?}");
}

#[tokio::test]
async fn slack_takes_blocks_from_a_bot_and_from_a_webhook() {
    let fake = robots::slack().await;
    let bot = |token: &str, channel: &str| slack::Way::Bot {
        url: fake.at("/api/chat.postMessage"),
        token: token.into(),
        channel: channel.into(),
    };
    mend(&bot("xoxb-2", "C1").send(&web(), &text(Reason::RolledBack)).await, "token");
    mend(&bot("xoxb-1", "C2").send(&web(), &text(Reason::RolledBack)).await, "channel");
    assert_eq!(bot("xoxb-1", "C1").send(&web(), &long()).await, Ok(()));
    let soon = bot("xoxb-1", "C1").send(&web(), &text(Reason::RolledBack)).await;
    assert_eq!(soon, Err(Fault::Later("the receiver answered 429".into(), Some(Duration::from_secs(1)))));

    let hook = serve(|_| said(200, "ok")).await;
    assert_eq!(slack::Way::Webhook(hook.at("/services/T/B/x")).send(&web(), &text(Reason::RolledBack)).await, Ok(()));
    assert!(hook.bodies()[0].get("channel").is_none());
    let gone = serve(|_| said(404, "no_service")).await;
    mend(&slack::Way::Webhook(gone.at("/services/T/B/x")).send(&web(), &text(Reason::RolledBack)).await, "webhook");
}

#[tokio::test]
async fn teams_takes_a_card() {
    let fake = services::teams().await;
    let flow = |path: &str| teams::Workflow { url: fake.at(path) };
    assert_eq!(flow("/workflows/w").send(&web(), &long()).await, Ok(()));
    mend(&flow("/workflows/x").send(&web(), &text(Reason::RolledBack)).await, "workflow");
}

#[tokio::test]
async fn pagerduty_has_one_incident_while_a_release_is_in_trouble() {
    let (fake, open) = services::pagerduty().await;
    let service = |key: &str| pagerduty::Service { root: format!("{}/", fake.url), routing_key: key.into() };
    let tell = async |reason| {
        assert_eq!(service(services::ROUTING_KEY).send(&web(), &letter(reason), &text(reason)).await, Ok(()));
        open.lock().unwrap().values().cloned().collect::<Vec<_>>()
    };
    assert!(tell(Reason::Accepted).await.is_empty(), "news is a change event");
    assert_eq!(tell(Reason::RollingBack).await, ["error"]);
    assert_eq!(tell(Reason::RollbackFailed).await, ["critical"], "the same incident");
    assert_eq!(tell(Reason::StepStarted).await, ["critical"]);
    assert!(tell(Reason::RolledBack).await.is_empty());
    assert_eq!(tell(Reason::Stuck).await, ["warning"]);
    assert!(tell(Reason::Succeeded).await.is_empty());
    assert_eq!(service(services::ROUTING_KEY).send(&web(), &letter(Reason::RollbackFailed), &long()).await, Ok(()));
    mend(&service("short").send(&web(), &letter(Reason::Stuck), &text(Reason::Stuck)).await, "routingKey");
}

#[tokio::test]
async fn an_alert_fires_until_the_release_is_well_and_ends_with_its_words() {
    let (fake, alerts) = services::alertmanager().await;
    let receiver = alertmanager::Receiver { url: fake.at("/api/v2/alerts"), headers: http::HeaderMap::new() };
    let tell = async |reason| {
        let mut letter = letter(reason);
        letter.notice.at = clock::now();
        let text = Text::of(&letter, Language::En);
        assert_eq!(receiver.send(&web(), &letter, &text).await, Ok(()));
        services::firing(&alerts)
    };
    let firing = tell(Reason::RollingBack).await;
    assert_eq!(firing[0]["labels"]["severity"], "warning");
    assert_eq!(tell(Reason::RollbackFailed).await.len(), 2, "critical beside it: routes go by severity");
    assert!(tell(Reason::RolledBack).await.is_empty());
    let ended = alerts
        .lock()
        .unwrap()
        .values()
        .all(|alert| alert["annotations"]["summary"].as_str().unwrap().contains("rolled back"));
    assert!(ended, "the words of the end");
    let news = tell(Reason::OrderRefused).await;
    assert_eq!((news.len(), &news[0]["labels"]["reason"]), (1, &"OrderRefused".into()));
    assert_eq!(alerts.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn an_issue_is_opened_once_commented_and_closed() {
    let (fake, issues) = services::github().await;
    let repository = |token: &str, name: &str| github::Repository {
        root: fake.url.clone(),
        name: name.into(),
        token: token.into(),
        labels: vec!["P1".into()],
    };
    let tell = async |reason| {
        assert_eq!(repository("ghp-1", "shop/ops").send(&web(), &letter(reason), &text(reason)).await, Ok(()));
        issues.lock().unwrap().clone()
    };
    assert!(
        tell(Reason::Accepted).await.is_empty() && tell(Reason::Succeeded).await.is_empty(),
        "no trouble, no issue"
    );
    let opened = tell(Reason::RollingBack).await;
    assert_eq!(opened[0]["labels"], serde_json::json!(["haldane", "P1"]));
    assert_eq!(tell(Reason::RolledBack).await.len(), 1, "found again");
    let closed = tell(Reason::Succeeded).await;
    assert_eq!((closed.len(), &closed[0]["state"]), (1, &"closed".into()));
    assert_eq!(closed[0]["comments"].as_array().unwrap().len(), 2);
    assert_eq!(tell(Reason::Succeeded).await[0]["comments"].as_array().unwrap().len(), 2, "told twice, closed once");

    // The mark of another Release in this one's words does not make its issue the other's.
    let mut stranger = letter(Reason::Stuck);
    stranger.subject.uid = "other".into();
    stranger.notice.message = "<!-- haldane-release: 7d0b -->".into();
    let words = Text::of(&stranger, Language::En);
    assert_eq!(repository("ghp-1", "shop/ops").send(&web(), &stranger, &words).await, Ok(()));
    assert_eq!(tell(Reason::Stuck).await.len(), 3);

    mend(&repository("ghp-2", "shop/ops").send(&web(), &letter(Reason::Stuck), &text(Reason::Stuck)).await, "token");
    mend(
        &repository("ghp-1", "shop/no").send(&web(), &letter(Reason::Stuck), &text(Reason::Stuck)).await,
        "repository",
    );
}

/// Whoever answers must not speak through our status.
#[tokio::test]
async fn nothing_that_is_answered_is_repeated() {
    for status in [200, 302, 400, 401, 403, 404, 410, 413, 422, 429, 500] {
        let words = serde_json::json!({"errcode": 77_777, "code": 77_777, "errmsg": CANARY, "msg": CANARY, "error": CANARY, "message": CANARY});
        let fake = serve(move |_| said(status, &words)).await;
        let (url, now, letter, text) =
            (fake.at(&format!("/{CANARY}")), clock::now(), letter(Reason::Stuck), text(Reason::Stuck));
        let bot = slack::Way::Bot { url: url.clone(), token: CANARY.into(), channel: "C".into() };
        let repository =
            github::Repository { root: fake.url.clone(), name: "a/b".into(), token: CANARY.into(), labels: vec![] };
        let told = [
            dingtalk::Robot { url: url.clone(), signing_secret: Some(CANARY.into()) }.send(&web(), &text, now).await,
            feishu::Bot { url: url.clone(), signing_secret: Some(CANARY.into()) }.send(&web(), &text, now).await,
            wecom::Robot { url: url.clone() }.send(&web(), &text).await,
            bot.send(&web(), &text).await,
            teams::Workflow { url: url.clone() }.send(&web(), &text).await,
            pagerduty::Service { root: url.to_string(), routing_key: CANARY.into() }.send(&web(), &letter, &text).await,
            alertmanager::Receiver { url, headers: http::HeaderMap::new() }.send(&web(), &letter, &text).await,
            repository.send(&web(), &letter, &text).await,
        ];
        let told = format!("{told:?}");
        assert!(!told.contains(CANARY), "{told}");
    }
}
