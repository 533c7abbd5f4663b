//! Series → what each pod has counted at a moment.

use std::collections::BTreeMap;

use super::{
    answer::{Fault, Series, count},
    own,
    presets::{Family, PART},
};
use crate::{api::units::At, observe::seen::Scrape};

/// What one pod has counted, as of one evaluation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodReading {
    /// When the counters were scraped.
    pub at: Option<At>,
    /// All requests, if any series tells of them.
    pub requests: Option<f64>,
    /// Whether they carry a code.
    pub coded: bool,
    /// Those with a code of 500 or above.
    pub server_errors: f64,
    /// The counter of errors beside them.
    pub errors: Option<f64>,
    /// Cumulative counts by the text of `le`.
    pub le: BTreeMap<String, f64>,
    /// The user's own series, by their place in `spec.checks.metrics`.
    pub own: BTreeMap<usize, f64>,
    /// Whether any of its targets could be scraped.
    pub up: Option<bool>,
    pub up_at: Option<At>,
    /// Why the pod's numbers cannot be used.
    pub fault: Option<Fault>,
}

/// By namespace and pod.
pub type Reading = BTreeMap<(String, String), PodReading>;

/// Sorts an answer by evaluation time, namespace and pod. `namespace` stands in where a custom query dropped it.
pub fn read(
    family: &Family,
    series: &[Series],
    (namespace_label, pod_label): (&str, &str),
    namespace: &str,
) -> BTreeMap<At, Reading> {
    let mut by_time: BTreeMap<At, Reading> = BTreeMap::new();
    for one in series {
        let pod = one.label(pod_label);
        let key = match one.label(namespace_label) {
            "" => (namespace.to_owned(), pod.to_owned()),
            named => (named.to_owned(), pod.to_owned()),
        };
        for sample in one.samples() {
            let reading = by_time.entry(sample.at).or_default().entry(key.clone()).or_default();
            if let Err(fault) = reading.add(family, one, sample.value, pod) {
                reading.fault.get_or_insert(fault);
            }
        }
    }
    by_time
}

/// Why these readings cannot be what was meant: of a query that dropped the pods (`podless`), or without any word on
/// errors.
pub fn misfit(family: &Family, podless: Option<&PodReading>, found: &[&PodReading]) -> Option<String> {
    let requests = family.requests();
    let Family::Named(names) = family else {
        let lost = podless.is_some_and(|lost| lost.requests.is_some());
        return lost
            .then(|| format!("{requests} gives series without a pod; write sum by (pod) (…) or the bare selector"));
    };
    let told = found.iter().any(|pod| pod.errors.is_some());
    let uncoded = found.iter().any(|pod| pod.requests.is_some_and(|n| n > 0.0) && !pod.coded);
    (uncoded && !told).then(|| {
        let counter = names.errors.map(|e| format!(" and {e} does not exist")).unwrap_or_default();
        format!("errors cannot be counted: {requests} has no label {}{counter}", names.codes.join(" or "))
    })
}

impl PodReading {
    /// What this scrape tells, with durations at `bounds`. `told`: some pod of the Release has the counter, so that a
    /// scraped pod without it has served none.
    pub fn scrape(&self, told: bool, bounds: &[f64]) -> Option<Scrape> {
        let own = self.own.clone();
        let Some(requests) = self.requests else {
            let at = self.up_at.filter(|_| told && self.up == Some(true))?;
            return Some(Scrape { at, requests: 0.0, errors: None, within: Vec::new(), own });
        };
        let errors = if self.coded { Some(self.server_errors).filter(|n| *n > 0.0) } else { self.errors };
        Some(Scrape { at: self.at?, requests, errors, within: within(&self.le, bounds).unwrap_or_default(), own })
    }

    fn add(&mut self, family: &Family, series: &Series, value: f64, pod: &str) -> Result<(), Fault> {
        match series.label(PART) {
            "requests" => {
                let value = count(format_args!("requests of pod {pod}"), value)?;
                *self.requests.get_or_insert(0.0) += value;
                let code = match family {
                    Family::Named(names) => names.codes.iter().map(|c| series.label(c)).find(|c| !c.is_empty()),
                    Family::Custom(_) => None,
                };
                self.coded |= code.is_some();
                if code.is_some_and(is_server_error) {
                    self.server_errors += value;
                }
            }
            "errors" => self.errors = Some(count(format_args!("errors of pod {pod}"), value)?),
            "le" => {
                let value = count(format_args!("durations of pod {pod}"), value)?;
                self.le.insert(series.label("le").to_owned(), value);
            }
            "at" => self.at = At::from_epoch(value),
            "up" => self.up = Some(value > 0.0),
            "up_at" => self.up_at = At::from_epoch(value),
            // No number is no word of it: other series of the pod are as good as before.
            part => self.own.extend(own::index(part).filter(|_| value.is_finite()).map(|index| (index, value))),
        }
        Ok(())
    }
}

/// Requests within each bound, and all that were timed. Where a histogram lacks a bound its next higher one is taken.
fn within(le: &BTreeMap<String, f64>, bounds: &[f64]) -> Option<Vec<f64>> {
    let all = *le.get("+Inf")?;
    let mut buckets: Vec<(f64, f64)> = le.iter().filter_map(|(b, n)| Some((b.parse().ok()?, *n))).collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let of = |bound: &f64| buckets.iter().find(|(b, _)| b >= bound).map_or(all, |(_, n)| *n);
    Some(bounds.iter().map(of).chain([all]).collect())
}

/// `503`, or the class `5xx`.
fn is_server_error(code: &str) -> bool {
    code.len() == 3 && code.starts_with('5')
}

/// The bucket to count slow requests with: of the bounds of one pod the least at or above `limit`, in units of `le`.
pub fn bound<'a>(bounds: impl IntoIterator<Item = &'a str>, limit: f64) -> Option<(f64, &'a str)> {
    // A limit is text turned into a number; so is a bound. The margin is for the last digit of both.
    let least = limit * (1.0 - 1e-9);
    bounds
        .into_iter()
        .filter_map(|text| Some((text.parse::<f64>().ok()?, text)))
        .filter(|(value, _)| value.is_finite() && *value >= least)
        .min_by(|a, b| a.0.total_cmp(&b.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_bound_or_the_next_above_counts_the_slow_ones() {
        let bounds = ["0.5", "2.5", "1", "10", "+Inf"];
        assert_eq!(bound(bounds, 1.0), Some((1.0, "1")));
        assert_eq!(bound(bounds, 2.0), Some((2.5, "2.5")));
        assert_eq!(bound(bounds, 20.0), None);
        assert_eq!(bound(["2.0"], 2.0), Some((2.0, "2.0")));
        assert_eq!(bound([], 2.0), None);
    }

    #[test]
    fn a_histogram_is_read_at_the_bounds_that_are_followed() {
        let at = |second: u32| At::from_epoch(1_767_225_600.0 + f64::from(second)).unwrap();
        let le =
            BTreeMap::from([("0.1", 5.0), ("1", 7.0), ("5.0", 8.0), ("+Inf", 9.0)].map(|(b, n)| (b.to_owned(), n)));
        let found = PodReading { at: Some(at(1)), requests: Some(9.0), le, ..PodReading::default() };
        let seen = |bounds: &[f64]| found.scrape(true, bounds).unwrap().within;
        assert_eq!(seen(&[0.1, 5.0]), [5.0, 8.0, 9.0]);
        assert_eq!(seen(&[0.5, 10.0]), [7.0, 9.0, 9.0]);
        let quiet = PodReading { up: Some(true), up_at: Some(at(2)), ..PodReading::default() };
        assert_eq!(quiet.scrape(true, &[0.1]).map(|s| s.requests), Some(0.0));
        assert_eq!(quiet.scrape(false, &[0.1]), None);
    }

    #[test]
    fn only_codes_of_500_and_above_are_errors() {
        for (code, error) in [("500", true), ("5xx", true), ("404", false), ("200", false), ("5", false), ("", false)] {
            assert_eq!(is_server_error(code), error, "{code}");
        }
    }
}
