//! One tick: a sample in, a verdict out.

use super::{
    config::Config,
    output::{Finding, Output},
    sample::Sample,
    state::State,
};

/// Judges one candidate against the stable version, sample after sample.
#[derive(Clone, Debug)]
pub struct Engine {
    config: Config,
    state: State,
}

impl Engine {
    /// For a new candidate.
    pub fn new(config: Config) -> Self {
        Self { config, state: State::default() }
    }

    /// Goes on where another engine stood. Show it the last minutes of samples with `recall` first.
    pub fn resume(config: Config, state: State) -> Self {
        Self { config, state }
    }

    /// Takes counters in without judging: after a restart, for samples that were judged before it.
    pub fn recall(&mut self, _sample: &Sample) {}

    /// Judges. Samples come in the order of their time.
    pub fn tick(&mut self, sample: &Sample) -> Output {
        let _ = &self.config;
        Output {
            t: sample.t,
            verdict: Finding::Watching,
            reason: "Collecting",
            sentence: String::new(),
            ln_e: None,
            advance: false,
            requests_needed: 0,
            pod: None,
        }
    }

    /// What must be kept for `resume`: under 4 KB as JSON.
    pub fn state(&self) -> State {
        self.state.clone()
    }

    /// Each test by name with the natural logarithm of its e-value.
    pub fn tests(&self) -> Vec<(String, f64)> {
        Vec::new()
    }
}
