//! `make bench-verdict`: simulated releases of good and bad versions, judged by the engine and, beside it, by fixed rules.
//!
//! Good worlds tell how often a good version would be rolled back; bad worlds tell how long a bad one serves. Every release
//! has a seed, and `--record WORLD SEED` prints it as `haldane judge` reads it. The last line is one JSON object.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "counts of requests, releases and pods are far from any limit"
)]
#![expect(clippy::panic, reason = "a driver that cannot go on says why and ends")]
#![expect(clippy::float_cmp, reason = "times on a grid are exact")]

mod faults;
mod nulls;
mod play;
mod pod;
mod random;
mod report;
mod rules;
mod run;
mod scenario;
mod tick;
mod worlds;

use std::io::Write;

use clap::Parser;
use haldane::observe::clock::monotonic;
use serde_json::{Value, json};

use play::Play;
use worlds::World;

/// Simulate releases and judge them.
#[derive(Parser)]
struct Args {
    /// The first release's seed; the others follow.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Releases of each good world.
    #[arg(long, env = "BENCH_GOOD", default_value_t = 4000)]
    good: u64,
    /// Releases of each bad world.
    #[arg(long, env = "BENCH_BAD", default_value_t = 300)]
    bad: u64,
    #[arg(long, env = "BENCH_THREADS", default_value_t = processors())]
    threads: usize,
    /// Only worlds whose names begin with one of these.
    #[arg(long, value_delimiter = ',')]
    worlds: Vec<String>,
    /// Leave out how long a tick takes.
    #[arg(long)]
    no_tick: bool,
    /// Print the worlds.
    #[arg(long)]
    list: bool,
    /// Print one release as a recording.
    #[arg(long, num_args = 2, value_names = ["WORLD", "SEED"])]
    record: Option<Vec<String>>,
    /// Print the checks of a world, as `haldane judge --config` reads them.
    #[arg(long, value_name = "WORLD")]
    checks: Option<String>,
    /// What cargo says to all benches.
    #[arg(long, hide = true)]
    bench: bool,
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn main() {
    let args = Args::parse();
    if args.list {
        worlds::all().for_each(|world| println!("{:<24} {}", world.name, world.about));
    } else if let Some(record) = &args.record {
        let seed = record[1].parse().unwrap_or_else(|e| panic!("the seed {}: {e}", record[1]));
        print_recording(named(&record[0]), seed);
    } else if let Some(name) = &args.checks {
        let checks = named(name).scenario(args.seed).0.checks;
        print!("{}", serde_yaml_ng::to_string(&checks).unwrap_or_else(|e| panic!("the checks: {e}")));
    } else {
        measure(&args);
    }
}

fn named(name: &str) -> &'static World {
    worlds::all().find(|world| world.name == name).unwrap_or_else(|| panic!("no world is called {name}; try --list"))
}

fn print_recording(world: &World, seed: u64) {
    let (scenario, random) = world.scenario(seed);
    let mut play = Play::new(scenario, random);
    let mut out = std::io::stdout().lock();
    while let Some(sample) = play.tick() {
        let line = serde_json::to_string(sample).unwrap_or_else(|e| panic!("a sample: {e}"));
        if writeln!(out, "{line}").is_err() {
            return; // who reads has seen enough
        }
    }
}

fn measure(args: &Args) {
    let start = monotonic();
    println!(
        "verdict: seeds from {}, {} releases of each good world, {} of each bad one, {} threads",
        args.seed, args.good, args.bad, args.threads
    );
    for (name, about) in rules::NAMES.iter().zip(rules::ABOUT) {
        println!("  fixed rule {name}: {about}");
    }
    let tick = if args.no_tick { Value::Null } else { tick::measure() };
    let chosen = |world: &&World| args.worlds.is_empty() || args.worlds.iter().any(|w| world.name.starts_with(w));
    let (mut figures, mut missed) = (Vec::new(), Vec::new());
    let mut head = "";
    for world in worlds::all().filter(chosen) {
        let (count, own_head) =
            if world.is_null() { (args.good, report::NULL_HEAD) } else { (args.bad, report::FAULT_HEAD) };
        if head != own_head {
            head = own_head;
            println!("\n   time  {head}");
        }
        let tally = run::world(world, args.seed..args.seed + count, args.threads);
        println!("{:>6.0}s  {}", start.elapsed().as_secs_f64(), report::line(world, &tally));
        if report::reached(world, &tally) == Some(false) {
            missed.push(world.name);
        }
        figures.push(report::json(world, &tally));
    }
    println!("\nnot reached: {}", if missed.is_empty() { "nothing".to_owned() } else { missed.join(", ") });
    let seconds = start.elapsed().as_secs();
    println!("{}", json!({"seed": args.seed, "seconds": seconds, "missed": missed, "tick": tick, "worlds": figures}));
}
