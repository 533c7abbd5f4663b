//! The workload that releases are tried on: a Deployment of two pods with its Service, and a route with odd fields.

/// Fields of a route that the operator knows nothing of must come through unchanged too.
pub const SHOP: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, labels: {team: web}, annotations: {note: kept}}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  template:
    metadata: {labels: {app: shop}, annotations: {note: kept}}
    spec:
      containers:
      - {name: app, image: 'shop:1', ports: [{name: http, containerPort: 8080}], env: [{name: A, value: b}]}
---
apiVersion: v1
kind: Service
metadata: {name: shop, annotations: {prometheus.io/scrape: 'true'}}
spec: {selector: {app: shop}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: other}
spec: {selector: {app: other}, ports: [{name: http, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop, labels: {team: web}}
spec:
  hostnames: [shop.example]
  parentRefs: [{name: front, sectionName: http}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /shop}, headers: [{name: x-lang, value: en}]}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
    timeouts: {request: 10s}
    backendRefs:
    - name: shop
      port: 80
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-a, value: b}]}}]
  - matches: [{path: {type: PathPrefix, value: /other}}]
    backendRefs: [{name: other, port: 80, weight: 7}]
";
