//! A pod's points: bounded, and cut at a moment that all pods have reached.

use std::time::Duration;

use crate::{
    api::units::At,
    observe::seen::{PodSamples, Point},
};

/// The most points that are kept of one pod.
const MOST: usize = 600;

/// One pod's counters, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Ring(Vec<Point>);

impl Ring {
    /// Keeps the point if it was scraped after the last one.
    pub fn push(&mut self, point: Point, keep: Duration) -> bool {
        if self.newest().is_some_and(|newest| point.at <= newest) {
            return false;
        }
        self.0.push(point);
        if self.0.len() > MOST {
            self.thin(keep);
        }
        true
    }

    /// Puts points of before in front: those older than all that are known.
    pub fn refill(&mut self, earlier: Vec<Point>, keep: Duration) {
        let oldest = self.0.first().map(|p| p.at);
        let mut all = Self::default();
        for point in earlier.into_iter().filter(|p| oldest.is_none_or(|oldest| p.at < oldest)) {
            all.push(point, keep);
        }
        for point in std::mem::take(&mut self.0) {
            all.push(point, keep);
        }
        *self = all;
    }

    pub fn newest(&self) -> Option<At> {
        self.0.last().map(|p| p.at)
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn points(&self) -> &[Point] {
        &self.0
    }

    /// Drops every second point of the past that no threshold looks at closely; of counters that loses no count.
    /// Where that past is too small, every second point of all but the newest tenth goes.
    fn thin(&mut self, keep: Duration) {
        let Some(newest) = self.newest() else { return };
        let recent = newest.minus(keep);
        let mut dense_from = self.0.partition_point(|p| p.at < recent);
        if dense_from < MOST / 10 {
            dense_from = MOST - MOST / 10;
        }
        let mut index = 0;
        self.0.retain(|_| {
            let kept = index >= dense_from || index % 2 == 0;
            index += 1;
            kept
        });
    }
}

/// Cuts all pods' points at the last moment that every pod still reporting has reached. Pods are scraped at different
/// phases; without the cut an outage shared by all would show on some of them first and look like their fault.
pub fn aligned<'a>(rings: impl Iterator<Item = (&'a String, &'a Ring)> + Clone, interval: Duration) -> Vec<PodSamples> {
    let newest = rings.clone().filter_map(|(_, ring)| ring.newest()).max();
    let Some(newest) = newest else { return Vec::new() };
    // A pod that fell silent for two scrapes is gone and holds nobody back.
    let reporting = newest.minus(interval * 2);
    let common = rings.clone().filter_map(|(_, r)| r.newest()).filter(|at| *at >= reporting).min().unwrap_or(newest);
    rings.map(|(pod, ring)| PodSamples { pod: pod.clone(), points: cut(ring.points(), common) }).collect()
}

fn cut(points: &[Point], common: At) -> Vec<Point> {
    let end = points.partition_point(|p| p.at <= common);
    let mut kept = points[..end].to_vec();
    if let (Some(before), Some(after)) = (kept.last().copied(), points.get(end))
        && before.at < common
    {
        kept.extend(between(before, *after, common));
    }
    kept
}

/// The counters at `at`, on the line between two scrapes; none across a restart of the process.
fn between(before: Point, after: Point, at: At) -> Option<Point> {
    if after.requests < before.requests || after.errors < before.errors || after.timed < before.timed {
        return None;
    }
    let share = at.since(before.at).as_secs_f64() / after.at.since(before.at).as_secs_f64();
    let on_line = |a: f64, b: f64| a + (b - a) * share;
    Some(Point {
        at,
        requests: on_line(before.requests, after.requests),
        errors: on_line(before.errors, after.errors),
        timed: on_line(before.timed, after.timed),
        slow: on_line(before.slow, after.slow),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn point(seconds: f64, requests: f64) -> Point {
        Point { at: At::from_epoch(seconds).unwrap(), requests, errors: 0.0, timed: requests, slow: 0.0 }
    }

    fn ring(points: &[(f64, f64)]) -> Ring {
        Ring(points.iter().map(|(at, n)| point(*at, *n)).collect())
    }

    #[test]
    fn a_point_counts_only_when_its_scrape_is_newer() {
        let mut ring = Ring::default();
        let keep = Duration::from_mins(1);
        assert!(ring.push(point(1.0, 1.0), keep));
        assert!(!ring.push(point(1.0, 9.0), keep));
        assert!(!ring.push(point(0.5, 9.0), keep));
        assert_eq!(ring.points(), [point(1.0, 1.0)]);
    }

    #[test]
    fn a_ring_is_bounded_and_keeps_its_first_point_and_the_recent_ones() {
        let keep = Duration::from_mins(5);
        let mut ring = Ring::default();
        for second in 0..10_000u32 {
            ring.push(point(f64::from(second), f64::from(second)), keep);
            assert!(ring.points().len() <= MOST);
        }
        assert_eq!(ring.points()[0], point(0.0, 0.0));
        let recent = ring.points().iter().filter(|p| p.requests >= 9_700.0).count();
        assert_eq!(recent, 300);
    }

    #[test]
    fn a_window_longer_than_the_ring_is_thinned_too() {
        let keep = Duration::from_secs(100_000);
        let mut ring = Ring::default();
        for second in 0..5_000u32 {
            ring.push(point(f64::from(second), 0.0), keep);
        }
        assert!(ring.points().len() <= MOST);
        assert_eq!(ring.points()[0].at, point(0.0, 0.0).at);
    }

    #[test]
    fn pods_are_cut_at_the_last_moment_all_have_reached() {
        let rings = BTreeMap::from([
            ("a".to_owned(), ring(&[(0.0, 0.0), (10.0, 100.0), (20.0, 200.0)])),
            ("b".to_owned(), ring(&[(5.0, 0.0), (15.0, 30.0)])),
            ("gone".to_owned(), ring(&[(-90.0, 7.0)])),
            ("new".to_owned(), Ring::default()),
        ]);
        let cut = aligned(rings.iter(), Duration::from_secs(10));
        assert_eq!(cut[0].points, [point(0.0, 0.0), point(10.0, 100.0), point(15.0, 150.0)]);
        assert_eq!(cut[1].points, [point(5.0, 0.0), point(15.0, 30.0)]);
        assert_eq!(cut[2].points, [point(-90.0, 7.0)]);
        assert_eq!(cut[3].points, []);
    }

    #[test]
    fn nothing_is_invented_across_a_restart() {
        let rings = BTreeMap::from([
            ("a".to_owned(), ring(&[(0.0, 0.0), (10.0, 100.0), (20.0, 3.0)])),
            ("b".to_owned(), ring(&[(15.0, 30.0)])),
        ]);
        assert_eq!(aligned(rings.iter(), Duration::from_secs(10))[0].points.last(), Some(&point(10.0, 100.0)));
    }

    #[test]
    fn points_of_before_a_restart_come_first_and_only_once() {
        let mut ring = ring(&[(20.0, 5.0)]);
        ring.refill(vec![point(0.0, 1.0), point(10.0, 2.0), point(20.0, 5.0)], Duration::from_mins(1));
        assert_eq!(ring.points(), [point(0.0, 1.0), point(10.0, 2.0), point(20.0, 5.0)]);
    }
}
