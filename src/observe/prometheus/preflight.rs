//! Before a release: the Release's queries, asked about the pods that serve. A query that finds nothing there would find
//! nothing wrong with the candidate either.

use super::{
    Fault, Provider,
    own::Own,
    presets::Family,
    promql::Scope,
    reading::{PodReading, Reading, misfit, read},
};
use crate::observe::seen::Blind;

/// Asks each query once about the named pods of a namespace. `None`: all of them find something.
///
/// A counter of errors may be missing, for many appear with the first error.
pub async fn preflight(
    provider: &Provider,
    family: &Family,
    own: &Own,
    namespace: &str,
    pods: &[String],
) -> Option<Blind> {
    let labels = (provider.namespace_label.as_str(), provider.pod_label.as_str());
    let scope = Scope::new(labels, [namespace], pods.iter().map(String::as_str));
    let answer = match requests(provider, family, &scope, namespace, pods.len()).await {
        Ok(None) if !own.is_empty() => besides(provider, family, own, &scope, namespace, pods.len()).await,
        answer => answer,
    };
    match answer {
        Ok(blind) => blind,
        Err(Ask::Fault(fault)) => Some(Blind::NoData(fault.to_string())),
        Err(Ask::Sentence(why)) => Some(Blind::Config(why)),
    }
}

enum Ask {
    Fault(Fault),
    Sentence(String),
}

impl From<Fault> for Ask {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

async fn asked(provider: &Provider, family: &Family, namespace: &str, query: &str) -> Result<Reading, Fault> {
    let labels = (provider.namespace_label.as_str(), provider.pod_label.as_str());
    let answer = provider.instant(query, None).await?;
    Ok(read(family, &answer, labels, namespace).pop_last().map(|(_, reading)| reading).unwrap_or_default())
}

async fn requests(
    provider: &Provider,
    family: &Family,
    scope: &Scope,
    namespace: &str,
    pods: usize,
) -> Result<Option<Blind>, Ask> {
    let labels = (provider.namespace_label.as_str(), provider.pod_label.as_str());
    let query = match family {
        Family::Named(names) => names.query(scope, []),
        Family::Custom(queries) => queries.query(scope, labels.1).map_err(Ask::Sentence)?,
    };
    let reading = asked(provider, family, namespace, &query).await?;
    let podless = reading.get(&(namespace.to_owned(), String::new()));
    let found: Vec<&PodReading> = reading.iter().filter(|((_, pod), _)| !pod.is_empty()).map(|(_, r)| r).collect();
    if let Some(fault) = found.iter().find_map(|pod| pod.fault.clone()) {
        return Err(fault.into());
    }
    let why = misfit(family, podless, &found).or_else(|| blind(family, labels, pods, &found));
    Ok(why.map(Blind::Config))
}

/// The same of the series besides. They are asked apart, so that it is known whose fault a refusal is.
async fn besides(
    provider: &Provider,
    family: &Family,
    own: &Own,
    scope: &Scope,
    namespace: &str,
    pods: usize,
) -> Result<Option<Blind>, Ask> {
    let parts = own.parts(scope, &provider.pod_label).map_err(Ask::Sentence)?;
    let reading = match asked(provider, family, namespace, &parts.join(" or ")).await {
        Err(fault) if fault.is_about_the_query() => {
            return Ok(Some(Blind::Config(format!("spec.checks.metrics: {fault}; correct its queries"))));
        }
        answer => answer?,
    };
    let found = |index: usize| reading.iter().any(|((_, pod), read)| !pod.is_empty() && read.own.contains_key(&index));
    let silent = own.names().enumerate().find(|(index, _)| !found(*index)).map(|(_, name)| name);
    let why = silent.map(|name| {
        format!(
            "spec.checks.metrics[{name}].query finds nothing for {}; correct it (sum by (pod) or a selector keeps the pod), or take it out",
            serving(pods)
        )
    });
    Ok(why.map(Blind::Config))
}

fn serving(pods: usize) -> String {
    if pods == 1 { "the pod that serves".to_owned() } else { format!("the {pods} pods that serve") }
}

fn blind(
    family: &Family,
    (namespace_label, pod_label): (&str, &str),
    pods: usize,
    found: &[&PodReading],
) -> Option<String> {
    let name = family.requests();
    let all = serving(pods);
    if !found.iter().any(|pod| pod.requests.is_some()) {
        return Some(if found.iter().any(|pod| pod.up == Some(true)) {
            format!(
                "{name} finds nothing for {all}, though they are scraped: send them a request if none has come yet, or correct spec.checks.source"
            )
        } else {
            format!(
                "{name} finds nothing for {all}: no series has their names in the labels {namespace_label} and {pod_label}; let them be scraped, or correct spec.checks.source or the MetricProvider's labels"
            )
        });
    }
    let with_latency = matches!(family, Family::Custom(queries) if queries.has_latency());
    if with_latency && !found.iter().any(|pod| !pod.le.is_empty()) {
        return Some(format!("spec.checks.source.latency finds nothing for {all}; correct it, or leave it out"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::checks::{Preset, Source};

    fn family(latency: bool) -> Family {
        let text = |text: &str| Some(text.to_owned());
        let source = Source {
            preset: Preset::Custom,
            total: text("asked"),
            errors: text("failed"),
            latency: latency.then(|| "took_bucket".to_owned()),
        };
        Family::of(&source).unwrap()
    }

    fn reading(requests: Option<f64>, up: Option<bool>, le: &[&str]) -> PodReading {
        let le = le.iter().map(|le| ((*le).to_owned(), 1.0)).collect();
        PodReading { requests, le, up, ..PodReading::default() }
    }

    #[test]
    fn a_query_that_finds_nothing_is_named_with_its_cure() {
        let labels = ("namespace", "pod");
        let says = |family: &Family, found: &[PodReading]| {
            blind(family, labels, 2, &found.iter().collect::<Vec<_>>()).unwrap_or_default()
        };
        let app = Family::of(&Source::default()).unwrap();
        assert_eq!(
            says(&app, &[]),
            "http_requests_total finds nothing for the 2 pods that serve: no series has their names in the labels namespace and pod; let them be scraped, or correct spec.checks.source or the MetricProvider's labels"
        );
        assert_eq!(
            says(&app, &[reading(None, Some(true), &[])]),
            "http_requests_total finds nothing for the 2 pods that serve, though they are scraped: send them a request if none has come yet, or correct spec.checks.source"
        );
        assert_eq!(says(&app, &[reading(Some(0.0), Some(true), &[])]), "");
        assert!(says(&family(false), &[]).starts_with("spec.checks.source.total finds nothing"));
        assert_eq!(says(&family(false), &[reading(Some(3.0), None, &[])]), "");
        assert_eq!(
            says(&family(true), &[reading(Some(3.0), None, &[])]),
            "spec.checks.source.latency finds nothing for the 2 pods that serve; correct it, or leave it out"
        );
        assert_eq!(says(&family(true), &[reading(Some(3.0), None, &["2"])]), "");
    }
}
