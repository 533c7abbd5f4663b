//! What the metric provider still knows of a version's pods.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    api::{checks::Checks, units::At},
    decide::verdict::evidence::follow,
    observe::prometheus::{
        answer::{Fault, Series},
        client::Provider,
        own::Own,
        presets::Family,
        promql::Scope,
        reading::{Reading, read},
    },
};

/// Less is not asked for at once.
const SHORTEST: Duration = Duration::from_mins(5);

/// The series of one version's pods.
pub struct History {
    provider: Provider,
    family: Family,
    own: Own,
    namespace: String,
    scope: Scope,
    /// The limit of latency, in units of `le`.
    limit: f64,
}

/// What was found, and the latency bounds to judge with.
#[derive(Debug, Default)]
pub struct Found {
    pub readings: BTreeMap<At, Reading>,
    /// In units of `le`, rising.
    pub bounds: Vec<f64>,
    pub per_second: f64,
}

impl History {
    /// Errors: a query of the checks that cannot be used.
    pub fn new(provider: Provider, checks: &Checks, namespace: &str, set: &str) -> anyhow::Result<Self> {
        let family = Family::of(&checks.source).map_err(anyhow::Error::msg)?;
        let own = Own::of(&checks.metrics).map_err(anyhow::Error::msg)?;
        let scope = Scope::of_set((&provider.namespace_label, &provider.pod_label), namespace, set);
        let limit = checks.latency.max.0.as_secs_f64() * family.per_second();
        Ok(Self { provider, family, own, namespace: namespace.to_owned(), scope, limit })
    }

    /// Everything between two moments, one reading for each scrape interval.
    pub async fn read(&self, start: At, end: At) -> Result<Found, Fault> {
        let mut found = Found { per_second: self.family.per_second(), ..Found::default() };
        let narrow = |_: String| Fault::Refused { code: 400, class: "it cannot be limited to the pods of one version" };
        let requests = match &self.family {
            Family::Named(names) => {
                let known = self.provider.instant(&names.bounds_query(&self.scope), Some(end)).await?;
                let texts: Vec<&str> = known.iter().map(|series| series.label("le")).collect();
                found.bounds = follow(texts.iter().filter_map(|text| text.parse().ok()), self.limit);
                let wanted = |text: &&&str| text.parse().is_ok_and(|b: f64| found.bounds.contains(&b));
                names.query(&self.scope, texts.iter().filter(wanted).copied())
            }
            Family::Custom(queries) => queries.query(&self.scope, &self.provider.pod_label).map_err(narrow)?,
        };
        let own = self.own.parts(&self.scope, &self.provider.pod_label).map_err(narrow)?;
        let query = [vec![requests], own].concat().join(" or ");
        for series in self.range(&query, start, end).await? {
            let labels = (self.provider.namespace_label.as_str(), self.provider.pod_label.as_str());
            for (at, reading) in read(&self.family, &series, labels, &self.namespace) {
                found.readings.entry(at).or_default().extend(reading);
            }
        }
        if matches!(self.family, Family::Custom(_)) {
            let pods = found.readings.values().flat_map(BTreeMap::values);
            found.bounds = follow(pods.flat_map(|pod| pod.le.keys()).filter_map(|text| text.parse().ok()), self.limit);
        }
        Ok(found)
    }

    /// In as many parts as the provider needs.
    async fn range(&self, query: &str, start: At, end: At) -> Result<Vec<Vec<Series>>, Fault> {
        let (mut parts, mut answers) = (vec![(start, end)], Vec::new());
        while let Some((from, to)) = parts.pop() {
            match self.provider.range(query, from, to, self.provider.scrape_interval.max(Duration::from_secs(1))).await
            {
                Err(fault) if fault.is_about_the_query() && to.since(from) > SHORTEST => {
                    let middle = from.plus(to.since(from) / 2);
                    parts.extend([(middle, to), (from, middle)]);
                }
                answer => answers.push(answer?),
            }
        }
        Ok(answers)
    }
}
