//! How many messages a service takes from one Notifier, whatever the number of Releases that use it.
//!
//! DingTalk mutes a robot for ten minutes when it sends too much: to wait here is faster than to be refused there. What
//! was sent is remembered one by one: a bucket that fills steadily lets twice the number through in its first minute.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::api::{notice::Severity, notifier::Channel, units::At};

/// So many in so long, the last few of them for critical notices only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub most: usize,
    pub reserve: usize,
    pub span: Duration,
}

/// What the service is known to take.
pub const fn of(channel: Channel<'_>) -> Option<Rate> {
    const MINUTE: Duration = Duration::from_mins(1);
    match channel {
        Channel::DingTalk(_) | Channel::WeCom(_) => Some(Rate { most: 20, reserve: 4, span: MINUTE }),
        Channel::Feishu(_) => Some(Rate { most: 100, reserve: 10, span: MINUTE }),
        // One a second; short bursts are taken.
        Channel::Slack(_) => Some(Rate { most: 1, reserve: 0, span: Duration::from_secs(1) }),
        Channel::Webhook(_)
        | Channel::Teams(_)
        | Channel::PagerDuty(_)
        | Channel::Alertmanager(_)
        | Channel::Email(_)
        | Channel::GitHub(_) => None,
    }
}

/// How many messages a notice is.
pub fn messages(channel: Channel<'_>, severity: Severity) -> usize {
    if matches!(channel, Channel::WeCom(_)) && severity == Severity::Critical { 2 } else { 1 }
}

/// What each Notifier has sent in its last span.
#[derive(Default)]
pub struct Rates(Mutex<HashMap<String, VecDeque<At>>>);

impl Rates {
    /// Counts the messages of a notice, or says how long to wait until there is room for them.
    pub fn take(
        &self,
        notifier: &str,
        rate: Rate,
        messages: usize,
        severity: Severity,
        now: At,
    ) -> Result<(), Duration> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|name, sent| {
            name == notifier || sent.back().is_some_and(|at| now.since(*at) < Duration::from_mins(5))
        });
        let sent = all.entry(notifier.to_owned()).or_default();
        // A clock that was set back must not close the way for hours.
        sent.retain(|at| now.since(*at) < rate.span && *at <= now);
        let most = if severity == Severity::Critical { rate.most } else { rate.most - rate.reserve };
        if sent.len() + messages <= most {
            sent.extend(std::iter::repeat_n(now, messages));
            return Ok(());
        }
        let leaves = (sent.len() + messages - most).clamp(1, sent.len().max(1)) - 1;
        Err(sent.get(leaves).map_or(rate.span, |at| rate.span.saturating_sub(now.since(*at))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { most: 5, reserve: 2, span: Duration::from_mins(1) };

    fn at(second: i64) -> At {
        At::new(jiff::Timestamp::from_second(1_790_000_000 + second).unwrap())
    }

    #[test]
    fn no_minute_has_more_than_the_service_takes_and_the_last_are_for_critical_notices() {
        let rates = Rates::default();
        let take = |severity, second| rates.take("ding", RATE, 1, severity, at(second));
        for second in 0..3 {
            assert_eq!(take(Severity::Warning, second), Ok(()));
        }
        assert_eq!(take(Severity::Warning, 10), Err(Duration::from_secs(50)), "until the first is a minute old");
        assert_eq!(take(Severity::Critical, 10), Ok(()));
        assert_eq!(take(Severity::Critical, 11), Ok(()));
        assert_eq!(take(Severity::Critical, 12), Err(Duration::from_secs(48)));
        assert_eq!(rates.take("other", RATE, 1, Severity::Info, at(12)), Ok(()), "each Notifier has its own count");
        assert_eq!(take(Severity::Critical, 60), Ok(()));
        let two = rates.take("ding", RATE, 2, Severity::Critical, at(61));
        assert_eq!(two, Err(Duration::from_secs(1)), "both messages of a notice go together");
        assert_eq!(take(Severity::Info, 60 + 3600), Ok(()));
        assert_eq!(take(Severity::Info, 0), Ok(()), "a clock that was set back");
    }
}
