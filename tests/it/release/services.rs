//! More than one Service selects the pods: a headless one, one for metrics on a port of its own, one with two ports.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use kube::{ResourceExt, api::ListParams};

use super::{STAYS, Shop};

const MORE: &str = "
apiVersion: v1
kind: Service
metadata: {name: shop-pods, labels: {team: web}}
spec: {selector: {app: shop}, clusterIP: None, publishNotReadyAddresses: true, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: shop-metrics, labels: {monitored: 'yes'}}
spec:
  selector: {app: shop}
  ports: [{name: metrics, port: 9090, targetPort: http}, {name: probes, port: 9091, targetPort: http}]
";

impl Shop {
    async fn services(&self) -> BTreeMap<String, Service> {
        let all = self.api::<Service>().list(&ListParams::default()).await.expect("Services").items;
        all.into_iter().map(|s| (s.name_any(), s)).collect()
    }
}

fn specs(services: &BTreeMap<String, Service>) -> BTreeMap<String, Option<ServiceSpec>> {
    services.iter().map(|(name, s)| (name.clone(), s.spec.clone())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_services_of_the_pods_follow_and_are_what_they_were() {
    let shop = Shop::open().await;
    shop.plane.apply_yaml(&shop.ns, MORE).await;
    let before = shop.services().await;

    shop.wish(STAYS).await;
    shop.in_step().await;
    let now = shop.services().await;
    let selects = |name: &str| now[name].spec.as_ref()?.selector.as_ref()?.get("pod-template-hash").cloned();
    let (stable, candidate) = (selects("shop").expect("pinned"), selects("shop-canary").expect("pinned"));
    assert_ne!(stable, candidate);
    for name in ["shop", "shop-pods", "shop-metrics"] {
        let canary = format!("{name}-canary");
        assert_eq!(selects(name), Some(stable.clone()), "{name}");
        assert_eq!(selects(&canary), Some(candidate.clone()), "whoever finds pods by {name} finds the new ones too");
        // Found in the same way: by the same labels, by the same ports, with an address or without one.
        let (users, ours) = (&before[name], &now[&canary]);
        assert!(users.labels().iter().all(|(key, value)| ours.labels().get(key) == Some(value)), "{ours:?}");
        let (users, ours) = (users.spec.as_ref().unwrap(), ours.spec.as_ref().unwrap());
        let ports = |s: &ServiceSpec| s.ports.iter().flatten().map(|p| (p.name.clone(), p.port)).collect::<Vec<_>>();
        assert_eq!(ports(ours), ports(users), "{canary}");
        assert_eq!(ours.cluster_ip == Some("None".into()), users.cluster_ip == Some("None".into()), "{canary}");
    }

    shop.order("Promote", ", to: Full").await;
    shop.phase("shop", "Succeeded").await;
    assert_eq!(specs(&shop.services().await), specs(&before));
}
