//! What is said to people: counts, shares and odds, no statistics.

use super::{
    block,
    engine::{Engine, lately},
    factor::Counts,
    families::{Member, combined},
    latency::limit_bound,
    state::Reason,
};

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative; `as` saturates")]
pub fn whole(count: f64) -> u64 {
    (count.max(0.0) + 1e-6).floor() as u64
}

/// `2 850`.
pub fn grouped(count: f64) -> String {
    let digits = whole(count.round()).to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// `31 of 150 failed (20.7 %)`.
fn of(e: f64, n: f64, what: &str) -> String {
    let share = if n > 0.0 { 100.0 * e / n } else { 0.0 };
    format!("{} of {} {what} ({share:.1} %)", grouped(e), grouped(n))
}

fn both(counts: &Counts, what: &str) -> String {
    format!(
        "canary {}, stable {}",
        of(counts.e_canary, counts.n_canary, what),
        of(counts.e_stable, counts.n_stable, "")
    )
    .replace("  (", " (")
}

fn odds(ln_e: f64) -> String {
    let odds = ln_e.exp();
    if odds >= 10_000.0 {
        "odds against chance > 10 000 : 1".into()
    } else {
        format!("odds against chance {} : 1", grouped(odds))
    }
}

/// The time whose counts show more: lately, or since the candidate began.
fn telling(engine: &Engine) -> Counts {
    let [n_canary, e_canary, n_stable, e_stable] = engine.state.totals;
    let (all, late) = (Counts { n_canary, e_canary, n_stable, e_stable }, lately(&engine.state));
    let share = |c: &Counts| if c.n_canary > 0.0 { c.e_canary / c.n_canary } else { 0.0 };
    if late.e_canary >= 3.0 && share(&late) > 1.5 * share(&all) { late } else { all }
}

pub fn conviction(engine: &Engine, guilty: &Member, members: &[Member]) -> String {
    let odds = odds(combined(members, true));
    match guilty.reason {
        Reason::Latency => {
            let (bound, counts) = slowest(engine);
            format!("canary slower: {} took more than {bound} s; {odds}", both(&counts, "requests"))
        }
        Reason::RoutingBroken => format!(
            "the canary is ready and should get {:.1} % of the traffic, but got nothing while stable served {} requests; {odds}",
            100.0 * engine.state.weights.last().map_or(0.0, |w| w.share),
            grouped(engine.state.share.missed)
        ),
        Reason::Metric => format!("{} is worse than the stable version's by more than is allowed; {odds}", guilty.name),
        _ => format!("{}; {odds}", both(&telling(engine), "failed")),
    }
}

/// The bound at which both versions differ most, and the counts above it.
fn slowest(engine: &Engine) -> (f64, Counts) {
    let state = &engine.state;
    let left = state.onset.left;
    let limit = limit_bound(&state.bounds, engine.config.latency_max);
    let by_limit = state.latency.slo.ln_m(left);
    let worst = state.latency.slow.iter().map(|p| p.ln_m(left)).enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
    let bound = match (worst, limit) {
        (Some((_, ln)), Some(limit)) if by_limit >= ln => limit,
        (Some((bound, _)), _) => bound,
        _ => limit.unwrap_or(0),
    };
    let counts = block::slow(&state.recent[0], &state.recent[1], bound);
    (state.bounds.get(bound).copied().unwrap_or_default(), counts)
}

pub fn literal(engine: &Engine, index: usize, counts: &Counts) -> String {
    let config = &engine.config;
    if index == 0 {
        format!("error rate > {} % for {} s: {}", 100.0 * config.error_max, config.error_for, both(counts, "failed"))
    } else {
        let bound = limit_bound(&engine.state.bounds, config.latency_max);
        let bound = bound.and_then(|b| engine.state.bounds.get(b)).copied().unwrap_or(config.latency_max);
        format!(
            "P{:.0} > {bound} s for {} s: {}",
            100.0 * (1.0 - config.latency_share),
            config.latency_for,
            both(counts, "requests slower")
        )
    }
}

pub fn degraded(engine: &Engine, index: usize) -> String {
    if index == 0 {
        return format!("both versions fail: {}", both(&lately(&engine.state), "failed"));
    }
    let limit = limit_bound(&engine.state.bounds, engine.config.latency_max).unwrap_or(0);
    let counts = block::slow(&engine.state.recent[0], &engine.state.recent[1], limit);
    format!("both versions are slow: {}", both(&counts, "requests slower than the limit"))
}

pub fn outlier(engine: &Engine, pod: &str, member: &Member) -> String {
    let how = if member.reason == Reason::Latency { "is slower than" } else { "fails more than" };
    format!("pod {pod} alone {how} its brothers: {}", both(&telling(engine), "failed"))
}

pub fn certified(engine: &Engine, counts: &Counts) -> String {
    format!("error rate proven below {} % in this step: {}", 100.0 * engine.config.error_max, both(counts, "failed"))
}

pub fn leaning(counts: &Counts) -> String {
    format!("looks worse than the stable version, not yet certain: {}", both(counts, "failed"))
}

pub fn needed(engine: &Engine, counts: &Counts, needed: Option<f64>) -> String {
    let seen = both(counts, "failed");
    match needed {
        Some(n) => format!("about {} more requests needed; {seen}", grouped(n.ceil().max(1.0))),
        None => {
            format!("at this error rate it cannot be proven to be below {} %; {seen}", 100.0 * engine.config.error_max)
        }
    }
}
