//! What the data plane says of a route: whether all its parents have taken over this very generation.

use serde_json::Value;

use super::gateway_api::GROUP;

/// `Accepted` and `ResolvedRefs` must be there and true, for this generation, from every parent.
const REQUIRED: [&str; 2] = ["Accepted", "ResolvedRefs"];
/// Looked at where a gateway writes it.
const PROGRAMMED: &str = "Programmed";
/// True when a gateway has dropped some of the rules.
const PARTIALLY_INVALID: &str = "PartiallyInvalid";

/// The rule of all routes of the Gateway API. The error says which parent objects, in its own words.
pub fn by_all_parents(spec: &Value, status: &Value, generation: i64, namespace: &str) -> Result<(), String> {
    let parents = list(spec, "parentRefs");
    if parents.is_empty() {
        return Err("it has no parentRefs, so no gateway serves it".into());
    }
    let entries = list(status, "parents");
    for parent in parents {
        let wanted = identity(parent, namespace);
        let mine = entries.iter().filter(|e| e.get("parentRef").is_some_and(|p| identity(p, namespace) == wanted));
        // A controller that no longer serves the parent may have left its entry: one that agrees is enough.
        let mut complaints: Vec<String> = Vec::new();
        let mut agreed = false;
        for entry in mine {
            match by(entry, generation) {
                Ok(()) => agreed = true,
                Err(complaint) => complaints.push(complaint),
            }
        }
        if !agreed {
            let name = parent.get("name").and_then(Value::as_str).unwrap_or_default();
            let kind = parent.get("kind").and_then(Value::as_str).unwrap_or("Gateway");
            let why = if complaints.is_empty() { "has not answered yet".into() } else { complaints.join("; ") };
            return Err(format!("{kind} {name} {why}"));
        }
    }
    Ok(())
}

fn by(entry: &Value, generation: i64) -> Result<(), String> {
    let conditions = list(entry, "conditions");
    let find = |name: &str| conditions.iter().find(|c| c["type"] == name);
    let bad = |c: &Value, is: &str| {
        let (reason, message) = (c["reason"].as_str().unwrap_or_default(), c["message"].as_str().unwrap_or_default());
        Err(format!("says {} is {is}: {reason} {message}", c["type"].as_str().unwrap_or_default())
            .trim_end()
            .to_owned())
    };
    for name in REQUIRED.into_iter().chain(find(PROGRAMMED).map(|_| PROGRAMMED)) {
        let Some(condition) = find(name) else { return Err(format!("has not said {name} yet")) };
        let seen = condition["observedGeneration"].as_i64().unwrap_or(0);
        if seen != generation {
            return Err(format!("has not looked at generation {generation} yet ({name} is of {seen})"));
        }
        if condition["status"] != "True" {
            return bad(condition, condition["status"].as_str().unwrap_or("Unknown"));
        }
    }
    match find(PARTIALLY_INVALID) {
        Some(c) if c["status"] == "True" && c["observedGeneration"].as_i64() == Some(generation) => bad(c, "True"),
        _ => Ok(()),
    }
}

/// What makes two parent references the same, defaults filled in.
fn identity<'a>(parent: &'a Value, namespace: &'a str) -> (&'a str, &'a str, &'a str, &'a str, &'a str, Option<i64>) {
    let text = |field: &str, or: &'a str| parent.get(field).and_then(Value::as_str).unwrap_or(or);
    (
        text("group", GROUP),
        text("kind", "Gateway"),
        text("namespace", namespace),
        text("name", ""),
        text("sectionName", ""),
        parent.get("port").and_then(Value::as_i64),
    )
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn condition(name: &str, status: &str, generation: i64) -> Value {
        json!({"type": name, "status": status, "observedGeneration": generation, "reason": "R", "message": "words"})
    }

    fn said(conditions: &[Value]) -> Result<(), String> {
        let spec = json!({"parentRefs": [{"name": "edge"}]});
        let parent = json!({"group": GROUP, "kind": "Gateway", "name": "edge", "namespace": "shop"});
        let status = json!({"parents": [{"parentRef": parent, "conditions": conditions}]});
        by_all_parents(&spec, &status, 4, "shop")
    }

    #[test]
    fn all_required_conditions_must_be_true_for_this_generation() {
        let (accepted, resolved) = (condition("Accepted", "True", 4), condition("ResolvedRefs", "True", 4));
        assert_eq!(said(&[accepted.clone(), resolved.clone()]), Ok(()));
        let no = |conditions: &[Value]| said(conditions).unwrap_err();
        assert_eq!(no(std::slice::from_ref(&accepted)), "Gateway edge has not said ResolvedRefs yet");
        assert_eq!(
            no(&[accepted.clone(), condition("ResolvedRefs", "True", 3)]),
            "Gateway edge has not looked at generation 4 yet (ResolvedRefs is of 3)"
        );
        assert_eq!(
            no(&[accepted.clone(), condition("ResolvedRefs", "False", 4)]),
            "Gateway edge says ResolvedRefs is False: R words"
        );
        let programmed = condition("Programmed", "Unknown", 4);
        assert!(no(&[accepted.clone(), resolved.clone(), programmed]).contains("Programmed is Unknown"));
        let partly = condition("PartiallyInvalid", "True", 4);
        assert!(no(&[accepted, resolved, partly]).contains("PartiallyInvalid is True"));
    }

    #[test]
    fn every_parent_must_agree_and_an_old_controllers_entry_does_no_harm() {
        let spec = json!({"parentRefs": [{"name": "a", "sectionName": "http"}, {"name": "b"}]});
        let yes = [condition("Accepted", "True", 1), condition("ResolvedRefs", "True", 1)];
        let entry = |parent: Value, conditions: &[Value]| json!({"parentRef": parent, "conditions": conditions});
        let a = entry(json!({"name": "a", "sectionName": "http"}), &yes);
        let other_section = entry(json!({"name": "a", "sectionName": "https"}), &yes);
        let b = entry(json!({"name": "b"}), &yes);
        let old = entry(json!({"name": "b"}), &[condition("Accepted", "False", 1)]);
        let said = |parents: &[&Value]| by_all_parents(&spec, &json!({"parents": parents}), 1, "shop");
        assert_eq!(said(&[&a, &old, &b]), Ok(()));
        assert_eq!(said(&[&other_section, &b]), Err("Gateway a has not answered yet".into()));
        assert_eq!(said(&[&a]), Err("Gateway b has not answered yet".into()));
        assert!(said(&[&a, &old]).is_err());
        assert!(by_all_parents(&json!({}), &Value::Null, 1, "shop").is_err());
    }
}
