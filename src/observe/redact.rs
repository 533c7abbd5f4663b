//! What containers print may hold secrets: they are taken out before anything of it is stored or told.

use std::sync::LazyLock;

use regex::Regex;

/// What a secret is replaced by.
const GONE: &str = "…";

/// How secrets look, and what of it may stay. Deliberately greedy: a lost word is a smaller loss than a told secret.
const FORMS: [(&str, &str); 7] = [
    (r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|\z)", GONE),
    (r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.?[A-Za-z0-9_-]*", GONE),
    (r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b", GONE),
    (r"\b(?:xox[abprs]-|gh[pousr]_|glpat-)[A-Za-z0-9_-]{8,}", GONE),
    (r"(?i)\b((?:bearer|basic)\s+)[A-Za-z0-9+/=._~-]{8,}", "${1}…"),
    (r"([A-Za-z][A-Za-z0-9+.-]*://[^/\s:@]*):[^@\s/]+@", "${1}:…@"),
    (
        r#"(?i)([A-Za-z0-9_.-]*(?:passw(?:or)?d|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|credential)[A-Za-z0-9_.-]*["']?\s*[:=]\s*)("[^"]*"|'[^']*'|[^\s"',;&]+)"#,
        "${1}…",
    ),
];

static KNOWN: LazyLock<Vec<(Regex, &str)>> =
    LazyLock::new(|| FORMS.iter().filter_map(|(form, put)| Some((Regex::new(form).ok()?, *put))).collect());

/// The text without what looks like a secret, and without control characters but line ends.
pub fn redact(text: &str) -> String {
    let plain = KNOWN.iter().fold(text.to_owned(), |text, (form, put)| form.replace_all(&text, *put).into_owned());
    let mut ended = false;
    let escapes = plain.replace("\u{1b}[", "\u{1b}");
    escapes
        .chars()
        .filter(|c| {
            // Of an escape sequence nothing stays: its letters would be read as words.
            if *c == '\u{1b}' {
                ended = true;
                return false;
            }
            if ended {
                ended = !c.is_ascii_alphabetic();
                return false;
            }
            *c == '\n' || !c.is_control()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_known() {
        assert_eq!(KNOWN.len(), FORMS.len());
    }

    #[test]
    fn secrets_go_and_words_stay() {
        for (printed, told) in [
            ("dial redis://app:hunter2@cache:6379/0: refused", "dial redis://app:…@cache:6379/0: refused"),
            ("PGPASSWORD=hunter2 psql: error", "PGPASSWORD=… psql: error"),
            (r#"{"db_password": "hun ter2", "host": "db"}"#, r#"{"db_password": …, "host": "db"}"#),
            ("Authorization: Bearer abcdef123456", "Authorization: Bearer …"),
            ("api-key: 'k 1' rest", "api-key: … rest"),
            ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln end", "jwt … end"),
            ("AKIAABCDEFGHIJKLMNOP", "…"),
            ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nnext", "…\nnext"),
            ("table orders dropped, 3 rows", "table orders dropped, 3 rows"),
            ("\u{1b}[31mred\u{1b}[0m and \u{7}bell", "red and bell"),
        ] {
            assert_eq!(redact(printed), told);
        }
    }
}
