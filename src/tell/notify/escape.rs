//! What a Release says must stay words: no mentions, links, markup or control characters in any channel.
//!
//! Where a service has a kind of text that it does not interpret, that kind is used and `line` is all it needs. For the
//! others the characters that begin something are parted from what follows them by a space of no width, or replaced by
//! signs that look the same: a person reads the sentence as it was written.

/// Parts two characters and is not seen.
const GAP: char = '\u{200b}';

/// One line without control characters and without signs that are not seen or turn the direction of reading.
pub fn line(text: &str) -> String {
    let shown = text.chars().filter(|c| !unseen(*c));
    let one_line: String =
        shown.map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c }).collect();
    one_line.trim().to_owned()
}

const fn unseen(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// For texts that something behind the receiver may take for HTML, a mention or a link.
pub fn defuse(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = line(text).chars().collect::<Vec<_>>().into_iter().peekable();
    while let Some(c) = rest.next() {
        out.push(c);
        let begins = match (c, rest.peek()) {
            (_, None | Some(' ')) => false,
            // `a < 5` and `a <5` are comparisons.
            ('<', Some(next)) => !next.is_ascii_digit() && *next != '=',
            ('@' | '&' | '#', _) => true,
            (']', Some(next)) => matches!(next, '(' | '[' | ':'),
            (':', Some(next)) => *next == '/',
            _ => false,
        };
        if begins {
            out.push(GAP);
        }
    }
    out
}

/// For the dialects of Markdown that know no escape.
pub fn markdown(text: &str) -> String {
    let mut before = ' ';
    let mut signs = defuse(text).chars().collect::<Vec<_>>().into_iter().peekable();
    let mut out = String::new();
    while let Some(c) = signs.next() {
        let inside = before.is_alphanumeric() && signs.peek().is_some_and(|next| next.is_alphanumeric());
        before = c;
        out.push(match c {
            '*' => '∗',
            '`' => 'ˋ',
            '~' => '∼',
            '\\' => '＼',
            '|' => '∣',
            '_' if !inside => 'ˍ',
            _ => c,
        });
    }
    out
}

/// For HTML and XML.
pub fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in line(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// For Slack's own markup, where `<` begins mentions and links and an entity is the way to write it.
pub fn slack(text: &str) -> String {
    markdown(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a person sees.
    fn seen(text: &str) -> String {
        let text: String = text.chars().filter(|c| *c != GAP).collect();
        [("∗", "*"), ("ˋ", "`"), ("∼", "~"), ("＼", "\\"), ("∣", "|"), ("ˍ", "_")]
            .iter()
            .fold(text, |text, (like, sign)| text.replace(like, sign))
    }

    /// Beginnings of mentions and markup, and any text between.
    fn hostile() -> impl Strategy<Value = String> {
        let bits = prop_oneof![
            Just("<!channel>"),
            Just("<@U123>"),
            Just("@all"),
            Just("@所有人"),
            Just("[a](http://evil)"),
            Just("**"),
            Just("<at id=all></at>"),
            Just("<font color=\"red\">"),
            Just("\r\n"),
            Just("\u{1b}[31m"),
            Just("`"),
            Just("&lt;"),
            Just("_x_"),
            Just("~~"),
            Just("![i](x)"),
            Just("<script>"),
            Just("\u{202e}"),
            Just("#1"),
            Just("\\"),
        ];
        let any = prop_oneof![bits.prop_map(str::to_owned), any::<String>()];
        prop::collection::vec(any, 0..8).prop_map(|parts| parts.concat())
    }

    #[test]
    fn the_sentences_of_a_verdict_stay_as_they_are() {
        for sentence in [
            "error rate 7.31 % > 5 % at 20 %, stable 0.40 %",
            "canary 8 of 40 failed (19.5 %), stable 2 of 760 (0.3 %); odds against chance 270 : 1",
            "http_requests_total < 5 for 2 m",
        ] {
            assert_eq!(markdown(sentence), sentence);
        }
        assert_eq!(line("a\r\nb\u{1b}[31mc\u{202e}"), "a  b [31mc");
        assert_eq!(slack("7 > 5 & <!channel>"), "7 &gt; 5 &amp; &lt;\u{200b}!channel&gt;");
    }

    proptest! {
        #[test]
        fn nothing_begins_that_a_service_would_act_on(text in hostile()) {
            let markdown = markdown(&text);
            for sign in ["<!", "<@", "<a", "<f", "<s", "</", "](", "][", "://", "*", "`", "~", "@all", "@所", "\n", "\r", "\u{1b}", "&l", "#1"] {
                prop_assert!(!markdown.contains(sign), "{sign:?} in {markdown:?}");
            }
            let slack = slack(&text);
            prop_assert!(!slack.contains(['<', '>', '\n', '\u{1b}']), "{slack:?}");
            let html = html(&text);
            prop_assert!(!html.contains(['<', '>', '"', '\'', '\r', '\n']), "{html:?}");
        }

        #[test]
        fn a_person_reads_what_was_written(text in hostile()) {
            // Look-alikes in the input are the sender's own.
            prop_assume!(!text.contains(['∗', 'ˋ', '∼', '＼', '∣', 'ˍ']));
            prop_assert_eq!(seen(&markdown(&text)), line(&text));
            prop_assert_eq!(seen(&defuse(&text)), line(&text));
        }
    }
}
