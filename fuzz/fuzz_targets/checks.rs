//! Any bytes as a file of checks: they are understood or refused with a sentence, and what is understood can be judged by.
#![no_main]

use haldane::{cli::judge::{parse, replay}, decide::verdict::evidence::{Config, Engine}};
use libfuzzer_sys::fuzz_target;

const RECORDING: &str = include_str!("../../tests/data/evidence/failing.jsonl");

fuzz_target!(|text: &str| {
    if let Ok(checks) = parse(text) {
        let first: String = RECORDING.lines().take(8).map(|line| format!("{line}\n")).collect();
        let mut engine = Engine::new(Config::new(&checks, 3600.0));
        replay(first.as_bytes(), &mut engine, false, &mut Vec::new()).expect("a good recording");
    }
});
