//! Worlds in which the new version must be rolled back.

use std::time::Duration;

use haldane::api::{checks::Latency as Limit, units::Span};

use crate::{
    nulls::{no_lead, steps},
    scenario::{
        Clump, Effect as E, Scenario,
        Who::{All, Canaries, Canary},
    },
    worlds::{World, fault},
};

pub const WORLDS: &[World] = &[
    fault("fails-1", "1 % fail", |_| fails(0.01)).within(300.0, 560.0),
    fault("fails-5", "5 % fail", |_| fails(0.05)).within(40.0, 65.0),
    fault("fails-20", "20 % fail", |_| fails(0.2)).within(25.0, 32.0),
    fault("fails-50", "50 % fail", |_| fails(0.5)),
    fault("fails-100", "all fail", |_| fails(1.0)).within(20.0, 25.0),
    fault("fails-20-scrape-5", "20 % fail, a scrape every 5 s", |_| Scenario { scrape: 5.0, ..fails(0.2) })
        .within(12.0, 16.0),
    fault("fails-20-scrape-30", "20 % fail, a scrape every 30 s", |_| Scenario { scrape: 30.0, ..fails(0.2) }),
    fault("fails-20-late", "20 % fail after 30 good minutes", |_| late(1800.0).from(1800.0, Canaries, E::Fail(0.2)))
        .after(1800.0)
        .within(25.0, 32.0),
    fault("fails-20-quiet", "20 % fail, 5 requests/s in all", |_| Scenario { rate: 5.0, ..fails(0.2) })
        .within(130.0, 260.0),
    fault("fails-100-quiet", "all fail, 5 requests/s in all", |_| Scenario { rate: 5.0, ..fails(1.0) }),
    fault("fails-5-quiet", "5 % fail, 5 requests/s in all", |_| Scenario { rate: 5.0, ..fails(0.05) }),
    fault("fails-20-many-pods", "20 % fail; four canary pods, 36 stable ones", |_| Scenario {
        canaries: 4,
        stables: 36,
        ..fails(0.2)
    }),
    fault("fails-20-one-pod", "20 % fail, one canary pod", |_| Scenario { canaries: 1, ..fails(0.2) }),
    fault("fails-20-no-lead", "20 % fail, the recording begins with the first traffic", |_| {
        no_lead().from(-100.0, Canaries, E::Fail(0.2))
    }),
    fault("fails-20-latency", "20 % fail, with a latency histogram", |_| {
        Scenario::with_latency().from(-100.0, Canaries, E::Fail(0.2))
    }),
    fault("fails-5-busy", "5 % fail, 2,000 requests/s", |_| Scenario { rate: 2000.0, ..fails(0.05) }),
    fault("fails-20-clumps", "20 % fail, errors come in eights; 30 minutes known before", |_| Scenario {
        clump: Clump::Of(8.0),
        lead: 1800.0,
        ..fails(0.2)
    }),
    fault("fails-20-gaps", "20 % fail, each third scrape fails", |_| fails(0.2).from(-100.0, All, E::Unscraped(0.33))),
    fault("fails-20-dirty", "20 % fail, 4 % of the stable version's", |_| Scenario { base: 0.04, ..fails(0.2) }),
    fault("fails-8-dirty", "8 % fail, 4 % of the stable version's", |_| Scenario { base: 0.04, ..fails(0.08) }),
    fault("fails-20-step", "20 % fail from the change to 30 % on, after 10 minutes", |_| {
        Scenario { length: 4200.0, ..steps() }.from(600.0, Canaries, E::Fail(0.2))
    })
    .after(600.0),
    fault("fails-40-outage", "40 % fail while both fail 10 % for 5 minutes", |_| {
        fails(0.4).during(0.0, 300.0, All, E::Fail(0.1))
    }),
    fault("fails-rising", "from 0 to 20 % within 10 minutes", |_| {
        Scenario::usual().during(0.0, 600.0, Canaries, E::FailRising(0.2)).from(600.0, Canaries, E::Fail(0.2))
    }),
    fault("slow-2", "takes twice the time: P99 is 0.77 s", |_| slow(2.0)).within(80.0, 105.0),
    fault("slow-2-limit", "takes twice the time, the limit is 0.5 s", |_| {
        let mut scenario = slow(2.0);
        scenario.checks.latency = Limit { max: Span(Duration::from_millis(500)), ..Limit::default() };
        scenario
    }),
    fault("slow-1.5", "takes one and a half times the time: P99 is 0.58 s", |_| slow(1.5)),
    fault("slow-4", "takes four times the time", |_| slow(4.0)),
    fault("slow-2-late", "takes twice the time after 30 good minutes", |_| {
        Scenario { length: 5400.0, ..Scenario::with_latency() }.from(1800.0, Canaries, E::SlowTimes(2.0))
    })
    .after(1800.0),
    fault("stuck-1", "1 % take 3 s", |_| Scenario::with_latency().from(-100.0, Canaries, E::Stuck(0.01))),
    fault("black-hole", "no request arrives at the canary", |_| {
        Scenario::usual().from(-100.0, Canaries, E::Traffic(0.0))
    })
    .within(40.0, 50.0),
    fault("black-hole-no-series", "the same; its pods have no series before their first request", |_| {
        Scenario { lazy: true, ..Scenario::usual() }.from(-100.0, Canaries, E::Traffic(0.0))
    }),
    fault("black-hole-quiet", "no request arrives at the canary, 5 requests/s in all", |_| {
        Scenario { rate: 5.0, ..Scenario::usual() }.from(-100.0, Canaries, E::Traffic(0.0))
    }),
    fault("hang", "after 10 good minutes no request to the canary ends", |_| {
        late(600.0).from(600.0, Canaries, E::Traffic(0.0))
    })
    .after(600.0),
    fault("crash", "after a minute both pods crash", |_| late(60.0).from(60.0, Canaries, E::CrashLoop)).after(60.0),
    fault("unready", "after 10 minutes both pods are not ready", |_| late(600.0).from(600.0, Canaries, E::Unready))
        .after(600.0),
    fault("restarts", "the containers of both pods restart a second time", |_| {
        let scenario = late(600.0).during(100.0, 112.0, Canary(0), E::Restart);
        scenario.during(600.0, 612.0, Canary(0), E::Restart).during(300.0, 312.0, Canary(1), E::Restart).during(
            600.0,
            612.0,
            Canary(1),
            E::Restart,
        )
    })
    .after(600.0),
];

fn fails(share: f64) -> Scenario {
    Scenario::usual().from(-100.0, Canaries, E::Fail(share))
}

fn slow(factor: f64) -> Scenario {
    Scenario::with_latency().from(-100.0, Canaries, E::SlowTimes(factor))
}

fn late(onset: f64) -> Scenario {
    Scenario { length: onset + 3600.0, ..Scenario::usual() }
}
