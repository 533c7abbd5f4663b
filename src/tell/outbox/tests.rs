//! The outbox: what is delivered, kept, and given up.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use super::*;
use crate::api::{notice::Reason, units::At};

/// Writes down what it is given; says what it is told to say.
struct Tray {
    out: mpsc::UnboundedSender<(String, u64)>,
    broken: Arc<AtomicBool>,
    answer: Sent,
}

impl Sender for Tray {
    fn send<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Sent> {
        Box::pin(async move {
            self.out.send((letter.channel.clone(), letter.notice.seq)).unwrap();
            if self.broken.load(Ordering::SeqCst) && letter.channel != "event" {
                self.answer.clone()
            } else {
                Sent::Delivered
            }
        })
    }
}

struct Bench {
    outbox: Outbox,
    sent: mpsc::UnboundedReceiver<(String, u64)>,
    kicks: mpsc::UnboundedReceiver<String>,
    broken: Arc<AtomicBool>,
    metrics: Metrics,
}

fn bench(answer: Sent, broken: bool) -> Bench {
    let (tray, sent) = mpsc::unbounded_channel();
    let (kick, kicks) = mpsc::unbounded_channel();
    let broken = Arc::new(AtomicBool::new(broken));
    let metrics = Metrics::default();
    let kick: Kick = Arc::new(move |namespace, name| drop(kick.send(format!("{namespace}/{name}"))));
    let outbox = Outbox::new(Tray { out: tray, broken: broken.clone(), answer }, kick, metrics.clone());
    Bench { outbox, sent, kicks, broken, metrics }
}

fn subject() -> Subject {
    Subject { namespace: "shop".into(), name: "checkout".into(), uid: "u1".into(), ..Subject::default() }
}

fn notice(seq: u64, pending: &[&str], at: At) -> Notice {
    Notice {
        seq,
        reason: Reason::StepStarted,
        at,
        message: "m".into(),
        revision: None,
        pending: pending.iter().map(|p| (*p).to_owned()).collect(),
        attempts: 0,
    }
}

fn later() -> Sent {
    Sent::Later { why: "Notifier oncall: the receiver answered 500".into(), after: None }
}

#[tokio::test(start_paused = true)]
async fn notices_leave_once_each_in_order_and_are_reported_until_they_are_off_the_status() {
    let mut b = bench(later(), false);
    let stored: Vec<Notice> = [3, 1, 2].map(|seq| notice(seq, &["oncall"], clock::now())).into();
    b.outbox.hand_over(&subject(), &stored);
    b.outbox.hand_over(&subject(), &stored);
    for seq in 1..=3 {
        assert_eq!(b.sent.recv().await, Some(("oncall".into(), seq)));
    }
    for _ in 0..3 {
        assert_eq!(b.kicks.recv().await.as_deref(), Some("shop/checkout"));
    }
    let all: Vec<_> = (1..=3).map(|seq| (seq, "oncall".to_owned())).collect();
    assert_eq!(b.outbox.delivered("u1"), all);
    // A status that still holds them, because its write lagged, sends nothing again.
    b.outbox.hand_over(&subject(), &stored);
    tokio::task::yield_now().await;
    assert!(b.sent.try_recv().is_err());
    // Once off the status they are forgotten.
    b.outbox.hand_over(&subject(), &stored[..1]);
    assert_eq!(b.outbox.delivered("u1"), [(3, "oncall".to_owned())]);
    b.outbox.hand_over(&subject(), &[]);
    assert!(b.outbox.delivered("u1").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_broken_channel_holds_up_no_other_and_keeps_its_order() {
    let mut b = bench(later(), true);
    let stored: Vec<Notice> = [1, 2].map(|seq| notice(seq, &["event", "oncall"], clock::now())).into();
    b.outbox.hand_over(&subject(), &stored);
    let (mut events, mut calls) = (vec![], vec![]);
    while calls.len() < 4 {
        let (channel, seq) = b.sent.recv().await.unwrap();
        if channel == "event" { events.push(seq) } else { calls.push(seq) }
    }
    assert_eq!((events, calls), (vec![1, 2], vec![1, 1, 1, 1]));
    assert_eq!(b.outbox.problems("u1"), ["Notifier oncall: the receiver answered 500"]);
    assert_eq!(b.outbox.delivered("u1"), [(1, "event".to_owned()), (2, "event".to_owned())]);

    b.broken.store(false, Ordering::SeqCst);
    assert_eq!(b.sent.recv().await.unwrap().1, 1);
    assert_eq!(b.sent.recv().await.unwrap().1, 2);
    while b.outbox.delivered("u1").len() < 4 {
        b.kicks.recv().await.unwrap();
    }
    assert!(b.outbox.problems("u1").is_empty());
    let text = b.metrics.text().unwrap();
    assert!(text.contains(r#"haldane_notices_total{channel="oncall",outcome="delivered"} 2"#), "{text}");
    assert!(text.contains(r#"haldane_notices_total{channel="oncall",outcome="failed"}"#), "{text}");
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_and_the_receivers_wish_is_heard_within_limits() {
    let mut b = bench(later(), true);
    b.outbox.hand_over(&subject(), &[notice(1, &["oncall"], clock::now())]);
    b.sent.recv().await.unwrap();
    let mut pauses = vec![];
    for _ in 0..10 {
        let begun = tokio_now();
        b.sent.recv().await.unwrap();
        pauses.push(begun.elapsed().as_secs());
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);

    let wish = Sent::Later { why: "429".into(), after: Some(Duration::from_secs(100_000)) };
    let mut b = bench(wish, true);
    b.outbox.hand_over(&subject(), &[notice(1, &["oncall"], clock::now())]);
    b.sent.recv().await.unwrap();
    let begun = tokio_now();
    b.sent.recv().await.unwrap();
    assert_eq!(begun.elapsed(), LONGEST_PAUSE);
}

#[expect(clippy::disallowed_methods, reason = "the paused clock of the test")]
fn tokio_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

#[tokio::test(start_paused = true)]
async fn a_notice_that_cannot_be_delivered_is_given_up_and_counted() {
    let old = clock::now().minus(GIVE_UP);
    for (answer, at) in [(later(), old), (Sent::Never("no".into()), clock::now())] {
        let mut b = bench(answer, true);
        b.outbox.hand_over(&subject(), &[notice(1, &["oncall"], at)]);
        b.kicks.recv().await.unwrap();
        assert_eq!(b.outbox.delivered("u1"), [(1, "oncall".to_owned())], "it leaves the status");
        let text = b.metrics.text().unwrap();
        assert!(text.contains(r#"haldane_notices_total{channel="oncall",outcome="given_up"} 1"#), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_older_than_the_api_server_keeps_them_is_not_created_and_no_event_wakes_a_pass() {
    let mut b = bench(later(), false);
    let old = clock::now().minus(EVENTS_LAST);
    b.outbox.hand_over(&subject(), &[notice(1, &["event"], old), notice(2, &["event", "oncall"], clock::now())]);
    let mut sent = vec![b.sent.recv().await.unwrap(), b.sent.recv().await.unwrap()];
    sent.sort();
    assert_eq!(sent, [("event".to_owned(), 2), ("oncall".to_owned(), 2)]);
    b.kicks.recv().await.unwrap();
    while b.outbox.delivered("u1").len() < 3 {
        tokio::task::yield_now().await;
    }
    assert!(b.kicks.try_recv().is_err(), "one kick, for the notifier");
}

#[tokio::test(start_paused = true)]
async fn without_leadership_nothing_is_sent_and_the_next_term_begins_anew() {
    let mut b = bench(later(), true);
    let stored = [notice(1, &["oncall"], clock::now())];
    b.outbox.hand_over(&subject(), &stored);
    b.sent.recv().await.unwrap();
    b.outbox.stop();
    tokio::time::sleep(GIVE_UP).await;
    assert!(b.sent.try_recv().is_err());
    b.broken.store(false, Ordering::SeqCst);
    b.outbox.hand_over(&subject(), &stored);
    assert_eq!(b.sent.recv().await.unwrap().1, 1);
}
