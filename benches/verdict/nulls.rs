//! Worlds in which the new version must not be rolled back.

use crate::{
    random::Random,
    scenario::{
        Clump, Effect as E, Scenario, Side,
        Who::{All, Canaries, Canary, Stable, Stables},
    },
    worlds::{World, null},
};

pub const WORLDS: &[World] = &[
    null("plain", "200 requests/s, 5 % to the canary, 0.2 % errors in both", |_| Scenario::usual()).at_most(0.001),
    null("plain-latency", "the same with a latency histogram", |_| Scenario::with_latency()),
    null("plain-one-pod", "one canary pod", |_| Scenario { canaries: 1, ..Scenario::usual() }),
    null("plain-no-lead", "the recording begins with the canary's first traffic", |_| no_lead()),
    null("plain-many-pods", "four canary pods, 36 stable ones", |_| Scenario {
        canaries: 4,
        stables: 36,
        ..Scenario::usual()
    }),
    null("busy", "2,000 requests/s", |_| Scenario { rate: 2000.0, ..Scenario::usual() }),
    null("quiet-20", "20 requests/s in all", |_| Scenario { rate: 20.0, ..Scenario::usual() }),
    null("quiet-5", "5 requests/s in all", |_| Scenario { rate: 5.0, ..Scenario::usual() }),
    null("scrape-5", "a scrape every 5 s", |_| Scenario { scrape: 5.0, ..Scenario::usual() }),
    null("scrape-30", "a scrape every 30 s", |_| Scenario { scrape: 30.0, ..Scenario::usual() }),
    null("tolerated", "the canary fails 1.4 times as often: 0.28 %", |_| {
        Scenario::usual().from(-100.0, Canaries, E::FailTimes(1.4))
    }),
    null("dirty", "both fail 4 %", |_| Scenario { base: 0.04, ..Scenario::usual() }),
    null("bursts", "three times for 60 s both fail 20 % more", |random| {
        let mut scenario = Scenario::usual();
        for at in apart(random, 3, 180.0) {
            scenario = scenario.during(at, at + 60.0, All, E::FailMore(0.2));
        }
        scenario
    }),
    null("flicker", "for 5 minutes both fail 30 % more, 20 s on, 20 s off", |random| {
        let at = random.between(60.0, 3000.0);
        (0..8_u8).fold(Scenario::usual(), |scenario, n| {
            let from = at + 40.0 * f64::from(n);
            scenario.during(from, from + 20.0, All, E::FailMore(0.3))
        })
    }),
    null("outage-6", "for 8 minutes both fail 6 % more", |random| outage(random, 480.0, 0.06)),
    null("outage-60", "for 5 minutes both fail 60 % more", |random| outage(random, 300.0, 0.6)),
    null("outage-100", "for 3 minutes all requests fail", |random| outage(random, 180.0, 1.0)),
    null("outage-rising", "within 10 minutes both come to fail 30 % more, then it stops", |random| {
        let at = random.between(60.0, 2800.0);
        Scenario::usual().during(at, at + 600.0, All, E::FailRising(0.3))
    }),
    null("clumps-3", "errors come in threes; 30 minutes known before", |_| Scenario {
        clump: Clump::Of(3.0),
        lead: 1800.0,
        ..Scenario::usual()
    }),
    null("clumps-8", "errors come in eights; 30 minutes known before", |_| Scenario {
        clump: Clump::Of(8.0),
        lead: 1800.0,
        ..Scenario::usual()
    }),
    null("clumps-mixed", "errors come in clumps of 1 to many, 4 on average; 30 minutes known before", |_| Scenario {
        clump: Clump::Geometric(4.0),
        lead: 1800.0,
        ..Scenario::usual()
    }),
    null(
        "unsteady",
        "0.5 % errors, each pod's rate scattered by its own mean every 10 s; 30 minutes known before",
        |_| Scenario { base: 0.005, unsteady: Some(1.0), lead: 1800.0, ..Scenario::usual() },
    ),
    null("stable-pods-differ", "stable pods fail 0.1, 0.2, 0.4 and 0.8 %, the canary 0.375 %", |_| Scenario {
        spread: (vec![1.875, 1.875], vec![0.5, 1.0, 2.0, 4.0]),
        ..Scenario::usual()
    }),
    null("pods-differ", "the pods' rates differ, up to two times; 30 minutes known before", |random| {
        let mut draw = |n| (0..n).map(|_| random.between(0.667, 1.333)).collect();
        Scenario { spread: (draw(2), draw(4)), lead: 1800.0, ..Scenario::usual() }
    }),
    null("node-1", "one of two canary pods fails 1 % more: its node", |_| {
        Scenario::usual().from(-100.0, Canary(0), E::FailMore(0.01))
    }),
    null("node-20", "one of two canary pods fails 20 % from some moment on", |random| {
        let at = random.between(0.0, 1800.0);
        Scenario::usual().from(at, Canary(0), E::Fail(0.2))
    }),
    null("node-20-of-5", "one of five canary pods fails 20 %", |_| {
        Scenario { canaries: 5, ..Scenario::usual() }.from(-100.0, Canary(0), E::Fail(0.2))
    }),
    null("node-slow", "one of two canary pods takes twice the time", |_| {
        Scenario::with_latency().from(-100.0, Canary(0), E::SlowTimes(2.0))
    }),
    null("warm-up", "for 25 s after they are ready canary pods are three times as slow and fail 2 % more", |_| {
        let scenario = Scenario { readied: (2.0, 2.0), ..Scenario::with_latency() };
        scenario.during(-100.0, 23.0, Canaries, E::SlowTimes(3.0)).during(-100.0, 23.0, Canaries, E::FailMore(0.02))
    }),
    null("slower", "the canary takes 1.1 times the time", |_| {
        Scenario::with_latency().from(-100.0, Canaries, E::SlowTimes(1.1))
    }),
    null("slow-dependency", "for 5 minutes both take ten times the time: P99 is 3.9 s", |random| {
        let at = random.between(30.0, 3000.0);
        Scenario::with_latency().during(at, at + 300.0, All, E::SlowTimes(10.0))
    }),
    null("counter-reset", "containers of two stable pods and of one canary pod restart", |random| {
        let mut scenario = Scenario::usual();
        for who in [Stable(0), Stable(1), Canary(0)] {
            let at = random.between(60.0, 3400.0);
            scenario = scenario.during(at, at + 12.0, who, E::Restart);
        }
        scenario
    }),
    null("stable-replaced", "two stable pods are replaced by new ones", |random| {
        let at = random.between(60.0, 3200.0);
        replaced(Scenario::usual(), at, Stable(0), Side::Stable, at + 60.0, Stable(1))
    }),
    null("canary-replaced", "both canary pods are replaced by new ones, one after the other", |random| {
        let at = random.between(60.0, 3200.0);
        replaced(Scenario::usual(), at, Canary(0), Side::Canary, at + 60.0, Canary(1))
    }),
    null("provider-down", "the provider does not answer for 5 minutes", |random| {
        let at = random.between(0.0, 3200.0);
        Scenario::usual().during(at, at + 300.0, All, E::ProviderDown)
    }),
    null("provider-outage", "the provider does not answer for 5 minutes, and in them both fail 20 % for 3", |random| {
        let at = random.between(0.0, 3000.0);
        Scenario::usual().during(at, at + 300.0, All, E::ProviderDown).during(at + 60.0, at + 240.0, All, E::Fail(0.2))
    }),
    null("scrape-gaps", "each tenth scrape fails; each pod is not scraped for 3 minutes once", |random| {
        let mut scenario = Scenario::usual().from(-100.0, All, E::Unscraped(0.1));
        for who in [Canary(0), Canary(1), Stable(0), Stable(1), Stable(2), Stable(3)] {
            let at = random.between(30.0, 3300.0);
            scenario.windows.insert(0, window(at, at + 180.0, who));
        }
        scenario
    }),
    null(
        "gaps-outage",
        "two stable pods are not scraped for 5 minutes, in which both versions fail 10 % for 2",
        |random| {
            let at = random.between(30.0, 3200.0);
            let scenario = Scenario::usual().during(at + 90.0, at + 210.0, All, E::FailMore(0.1));
            [Stable(0), Stable(1)].into_iter().fold(scenario, |s, who| s.during(at, at + 300.0, who, E::Unscraped(1.0)))
        },
    ),
    null("stale", "nothing is scraped for 4 minutes", |random| {
        let at = random.between(0.0, 3200.0);
        Scenario::usual().during(at, at + 240.0, All, E::Unscraped(1.0))
    }),
    null("stale-outage", "the canary is not scraped for 4 minutes, in which both fail 10 % for 2", |random| {
        let at = random.between(30.0, 3200.0);
        let scenario = Scenario::usual().during(at + 60.0, at + 180.0, All, E::FailMore(0.1));
        scenario.during(at, at + 240.0, Canaries, E::Unscraped(1.0))
    }),
    null("late-scrapes", "a scrape can be read 20 s later", |_| Scenario { delay: 20.0, ..Scenario::usual() }),
    null("weight-steps", "5 % for 10 minutes, 30 % for 30 with four canary pods, then 100 %", |_| steps()),
    null("weight-outage", "5, 30, then 60 %, and around a change of weight both fail 20 % more for 90 s", |random| {
        let step = if random.chance(0.5) { 600.0 } else { 2400.0 };
        let at = step - random.between(0.0, 90.0);
        let scenario = Scenario { weights: vec![(0.0, 0.05), (600.0, 0.3), (2400.0, 0.6)], ..steps() };
        scenario.during(at, at + 90.0, All, E::FailMore(0.2))
    }),
    null("uneven-split", "the gateway gives the canary 0.7 of its share", |_| Scenario {
        given: 0.7,
        ..Scenario::usual()
    }),
    null("daily-wave", "a day in an hour: traffic ±80 %, errors ±80 % three times as fast", |random| Scenario {
        wave: Some(crate::scenario::Wave { traffic: 0.8, errors: 0.8, period: 3600.0, phase: random.unit() }),
        ..Scenario::usual()
    }),
    null("traffic-stops", "no requests at all for 10 minutes", |random| {
        let at = random.between(60.0, 2800.0);
        Scenario::usual().during(at, at + 600.0, All, E::Traffic(0.0))
    }),
    null("traffic-comes-late", "no requests in the first 3 minutes, none before", |_| {
        Scenario::usual().during(-1e6, 180.0, All, E::Traffic(0.0))
    }),
    null("flaps", "each canary pod is not ready for 15 s, now and then", |random| {
        let mut scenario = Scenario::usual();
        for who in [Canary(0), Canary(1), Canary(0), Canary(1)] {
            let at = random.between(30.0, 3500.0);
            scenario = scenario.during(at, at + 15.0, who, E::Unready);
        }
        scenario
    }),
    null("stable-flaps", "each stable pod is not ready for 60 s, now and then", |random| {
        let mut scenario = Scenario::usual();
        for who in [Stable(0), Stable(1), Stable(2), Stables] {
            let at = random.between(30.0, 3500.0);
            let to = if matches!(who, Stables) { at + 20.0 } else { at + 60.0 };
            scenario = scenario.during(at, to, who, E::Unready);
        }
        scenario
    }),
];

/// Moments of an hour, each at least `gap` from the next.
fn apart(random: &mut Random, count: usize, gap: f64) -> Vec<f64> {
    loop {
        let mut moments: Vec<_> = (0..count).map(|_| random.between(30.0, 3600.0 - gap)).collect();
        moments.sort_by(f64::total_cmp);
        if moments.windows(2).all(|pair| pair[1] - pair[0] >= gap) {
            return moments;
        }
    }
}

fn outage(random: &mut Random, seconds: f64, share: f64) -> Scenario {
    let at = random.between(30.0, 3500.0 - seconds);
    Scenario::usual().during(at, at + seconds, All, E::FailMore(share))
}

pub fn no_lead() -> Scenario {
    Scenario { lead: 0.0, started: (-2.0, -1.0), readied: (-2.5, -2.1), ..Scenario::usual() }
}

fn replaced(
    scenario: Scenario,
    at: f64,
    who: crate::scenario::Who,
    side: Side,
    then: f64,
    next: crate::scenario::Who,
) -> Scenario {
    let mut scenario = scenario.from(at, who, E::Gone).from(then, next, E::Gone);
    scenario.births = vec![(at + 1.0, side), (then + 1.0, side)];
    scenario
}

pub fn steps() -> Scenario {
    Scenario {
        weights: vec![(0.0, 0.05), (600.0, 0.3), (2400.0, 1.0)],
        births: vec![(570.0, Side::Canary), (575.0, Side::Canary), (2370.0, Side::Canary), (2375.0, Side::Canary)],
        ..Scenario::usual()
    }
}

fn window(from: f64, to: f64, who: crate::scenario::Who) -> crate::scenario::Window {
    crate::scenario::Window { from, to, who, effect: E::Unscraped(1.0) }
}
