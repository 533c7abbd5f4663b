//! The operator's writes as the API server's audit log has them. Its times are those of the answers, to the microsecond.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use serde_json::Value;

/// One answered write.
#[derive(Clone, Debug)]
pub struct Write {
    pub at: SystemTime,
    pub verb: String,
    /// `httproutes`, `releases/status`.
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub code: u64,
    /// The candidate's weight that a write on a route gives.
    pub weight: Option<u64>,
}

/// Follows the log.
#[derive(Clone)]
pub struct Audit(Arc<Mutex<Log>>);

struct Log {
    path: PathBuf,
    read: u64,
    rest: String,
    writes: Vec<Write>,
}

impl Audit {
    pub fn of(path: PathBuf) -> Self {
        Self(Arc::new(Mutex::new(Log { path, read: 0, rest: String::new(), writes: Vec::new() })))
    }

    /// How many writes there have been.
    pub fn len(&self) -> usize {
        self.since(usize::MAX, |_| true).0
    }

    /// The number of all writes, and those after the first `from` that are asked for.
    pub fn since(&self, from: usize, wanted: impl Fn(&Write) -> bool) -> (usize, Vec<Write>) {
        let mut log = self.0.lock().expect("no panic inside");
        log.read_on();
        let after = log.writes.get(from.min(log.writes.len())..).unwrap_or_default();
        (log.writes.len(), after.iter().filter(|w| wanted(w)).cloned().collect())
    }

    /// The first write after the first `from` that is asked for, as soon as it is there.
    pub async fn first(&self, from: usize, wanted: impl Fn(&Write) -> bool) -> Write {
        loop {
            if let Some(found) = self.since(from, &wanted).1.into_iter().next() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Log {
    fn read_on(&mut self) {
        let Ok(mut file) = File::open(&self.path) else { return };
        file.seek(SeekFrom::Start(self.read)).expect("a position");
        let mut bytes = Vec::new();
        self.read += file.read_to_end(&mut bytes).expect("the audit log") as u64;
        self.rest.push_str(&String::from_utf8_lossy(&bytes));
        let Some(end) = self.rest.rfind('\n') else { return };
        let rest = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, rest);
        self.writes.extend(whole.lines().filter_map(write));
    }
}

fn write(line: &str) -> Option<Write> {
    let event: Value = serde_json::from_str(line).ok()?;
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let at: k8s_openapi::jiff::Timestamp = text("/stageTimestamp").parse().ok()?;
    let resource = match text("/objectRef/subresource") {
        sub if sub.is_empty() => text("/objectRef/resource"),
        sub => format!("{}/{sub}", text("/objectRef/resource")),
    };
    Some(Write {
        at: at.into(),
        verb: text("/verb"),
        weight: (resource == "httproutes").then(|| weight(&event["requestObject"])).flatten(),
        resource,
        namespace: text("/objectRef/namespace"),
        name: text("/objectRef/name"),
        code: event.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or_default(),
    })
}

fn weight(patch: &Value) -> Option<u64> {
    let written = patch.as_array()?.iter().find(|op| op["op"] == "replace" && op["path"] == "/spec/rules")?;
    let refs = written["value"].as_array()?.iter().filter_map(|rule| rule["backendRefs"].as_array()).flatten();
    let ours = |name: &str| name.ends_with("-canary");
    refs.filter(|r| r["name"].as_str().is_some_and(ours)).find_map(|r| r["weight"].as_u64())
}
