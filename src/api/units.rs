//! The units people write: durations in Go's grammar, percentages as text, moments to the millisecond.
//!
//! Custom resources carry no floats, so each unit is text with one strict reading; a wrong text is refused with the
//! field's name by the schema's pattern before it reaches us, and by `FromStr` wherever the schema cannot see it.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use jiff::{SignedDuration, Timestamp, Unit};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time as Go writes it: `90s`, `1h30m`, `250ms`. Never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(pub Duration);

/// CEL: the duration is one second or more. A text that is no duration is refused by another rule.
pub(super) const A_SECOND_OR_MORE: &str =
    r"!self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') || duration(self) >= duration('1s')";

impl Span {
    pub const fn secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    pub const fn mins(minutes: u64) -> Self {
        Self(Duration::from_secs(minutes * 60))
    }

    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("an empty text is not a duration; write for example 90s, 10m or 1h30m".into());
        }
        let parsed: kube::core::Duration =
            text.parse().map_err(|e| format!("'{text}' is not a duration such as 90s, 10m or 1h30m: {e}"))?;
        if parsed.is_negative() {
            return Err(format!("'{text}' is negative; write a duration of 0s or more"));
        }
        Ok(Self(parsed.into()))
    }
}

/// Written for people: `2 m 30 s`, `45 s`, `1.5 s`, `250 ms`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        if seconds < 10 && self.0.subsec_millis() > 0 {
            return if seconds == 0 {
                write!(f, "{} ms", self.0.as_millis())
            } else {
                write!(f, "{:.1} s", self.0.as_secs_f64())
            };
        }
        let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let parts: Vec<String> = [(h, "h"), (m, "m"), (s, "s")]
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, unit)| format!("{n} {unit}"))
            .collect();
        if parts.is_empty() { f.write_str("0 s") } else { f.write_str(&parts.join(" ")) }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let millis = self.0.as_millis();
        if millis.is_multiple_of(1000) {
            s.collect_str(&format_args!("{}s", millis / 1000))
        } else {
            s.collect_str(&format_args!("{millis}ms"))
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": 32, "x-kubernetes-validations": [{
            "rule": r"self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) <= duration('8760h')",
            "message": "must be a duration up to 8760h, such as 90s, 10m or 1h30m",
        }]})
    }
}

/// A share as text: `5%`, `0.1%`. Kept as parts per million, so that no float reaches the schema or a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u32);

impl Percent {
    pub const fn whole(percent: u32) -> Self {
        Self(percent * 10_000)
    }

    /// So many parts per million; at most all of them.
    pub const fn millionths(parts: u32) -> Self {
        Self(if parts > 1_000_000 { 1_000_000 } else { parts })
    }

    /// The share as a number between 0 and 1.
    pub fn ratio(self) -> f64 {
        f64::from(self.0) / 1e6
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not a percentage between 0% and 100%, such as 5% or 0.25%");
        let number = text.strip_suffix('%').ok_or_else(wrong)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.len() > 4 || !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(wrong());
        }
        let whole: u32 = whole.parse().map_err(|_| wrong())?;
        let fraction: u32 = format!("{fraction:0<4}").parse().map_err(|_| wrong())?;
        if whole > 100 || whole == 100 && fraction > 0 {
            return Err(wrong());
        }
        Ok(Self(whole * 10_000 + fraction))
    }
}

/// `5 %`, `0.25 %`: as few digits as say it.
impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = format!("{:04}", self.0 % 10_000);
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{} %", self.0 / 10_000),
            digits => write!(f, "{}.{digits} %", self.0 / 10_000),
        }
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.to_string().replace(' ', ""))
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": 8, "x-kubernetes-validations": [{
            "rule": r"self.matches('^(100([.]0{1,4})?|[0-9]{1,2}([.][0-9]{1,4})?)%$')",
            "message": "must be a percentage between 0% and 100% in quotes, such as \"5%\" or \"0.25%\"",
        }]})
    }
}

/// A number of 1 or more as text: `1.5`. Kept in thousandths, for the same reason as `Percent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Factor(u32);

impl Factor {
    pub const ONE: Self = Self(1000);

    /// So many thousandths; at least 1.
    pub const fn thousandths(thousandths: u32) -> Self {
        Self(if thousandths < 1000 { 1000 } else { thousandths })
    }

    pub fn value(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl FromStr for Factor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not a number from 1 to 1000 in quotes, such as \"1.5\"");
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str, most: usize| {
            !part.is_empty() && part.len() <= most && part.bytes().all(|b| b.is_ascii_digit())
        };
        if !digits(whole, 4) || !digits(fraction, 3) {
            return Err(wrong());
        }
        let whole: u32 = whole.parse().map_err(|_| wrong())?;
        let fraction: u32 = format!("{fraction:0<3}").parse().map_err(|_| wrong())?;
        let thousandths = whole * 1000 + fraction;
        if (1000..=1_000_000).contains(&thousandths) { Ok(Self(thousandths)) } else { Err(wrong()) }
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = format!("{:03}", self.0 % 1000);
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{}", self.0 / 1000),
            digits => write!(f, "{}.{digits}", self.0 / 1000),
        }
    }
}

impl Serialize for Factor {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Factor {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Factor {
    fn schema_name() -> Cow<'static, str> {
        "Factor".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": 8, "x-kubernetes-validations": [{
            "rule": r"self.matches('^(1000([.]0{1,3})?|[1-9][0-9]{0,2}([.][0-9]{1,3})?)$')",
            "message": "must be a number from 1 to 1000 in quotes, such as \"1.5\"",
        }]})
    }
}

/// A moment, RFC 3339 in UTC, cut to the millisecond so that what is written reads back equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At(Timestamp);

impl At {
    pub fn new(at: Timestamp) -> Self {
        let cut = jiff::TimestampRound::new().smallest(Unit::Millisecond).mode(jiff::RoundMode::Trunc);
        Self(at.round(cut).unwrap_or(at))
    }

    pub const fn timestamp(self) -> Timestamp {
        self.0
    }

    /// How long ago `earlier` was; zero if it lies in the future (a clock that jumped back ends no wait early).
    pub fn since(self, earlier: Self) -> Duration {
        Duration::try_from(self.0.duration_since(earlier.0)).unwrap_or_default()
    }

    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
        Self(self.0.saturating_add(span).unwrap_or(Timestamp::MAX))
    }

    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
        Self(self.0.saturating_sub(span).unwrap_or(Timestamp::MIN))
    }

    /// From seconds since the epoch, as Prometheus gives them; `None` when out of range or not a number.
    pub fn from_epoch(seconds: f64) -> Option<Self> {
        let since = SignedDuration::try_from_secs_f64(seconds).ok()?;
        Timestamp::from_duration(since).ok().map(Self::new)
    }

    pub fn epoch(self) -> f64 {
        self.0.as_duration().as_secs_f64()
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

impl Serialize for At {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for At {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(d)?;
        text.parse().map(Self::new).map_err(|_| de::Error::custom(format!("'{text}' is not an RFC 3339 time")))
    }
}

impl JsonSchema for At {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_follow_gos_grammar_and_nothing_else() {
        assert_eq!("1h30m".parse(), Ok(Span::mins(90)));
        assert_eq!("250ms".parse(), Ok(Span(Duration::from_millis(250))));
        for wrong in ["", "90", "1d", "-5s", "2 m", "1h30"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn units_are_shown_as_people_write_them() {
        assert_eq!(Span::secs(150).to_string(), "2 m 30 s");
        assert_eq!(Span(Duration::from_millis(1500)).to_string(), "1.5 s");
        assert_eq!(Span::secs(0).to_string(), "0 s");
        assert_eq!("7.31%".parse::<Percent>().map(|p| p.to_string()), Ok("7.31 %".into()));
        assert_eq!("5%".parse(), Ok(Percent::whole(5)));
    }

    #[test]
    fn percentages_outside_0_to_100_are_refused() {
        for wrong in ["5", "101%", "100.1%", "-1%", "1.23456%", "%", "1e2%", "NaN%"] {
            assert!(wrong.parse::<Percent>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_written_reads_back_equal() {
        let at = At::new("2026-01-02T03:04:05.678901234Z".parse().unwrap());
        assert_eq!(serde_json::from_value::<At>(serde_json::to_value(at).unwrap()).unwrap(), at);
        assert_eq!(at.to_string(), "2026-01-02T03:04:05.678Z");
        let span = Span::secs(150);
        assert_eq!(serde_json::from_value::<Span>(serde_json::to_value(span).unwrap()).unwrap(), span);
    }
}
