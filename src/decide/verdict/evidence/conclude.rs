//! From the tests to one verdict: the gravest that holds.

use super::{
    data,
    engine::{Engine, lately},
    families::{Member, combined, culprit},
    health::{self, Health},
    literal::Stand,
    output::{Finding, Output},
    sample::{Arm, Sample},
    sentence,
    spread::hash,
    state::{Conviction, Outlier, Reason},
};

/// One verdict with its reason.
#[derive(Clone, Debug, PartialEq)]
struct Word {
    finding: Finding,
    reason: Reason,
    sentence: String,
    pod: Option<String>,
}

impl Word {
    fn new(finding: Finding, reason: Reason, sentence: impl Into<String>) -> Self {
        Self { finding, reason, sentence: sentence.into(), pod: None }
    }
}

impl Engine {
    /// The verdict at a sample, after all blocks up to the watermark were taken in.
    pub(super) fn conclude(&mut self, sample: &Sample) -> Output {
        let members = self.members();
        let ln_e = combined(&members, false);
        let health = if self.config.alone {
            health::check(&self.roster, &self.config, sample.weight, sample.t, &mut self.state.unwell_since)
        } else {
            Health::Well
        };
        if self.state.bad.is_none()
            && let Some((reason, sentence)) = self.convict(sample, &health, &members)
        {
            self.state.bad = Some(Conviction { reason, sentence, at: sample.t });
        }
        let outlier = self.outlier(&members);
        if let (Some(pod), Outlier::Nobody) = (outlier.as_ref().and_then(|word| word.pod.as_ref()), self.state.outlier)
        {
            self.state.outlier = Outlier::There(hash(pod));
        }
        let proven = self.proven(sample);
        let word = self.word(sample, health, outlier, &members);
        let holds = !matches!(word.finding, Finding::Healthy | Finding::Watching)
            || matches!(word.reason, Reason::Unwell | Reason::Starting | Reason::NoWeight);
        let advance = !holds && proven.enough && !leans(&members) && (proven.certain || !self.config.require_proof);
        let seen = self.state.totals[0] > 0.0 || self.state.share.missed > 0.0;
        Output {
            t: sample.t,
            verdict: word.finding,
            reason: word.reason.name(),
            sentence: word.sentence,
            ln_e: (seen && ln_e.is_finite()).then_some(ln_e),
            advance,
            requests_needed: if advance { 0 } else { sentence::whole(proven.needed.unwrap_or(0.0).ceil()) },
            pod: word.pod,
        }
    }

    /// What convicts now.
    fn convict(&self, sample: &Sample, health: &Health, members: &[Member]) -> Option<(Reason, String)> {
        if let Health::Bad(sentence) = health {
            return Some((Reason::Health, sentence.clone()));
        }
        let config = &self.config;
        if sample.weight > 0.0 || self.state.totals[0] > 0.0 {
            if config.sequential
                && combined(members, true) >= -config.alpha.ln()
                && let Some(guilty) = culprit(members)
                && self.beyond_doubt(members)
            {
                return Some((guilty.reason, sentence::conviction(self, guilty, members)));
            }
            for (index, reason) in [Reason::ErrorRate, Reason::Latency].into_iter().enumerate() {
                let contested = members.get(index).is_some_and(|m| m.contested.is_some());
                if config.alone && self.state.stands[index] == Stand::Convicted && (config.strict || !contested) {
                    return Some((reason, sentence::literal(self, index, &self.state.literal[index].counts())));
                }
            }
        }
        None
    }

    /// The gravest of what holds.
    fn word(&self, sample: &Sample, health: Health, outlier: Option<Word>, members: &[Member]) -> Word {
        let state = &self.state;
        let config_error = data::config_error(self);
        if let Some(sentence) = config_error {
            return Word::new(Finding::ConfigError, Reason::Config, sentence);
        }
        if let Some(bad) = &state.bad {
            return Word::new(Finding::Bad, bad.reason, bad.sentence.clone());
        }
        if let Some((reason, sentence)) = data::gap(self, sample) {
            return Word::new(Finding::NoData, reason, sentence);
        }
        if let Health::Shared(sentence) = health {
            return Word::new(Finding::EnvironmentDegraded, Reason::Degraded, sentence);
        }
        for (index, (suffering, stand)) in state.suffering.iter().zip(&state.stands).enumerate() {
            if (suffering.both() || *stand == Stand::Shared) && !self.config.strict {
                return Word::new(Finding::EnvironmentDegraded, Reason::Degraded, sentence::degraded(self, index));
            }
        }
        if let Health::Outlier { pod, sentence } = health {
            let mut word = Word::new(Finding::PodOutlier, Reason::Outlier, sentence);
            word.pod = Some(pod);
            return word;
        }
        if let Some(word) = outlier {
            return word;
        }
        if let Health::Unwell(sentence) = health {
            return Word::new(Finding::Watching, Reason::Unwell, sentence);
        }
        self.waiting(sample, members)
    }

    /// A pod that certainly differs from its brothers, and makes the candidate look bad.
    fn outlier(&self, members: &[Member]) -> Option<Word> {
        let member = members.iter().find(|m| m.contested.is_some() && m.ln_e >= 3.0)?;
        let place = self.state.spread.outlier(member.contested?, self.state.onset.left)?;
        let (name, _) = self.roster.alive(Arm::Canary).find(|(name, _)| hash(name) == place.hash)?;
        let mut word = Word::new(Finding::PodOutlier, Reason::Outlier, sentence::outlier(self, name, member));
        word.pod = Some(name.clone());
        Some(word)
    }

    /// Nothing speaks against it.
    fn waiting(&self, sample: &Sample, members: &[Member]) -> Word {
        let watching = |reason, sentence: String| Word::new(Finding::Watching, reason, sentence);
        if sample.weight <= 0.0 {
            return watching(Reason::NoWeight, "the candidate gets no traffic".into());
        }
        if !self.roster.alive(Arm::Canary).any(|(_, p)| p.ready) {
            return watching(Reason::Starting, "no pod of the candidate is ready yet".into());
        }
        let proven = self.proven(sample);
        let counts = lately(&self.state);
        if leans(members) {
            return watching(Reason::Leaning, sentence::leaning(&counts));
        }
        if proven.certain && proven.enough {
            return Word::new(Finding::Healthy, Reason::Certified, sentence::certified(self, &counts));
        }
        let reason = if proven.enough { Reason::Proving } else { Reason::Collecting };
        watching(reason, sentence::needed(self, &counts, proven.needed))
    }

    fn proven(&self, sample: &Sample) -> Proven {
        let (config, proof) = (&self.config, &self.state.proof);
        let phi = self.state.dispersion.errors(config.phi_floor);
        // Latency is judged only past the pods' first moments: as many requests must have been timed then.
        let timed = if self.state.bounds.is_empty() { proof.requests } else { proof.timed.min(proof.requests) };
        let missing = (config.min_requests - timed).max(0.0);
        let to_prove = proof.needed(config.error_max, config.beta, phi);
        Proven {
            enough: sample.weight > 0.0 && proof.requests > 0.0 && missing <= 0.01,
            certain: to_prove == Some(0.0) || config.error_max >= 1.0,
            needed: to_prove.map(|n| n.max(missing)),
        }
    }
}

/// Some family is no longer indifferent: e = 3. It does not convict, but it is no time to give it more traffic.
fn leans(members: &[Member]) -> bool {
    members.iter().any(|m| m.ln_e >= 1.1 && (m.admitted || m.contested.is_some()))
}

/// Where the step's proof stands.
struct Proven {
    /// It has seen enough requests.
    enough: bool,
    certain: bool,
    needed: Option<f64>,
}
