//! Before a release: whether the version that serves can be measured with the Release's queries.
//!
//! Asked beside the passes: none of them waits for a metric provider, for a hanging one would hold up the rollbacks of
//! others. The last answer counts until the next one has come.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::task::AbortHandle;

use super::{
    context::{Key, Kicks},
    providers::Providers,
};
use crate::{
    api::checks::{Metric, Source},
    observe::{
        clock,
        prometheus::{own::Own, preflight::preflight, presets::Family},
        seen::Blind,
    },
};

/// How long an answer counts before it is asked for again.
const FRESH: Duration = Duration::from_secs(5);

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The name of a MetricProvider.
    pub provider: String,
    pub source: Source,
    pub metrics: Vec<Metric>,
    /// The pods that serve.
    pub pods: Vec<String>,
}

struct Known {
    question: Question,
    blind: Option<Blind>,
    answered: Option<Instant>,
    asking: Option<AbortHandle>,
}

impl Known {
    /// Whether it is time to ask; a question that ended without an answer is asked again.
    fn due(&self) -> bool {
        self.asking.as_ref().is_none_or(AbortHandle::is_finished)
            && self.answered.is_none_or(|at| clock::monotonic().duration_since(at) >= FRESH)
    }
}

/// The questions of all Releases that wait.
pub struct Preflights {
    providers: Arc<Providers>,
    kicks: Kicks,
    known: Arc<Mutex<HashMap<Key, Known>>>,
}

impl Preflights {
    pub fn new(providers: Arc<Providers>, kicks: Kicks) -> Self {
        Self { providers, kicks, known: Arc::default() }
    }

    /// What is known by now. The Release gets a pass when that changes. Needs a runtime.
    pub fn blind(&self, key: &Key, question: Question) -> Option<Blind> {
        let mut table = lock(&self.known);
        let new = || Known { question: question.clone(), blind: Some(Blind::Unasked), answered: None, asking: None };
        let known = table.entry(key.clone()).or_insert_with(new);
        if known.question != question {
            *known = new();
        }
        if known.due() {
            let (providers, kicks, table) = (self.providers.clone(), self.kicks.clone(), self.known.clone());
            known.asking = Some(tokio::spawn(ask(providers, kicks, table, key.clone(), question)).abort_handle());
        }
        known.blind.clone()
    }

    pub fn forget(&self, key: &Key) {
        lock(&self.known).remove(key);
    }

    pub fn clear(&self) {
        lock(&self.known).clear();
    }
}

async fn ask(
    providers: Arc<Providers>,
    kicks: Kicks,
    table: Arc<Mutex<HashMap<Key, Known>>>,
    key: Key,
    question: Question,
) {
    let understood = Family::of(&question.source).and_then(|family| Ok((family, Own::of(&question.metrics)?)));
    let answer = match (providers.get(&question.provider).await, understood) {
        (Ok(provider), Ok((family, own))) if provider.allows(&key.namespace) => {
            preflight(&provider, &family, &own, &key.namespace, &question.pods).await
        }
        _ => None, // other gates speak of that
    };
    let news = {
        let mut table = lock(&table);
        let Some(known) = table.get_mut(&key).filter(|known| known.question == question) else { return };
        known.answered = Some(clock::monotonic());
        std::mem::replace(&mut known.blind, answer.clone()) != answer
    };
    if news {
        kicks.kick(&key.namespace, &key.name);
    }
}

/// A panic elsewhere leaves whole entries behind.
fn lock(table: &Mutex<HashMap<Key, Known>>) -> MutexGuard<'_, HashMap<Key, Known>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
