//! Numbers as people read them.

use super::breach::Share;
use super::counters::whole;

/// `7.31 %`, or that there was nothing to divide by.
pub(super) fn percent(share: Share) -> String {
    share.ratio().map_or_else(|| "had no requests".to_owned(), |ratio| format!("{:.2} %", ratio * 100.0))
}

/// `31 of 150`.
pub(super) fn of(share: Share) -> String {
    format!("{} of {}", whole(share.bad.min(share.all)), whole(share.all))
}

/// `1 pod`, `2 pods`.
pub(super) fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}
