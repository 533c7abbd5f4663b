//! Numbers as the state keeps them: the bytes of 32-bit floats in base64, because JSON has no infinity and a Release has
//! little room. What is kept is rounded when it is made, so that a restart changes nothing.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Deserializer, Serializer, de};

#[expect(clippy::cast_possible_truncation, reason = "seven digits are enough for evidence")]
const fn short(value: f64) -> f32 {
    let short = value as f32;
    if short.is_infinite() && value.is_finite() { f32::MAX.copysign(short) } else { short }
}

/// To the precision in which it is kept.
pub fn round(value: f64) -> f64 {
    f64::from(short(value))
}

/// To thousandths: what is kept as JSON numbers has no long tails.
pub fn milli(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// `N` numbers; zeros at the end are left out.
pub fn serialize<S: Serializer, const N: usize>(values: &[f64; N], s: S) -> Result<S::Ok, S::Error> {
    let used = values.iter().rposition(|v| *v != 0.0).map_or(0, |last| last + 1);
    let bytes: Vec<u8> = values.iter().take(used).flat_map(|v| short(*v).to_le_bytes()).collect();
    s.serialize_str(&STANDARD_NO_PAD.encode(bytes))
}

pub fn deserialize<'de, D: Deserializer<'de>, const N: usize>(d: D) -> Result<[f64; N], D::Error> {
    let bytes = STANDARD_NO_PAD.decode(String::deserialize(d)?).map_err(de::Error::custom)?;
    if bytes.len() % 4 != 0 || bytes.len() > 4 * N {
        return Err(de::Error::custom(format!("{} bytes instead of {}", bytes.len(), 4 * N)));
    }
    let mut out = [0.0; N];
    for (value, bytes) in out.iter_mut().zip(bytes.chunks_exact(4)) {
        *value = f64::from(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        if value.is_nan() {
            return Err(de::Error::custom("not a number"));
        }
    }
    Ok(out)
}
