//! How text is put on a terminal: colours, icons, clock times, and nothing that a hostile message could abuse.

use std::{
    env,
    fmt::Display,
    io::{IsTerminal, stdout},
};

use crate::api::units::{At, Span};

/// What the terminal can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    pub color: bool,
    /// Symbols beyond ASCII.
    pub symbols: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Bold,
    Dim,
    Good,
    Bad,
    Warn,
}

impl Style {
    /// For standard output: no colours into files and pipes, or where the user does not want them.
    pub fn of_stdout() -> Self {
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { color: stdout().is_terminal() && !dumb && !refused, symbols: !dumb }
    }

    pub fn paint(self, tone: Tone, text: impl Display) -> String {
        let code = match tone {
            Tone::Plain => return text.to_string(),
            Tone::Bold => "1",
            Tone::Dim => "2",
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Warn => "33",
        };
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }

    pub const fn pick<'a>(self, symbol: &'a str, ascii: &'a str) -> &'a str {
        if self.symbols { symbol } else { ascii }
    }

    /// Twenty cells.
    pub fn bar(self, percent: u32) -> String {
        let full = (percent.min(100) as usize).div_ceil(5);
        format!("{}{}", self.pick("█", "#").repeat(full), self.pick("░", "-").repeat(20 - full))
    }
}

/// Text of the cluster, without control characters: a message must not move the cursor or change colours.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `14:05:09 UTC`, with the date on another day.
pub fn clock(at: At, now: At) -> String {
    let (at, now) = (at.timestamp(), now.timestamp());
    let same_day = at.strftime("%F").to_string() == now.strftime("%F").to_string();
    at.strftime(if same_day { "%T UTC" } else { "%F %T UTC" }).to_string()
}

/// `since 14:05:09 UTC (3 m 2 s)`.
pub fn since(at: At, now: At) -> String {
    format!("since {} ({})", clock(at, now), Span::secs(now.since(at).as_secs()))
}

/// `at 14:05:09 UTC (in 3 m 2 s)`, or that it is due.
pub fn until(at: At, now: At) -> String {
    let left = at.since(now).as_secs();
    if left == 0 { "at once".to_owned() } else { format!("at {} (in {})", clock(at, now), Span::secs(left)) }
}

/// `3d4h`, `12m`: as kubectl shows ages.
pub fn age(at: At, now: At) -> String {
    let seconds = now.since(at).as_secs();
    let (d, h, m, s) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match (d, h, m) {
        (0, 0, 0) => format!("{s}s"),
        (0, 0, m) if m < 10 => format!("{m}m{s}s"),
        (0, 0, m) => format!("{m}m"),
        (0, h, m) => format!("{h}h{m}m"),
        (d, h, _) if d < 8 => format!("{d}d{h}h"),
        (d, ..) => format!("{d}d"),
    }
}
