//! Signatures by which receivers know that a message is ours.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;

fn sha256(key: &[u8], message: &[u8]) -> String {
    STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message))
}

/// DingTalk: the secret signs the time in milliseconds and itself.
pub fn dingtalk(millis: i64, secret: &str) -> String {
    sha256(secret.as_bytes(), format!("{millis}\n{secret}").as_bytes())
}

/// Feishu: the time in seconds and the secret together are the key, and what is signed is empty.
pub fn feishu(seconds: i64, secret: &str) -> String {
    sha256(format!("{seconds}\n{secret}").as_bytes(), b"")
}

/// Standard Webhooks, for the header `webhook-signature`.
pub fn webhook(id: &str, seconds: i64, body: &str, secret: &str) -> Result<String, String> {
    let secret = secret.strip_prefix("whsec_").unwrap_or(secret);
    let key = STANDARD
        .decode(secret)
        .map_err(|_| "the signing secret is not base64; make one with: openssl rand -base64 32".to_owned())?;
    if key.is_empty() {
        return Err("the signing secret is empty; make one with: openssl rand -base64 32".into());
    }
    Ok(format!("v1,{}", sha256(&key, format!("{id}.{seconds}.{body}").as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_services() {
        assert_eq!(dingtalk(1_577_262_236_757, "SECabc"), "I5TKCOTTj6fad4sJ4q9RsIffw0PAChVQZQGTdtRbNEQ=");
        assert_eq!(feishu(1_599_360_473, "SECabc"), "KjJCRpeZcpDq6nFA4wlSAm5ZsE3Y8HuB1O1Sgv2Y9xA=");
        // The example of the Standard Webhooks specification.
        let (id, secret) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signed = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(webhook(id, 1_614_265_330, r#"{"test": 2432232314}"#, secret).unwrap(), signed);
        assert_eq!(webhook(id, 1_614_265_330, r#"{"test": 2432232314}"#, &secret[6..]).unwrap(), signed);
        assert!(webhook(id, 0, "", "no base64!").is_err());
        assert!(webhook(id, 0, "", "whsec_").is_err());
    }
}
