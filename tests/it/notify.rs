//! Notifiers on a real API server: their Secrets, what their services take in a minute, and the command that tries them.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, Uri},
};
use haldane::{
    api::{
        notice::{Notice, Reason},
        units::At,
    },
    tell::{
        notify::Post,
        outbox::{Letter, Sender, Sent, Subject},
    },
};
use serde_json::{Value, json};

use crate::{
    cli::run,
    harness::{self, Plane},
};

type Got = Arc<Mutex<Vec<(String, HeaderMap, Value)>>>;

/// A receiver that finds everything well, in the words of every service.
async fn receiver() -> (String, Got) {
    let got = Got::default();
    let book = Arc::clone(&got);
    let take = move |uri: Uri, headers: HeaderMap, body: Bytes| {
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let list = body.is_null();
        book.lock().unwrap().push((uri.to_string(), headers, body));
        let well = json!({"errcode": 0, "code": 0, "ok": true, "number": 1});
        async move { if list { "[]".to_owned() } else { well.to_string() } }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(take)).await.unwrap() });
    (url, got)
}

fn letter(notifier: &str, release: &str, reason: Reason) -> Letter {
    Letter {
        subject: Subject {
            namespace: "shop".into(),
            name: release.into(),
            uid: format!("uid-{release}"),
            state: "Draining".into(),
            version: None,
        },
        notice: Notice {
            seq: 1,
            reason,
            at: At::new(jiff::Timestamp::from_second(1_790_000_000).unwrap()),
            message: "error rate 7.31 % > 5 %".into(),
            revision: None,
            pending: vec![notifier.into()],
            attempts: 0,
        },
        channel: notifier.into(),
    }
}

/// Notifiers of every kind that go to `url`, and their Secret.
async fn notifiers(plane: &Plane, ns: &str, url: &str) -> Vec<&'static str> {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "chat"},
        "stringData": {"url": format!("{url}/secret?key=canary-91"), "token": "canary-91"},
    });
    plane.apply_yaml(ns, &secret.to_string()).await;
    let (address, token) = (json!({"name": "chat", "key": "url"}), json!({"name": "chat", "key": "token"}));
    let kinds = [
        ("webhook", json!({"url": format!("{url}/hook"), "headers": [{"name": "x-token", "secret": token}]})),
        ("dingtalk", json!({"urlFrom": address, "signingSecret": token})),
        ("feishu", json!({"urlFrom": address, "signingSecret": token})),
        ("wecom", json!({"urlFrom": address})),
        ("slack", json!({"token": token, "channel": "C1", "url": format!("{url}/api")})),
        ("teams", json!({"urlFrom": address})),
        ("pagerduty", json!({"routingKey": token, "url": url})),
        ("alertmanager", json!({"url": url, "headers": [{"name": "x-token", "secret": token}]})),
        ("github", json!({"repository": "shop/ops", "token": token, "url": url})),
    ];
    for (kind, channel) in &kinds {
        let notifier = json!({
            "apiVersion": "haldane.dev/v1alpha1", "kind": "Notifier", "metadata": {"name": kind},
            "spec": {"allowedNamespaces": ["shop"], *kind: channel},
        });
        plane.apply_yaml(ns, &notifier.to_string()).await;
    }
    kinds.map(|(kind, _)| kind).to_vec()
}

#[tokio::test]
async fn a_notifier_of_every_kind_takes_its_secrets_and_sends() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let (url, got) = receiver().await;
    let kinds = notifiers(&plane, &ns, &url).await;
    let post = Post::new(plane.client(), ns, "haldane-0".into()).unwrap();
    for kind in kinds {
        let before = got.lock().unwrap().len();
        assert_eq!(post.send(&letter(kind, "checkout", Reason::RollingBack)).await, Sent::Delivered, "{kind}");
        let calls = got.lock().unwrap()[before..].to_vec();
        assert!(calls.iter().any(|(_, _, body)| body.to_string().contains("7.31 % > 5 %")), "{kind}: {calls:?}");
        let secret = |(uri, headers, body): &(String, HeaderMap, Value)| {
            format!("{uri} {headers:?} {body}").contains("canary-91")
                || headers.values().any(|value| value.to_str().is_ok_and(|v| v.contains("canary-91")))
        };
        assert!(calls.iter().all(secret), "{kind} is sent with its secret: {calls:?}");
    }
}

#[tokio::test]
async fn the_releases_of_a_notifier_share_what_its_service_takes() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let (url, got) = receiver().await;
    notifiers(&plane, &ns, &url).await;
    let post = Post::new(plane.client(), ns, "haldane-0".into()).unwrap();
    let tell = async |n: usize, reason| post.send(&letter("dingtalk", &format!("r{n}"), reason)).await;
    for n in 0..16 {
        assert_eq!(tell(n, Reason::Succeeded).await, Sent::Delivered);
    }
    let Sent::Later { why, after } = tell(16, Reason::Succeeded).await else { panic!("sent") };
    assert_eq!(why, "Notifier dingtalk: it waits its turn: 20 messages in 60 s are what the service takes");
    assert!(after.is_some_and(|after| after.as_secs() > 3), "{after:?}");
    for n in 17..21 {
        assert_eq!(tell(n, Reason::RollbackFailed).await, Sent::Delivered, "kept for these");
    }
    assert!(matches!(tell(21, Reason::RollbackFailed).await, Sent::Later { .. }));
    assert_eq!(got.lock().unwrap().len(), 20);
}

#[tokio::test]
async fn a_notifier_is_tried_from_the_command_line() {
    let plane = harness::plane().await;
    let ns = plane.namespace().await;
    let (url, got) = receiver().await;
    notifiers(&plane, &ns, &url).await;

    let (code, out, err) = run(&plane, &ns, &["notify", "test", "feishu", "--dry-run"]).await;
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("POST … (key url of Secret chat)\n") && out.contains("rolled back"), "{out}");
    assert!(!out.contains("canary-91") && got.lock().unwrap().is_empty(), "{out}");

    let (code, out, err) = run(&plane, &ns, &["notify", "test", "dingtalk", "--reason", "RollbackFailed"]).await;
    assert_eq!((code, out.as_str()), (0, "the receiver of Notifier dingtalk has taken it\n"), "{err}");
    assert_eq!(got.lock().unwrap()[0].2["at"]["isAtAll"], true);

    let (code, _, err) = run(&plane, &ns, &["notify", "test", "nobody"]).await;
    assert_eq!(code, 1);
    assert!(err.contains(&format!("there is no Notifier nobody in namespace {ns}")), "{err}");
    let (code, _, err) = run(&plane, &ns, &["notify", "test", "dingtalk", "--reason", "Broken"]).await;
    assert_eq!(code, 1);
    assert!(err.contains("'Broken' is not a reason"), "{err}");

    let (code, _, err) = run(&plane, &ns, &["notify", "test", "dingtalk", "--as", "bob"]).await;
    assert_eq!(code, 1);
    assert!(err.contains("User \"bob\" cannot get resource \"notifiers\""), "{err}");

    let missing = json!({
        "apiVersion": "haldane.dev/v1alpha1", "kind": "Notifier", "metadata": {"name": "lost"},
        "spec": {"teams": {"urlFrom": {"name": "gone", "key": "url"}}},
    });
    plane.apply_yaml(&ns, &missing.to_string()).await;
    let (code, _, err) = run(&plane, &ns, &["notify", "test", "lost"]).await;
    assert_eq!((code, err.as_str()), (1, "haldane: Notifier lost: Secret gone does not exist\n"));
}
