//! What one tick for many Releases costs: time by criterion, allocations by a counting allocator.

use std::{hint::black_box, time::Duration};

use criterion::Criterion;
use haldane::{
    decide::verdict::evidence::{Config, Engine, Sample},
    observe::clock::monotonic,
};
use serde_json::{Value, json};

use crate::{play::Play, random::Random, scenario::Scenario};

const RELEASES: u64 = 1000;

/// The time that one tick of all may take.
const LIMIT_MS: f64 = 50.0;

/// A tick by which so many have been judged before it: half an hour.
const WARM: usize = 360;

/// Releases with ten pods each and latency histograms, in the middle of their way.
#[derive(Clone)]
struct Fleet {
    engines: Vec<Engine>,
    /// For each Release: the samples of the next ticks.
    next: Vec<Vec<Sample>>,
}

impl Fleet {
    fn under_way(ticks: usize) -> Self {
        let (mut engines, mut next) = (Vec::new(), Vec::new());
        for seed in 0..RELEASES {
            let scenario = Scenario { stables: 8, ..Scenario::with_latency() };
            let mut engine = Engine::new(Config::new(&scenario.checks, 3600.0));
            let mut play = Play::new(scenario, Random::new("tick", seed));
            for _ in 0..WARM {
                if let Some(sample) = play.tick() {
                    engine.tick(sample);
                }
            }
            engines.push(engine);
            next.push((0..ticks).filter_map(|_| play.tick().cloned()).collect());
        }
        Self { engines, next }
    }

    fn tick(&mut self, number: usize) {
        for (engine, samples) in self.engines.iter_mut().zip(&self.next) {
            if let Some(sample) = samples.get(number) {
                black_box(engine.tick(sample));
            }
        }
    }
}

pub fn measure() -> Value {
    let ticks = 3; // as many as a scrape of all pods takes
    let fleet = Fleet::under_way(2 * ticks);
    let mut taken = Vec::new();
    let mut criterion = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(5));
    criterion.bench_function("one tick, 1,000 Releases of 10 pods", |bencher| {
        bencher.iter_custom(|times| {
            let mut sum = Duration::ZERO;
            for number in 0..times {
                let number = number as usize % ticks;
                let mut copy = fleet.clone();
                for before in 0..number {
                    copy.tick(before);
                }
                let start = monotonic();
                copy.tick(number);
                let took = start.elapsed();
                taken.push(took.as_secs_f64() * 1000.0);
                sum += took;
            }
            sum
        });
    });
    taken.sort_by(f64::total_cmp);
    let (median, max) = (taken.get(taken.len() / 2).copied(), taken.last().copied());
    let mut copy = fleet;
    (0..ticks).for_each(|number| copy.tick(number)); // what was copied has no room to spare
    let used = allocation_counter::measure(|| (ticks..2 * ticks).for_each(|number| copy.tick(number)));
    let each = |sum: u64| sum / ticks as u64 / RELEASES;
    let word = if median.is_some_and(|m| m <= LIMIT_MS) { "ok" } else { "MISSED" };
    println!(
        "one tick, {RELEASES} Releases of 10 pods: median {:.2} ms, max {:.2} ms, limit {LIMIT_MS} ms: {word}; {} allocations, {} bytes \
         each; grows by {} bytes",
        median.unwrap_or(f64::NAN),
        max.unwrap_or(f64::NAN),
        each(used.count_total),
        each(used.bytes_total),
        used.bytes_current / RELEASES as i64
    );
    json!({
        "releases": RELEASES,
        "medianMs": median,
        "maxMs": max,
        "limitMs": LIMIT_MS,
        "allocationsEach": each(used.count_total),
        "bytesEach": each(used.bytes_total),
        "growthBytesEach": used.bytes_current / RELEASES as i64,
    })
}
