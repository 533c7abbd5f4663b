//! Hosts of Istio: how one names a Service of Kubernetes.

/// The Service of `namespace` that a host names from there: `svc`, `svc.ns`, `svc.ns.svc` or `svc.ns.svc.<domain>`.
pub fn service<'h>(host: &'h str, namespace: &str) -> Option<&'h str> {
    let (service, rest) = host.split_once('.').map_or((host, None), |(service, rest)| (service, Some(rest)));
    let local = rest.is_none_or(|rest| {
        let Some(rest) = rest.strip_prefix(namespace) else { return false };
        matches!(rest, "" | ".svc") || rest.strip_prefix(".svc.").is_some_and(|domain| !domain.is_empty())
    });
    (local && !service.is_empty()).then_some(service)
}

/// The same host with another Service in it.
pub fn with_service(host: &str, service: &str) -> String {
    host.split_once('.').map_or_else(|| service.to_owned(), |(_, rest)| format!("{service}.{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_names_a_service_of_its_namespace_in_four_spellings() {
        for (host, named) in [
            ("shop", Some("shop")),
            ("shop.web", Some("shop")),
            ("shop.web.svc", Some("shop")),
            ("shop.web.svc.cluster.local", Some("shop")),
            ("shop.web.svc.corp.example", Some("shop")),
            ("shop.web.svc.", None),
            ("shop.webs", None),
            ("shop.other.svc.cluster.local", None),
            ("shop.web.example", None),
            ("shop.example.com", None),
            (".web", None),
            ("", None),
            ("*", Some("*")), // no Service has this name
            ("*.web.svc.cluster.local", Some("*")),
        ] {
            assert_eq!(service(host, "web"), named, "{host}");
        }
    }

    #[test]
    fn the_canarys_host_keeps_the_spelling() {
        for (host, canary) in [("shop", "c"), ("shop.web", "c.web"), ("shop.web.svc.a.b", "c.web.svc.a.b")] {
            assert_eq!(with_service(host, "c"), canary);
        }
    }
}
