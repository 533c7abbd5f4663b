//! The evidence of all scrapes together: convicts as soon as it is strong enough, and says when a step is proven.
//!
//! The engine is built anew from its stored state for every look, so that a restart of the operator changes nothing: the
//! scrapes of the last minutes are shown to it again, and only those that came since are judged.

use serde_json::Value;

use crate::{
    api::{
        status::{Evidence, Ratio},
        units::At,
    },
    observe::seen::{Feed, Scrapes},
};

use super::{
    Finding, Trial,
    evidence::{self, Config, Engine, Output},
    rounds::rounds,
};

/// What the evidence comes to.
pub(super) struct Word {
    pub finding: Finding,
    /// Why nothing can be known, if so.
    pub gap: Option<String>,
    /// What the step still needs: about how many requests, and the sentence. `None`: it is proven.
    pub lacking: Option<(u64, String)>,
}

/// Judges what was scraped since the last look. `None` without samples.
pub(super) fn check(trial: &Trial<'_>, next: &mut Evidence) -> Option<Word> {
    let Feed::Data(samples) = trial.feed else { return None };
    if samples.scrapes.pods.values().all(Vec::is_empty) {
        return None;
    }
    // What another version of the operator wrote may not be readable: the evidence then begins anew.
    let state: evidence::State = next.engine.take().and_then(|v| serde_json::from_value(v).ok()).unwrap_or_default();
    let back = state.looks_back_to();
    let (engine, output) = go_on(trial, &samples.scrapes, state, back, next);
    next.ratio = engine.interval().map(Ratio::between);
    next.engine = serde_json::to_value(engine.state()).ok().filter(Value::is_object);
    let mut word = output.map(word)?;
    word.gap = word.gap.or_else(|| samples.scrapes.own_trouble.clone());
    Some(word)
}

/// Shows the engine again what it must see again, from `back` on, and judges what is new.
fn go_on(
    trial: &Trial<'_>,
    scrapes: &Scrapes,
    state: evidence::State,
    back: Option<f64>,
    next: &mut Evidence,
) -> (Engine, Option<Output>) {
    let (judged, before) = (state.judged(), state.share());
    let mut engine = Engine::resume(config(trial), state);
    engine.routes_stand(trial.stands.map(At::epoch));
    let mut output = None;
    for sample in rounds(trial, scrapes, (judged, back), before) {
        if judged.is_some_and(|judged| sample.t <= judged && sample.t < trial.now.epoch()) {
            engine.recall(&sample);
        } else {
            let before = engine.state().totals();
            output = Some(engine.tick(&sample));
            let (after, to) = (engine.state().totals(), At::from_epoch(sample.t).unwrap_or(trial.now));
            next.note(to, percent(sample.weight), std::array::from_fn(|i| after[i] - before[i]));
        }
    }
    (engine, output)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 100")]
fn percent(share: f64) -> u32 {
    (100.0 * share).round() as u32
}

fn config(trial: &Trial<'_>) -> Config {
    let mut config = Config::new(trial.checks, trial.horizon.as_secs_f64());
    // Health and the literal thresholds have checks of their own, which know more of the pods.
    (config.alone, config.routed) = (false, trial.routed);
    config
}

fn word(output: Output) -> Word {
    let Output { verdict, reason, sentence, advance, requests_needed, pod, .. } = output;
    let lacking = (!advance).then(|| (requests_needed, sentence.clone()));
    let mut gap = None;
    let finding = match verdict {
        evidence::Finding::Bad => Finding::Bad(sentence),
        evidence::Finding::ConfigError => Finding::Config(sentence),
        evidence::Finding::EnvironmentDegraded => Finding::Shared(sentence),
        evidence::Finding::PodOutlier => Finding::Outlier { pod: pod.unwrap_or_default(), message: sentence },
        evidence::Finding::NoData => {
            gap = Some(format!("{reason}: {sentence}"));
            Finding::Fine
        }
        evidence::Finding::Watching | evidence::Finding::Healthy => Finding::Fine,
    };
    Word { finding, gap, lacking }
}

#[cfg(test)]
mod tests;
