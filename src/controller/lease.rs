//! Leadership: one process of all works, on a Lease, by the rules of `election`.

pub mod election;
pub mod retiring;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        authentication::v1::SelfSubjectReview,
        coordination::v1::{Lease as Object, LeaseSpec},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::{
    election::{Action, Election, Record, Timing},
    retiring::{Retiring, Standing},
};
use super::client::Fence;
use crate::{
    api::units::At,
    error::{Error, Result},
    observe::clock,
};

/// How long giving the lease back may take.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// One candidate for the lease. Its client must not pass the fence: it is what moves it.
pub struct Lease {
    client: Client,
    api: Api<Object>,
    name: String,
    me: String,
    timing: Timing,
    election: Election,
    fence: Fence,
    leading: watch::Sender<bool>,
    marks: Retiring,
    retiring: watch::Sender<Option<At>>,
    origin: Instant,
    /// As last read or written by us.
    stored: Option<Object>,
    /// What was logged last, so that a standing problem is told once.
    told: String,
}

impl Lease {
    /// The receiver says whether this process leads. It turns false no later than the fence falls.
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        timing: Timing,
        fence: Fence,
    ) -> (Self, watch::Receiver<bool>) {
        let (leading, receiver) = watch::channel(false);
        let lease = Self {
            api: Api::namespaced(client.clone(), namespace),
            client,
            name: name.to_owned(),
            me: identity.to_owned(),
            timing,
            election: Election::new(identity.to_owned(), timing),
            fence,
            leading,
            marks: Retiring::default(),
            retiring: watch::channel(None).0,
            origin: clock::monotonic(),
            stored: None,
            told: String::new(),
        };
        (lease, receiver)
    }

    /// Since when this process knows that it is to retire; right from the moment it leads.
    pub fn retiring(&self) -> watch::Receiver<Option<At>> {
        self.retiring.subscribe()
    }

    /// Names the installation. Else it is the UID of the service account that this process runs as.
    pub fn installation(&mut self, name: Option<String>) {
        self.marks.installation = name;
    }

    /// Competes for the lease until `stop`, then gives it back. Stop the work before: writes are refused from then on.
    pub async fn run(mut self, stop: CancellationToken) {
        if self.marks.installation.is_none() {
            match timeout(self.timing.call, account(&self.client)).await {
                Ok(Ok(account)) => self.marks.installation = account,
                // Then a mark of the former installation counts for some minutes. Nothing is lost by that but time.
                Ok(Err(error)) => self.tell(&format!("the API server does not say who we are: {error}")),
                Err(_) => self.tell("the API server does not say in time who we are"),
            }
        }
        loop {
            let limit = self.deadline_left().map_or(self.timing.call, |left| left.min(self.timing.call));
            let turn = timeout(limit, self.turn());
            let outcome = tokio::select! {
                () = stop.cancelled() => break,
                outcome = turn => outcome,
            };
            let settled = matches!(outcome, Ok(Ok(())));
            match outcome {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.tell(&format!("lease {}: {error}", self.name)),
                Err(_) => self.tell(&format!("lease {}: no answer after {} ms", self.name, limit.as_millis())),
            }
            self.publish();
            let pause = match self.deadline_left() {
                Some(left) if settled => self.timing.renew.min(left),
                Some(left) => self.timing.retry.min(left),
                None => self.timing.retry,
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(pause) => {}
            }
            self.publish();
        }
        self.release().await;
    }

    /// Reads the lease unless it is ours and known, and does what the rules say.
    async fn turn(&mut self) -> Result<()> {
        let known = if self.election.leads(self.elapsed()) { self.stored.take() } else { None };
        let current = match known {
            Some(known) => Some(known),
            None => self.api.get_opt(&self.name).await.map_err(|e| Error::from_kube("reading it", e))?,
        };
        let record = current.as_ref().map(record);
        let action = self.election.step(record.as_ref(), self.elapsed());
        let begun = self.elapsed();
        let none = BTreeMap::new();
        let annotations = current.as_ref().and_then(|l| l.metadata.annotations.as_ref()).unwrap_or(&none);
        let standing = self.marks.step(annotations, begun);
        let written = match action {
            Action::Wait => {
                self.fence.close();
                self.tell(&format!("standing by: {} leads", record.map(|r| r.holder).unwrap_or_default()));
                return Ok(());
            }
            Action::Create => {
                let lease = self.mine(Object::default(), action, standing);
                self.api.create(&PostParams::default(), &lease).await
            }
            Action::Take | Action::Renew => {
                let lease = self.mine(current.unwrap_or_default(), action, standing);
                self.api.replace(&self.name, &PostParams::default(), &lease).await
            }
        };
        self.stored = Some(written.map_err(|e| Error::from_kube("writing it", e))?);
        self.election.won(begun);
        self.retire(standing == Standing::Asked);
        if let Some(deadline) = self.election.deadline() {
            self.fence.hold_until(self.origin + deadline);
        }
        Ok(())
    }

    /// The lease with our name and this moment; what else it carries stays, above all its resourceVersion.
    fn mine(&self, mut lease: Object, action: Action, standing: Standing) -> Object {
        let now = MicroTime(clock::now().timestamp());
        let spec = lease.spec.get_or_insert_default();
        if action != Action::Renew || spec.acquire_time.is_none() {
            spec.acquire_time = Some(now.clone());
        }
        if action == Action::Take {
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        }
        spec.holder_identity = Some(self.me.clone());
        spec.lease_duration_seconds = Some(i32::try_from(self.timing.lease.as_secs().max(1)).unwrap_or(i32::MAX));
        spec.renew_time = Some(now);
        if lease.metadata.name.is_none() {
            lease.metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        }
        self.marks.write(standing, lease.metadata.annotations.get_or_insert_default());
        lease
    }

    /// Says so before this process says that it leads: no pass of a new leader begins anything that must not begin.
    fn retire(&self, asked: bool) {
        let changed = self.retiring.send_if_modified(|since| {
            let changed = since.is_some() != asked;
            if changed {
                *since = asked.then(clock::now);
            }
            changed
        });
        if changed && asked {
            warn!(lease = self.name, "Haldane is being uninstalled: every Release is brought home, none is begun");
        } else if changed {
            warn!(lease = self.name, "Haldane is not being uninstalled any more: Releases go on");
        }
    }

    /// Nobody has to wait for us: the lease is stored without a holder.
    async fn release(mut self) {
        let led = self.election.leads(self.elapsed());
        self.fence.close();
        self.publish();
        if !led {
            return;
        }
        let outcome = timeout(RELEASE_LIMIT, async {
            let lease = match self.stored.take() {
                Some(lease) => Some(lease),
                None => self.api.get_opt(&self.name).await?,
            };
            let Some(mut lease) = lease.filter(|l| record(l).holder == self.me) else { return Ok(()) };
            let spec = lease.spec.get_or_insert_default();
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
            spec.renew_time = Some(MicroTime(clock::now().timestamp()));
            self.api.replace(&self.name, &PostParams::default(), &lease).await.map(|_| ())
        })
        .await;
        match outcome {
            Ok(Ok(())) => info!(lease = self.name, "lease given back"),
            Ok(Err(error)) => warn!(lease = self.name, %error, "the lease was not given back; it runs out by itself"),
            Err(_) => warn!(lease = self.name, "the lease was not given back in time; it runs out by itself"),
        }
    }

    fn publish(&mut self) {
        let leads = self.fence.held();
        let changed = self.leading.send_if_modified(|was| std::mem::replace(was, leads) != leads);
        if changed && leads {
            self.told.clear();
            info!(lease = self.name, identity = self.me, "leading");
        } else if changed {
            warn!(lease = self.name, identity = self.me, "not leading any more");
        }
    }

    fn tell(&mut self, what: &str) {
        if self.told != what {
            what.clone_into(&mut self.told);
            info!(identity = self.me, "{what}");
        }
    }

    fn elapsed(&self) -> Duration {
        clock::monotonic().saturating_duration_since(self.origin)
    }

    /// How long we may still write, if we may.
    fn deadline_left(&self) -> Option<Duration> {
        self.election.deadline()?.checked_sub(self.elapsed()).filter(|left| !left.is_zero())
    }
}

/// The UID of the account that the API server knows this process by.
async fn account(client: &Client) -> Result<Option<String>> {
    let review = Api::<SelfSubjectReview>::all(client.clone());
    let review = review.create(&PostParams::default(), &SelfSubjectReview::default()).await;
    let review = review.map_err(|e| Error::from_kube("asking who we are", e))?;
    let user = review.status.and_then(|status| status.user_info);
    Ok(user.and_then(|user| user.uid).filter(|uid| !uid.is_empty()))
}

/// Who leads, as it is stored.
pub fn record(lease: &Object) -> Record {
    let empty = LeaseSpec::default();
    let spec = lease.spec.as_ref().unwrap_or(&empty);
    let time = |t: &Option<MicroTime>| t.as_ref().map(|t| -> Timestamp { t.0 });
    Record {
        holder: spec.holder_identity.clone().unwrap_or_default(),
        lease: Duration::from_secs(u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0)),
        renewed: time(&spec.renew_time),
        acquired: time(&spec.acquire_time),
        transitions: spec.lease_transitions.unwrap_or(0),
    }
}
