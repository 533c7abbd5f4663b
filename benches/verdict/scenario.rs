//! What happens in one simulated release. Times are seconds after the canary's first traffic; before it they are negative.

use haldane::api::checks::Checks;

/// Bounds of the latency histogram in seconds, as Prometheus clients have them.
pub const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How they are written.
pub const NAMES: [&str; 12] = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"];

/// A canary that is as good as the stable version, unless told otherwise: 200 requests a second, 5 % of them to two
/// canary pods, four stable pods, a scrape of each pod every 15 s, 0.2 % errors.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Requests a second to both versions.
    pub rate: f64,
    /// The share that is set from each time on.
    pub weights: Vec<(f64, f64)>,
    /// The gateway gives the canary this much of what is set.
    pub given: f64,
    pub canaries: usize,
    pub stables: usize,
    /// When further pods start; they are ready 10 s later.
    pub births: Vec<(f64, Side)>,
    pub scrape: f64,
    /// A scrape can be read this much later.
    pub delay: f64,
    /// How long is recorded before the first traffic.
    pub lead: f64,
    /// The canary's pods start so long before their first traffic …
    pub started: (f64, f64),
    /// … and are ready so long before it.
    pub readied: (f64, f64),
    /// Until when, at most.
    pub length: f64,
    /// The share of failed requests.
    pub base: f64,
    /// Failed requests come in clumps.
    pub clump: Clump,
    /// The error rate of each pod changes every 10 s by a factor with mean 1 and variance 1/shape.
    pub unsteady: Option<f64>,
    /// Each pod's error rate is the base times this: the canary's pods, then the stable ones. Missing ones: 1.
    pub spread: (Vec<f64>, Vec<f64>),
    pub wave: Option<Wave>,
    pub latency: Option<Latency>,
    pub windows: Vec<Window>,
    /// No series of requests exists before a pod has had one.
    pub lazy: bool,
    pub checks: Checks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Canary,
    Stable,
}

#[derive(Clone, Copy, Debug)]
pub enum Clump {
    Of(f64),
    /// Of 1, 2, 3 … with this mean.
    Geometric(f64),
}

/// The traffic and, faster, the error rate of both versions go up and down.
#[derive(Clone, Copy, Debug)]
pub struct Wave {
    pub traffic: f64,
    pub errors: f64,
    pub period: f64,
    pub phase: f64,
}

/// Lognormal.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    pub median: f64,
    pub sigma: f64,
}

/// Something that lasts for a while.
#[derive(Clone, Debug)]
pub struct Window {
    pub from: f64,
    pub to: f64,
    pub who: Who,
    pub effect: Effect,
}

#[derive(Clone, Copy, Debug)]
pub enum Who {
    All,
    Canaries,
    Stables,
    Canary(usize),
    Stable(usize),
}

#[derive(Clone, Copy, Debug)]
pub enum Effect {
    /// At least this share fails.
    Fail(f64),
    /// This share fails on top of the others.
    FailMore(f64),
    /// The share grows from nothing to this at the window's end.
    FailRising(f64),
    FailTimes(f64),
    SlowTimes(f64),
    /// This share takes three seconds.
    Stuck(f64),
    /// This much of its traffic gets through and is counted.
    Traffic(f64),
    /// Each scrape fails with this chance.
    Unscraped(f64),
    Unready,
    /// The counters begin anew; not ready until the window's end.
    Restart,
    CrashLoop,
    Gone,
    ProviderDown,
}

impl Scenario {
    pub fn usual() -> Self {
        Self {
            rate: 200.0,
            weights: vec![(0.0, 0.05)],
            given: 1.0,
            canaries: 2,
            stables: 4,
            births: Vec::new(),
            scrape: 15.0,
            delay: 0.0,
            lead: 60.0,
            started: (35.0, 45.0),
            readied: (5.0, 20.0),
            length: 3600.0,
            base: 0.002,
            clump: Clump::Of(1.0),
            unsteady: None,
            spread: (Vec::new(), Vec::new()),
            wave: None,
            latency: None,
            windows: Vec::new(),
            lazy: false,
            checks: Checks::default(),
        }
    }

    /// P99 is 386 ms.
    pub fn with_latency() -> Self {
        Self { latency: Some(Latency { median: 0.12, sigma: 0.502 }), ..Self::usual() }
    }

    pub fn during(mut self, from: f64, to: f64, who: Who, effect: Effect) -> Self {
        self.windows.push(Window { from, to, who, effect });
        self
    }

    /// From then on, to the end.
    pub fn from(self, from: f64, who: Who, effect: Effect) -> Self {
        self.during(from, f64::INFINITY, who, effect)
    }

    pub fn weight(&self, at: f64) -> f64 {
        self.weights.iter().rev().find(|(from, _)| *from <= at).map_or(0.0, |(_, weight)| *weight)
    }
}

impl Who {
    pub fn is(self, side: Side, index: usize) -> bool {
        match self {
            Self::All => true,
            Self::Canaries => side == Side::Canary,
            Self::Stables => side == Side::Stable,
            Self::Canary(i) => side == Side::Canary && i == index,
            Self::Stable(i) => side == Side::Stable && i == index,
        }
    }
}
