//! Any bytes as a recording: it is judged or refused, and nothing panics or answers with what is no number.
#![no_main]

use haldane::{api::checks::Checks, cli::judge::replay, decide::verdict::evidence::{Config, Engine}};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|recording: &[u8]| {
    let mut engine = Engine::new(Config::new(&Checks::default(), 3600.0));
    let mut answers = Vec::new();
    let _refused = replay(recording, &mut engine, true, &mut answers);
    let answers = String::from_utf8(answers).expect("text");
    assert!(!answers.contains("NaN") && !answers.contains("inf"), "{answers}");
});
