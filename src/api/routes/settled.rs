//! When a route of Istio counts as taken over. istiod writes no status by default and passes a change on within a fraction of
//! a second, so its time is waited for; where it does write one, its word counts.

use std::time::Duration;

use jiff::Timestamp;
use kube::core::DynamicObject;
use serde_json::Value;

use super::Unconfirmed;
use crate::api::units::At;

/// How long istiod may take to pass a change on: it gathers changes for 0.1 s and was measured to need 0.11 s in all.
pub const SETTLE: Duration = Duration::from_secs(2);
/// How long a status of an older generation is waited for: where it is never renewed, istiod writes it no longer.
const STATUS: Duration = Duration::from_secs(30);
/// The API server notes the second of a write, without its fraction.
const SECOND: Duration = Duration::from_secs(1);

/// `since`: from when on the object is certainly there as it stands.
pub fn by_status_or_time(route: &DynamicObject, since: At, now: At) -> Result<(), Unconfirmed> {
    let generation = route.metadata.generation.unwrap_or(0);
    let status = route.data.get("status").unwrap_or(&Value::Null);
    let conditions = status.get("conditions").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let find = |name: &str| conditions.iter().find(|c| c["type"] == name);
    let of = |condition: Option<&Value>| {
        let own = condition.and_then(|c| number(c.get("observedGeneration")?));
        own.or_else(|| number(status.get("observedGeneration")?))
    };
    let (had, waits) = (now.since(since), |why: String, limit| Unconfirmed { why, until: Some(since.plus(limit)) });

    // An error that is said of an older generation may be what was just corrected.
    if of(find("PassedAnalysis")).is_none_or(|seen| seen == generation)
        && let Some(error) = first_error(status)
    {
        return Err(Unconfirmed { why: format!("istiod says {error}"), until: None });
    }
    if let Some(reconciled) = find("Reconciled") {
        match of(Some(reconciled)) {
            Some(seen) if seen == generation && reconciled["status"] == "True" => return Ok(()),
            Some(seen) if seen != generation && had < STATUS => {
                let why = format!("istiod has not looked at generation {generation} yet (Reconciled is of {seen})");
                return Err(waits(why, STATUS));
            }
            Some(seen) if seen == generation => {
                let text = |field: &str| reconciled[field].as_str().unwrap_or_default();
                let (is, reason, message) = (text("status"), text("reason"), text("message"));
                let why = format!("istiod says Reconciled is {is}: {reason} {message}").trim_end().to_owned();
                return Err(Unconfirmed { why, until: None });
            }
            _ => {}
        }
    }
    if had < SETTLE {
        let why = format!("istiod has had {} s of {} s to pass it on", had.as_secs(), SETTLE.as_secs());
        return Err(waits(why, SETTLE));
    }
    Ok(())
}

/// Of the messages of istiod's analysis, the first that is an error.
fn first_error(status: &Value) -> Option<String> {
    let messages = status.get("validationMessages").and_then(Value::as_array)?;
    let error =
        messages.iter().find(|m| m["level"].as_str().is_some_and(|level| level.eq_ignore_ascii_case("error")))?;
    let text = |pointer: &str| error.pointer(pointer).and_then(Value::as_str);
    let parts = [
        text("/type/code").or_else(|| text("/code")),
        text("/type/name"),
        text("/message").or_else(|| text("/documentationUrl")),
    ];
    let told: Vec<&str> = parts.into_iter().flatten().collect();
    Some(if told.is_empty() { "that its analysis found an error".into() } else { told.join(" ") })
}

/// Istio writes its 64-bit numbers as text.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// When the spec was written last, as the API server has noted it: not before the second is over. `None`: not noted.
pub fn written(route: &DynamicObject) -> Option<At> {
    let entries = route.metadata.managed_fields.as_deref().unwrap_or_default();
    let of_spec = |fields: &Value| fields.get("f:spec").is_some();
    let writes = entries.iter().filter(|e| {
        e.subresource.as_deref().unwrap_or_default().is_empty() && e.fields_v1.as_ref().is_some_and(|f| of_spec(&f.0))
    });
    let noted = writes.filter_map(|e| e.time.as_ref().map(|t| t.0)).max();
    let noted: Option<Timestamp> = noted.or_else(|| route.metadata.creation_timestamp.as_ref().map(|t| t.0));
    noted.map(|t| At::new(t).plus(SECOND))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> At {
        At::new(text.parse().unwrap())
    }

    fn object(rest: &Value) -> DynamicObject {
        let mut whole = json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "shop", "generation": 4}});
        json_patch::merge(&mut whole, rest);
        serde_json::from_value(whole).unwrap()
    }

    const WRITTEN: &str = "2026-11-28T10:00:00Z";

    fn said(status: &Value, now: &str) -> Result<(), Unconfirmed> {
        by_status_or_time(&object(&json!({"status": status})), at(WRITTEN), at(now))
    }

    #[test]
    fn without_a_status_the_time_counts_and_says_when_it_is_over() {
        let early = said(&Value::Null, "2026-11-28T10:00:01.900Z").unwrap_err();
        assert_eq!(early.why, "istiod has had 1 s of 2 s to pass it on");
        assert_eq!(early.until, Some(at("2026-11-28T10:00:02Z")));
        assert_eq!(said(&Value::Null, "2026-11-28T10:00:02Z"), Ok(()));
        // A clock behind the one that wrote does not count backwards.
        assert!(said(&Value::Null, "2026-11-28T09:59:00Z").unwrap_err().why.contains("0 s of 2 s"));
    }

    #[test]
    fn where_istiod_writes_a_status_its_word_counts() {
        let reconciled = |status: &str, generation: Value| json!({"conditions": [{"type": "Reconciled", "status": status, "reason": "stillPropagating", "message": "61/122 complete"}], "observedGeneration": generation});
        assert_eq!(said(&reconciled("True", json!("4")), WRITTEN), Ok(()), "no time has to pass");
        assert_eq!(said(&reconciled("True", json!(4)), WRITTEN), Ok(()));
        let still = said(&reconciled("False", json!("4")), "2026-11-28T10:01:00Z").unwrap_err();
        assert_eq!(still.why, "istiod says Reconciled is False: stillPropagating 61/122 complete");
        let older = said(&reconciled("True", json!("3")), "2026-11-28T10:00:05Z").unwrap_err();
        assert_eq!(older.why, "istiod has not looked at generation 4 yet (Reconciled is of 3)");
        assert_eq!(older.until, Some(at("2026-11-28T10:00:30Z")));
        assert_eq!(said(&reconciled("True", json!("3")), "2026-11-28T10:00:30Z"), Ok(()), "it is written no longer");
    }

    #[test]
    fn errors_of_the_analysis_are_a_complaint_and_warnings_are_not() {
        let late = "2026-11-28T10:05:00Z";
        let message = |level: &str| json!({"validationMessages": [{"level": level, "type": {"code": "IST0101", "name": "ReferencedResourceNotFound"}, "documentationUrl": "https://istio.io/a"}]});
        let error = said(&message("ERROR"), late).unwrap_err();
        assert_eq!(error.why, "istiod says IST0101 ReferencedResourceNotFound https://istio.io/a");
        assert_eq!(said(&message("WARNING"), late), Ok(()));
        let mut older = message("Error");
        older["observedGeneration"] = json!("3");
        assert_eq!(said(&older, late), Ok(()), "said of what stood there before");
        assert!(
            said(&json!({"validationMessages": [{"level": "ERROR"}]}), late)
                .unwrap_err()
                .why
                .contains("found an error")
        );
    }

    #[test]
    fn the_newest_write_of_the_spec_counts_and_its_second_is_over() {
        let entry = |manager: &str, time: &str, fields: Value, sub: Option<&str>| {
            let mut entry = json!({"manager": manager, "operation": "Update", "apiVersion": "networking.istio.io/v1", "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields});
            if let Some(sub) = sub {
                entry["subresource"] = sub.into();
            }
            entry
        };
        let spec = json!({"f:spec": {"f:http": {}}});
        let route = object(&json!({"metadata": {"creationTimestamp": "2026-11-01T00:00:00Z", "managedFields": [
            entry("kubectl", "2026-11-28T09:00:00Z", spec.clone(), None),
            entry("haldane", "2026-11-28T10:00:00Z", spec, None),
            entry("istiod", "2026-11-28T11:00:00Z", json!({"f:status": {}}), Some("status")),
            entry("labeller", "2026-11-28T12:00:00Z", json!({"f:metadata": {}}), None),
        ]}}));
        assert_eq!(written(&route), Some(at("2026-11-28T10:00:01Z")));
        let bare = object(&json!({"metadata": {"creationTimestamp": "2026-11-01T00:00:00Z"}}));
        assert_eq!(written(&bare), Some(at("2026-11-01T00:00:01Z")));
        assert_eq!(written(&object(&json!({}))), None);
    }
}
