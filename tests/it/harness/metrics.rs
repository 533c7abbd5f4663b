//! Plays a Prometheus that scrapes every pod it is asked about: each serves twenty requests a second, and fails half of
//! them when a test says so.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Requests of one pod in a second, and which share fails when it is bad.
const RATE: f64 = 20.0;
const BAD_SHARE: f64 = 0.5;

/// Runs until it is dropped.
pub struct Metrics {
    pub url: String,
    world: Arc<Mutex<World>>,
    task: JoinHandle<()>,
}

/// Called with the beginning of the pods' names when the first answer that shows their errors is about to be sent, and
/// again, with the time, when it has been sent.
pub type Told = Box<dyn Fn(&str, Option<SystemTime>) + Send>;

struct World {
    interval: f64,
    /// When each pod was first asked about.
    born: BTreeMap<String, f64>,
    /// The pods whose names begin so fail since then; and whether an answer has shown it.
    bad: BTreeMap<String, (f64, bool)>,
    /// The pods whose names begin so get no more requests since then.
    silent: BTreeMap<String, f64>,
    /// Where the pods live whose names begin so, if a query names several namespaces.
    homes: BTreeMap<String, String>,
    told: Option<Told>,
}

/// Now, to the microsecond, on the clock that the API server writes into its audit log.
#[expect(clippy::disallowed_methods, reason = "the operator's own clock is cut to milliseconds; figures need more")]
pub fn now() -> SystemTime {
    SystemTime::now()
}

fn epoch() -> f64 {
    now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

impl Metrics {
    /// `interval`: how often it scrapes.
    pub async fn start(interval: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let world = Arc::new(Mutex::new(World {
            interval: interval.as_secs_f64(),
            born: BTreeMap::new(),
            bad: BTreeMap::new(),
            silent: BTreeMap::new(),
            homes: BTreeMap::new(),
            told: None,
        }));
        let shared = world.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _at_once = stream.set_nodelay(true);
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Self { url, world, task }
    }

    /// From now on the pods whose names begin so fail half of their requests.
    pub fn fail(&self, pods: &str) {
        lock(&self.world).bad.insert(pods.to_owned(), (epoch(), false));
    }

    /// From now on no request reaches the pods whose names begin so.
    pub fn silence(&self, pods: &str) {
        lock(&self.world).silent.insert(pods.to_owned(), epoch());
    }

    /// All pods whose names begin so are well again, and get requests.
    pub fn heal(&self, pods: &str) {
        let mut world = lock(&self.world);
        world.bad.retain(|begins, _| !begins.starts_with(pods));
        world.silent.retain(|begins, _| !begins.starts_with(pods));
    }

    pub fn tell(&self, told: impl Fn(&str, Option<SystemTime>) + Send + 'static) {
        lock(&self.world).told = Some(Box::new(told));
    }

    /// The pods whose names begin so live in this namespace.
    pub fn home(&self, pods: &str, namespace: &str) {
        lock(&self.world).homes.insert(pods.to_owned(), namespace.to_owned());
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().expect("no panic inside")
}

/// One connection, request after request.
async fn serve(mut stream: TcpStream, world: Arc<Mutex<World>>) {
    let mut request = Vec::new();
    let mut chunk = vec![0; 65536];
    loop {
        let length = loop {
            if let Some(length) = whole(&request) {
                break length;
            }
            match stream.read(&mut chunk).await {
                Ok(read) if read > 0 => request.extend_from_slice(&chunk[..read]),
                _ => return,
            }
        };
        let text = String::from_utf8_lossy(&request[..length]).into_owned();
        request.drain(..length);
        let (body, shown) = lock(&world).answer(&text);
        for pods in &shown {
            say(&world, pods, None);
        }
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        if stream.write_all((head + &body).as_bytes()).await.is_err() {
            return;
        }
        let sent = now();
        for pods in &shown {
            say(&world, pods, Some(sent));
        }
    }
}

fn say(world: &Mutex<World>, pods: &str, sent: Option<SystemTime>) {
    if let Some(told) = &lock(world).told {
        told(pods, sent);
    }
}

/// The length of the first request, if all of it is there.
fn whole(request: &[u8]) -> Option<usize> {
    let head = request.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
    let body = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok()).unwrap_or(0);
    (request.len() >= head + body).then_some(head + body)
}

/// The names in `<label>=~"…"`, whatever escapes stand between.
fn names(query: &str, label: &str) -> Vec<String> {
    let Some((_, rest)) = query.split_once(&format!("{label}=~\"")) else { return Vec::new() };
    let text: String = rest.split('"').next().unwrap_or_default().chars().filter(|c| *c != '\\').collect();
    let name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    text.split(|c| !name(c)).filter(|n| !n.is_empty()).map(str::to_owned).collect()
}

impl World {
    /// The answer, and whose errors it shows for the first time.
    fn answer(&mut self, request: &str) -> (String, Vec<String>) {
        let (head, body) = request.split_once("\r\n\r\n").unwrap_or_default();
        let form = reqwest::Url::parse(&format!("http://form/?{body}")).expect("a form");
        let field = |name: &str| form.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        let number = |name: &str| field(name).and_then(|text| text.parse::<f64>().ok());
        let query = field("query").unwrap_or_default();
        let (pods, namespaces) = (names(&query, "pod"), names(&query, "namespace"));
        let now = epoch();
        for pod in &pods {
            self.born.entry(pod.clone()).or_insert(now - self.interval);
        }
        let times: Option<Vec<f64>> = head.contains("query_range").then(|| {
            let (start, end, step) = (number("start"), number("end"), number("step"));
            let (start, end, step) = (start.unwrap_or(now), end.unwrap_or(now), step.unwrap_or(self.interval).max(0.1));
            let mut times = vec![start];
            while times[times.len() - 1] + step <= end {
                times.push(times[times.len() - 1] + step);
            }
            times
        });
        let bounds = query.contains("(count by");
        let mut series = Vec::new();
        for pod in &pods {
            let home = self.homes.iter().find(|(begins, _)| pod.starts_with(begins.as_str())).map(|(_, ns)| ns);
            let Some(namespace) = home.or(namespaces.first()) else { continue };
            for (labels, part) in PARTS.iter().filter(|(_, part)| !bounds || matches!(part, Part::Fast | Part::All)) {
                let value = |at: f64| if bounds { 1.0 } else { self.value(pod, *part, at) };
                let mut one = format!(r#"{{"metric":{{"namespace":"{namespace}","pod":"{pod}",{labels}}},"#);
                match &times {
                    None => write!(one, r#""value":[{now:.3},"{}"]}}"#, value(now)).expect("text"),
                    Some(times) => {
                        let lived = times.iter().filter(|at| **at >= self.born[pod]);
                        let values: Vec<String> = lived.map(|at| format!(r#"[{at:.3},"{}"]"#, value(*at))).collect();
                        write!(one, r#""values":[{}]}}"#, values.join(",")).expect("text");
                    }
                }
                series.push(one);
            }
        }
        let kind = if times.is_some() { "matrix" } else { "vector" };
        let body =
            format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":[{}]}}}}"#, series.join(","));
        let scraped = self.scraped(now);
        let mut shown = Vec::new();
        for (begins, (since, known)) in self.bad.iter_mut().filter(|_| times.is_none() && !bounds) {
            if !*known && scraped > *since && pods.iter().any(|pod| pod.starts_with(begins.as_str())) {
                *known = true;
                shown.push(begins.clone());
            }
        }
        (body, shown)
    }

    fn scraped(&self, at: f64) -> f64 {
        (at / self.interval).floor() * self.interval
    }

    /// What a pod had counted at its last scrape before `at`.
    fn value(&self, pod: &str, part: Part, at: f64) -> f64 {
        let scraped = self.scraped(at);
        let silent = self.silent.iter().filter(|(begins, _)| pod.starts_with(begins.as_str()));
        let until = silent.map(|(_, since)| *since).fold(scraped, f64::min);
        let all = RATE * (until - self.born[pod]).max(0.0);
        let bad = self.bad.iter().filter(|(begins, _)| pod.starts_with(begins.as_str()));
        // A scrape after the beginning shows at least ten, so that the first one convicts.
        let failed = bad
            .map(|(_, (since, _))| until - since)
            .filter(|long| *long > 0.0)
            .map(|long| 10.0 + RATE * BAD_SHARE * long);
        let failed = failed.fold(0.0, f64::max);
        match part {
            Part::Good => all,
            Part::Failed => failed,
            Part::All | Part::Fast => all + failed,
            Part::Up => 1.0,
            Part::At => scraped,
        }
    }
}

#[derive(Clone, Copy)]
enum Part {
    Good,
    Failed,
    All,
    Fast,
    Up,
    At,
}

/// The labels of each series of a pod, and what it counts.
const PARTS: [(&str, Part); 7] = [
    (r#""haldane_part":"requests","code":"200""#, Part::Good),
    (r#""haldane_part":"requests","code":"500""#, Part::Failed),
    (r#""haldane_part":"at""#, Part::At),
    (r#""haldane_part":"le","le":"2""#, Part::Fast),
    (r#""haldane_part":"le","le":"+Inf""#, Part::All),
    (r#""haldane_part":"up""#, Part::Up),
    (r#""haldane_part":"up_at""#, Part::At),
];
