//! Writing PromQL that no name can break out of, and taming PromQL that a user wrote.

use std::fmt::Write as _;

use promql_parser::{
    label::{Matcher, Matchers},
    parser::{Expr, VectorSelector, parse, token::T_EQL_REGEX, value::ValueType},
};

/// A string literal of PromQL.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A regular expression (RE2, anchored by Prometheus) that matches exactly the given names.
pub fn one_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut pattern = String::new();
    for name in names {
        if !pattern.is_empty() {
            pattern.push('|');
        }
        for c in name.chars() {
            if r"\.+*?()|[]{}^$".contains(c) {
                pattern.push('\\');
            }
            pattern.push(c);
        }
    }
    pattern
}

/// Which series may be read: one namespace (or several), and pods by name.
#[derive(Clone, Debug)]
pub struct Scope {
    namespace_label: String,
    pod_label: String,
    namespaces: String,
    pods: String,
}

impl Scope {
    pub fn new<'a>(
        (namespace_label, pod_label): (&str, &str),
        namespaces: impl IntoIterator<Item = &'a str>,
        pods: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        Self {
            namespace_label: namespace_label.to_owned(),
            pod_label: pod_label.to_owned(),
            namespaces: one_of(namespaces),
            pods: one_of(pods),
        }
    }

    /// All pods that a ReplicaSet has, had and will have.
    pub fn of_set((namespace_label, pod_label): (&str, &str), namespace: &str, set: &str) -> Self {
        Self {
            namespace_label: namespace_label.to_owned(),
            pod_label: pod_label.to_owned(),
            namespaces: one_of([namespace]),
            pods: format!("{}-[a-z0-9]+", one_of([set])),
        }
    }

    /// `metric{namespace=~"…",pod=~"…",more}`; `more` is PromQL of our own.
    pub fn select(&self, metric: &str, more: &str) -> String {
        let (namespace, pod) = (quote(&self.namespaces), quote(&self.pods));
        let comma = if more.is_empty() { "" } else { "," };
        format!("{metric}{{{}=~{namespace},{}=~{pod}{comma}{more}}}", self.namespace_label, self.pod_label)
    }

    /// `namespace, pod`, for `by`.
    pub fn by(&self) -> String {
        format!("{}, {}", self.namespace_label, self.pod_label)
    }

    fn matchers(&self) -> Result<[Matcher; 2], String> {
        let matcher = |name: &str, value: &str| Matcher::new_matcher(T_EQL_REGEX, name.to_owned(), value.to_owned());
        Ok([matcher(&self.namespace_label, &self.namespaces)?, matcher(&self.pod_label, &self.pods)?])
    }
}

/// A user's query, parsed and found to be what may be asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Custom(Expr);

impl Custom {
    /// Raw counters. `field` is the query's place in the Release. Errors: a sentence that names it and says what to change.
    pub fn parse(field: &str, text: &str) -> Result<Self, String> {
        Self::checked(field, text, counters)
    }

    /// What goes up and down: rates, quotients and most functions too.
    pub fn gauge(field: &str, text: &str) -> Result<Self, String> {
        Self::checked(field, text, gauges)
    }

    fn checked(field: &str, text: &str, allowed: fn(&Expr) -> Result<(), String>) -> Result<Self, String> {
        let expr = parse(text).map_err(|words| format!("{field} is not PromQL: {}", shorten(&words)))?;
        if expr.value_type() != ValueType::Vector {
            return Err(format!("{field} is a {}, not an instant vector", expr.value_type()));
        }
        allowed(&expr).map_err(|problem| format!("{field} {problem}"))?;
        Ok(Self(expr))
    }

    /// The query with `scope` forced into every selector, and the selectors alone, for their timestamps.
    pub fn within(&self, scope: &Scope) -> Result<(String, Vec<String>), String> {
        let mut expr = self.0.clone();
        let mut selectors = Vec::new();
        force(&mut expr, &scope.matchers()?, &mut selectors);
        let text = expr.to_string();
        // The printer is not ours: what it printed must read back as what was meant.
        if parse(&text).as_ref() != Ok(&expr) {
            return Err("it cannot be rewritten for one namespace; write its names and labels in plain letters".into());
        }
        Ok((text, selectors))
    }
}

/// Only selectors and sums of them: a rate or a range is no raw counter, and its increase would be taken twice.
fn counters(expr: &Expr) -> Result<(), String> {
    match expr {
        Expr::Paren(inner) => counters(&inner.expr),
        Expr::Aggregate(sum) if sum.op.to_string() == "sum" => counters(&sum.expr),
        Expr::Aggregate(other) => Err(format!("uses {}; only sum keeps counters countable", other.op)),
        Expr::Binary(both) if matches!(both.op.to_string().as_str(), "+" | "-" | "or") => {
            counters(&both.lhs)?;
            counters(&both.rhs)
        }
        Expr::Binary(other) => Err(format!("uses the operator {}; only +, - and or keep counters countable", other.op)),
        Expr::VectorSelector(selector) => plain(selector),
        Expr::Call(call) => {
            Err(format!("calls {}(); give the raw counter, its increase is taken here", call.func.name))
        }
        _ => Err("is more than selectors of counters, sums of them, + - and or".into()),
    }
}

/// Whatever reads series by selectors alone, so that all of them can be forced into one namespace.
fn gauges(expr: &Expr) -> Result<(), String> {
    match expr {
        Expr::Paren(inner) => gauges(&inner.expr),
        Expr::Unary(inner) => gauges(&inner.expr),
        Expr::Aggregate(of) if matches!(of.op.to_string().as_str(), "sum" | "avg" | "min" | "max" | "count") => {
            gauges(&of.expr)
        }
        Expr::Aggregate(other) => Err(format!("uses {}; sum, avg, min, max and count can be used", other.op)),
        Expr::Binary(both) => {
            gauges(&both.lhs)?;
            gauges(&both.rhs)
        }
        Expr::VectorSelector(selector) => plain(selector),
        Expr::MatrixSelector(range) => plain(&range.vs),
        Expr::NumberLiteral(_) => Ok(()),
        // Those that make series of nothing, or rename labels, would reach around the namespace.
        Expr::Call(call)
            if matches!(
                call.func.name,
                "absent" | "absent_over_time" | "label_join" | "label_replace" | "vector" | "scalar"
            ) =>
        {
            Err(format!("calls {}(), which cannot be told for one pod; remove it", call.func.name))
        }
        Expr::Call(call) => call.args.args.iter().try_for_each(|arg| gauges(arg)),
        _ => Err("uses a subquery or a text; write it without".into()),
    }
}

fn plain(selector: &VectorSelector) -> Result<(), String> {
    if !selector.matchers.or_matchers.is_empty() {
        return Err("uses or inside braces; write two selectors joined by or".into());
    }
    if selector.offset.is_some() || selector.at.is_some() {
        return Err("looks at another time (offset or @); remove it".into());
    }
    Ok(())
}

fn force(expr: &mut Expr, matchers: &[Matcher; 2], selectors: &mut Vec<String>) {
    let narrow = |selector: &mut VectorSelector| {
        *selector = VectorSelector {
            matchers: matchers.iter().cloned().fold(
                Matchers { matchers: selector.matchers.matchers.clone(), or_matchers: Vec::new() },
                Matchers::append,
            ),
            ..selector.clone()
        };
        // The printer sorts; sorted here too, so that reading back gives an equal tree.
        selector.matchers.matchers.sort_by_key(ToString::to_string);
    };
    match expr {
        Expr::VectorSelector(selector) => {
            narrow(selector);
            selectors.push(selector.to_string());
        }
        Expr::MatrixSelector(range) => narrow(&mut range.vs),
        Expr::Paren(inner) => force(&mut inner.expr, matchers, selectors),
        Expr::Unary(inner) => force(&mut inner.expr, matchers, selectors),
        Expr::Call(call) => call.args.args.iter_mut().for_each(|arg| force(arg, matchers, selectors)),
        Expr::Aggregate(sum) => force(&mut sum.expr, matchers, selectors),
        Expr::Binary(both) => {
            force(&mut both.lhs, matchers, selectors);
            force(&mut both.rhs, matchers, selectors);
        }
        _ => {} // nothing else is let in
    }
}

/// The parser quotes the query; a status keeps a line of it.
fn shorten(words: &str) -> String {
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= 160 { line } else { format!("{}…", line.chars().take(160).collect::<String>()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scope() -> Scope {
        Scope::new(("namespace", "pod"), ["shop"], ["web-1", "web-2"])
    }

    fn within(text: &str) -> String {
        Custom::parse("f", text).unwrap().within(&scope()).unwrap().0
    }

    fn selector(text: &str) -> VectorSelector {
        match parse(text) {
            Ok(Expr::VectorSelector(selector)) => selector,
            other => panic!("{text}: {other:?}"),
        }
    }

    proptest! {
        #[test]
        fn no_name_breaks_out_of_its_quotes(name in any::<String>()) {
            let read = selector(&format!("up{{pod={}}}", quote(&name)));
            prop_assert_eq!(read.matchers.matchers.len(), 1);
            prop_assert_eq!(&read.matchers.matchers[0].value, &name);
        }

        #[test]
        fn a_list_of_names_matches_these_and_no_others(
            names in prop::collection::vec("[ -~]{1,12}", 1..4), other in "[ -~]{1,12}",
        ) {
            let scope = Scope::new(("namespace", "pod"), ["n"], names.iter().map(String::as_str));
            let read = selector(&scope.select("up", ""));
            prop_assert_eq!(read.matchers.matchers.len(), 2);
            let pod = &read.matchers.matchers[1];
            for name in &names {
                prop_assert!(pod.is_match(name), "{} {}", pod, name);
            }
            prop_assert_eq!(pod.is_match(&other), names.contains(&other));
        }

        #[test]
        fn no_custom_query_reaches_another_namespace(text in "[a-z_]{1,8}(\\{[a-z\"=~!,|.{}() ]{0,30}\\})?( (or|\\+) [a-z]{1,5})?") {
            if let Ok((forced, _)) = Custom::parse("f", &text).map_err(|_| ()).and_then(|c| c.within(&scope()).map_err(|_| ())) {
                let mut found = Vec::new();
                collect(&parse(&forced).unwrap(), &mut found);
                prop_assert!(!found.is_empty());
                for s in found {
                    prop_assert!(s.matchers.or_matchers.is_empty());
                    prop_assert!(s.matchers.matchers.iter().any(|m| m.to_string() == r#"namespace=~"shop""#), "{}", forced);
                }
            }
        }

        #[test]
        fn no_gauge_reaches_another_namespace(text in gauge(3)) {
            let custom = Custom::gauge("f", &text).unwrap();
            let forced = custom.within(&scope()).unwrap().0;
            let mut found = Vec::new();
            collect(&parse(&forced).unwrap(), &mut found);
            prop_assert!(!found.is_empty());
            for s in found {
                prop_assert!(s.matchers.matchers.iter().any(|m| m.to_string() == r#"namespace=~"shop""#), "{}", forced);
            }
        }
    }

    fn gauge(depth: u32) -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec!["a", r#"b{c="d"}"#, "rate(e[5m])", "max_over_time(f[1m])"])
            .prop_map(str::to_owned);
        leaf.prop_recursive(depth, 16, 2, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} / {b}")),
                inner.clone().prop_map(|a| format!("({a}) * 100")),
                inner.clone().prop_map(|a| format!("max by (pod) ({a})")),
                inner.prop_map(|a| format!("clamp_max({a}, 5)")),
            ]
        })
    }

    fn collect(expr: &Expr, found: &mut Vec<VectorSelector>) {
        match expr {
            Expr::VectorSelector(s) => found.push(s.clone()),
            Expr::Paren(p) => collect(&p.expr, found),
            Expr::Aggregate(a) => collect(&a.expr, found),
            Expr::Binary(b) => {
                collect(&b.lhs, found);
                collect(&b.rhs, found);
            }
            Expr::MatrixSelector(range) => found.push(range.vs.clone()),
            Expr::Call(call) => call.args.args.iter().for_each(|arg| collect(arg, found)),
            Expr::NumberLiteral(_) => {}
            other => panic!("{other}"),
        }
    }

    #[test]
    fn the_namespace_is_forced_into_every_selector() {
        let forced = r#"namespace=~"shop",pod=~"web-1|web-2""#;
        assert_eq!(within("a"), format!("a{{{forced}}}"));
        assert_eq!(
            within(r#"sum by (pod) (a{namespace="bank"}) + (b or c)"#),
            format!(r#"sum by (pod) (a{{namespace="bank",{forced}}}) + (b{{{forced}}} or c{{{forced}}})"#)
        );
    }

    #[test]
    fn what_is_not_a_raw_counter_is_refused_with_the_cure() {
        for (text, why) in [
            ("rate(a[5m])", "f calls rate(); give the raw counter, its increase is taken here"),
            ("1", "f is a scalar, not an instant vector"),
            ("a[5m]", "f is a matrix, not an instant vector"),
            ("max by (pod) (a)", "f uses max; only sum keeps counters countable"),
            ("a / b", "f uses the operator /; only +, - and or keep counters countable"),
            ("a offset 5m", "f looks at another time (offset or @); remove it"),
            (r#"a{b="c" or d="e"}"#, "f uses or inside braces; write two selectors joined by or"),
        ] {
            assert_eq!(Custom::parse("f", text).unwrap_err(), why, "{text}");
        }
        for (text, why) in [
            ("rate(a[5m:1m])", "f uses a subquery or a text; write it without"),
            ("absent(a)", "f calls absent(), which cannot be told for one pod; remove it"),
            ("topk(3, a)", "f uses topk; sum, avg, min, max and count can be used"),
            ("a offset 5m", "f looks at another time (offset or @); remove it"),
            ("5", "f is a scalar, not an instant vector"),
        ] {
            assert_eq!(Custom::gauge("f", text).unwrap_err(), why, "{text}");
        }
        let why = Custom::parse("spec.checks.source.total", "sum(a").unwrap_err();
        assert!(why.starts_with("spec.checks.source.total is not PromQL: "), "{why}");
    }
}
