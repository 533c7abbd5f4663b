//! Views that lie: what a watch tells is held back, lost, told twice, told late, or begins again from an old list.
//!
//! A plan names one event by its object, kind and number ("the second event of Service shop"), so that it can be played
//! again. Names that are new each time lose their ending.

use std::{collections::BTreeMap, fmt, time::Duration};

use axum::body::{Body, Bytes};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};

use crate::{ending::unmarked, fault::Line};

/// What can happen to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum View {
    /// It comes together with the next one of the same object.
    Held,
    /// It and all later ones of the object are lost, until the kind is listed anew ten seconds later.
    Lost,
    /// Only the next one of the same object comes.
    Coalesced,
    Twice,
    /// Another kind's next event comes first.
    Overtaken,
    /// Instead of it: 410 Gone. What follows is a new list.
    Gone,
    /// As `Gone`, and the list is the one that was given first.
    OldList,
}

impl View {
    pub const ALL: [Self; 7] =
        [Self::Held, Self::Lost, Self::Coalesced, Self::Twice, Self::Overtaken, Self::Gone, Self::OldList];
}

/// The nth event of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// `services shop`.
    pub object: String,
    pub nth: u32,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}", self.object, self.nth)
    }
}

/// What is known of the watches of one line.
#[derive(Default)]
pub struct Seen {
    pub counting: bool,
    counts: BTreeMap<String, u32>,
    /// All events, in their order.
    pub events: Vec<Event>,
    pub plan: Option<(Event, View)>,
    pub fired: bool,
    /// The first answer of each list that begins a watch.
    lists: BTreeMap<String, Bytes>,
    /// The list that is to be answered as at first.
    old: Option<String>,
}

impl Seen {
    fn take(&mut self, object: &str) -> Option<View> {
        if !self.counting {
            return None;
        }
        let nth = self.counts.entry(object.to_owned()).or_default();
        *nth += 1;
        let event = Event { object: object.to_owned(), nth: *nth };
        let view = self.plan.as_ref().filter(|(planned, _)| *planned == event).map(|(_, view)| *view);
        self.events.push(event);
        self.fired |= view.is_some();
        view
    }

    /// The list to answer with, given the true one.
    pub fn list(&mut self, what: &str, now: Bytes) -> Bytes {
        let first = self.lists.entry(what.to_owned()).or_insert_with(|| now.clone()).clone();
        if self.old.take_if(|old| old == what).is_some() { first } else { now }
    }
}

/// Nothing is held back longer, should what it waits for never come.
const LONGEST: Duration = Duration::from_secs(20);
/// How long events are lost.
const LOSS: Duration = Duration::from_secs(10);

/// A watch through the line: `what` is the path and form of its list.
pub fn through(line: &Line, what: String, body: Body) -> Body {
    let (out, events) = mpsc::channel::<Result<Bytes, axum::Error>>(64);
    let own = line.clone();
    line.spawn(async move {
        let mut pump = Pump { line: own, what, out, held: None, lost: None };
        // Either side may be gone at any moment; then this is over too.
        let _over = pump.run(body).await;
    });
    Body::from_stream(stream::unfold(events, async |mut events| Some((events.recv().await?, events))))
}

struct Over;

struct Pump {
    line: Line,
    what: String,
    out: mpsc::Sender<Result<Bytes, axum::Error>>,
    held: Option<Held>,
    /// The object whose events are lost here, and until when.
    lost: Option<(String, Instant)>,
}

struct Held {
    object: String,
    text: Bytes,
    view: View,
}

impl Pump {
    async fn run(&mut self, body: Body) -> Result<(), Over> {
        let (mut chunks, mut rest) = (body.into_data_stream(), Vec::new());
        loop {
            let others = self.line.told();
            let relist = self.lost.as_ref().map(|(_, until)| *until);
            let overtakes = self.held.as_ref().is_some_and(|held| held.view == View::Overtaken);
            let chunk = tokio::select! {
                chunk = chunks.next() => chunk,
                () = tokio::time::sleep(LONGEST), if self.held.is_some() => {
                    self.release().await?;
                    continue;
                }
                () = tokio::time::sleep_until(relist.unwrap_or_else(now)), if relist.is_some() => {
                    return self.gone().await;
                }
                () = others, if overtakes => {
                    self.release().await?;
                    continue;
                }
            };
            let Some(chunk) = chunk else { return self.release().await };
            let chunk = chunk.map_err(|_| Over)?;
            rest.extend_from_slice(&chunk);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let text: Vec<u8> = rest.drain(..=end).collect();
                self.event(text.into()).await?;
            }
        }
    }

    async fn event(&mut self, text: Bytes) -> Result<(), Over> {
        let event: Value = serde_json::from_slice(&text).unwrap_or_default();
        let Some(object) = object(&self.what, &event) else { return self.tell(text).await };
        let view = self.line.views(|seen| seen.take(&object));
        if self.lost.as_ref().is_some_and(|(lost, _)| *lost == object) {
            return Ok(());
        }
        if let Some(held) = self.held.take_if(|held| held.object == object) {
            if held.view != View::Coalesced {
                self.tell(held.text).await?;
            }
            return self.tell(text).await;
        }
        match view {
            None => self.tell(text).await,
            Some(view @ (View::Held | View::Coalesced | View::Overtaken)) => {
                self.held = Some(Held { object, text, view });
                Ok(())
            }
            Some(View::Lost) => {
                self.lost = Some((object, now() + LOSS));
                Ok(())
            }
            Some(View::Twice) => {
                self.tell(text.clone()).await?;
                self.tell(text).await
            }
            Some(view @ (View::Gone | View::OldList)) => {
                if view == View::OldList {
                    let what = self.what.clone();
                    self.line.views(|seen| seen.old = Some(what));
                }
                self.gone().await
            }
        }
    }

    /// 410: the operator lists anew.
    async fn gone(&mut self) -> Result<(), Over> {
        let gone = json!({"type": "ERROR", "object": {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410,
            "reason": "Expired", "message": "too old resource version",
        }});
        self.tell(format!("{gone}\n").into()).await?;
        Err(Over)
    }

    async fn release(&mut self) -> Result<(), Over> {
        match self.held.take() {
            Some(held) => self.tell(held.text).await,
            None => Ok(()),
        }
    }

    async fn tell(&self, text: Bytes) -> Result<(), Over> {
        self.line.tell();
        self.out.send(Ok(text)).await.map_err(|_| Over)
    }
}

fn now() -> Instant {
    Instant::from_std(haldane::observe::clock::monotonic())
}

/// The object of an event, by its kind and the part of its name that is the same each time.
fn object(what: &str, event: &Value) -> Option<String> {
    if event["type"] == "BOOKMARK" || event["type"] == "ERROR" {
        return None;
    }
    let kind = what.split([' ', '?']).next()?.rsplit('/').next()?;
    let name = event["object"]["metadata"]["name"].as_str()?;
    let random = matches!(kind, "pods" | "endpointslices");
    let name = if random { name.rsplit_once('-').map_or(name, |(stem, _)| stem) } else { name };
    Some(format!("{kind} {}", unmarked(name)))
}
