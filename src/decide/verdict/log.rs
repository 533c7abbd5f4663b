//! What the evidence was made of, bounded: the blocks of requests as the tests took them in.

use crate::api::{
    status::{Evidence, Judged},
    units::At,
};

/// Blocks that are kept.
pub(super) const MOST: usize = 32;

impl Evidence {
    /// Adds what was judged up to a moment: requests and failures of the candidate, then of the stable version. Where there
    /// are too many blocks, old neighbours of one weight become one.
    pub(super) fn note(&mut self, to: At, weight: u32, counts: [f64; 4]) {
        if counts[0] + counts[2] <= 0.0 {
            return;
        }
        self.log.push(Judged { to, weight, counts: text(counts) });
        if self.log.len() <= MOST {
            return;
        }
        let alike = self.log.windows(2).position(|pair| pair[0].weight == pair[1].weight);
        let gone = self.log.remove(alike.unwrap_or(0));
        if let Some(next) = alike.and_then(|at| self.log.get_mut(at)) {
            let (earlier, later) = (numbers(&gone.counts), numbers(&next.counts));
            next.counts = text(std::array::from_fn(|i| earlier[i] + later[i]));
        }
    }

    /// What is kept of an ended release.
    pub(crate) fn ended(self) -> Option<Self> {
        let Self { log, ratio, .. } = self;
        (!log.is_empty()).then(|| Self { ratio, log, ..Self::default() })
    }
}

/// Requests are interpolated between scrapes, so there are fractions.
fn text(counts: [f64; 4]) -> String {
    counts.map(|n| ((n * 1000.0).round() / 1000.0).to_string()).join(" ")
}

fn numbers(text: &str) -> [f64; 4] {
    let mut numbers = text.split(' ').map(|n| n.parse().unwrap_or(0.0));
    std::array::from_fn(|_| numbers.next().unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_nothing_is_lost_but_the_time() {
        let mut evidence = Evidence::default();
        for n in 0..100_u32 {
            let at = At::from_epoch(1_767_225_600.0 + f64::from(n)).unwrap();
            evidence.note(at, if n < 50 { 5 } else { 30 }, [10.5, 0.25, 100.0, 1.0]);
            evidence.note(at, 5, [0.0; 4]);
        }
        assert_eq!(evidence.log.len(), MOST);
        let sum = |weight| {
            let of = evidence.log.iter().filter(|b| b.weight == weight).map(|b| numbers(&b.counts));
            of.fold([0.0; 4], |sum: [f64; 4], n| std::array::from_fn(|i| sum[i] + n[i]))
        };
        assert_eq!((sum(5), sum(30)), ([525.0, 12.5, 5000.0, 50.0], [525.0, 12.5, 5000.0, 50.0]));
        assert_eq!(
            evidence.log.last().map(|b| b.counts.as_str()),
            Some("10.5 0.25 100 1"),
            "the newest stay as they were"
        );
        let kept = evidence.clone().ended().expect("it is kept");
        assert_eq!((kept.log, kept.requests), (evidence.log, 0));
        assert_eq!(Evidence::default().ended(), None);
    }
}
