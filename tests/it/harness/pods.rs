//! Plays the scheduler and the kubelet of one namespace: pods run, fail and end as a test says.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
    core::ObjectMeta,
    runtime::watcher::{self, Event, watcher},
};
use serde_json::{Value, json};
use tokio::{sync::Notify, task::JoinHandle};

use super::{AGAIN, Plane};

/// How a pod fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Ready,
    /// Bound to the node, its containers not started.
    Held,
    /// Runs and is not ready.
    Unready,
    /// Ends again and again: `CrashLoopBackOff`.
    Crashing,
    /// `ImagePullBackOff`.
    NoImage,
    /// No node has room for it.
    Unschedulable,
    /// Its containers have ended: with 0, or with 1 and last words.
    Ended(bool),
    /// A Secret that its environment names is not there.
    NoSecret,
}

type Predicate = Box<dyn Fn(&Pod) -> bool + Send>;

#[derive(Default)]
struct Rules {
    fates: Vec<(Predicate, Fate)>,
    /// Pods that stay when they have been deleted, as if their preStop hook took long.
    lingering: Vec<Predicate>,
    /// Where pods come to from now on; none: where all pods run.
    node: Option<String>,
}

/// Runs until it is dropped.
pub struct Agent {
    rules: Arc<Mutex<Rules>>,
    changed: Arc<Notify>,
    task: JoinHandle<()>,
}

/// Pods with this image in any container.
pub fn of_image(image: &str) -> impl Fn(&Pod) -> bool + Send + 'static {
    let image = image.to_owned();
    move |pod| pod.spec.iter().flat_map(|s| &s.containers).any(|c| c.image.as_deref() == Some(&image))
}

/// Pods whose names start so: a whole name is one pod, a ReplicaSet's name all of its pods.
pub fn named(prefix: &str) -> impl Fn(&Pod) -> bool + Send + 'static {
    let prefix = prefix.to_owned();
    move |pod| pod.name_any().starts_with(&prefix)
}

pub fn every(_: &Pod) -> bool {
    true
}

impl Agent {
    pub fn start(plane: &Plane, namespace: &str) -> Self {
        let (rules, changed) = (Arc::new(Mutex::new(Rules::default())), Arc::new(Notify::new()));
        let kubelet =
            Kubelet { api: Api::namespaced(plane.client(), namespace), client: plane.client(), rules: rules.clone() };
        let task = tokio::spawn(kubelet.run(changed.clone()));
        Self { rules, changed, task }
    }

    /// Their containers do not start.
    pub fn hold(&self, which: impl Fn(&Pod) -> bool + Send + 'static) {
        self.rule(which, Fate::Held);
    }

    /// They are (again) as pods should be.
    pub fn ready(&self, which: impl Fn(&Pod) -> bool + Send + 'static) {
        self.rule(which, Fate::Ready);
    }

    pub fn unready(&self, which: impl Fn(&Pod) -> bool + Send + 'static) {
        self.rule(which, Fate::Unready);
    }

    pub fn crash(&self, which: impl Fn(&Pod) -> bool + Send + 'static) {
        self.rule(which, Fate::Crashing);
    }

    pub fn image_pull_error(&self, which: impl Fn(&Pod) -> bool + Send + 'static) {
        self.rule(which, Fate::NoImage);
    }

    /// They end at once; `well`: with exit code 0.
    pub fn end(&self, which: impl Fn(&Pod) -> bool + Send + 'static, well: bool) {
        self.rule(which, Fate::Ended(well));
    }

    pub fn without_secret(&self, which: impl Fn(&Pod) -> bool + Send + 'static) {
        self.rule(which, Fate::NoSecret);
    }

    pub fn unschedulable(&self, which: impl Fn(&Pod) -> bool + Send + 'static) {
        self.rule(which, Fate::Unschedulable);
    }

    /// They stay, ready or not, after they have been deleted; until `finish`.
    pub fn linger(&self, which: impl Fn(&Pod) -> bool + Send + 'static) {
        self.rules.lock().expect("no panic inside").lingering.push(Box::new(which));
    }

    /// Pods that have no node yet come to this one, which must exist.
    pub fn on_node(&self, name: &str) {
        self.rules.lock().expect("no panic inside").node = Some(name.to_owned());
    }

    /// All deleted pods end now.
    pub fn finish(&self) {
        self.rules.lock().expect("no panic inside").lingering.clear();
        self.changed.notify_one();
    }

    fn rule(&self, which: impl Fn(&Pod) -> bool + Send + 'static, fate: Fate) {
        self.rules.lock().expect("no panic inside").fates.push((Box::new(which), fate));
        self.changed.notify_one();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Kubelet {
    api: Api<Pod>,
    client: Client,
    rules: Arc<Mutex<Rules>>,
}

impl Kubelet {
    async fn run(self, changed: Arc<Notify>) {
        let mut pods: BTreeMap<String, Pod> = BTreeMap::new();
        let mut events = watcher(self.api.clone(), watcher::Config::default()).boxed();
        loop {
            tokio::select! {
                event = events.try_next() => match event {
                    Ok(Some(Event::Apply(pod) | Event::InitApply(pod))) => {
                        self.attend(&pod).await;
                        pods.insert(pod.name_any(), pod);
                    }
                    Ok(Some(Event::Delete(pod))) => {
                        pods.remove(&pod.name_any());
                    }
                    Ok(Some(Event::Init | Event::InitDone)) => {}
                    // An API server that is gone refuses at once: without a pause this task could not even be ended.
                    Err(_) => tokio::time::sleep(AGAIN).await,
                    Ok(None) => return,
                },
                () = changed.notified() => for pod in pods.values() {
                    self.attend(pod).await;
                },
            }
        }
    }

    /// One step with one pod. What is refused because the pod has changed comes back as an event.
    async fn attend(&self, pod: &Pod) {
        let name = pod.name_any();
        let (fate, lingers) = self.fate(pod);
        if pod.metadata.deletion_timestamp.is_some() {
            if !lingers {
                let same = Preconditions { uid: pod.uid(), resource_version: None };
                let now = DeleteParams::default().grace_period(0).preconditions(same);
                let _gone = self.api.delete(&name, &now).await;
            }
            return;
        }
        let bound = pod.spec.as_ref().is_some_and(|s| s.node_name.is_some());
        if !bound && fate != Fate::Unschedulable {
            self.bind(pod).await;
            return; // the binding itself brings the next event
        }
        if let Some(status) = status(pod, fate) {
            let patch = json!({"metadata": {"uid": pod.uid()}, "status": status});
            let _stale = self.api.patch_status(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
        }
    }

    fn fate(&self, pod: &Pod) -> (Fate, bool) {
        let rules = self.rules.lock().expect("no panic inside");
        let fate = rules.fates.iter().rev().find(|(fits, _)| fits(pod)).map_or(Fate::Ready, |(_, fate)| *fate);
        (fate, rules.lingering.iter().any(|fits| fits(pod)))
    }

    async fn bind(&self, pod: &Pod) {
        let (name, namespace) = (pod.name_any(), pod.namespace());
        let node = self.rules.lock().expect("no panic inside").node.clone().unwrap_or_else(|| "it".into());
        let binding = Binding {
            metadata: ObjectMeta { name: Some(name.clone()), namespace, uid: pod.uid(), ..ObjectMeta::default() },
            target: ObjectReference { kind: Some("Node".into()), name: Some(node), ..ObjectReference::default() },
        };
        let body = serde_json::to_vec(&binding).expect("a binding");
        let namespace = pod.namespace().unwrap_or_default();
        let url = format!("/api/v1/namespaces/{namespace}/pods/{name}/binding");
        let request =
            http::Request::post(url).header("content-type", "application/json").body(body).expect("a request");
        let _taken = self.client.request_text(request).await;
    }
}

/// The status that goes with a fate; `None` where the pod has it already.
fn status(pod: &Pod, fate: Fate) -> Option<Value> {
    let old = serde_json::to_value(&pod.status).unwrap_or_default();
    let scheduled = fate != Fate::Unschedulable;
    let runs = matches!(fate, Fate::Ready | Fate::Unready | Fate::Crashing);
    let ready = fate == Fate::Ready;
    let containers: Vec<Value> =
        pod.spec.iter().flat_map(|s| &s.containers).map(|c| container(c, fate, &old)).collect();
    let mut new = json!({
        "phase": match fate {
            Fate::Ended(true) => "Succeeded",
            Fate::Ended(false) => "Failed",
            _ if runs => "Running",
            _ => "Pending",
        },
        "conditions": [
            condition("PodScheduled", scheduled, (!scheduled).then_some("Unschedulable"), &old),
            condition("Initialized", scheduled, None, &old),
            condition("ContainersReady", ready, (!ready).then_some("ContainersNotReady"), &old),
            condition("Ready", ready, (!ready).then_some("ContainersNotReady"), &old),
        ],
    });
    if scheduled {
        new["containerStatuses"] = json!(containers);
        new["startTime"] = old.get("startTime").cloned().unwrap_or_else(now);
    }
    if runs {
        let ip = old["podIP"].as_str().map_or_else(next_ip, str::to_owned);
        new["podIPs"] = json!([{"ip": ip}]);
        new["podIP"] = json!(ip);
    }
    let same = new.as_object()?.iter().all(|(key, value)| old.get(key) == Some(value));
    (!same).then_some(new)
}

fn container(c: &k8s_openapi::api::core::v1::Container, fate: Fate, old: &Value) -> Value {
    let before = old["containerStatuses"].as_array().into_iter().flatten().find(|s| s["name"] == c.name.as_str());
    let known = |state: &str| before.map(|s| s["state"][state]["startedAt"].clone()).filter(|at| !at.is_null());
    let started = known("running").or_else(|| known("terminated"));
    let started = started.unwrap_or_else(now);
    let waiting =
        |reason: &str| json!({"waiting": {"reason": reason, "message": format!("as the test says: {reason}")}});
    let state = match fate {
        Fate::Ready | Fate::Unready => json!({"running": {"startedAt": started}}),
        Fate::Crashing => waiting("CrashLoopBackOff"),
        Fate::NoSecret => waiting("CreateContainerConfigError"),
        Fate::Ended(well) => {
            let message = if well { "42 keys" } else { "relation in use, password=hunter2" };
            json!({"terminated": {"exitCode": i32::from(!well), "message": message, "startedAt": started, "finishedAt": started}})
        }
        Fate::NoImage => waiting("ImagePullBackOff"),
        Fate::Held | Fate::Unschedulable => json!({"waiting": {"reason": "ContainerCreating"}}),
    };
    json!({
        "name": c.name, "image": c.image, "imageID": "", "ready": fate == Fate::Ready,
        "started": matches!(fate, Fate::Ready | Fate::Unready),
        "restartCount": if fate == Fate::Crashing { 3 } else { 0 }, "state": state,
    })
}

fn condition(kind: &str, holds: bool, reason: Option<&str>, old: &Value) -> Value {
    let status = if holds { "True" } else { "False" };
    let before =
        old["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == kind && c["status"] == status);
    let since = before.map_or_else(now, |c| c["lastTransitionTime"].clone());
    let mut condition = json!({"type": kind, "status": status, "lastTransitionTime": since});
    if let Some(reason) = reason {
        condition["reason"] = json!(reason);
    }
    condition
}

fn now() -> Value {
    let now = haldane::observe::clock::now().timestamp();
    json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

fn next_ip() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0x0a00_0001);
    std::net::Ipv4Addr::from(NEXT.fetch_add(1, Ordering::Relaxed)).to_string()
}
