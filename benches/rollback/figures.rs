//! Numbers, and how they are shown.

use std::time::SystemTime;

use serde_json::{Value, json};

/// Milliseconds between two moments of one clock; negative if the second came first.
pub fn millis(from: SystemTime, to: SystemTime) -> f64 {
    to.duration_since(from).map_or_else(|e| -e.duration().as_secs_f64(), |d| d.as_secs_f64()) * 1000.0
}

/// Sorted on demand; never averaged.
#[derive(Clone, Debug, Default)]
pub struct Sample(Vec<f64>);

impl Sample {
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The smallest value that at least this share is not above.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a small index"
    )]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let rank = (share * self.0.len() as f64).ceil().max(1.0) as usize;
        self.0.get(rank - 1).copied()
    }

    pub fn max(&self) -> Option<f64> {
        self.0.last().copied()
    }

    pub fn show(&self, what: &str, unit: &str) {
        let text = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |v| format!("{v:.1}"));
        println!(
            "  {what}: min {}, median {}, p99 {}, max {} {unit}  ({} times; load {})",
            text(self.0.first().copied()),
            text(self.quantile(0.5)),
            text(self.quantile(0.99)),
            text(self.max()),
            self.len(),
            load()
        );
    }
}

/// One digit, or null.
pub fn round(value: Option<f64>) -> Value {
    value.map_or(Value::Null, |v| json!((v * 10.0).round() / 10.0))
}

/// What the machine is busy with, beside us too.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
