//! Who leads: the rules, without a clock and without a cluster.
//!
//! Times of other processes are never compared with ours. A candidate notes when it first saw a record on its own
//! monotonic clock, and takes the lease when the same record has stood still for as long as the lease lasts.

use std::time::Duration;

use jiff::Timestamp;

/// How long things last. The margin covers calls still on their way and clocks that run at different speeds.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A lease that was not renewed for this long is free.
    pub lease: Duration,
    /// How often the leader renews it.
    pub renew: Duration,
    /// How soon anything else is tried again.
    pub retry: Duration,
    /// How long before the end of its lease a leader stops writing.
    pub margin: Duration,
    /// How long one call about the lease may take.
    pub call: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(5),
            renew: Duration::from_secs(2),
            retry: Duration::from_millis(500),
            margin: Duration::from_secs(1),
            call: Duration::from_millis(1500),
        }
    }
}

/// No record, however odd, keeps the lease longer than this after its holder fell silent.
const LONGEST_LEASE: Duration = Duration::from_mins(1);

/// The lease as it is stored. Compared as a whole: any change is a sign of life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Empty when it was given back.
    pub holder: String,
    pub lease: Duration,
    pub renewed: Option<Timestamp>,
    pub acquired: Option<Timestamp>,
    pub transitions: i32,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// There is no lease yet.
    Create,
    /// It is free, or its holder has fallen silent.
    Take,
    /// It is ours already, from before or from an earlier life of the same process.
    Renew,
    /// Somebody else holds it.
    Wait,
}

/// One candidate. All times are of its own monotonic clock.
#[derive(Clone, Debug)]
pub struct Election {
    me: String,
    timing: Timing,
    seen: Option<(Record, Duration)>,
    /// When the last write that succeeded was begun.
    renewed: Option<Duration>,
}

impl Election {
    pub const fn new(me: String, timing: Timing) -> Self {
        Self { me, timing, seen: None, renewed: None }
    }

    /// Takes note of what is stored now, and says what to do.
    pub fn step(&mut self, record: Option<&Record>, now: Duration) -> Action {
        let Some(record) = record else {
            self.renewed = None;
            return Action::Create;
        };
        if record.holder == self.me {
            return Action::Renew;
        }
        self.renewed = None;
        if record.holder.is_empty() {
            return Action::Take;
        }
        let since = match &self.seen {
            Some((seen, since)) if seen == record => *since,
            _ => {
                self.seen = Some((record.clone(), now));
                now
            }
        };
        let patience = record.lease.min(LONGEST_LEASE).max(self.timing.lease);
        if now.saturating_sub(since) >= patience { Action::Take } else { Action::Wait }
    }

    /// Our write was accepted. `begun` is the moment before it was sent: others may have seen it since then.
    pub const fn won(&mut self, begun: Duration) {
        self.renewed = Some(begun);
    }

    /// Until when this candidate may write.
    pub fn deadline(&self) -> Option<Duration> {
        self.renewed.map(|at| at + self.timing.lease.saturating_sub(self.timing.margin))
    }

    pub fn leads(&self, now: Duration) -> bool {
        self.deadline().is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn record(holder: &str, renewed: i64) -> Record {
        Record {
            holder: holder.into(),
            lease: ms(5000),
            renewed: Timestamp::from_millisecond(renewed).ok(),
            ..Record::default()
        }
    }

    #[test]
    fn a_lease_is_taken_only_when_it_is_free_ours_or_silent_for_its_whole_length() {
        let mut a = Election::new("a".into(), Timing::default());
        assert_eq!(a.step(None, ms(0)), Action::Create);
        assert_eq!(a.step(Some(&record("", 0)), ms(0)), Action::Take);
        assert_eq!(a.step(Some(&record("a", 0)), ms(0)), Action::Renew);
        // The renewal time of the other is years old by our wall clock; only standing still counts.
        assert_eq!(a.step(Some(&record("b", 1)), ms(100)), Action::Wait);
        assert_eq!(a.step(Some(&record("b", 1)), ms(5099)), Action::Wait);
        assert_eq!(a.step(Some(&record("b", 2)), ms(5100)), Action::Wait);
        assert_eq!(a.step(Some(&record("b", 2)), ms(10_099)), Action::Wait);
        assert_eq!(a.step(Some(&record("b", 2)), ms(10_100)), Action::Take);
    }

    #[test]
    fn a_holder_that_asks_for_more_time_gets_it_but_not_without_end() {
        let mut a = Election::new("a".into(), Timing::default());
        let long = Record { lease: ms(15_000), ..record("b", 1) };
        assert_eq!(a.step(Some(&long), ms(0)), Action::Wait);
        assert_eq!(a.step(Some(&long), ms(14_999)), Action::Wait);
        assert_eq!(a.step(Some(&long), ms(15_000)), Action::Take);
        let endless = Record { lease: Duration::MAX, ..record("b", 2) };
        assert_eq!(a.step(Some(&endless), ms(20_000)), Action::Wait);
        assert_eq!(a.step(Some(&endless), ms(80_000)), Action::Take);
    }

    #[test]
    fn a_leader_stops_a_margin_before_its_lease_ends_and_at_once_when_another_holds_it() {
        let mut a = Election::new("a".into(), Timing::default());
        assert!(!a.leads(ms(0)));
        a.won(ms(1000));
        assert!(a.leads(ms(4999)));
        assert!(!a.leads(ms(5000)));
        a.won(ms(6000));
        a.step(Some(&record("b", 1)), ms(6001));
        assert!(!a.leads(ms(6001)));
    }

    /// One candidate in a simulated world: a clock of its own speed and origin, calls that take time, freezes.
    struct Player {
        election: Election,
        rate: f64,
        origin: u64,
        frozen_until: u64,
        next: u64,
        /// A write on its way: when it arrives, when its answer does, the version it expects, when it was begun.
        flying: Option<Flight>,
    }

    struct Flight {
        arrives: u64,
        answered: u64,
        version: u64,
        begun: Duration,
        accepted: Option<bool>,
    }

    impl Player {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "small numbers of milliseconds"
        )]
        fn clock(&self, real: u64) -> Duration {
            ms(self.origin + (real as f64 * self.rate) as u64)
        }
    }

    #[derive(Default)]
    struct Store {
        version: u64,
        record: Option<Record>,
    }

    fn play(rates: [f64; 2], delays: &[(u64, u64)], freezes: &[(u64, usize, u64)]) -> (u64, Vec<u64>) {
        let timing = Timing::default();
        let mut store = Store::default();
        let mut players: Vec<Player> = rates
            .iter()
            .enumerate()
            .map(|(i, rate)| Player {
                election: Election::new(format!("p{i}"), timing),
                rate: *rate,
                origin: 7_000 * i as u64,
                frozen_until: 0,
                next: 0,
                flying: None,
            })
            .collect();
        let mut delay = delays.iter().cycle();
        let (mut both, mut led) = (0, vec![0, 0]);
        for real in (0..120_000).step_by(50) {
            for (at, who, long) in freezes {
                if *at == real {
                    players[*who].frozen_until = real + long;
                }
            }
            for (i, p) in players.iter_mut().enumerate() {
                // A write arrives whether or not its sender is frozen.
                if let Some(f) = &mut p.flying
                    && f.accepted.is_none()
                    && real >= f.arrives
                {
                    let accepted = f.version == store.version;
                    f.accepted = Some(accepted);
                    if accepted {
                        store.version += 1;
                        let holder = format!("p{i}");
                        store.record = Some(record(&holder, i64::try_from(store.version).unwrap()));
                    }
                }
                if real < p.frozen_until {
                    continue;
                }
                if let Some(f) = p.flying.take_if(|f| real >= f.answered) {
                    if f.accepted == Some(true) {
                        p.election.won(f.begun);
                        p.next = real + 2000;
                    } else {
                        p.next = real + 500;
                    }
                }
                if p.flying.is_none() && real >= p.next {
                    let now = p.clock(real);
                    if p.election.step(store.record.as_ref(), now) == Action::Wait {
                        p.next = real + 500;
                    } else {
                        let (there, back) = *delay.next().unwrap();
                        let (arrives, answered) = (real + there, real + there + back);
                        p.flying =
                            Some(Flight { arrives, answered, version: store.version, begun: now, accepted: None });
                    }
                }
            }
            let leading: Vec<bool> = players.iter().map(|p| p.election.leads(p.clock(real))).collect();
            both += u64::from(leading[0] && leading[1]);
            for (count, leads) in led.iter_mut().zip(&leading) {
                *count += u64::from(*leads);
            }
        }
        (both, led)
    }

    #[test]
    fn the_other_takes_over_when_the_leader_freezes_and_keeps_the_lease_when_it_wakes() {
        let (both, led) = play([1.0, 1.0], &[(50, 50)], &[(20_000, 0, 40_000), (20_000, 0, 40_000)]);
        assert_eq!(both, 0);
        assert!(led[0] > 300 && led[0] < 600, "{led:?}");
        assert!(led[1] > 1700, "the rest of the time is the other's: {led:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn never_do_two_lead_whatever_the_clocks_calls_and_freezes_do(
            slow in 0.93..1.07_f64,
            fast in 0.93..1.07_f64,
            delays in prop::collection::vec((0..1500_u64, 0..1500_u64), 1..40),
            freezes in prop::collection::vec((0..2400_u64, 0..2_usize, 0..20_000_u64), 0..12),
        ) {
            let freezes: Vec<_> = freezes.into_iter().map(|(at, who, long)| (at * 50, who, long)).collect();
            let (both, _) = play([slow, fast], &delays, &freezes);
            prop_assert_eq!(both, 0);
        }
    }
}
