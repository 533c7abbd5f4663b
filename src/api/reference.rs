//! The reference of the objects, written from their schemas, so that it cannot say anything else than the API server does.

use std::fmt::Write;

use serde_json::Value;

/// One section per definition: a table of the fields people write, then one of what the operator tells.
pub fn markdown(crds: &[&Value]) -> String {
    let mut out = String::from(
        "# Reference\n\nWritten by `make generate` from the schemas. Durations are written as `90s`, `10m`, `1h30m`; \
         percentages as text, `5%`.\n",
    );
    for crd in crds {
        let names = &crd["spec"]["names"];
        let schema = super::crd::schema(crd);
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "\n## {}\n\n{}\n\n`apiVersion: {}/{}`, plural `{}`.\n",
            text(&names["kind"]),
            text(&schema["description"]),
            text(&crd["spec"]["group"]),
            text(&crd["spec"]["versions"][0]["name"]),
            text(&names["plural"]),
        );
        for (part, heading) in [("spec", "What people write"), ("status", "What the operator writes")] {
            let fields = &schema["properties"][part];
            if fields.is_object() {
                let _ = write!(
                    out,
                    "\n### {heading}\n\n| field | type | default | must be | meaning |\n|---|---|---|---|---|\n"
                );
                let mut rules = Vec::new();
                rows(&mut out, &mut rules, part, fields, false);
                if !rules.is_empty() {
                    let _ = write!(out, "\nRules the API server enforces:\n\n{}", rules.concat());
                }
            }
        }
    }
    out
}

/// A row for the field and for each field below it.
fn rows(out: &mut String, rules: &mut Vec<String>, path: &str, schema: &Value, required: bool) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        if unit(schema).is_none() || !text(&rule["message"]).starts_with("must be a ") {
            rules.push(line(path, text(&rule["message"])));
        }
    }
    if path.contains('.') {
        let (kind, default, limits) = (kind(schema), default(schema), limits(schema, required));
        let _ = writeln!(out, "| `{path}` | {kind} | {default} | {limits} | {} |", cell(text(&schema["description"])));
    }
    if path == "status.state" {
        return; // the operator's memory: its inner fields are no contract
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let required = schema["required"].as_array().is_some_and(|names| names.iter().any(|n| n == name));
        rows(out, rules, &format!("{path}.{name}"), field, required);
    }
    // Elements have no row of their own: the list's type names them. Their rules and fields count.
    let element = &schema["items"];
    for rule in element["x-kubernetes-validations"].as_array().into_iter().flatten() {
        rules.push(line(&format!("{path}[]"), text(&rule["message"])));
    }
    for (name, field) in element["properties"].as_object().into_iter().flatten() {
        let required = element["required"].as_array().is_some_and(|names| names.iter().any(|n| n == name));
        rows(out, rules, &format!("{path}[].{name}"), field, required);
    }
}

/// Most messages name the field themselves.
fn line(path: &str, message: &str) -> String {
    if message.starts_with("spec.") { format!("- {message}\n") } else { format!("- `{path}`: {message}\n") }
}

fn kind(schema: &Value) -> String {
    let values = schema["enum"].as_array().map(|all| all.iter().map(text).collect::<Vec<_>>().join(", "));
    match (text(&schema["type"]), values) {
        (_, Some(values)) => format!("one of {values}"),
        ("array", None) => format!("list of {}", kind(&schema["items"])),
        ("object", None) if schema["additionalProperties"].is_object() => {
            format!("map of {}", kind(&schema["additionalProperties"]))
        }
        ("string", None) if unit(schema).is_some() => unit(schema).unwrap_or_default().into(),
        ("string", None) if schema["format"] == "date-time" => "time".into(),
        (other, None) => other.into(),
    }
}

/// What the text is, where its rule says so.
fn unit(schema: &Value) -> Option<&'static str> {
    let message = text(&schema["x-kubernetes-validations"][0]["message"]);
    ["duration", "percentage"].into_iter().find(|unit| message.starts_with(&format!("must be a {unit}")))
}

/// A default made of fields is shown at the fields, where they have their own.
fn default(schema: &Value) -> String {
    match &schema["default"] {
        Value::Null => String::new(),
        Value::Object(fields) if fields.keys().all(|name| !schema["properties"][name]["default"].is_null()) => {
            String::new()
        }
        value => format!("`{}`", value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
    }
}

fn limits(schema: &Value, required: bool) -> String {
    let mut all = Vec::new();
    if required {
        all.push("given".into());
    }
    for (least, most, of) in [
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " entries"),
        ("minProperties", "maxProperties", " entries"),
    ] {
        match (schema[least].as_i64(), schema[most].as_i64()) {
            (Some(least), Some(most)) => all.push(format!("{least} to {most}{of}")),
            (Some(least), None) => all.push(format!("at least {least}{of}")),
            (None, Some(_)) if unit(schema).is_some() => {}
            (None, Some(most)) => all.push(format!("at most {most}{of}")),
            (None, None) => {}
        }
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        all.push(format!("like `{}`", cell(pattern)));
    }
    match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => all.push("no entry twice".into()),
        Some("map") => {
            let keys: Vec<&str> =
                schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().map(text).collect();
            all.push(format!("no {} twice", keys.join(" + ")));
        }
        _ => {}
    }
    all.join("; ")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Text inside a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_people_write_has_a_row_with_its_default() {
        let all = super::super::crd::all().unwrap_or_default();
        let text = markdown(&all.iter().collect::<Vec<_>>());
        for row in [
            "| `spec.plan.deadline` | duration | `600s` |",
            "| `spec.plan.steps[].weight` | integer |  | 0 to 100 |",
            "| `spec.targetRef.name` | string |  | given; 1 to 253 characters |",
            "| `spec.checks.errorRate.max` | percentage | `5%` |",
            "| `spec.checks.onNoData` | object | `{\"after\":\"600s\",\"then\":\"Pause\"}` |",
            "| `spec.webhook.url` |",
        ] {
            assert!(text.contains(row), "no row {row}");
        }
        assert!(text.contains("- spec.plan.steps: the last step must be"), "rules are missing");
        assert!(!text.contains("status.state.idle"), "the memory's inner fields are shown");
    }
}
