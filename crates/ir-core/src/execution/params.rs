//! Parameters against their schema: a closed subset of JSON Schema, checked completely, so that nothing slips through.

use serde_json::{Map, Value};

use crate::config::Problem;

const KEYWORDS: [&str; 9] =
    ["type", "enum", "minimum", "maximum", "minLength", "maxLength", "description", "default", "examples"];

/// What is wrong with a parameter schema itself.
pub(super) fn check_schema(schema: &Value) -> Vec<Problem> {
    let Some(schema) = schema.as_object() else {
        return vec![Problem::at("", "must be a JSON Schema object")];
    };
    let mut problems = Vec::new();
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        problems.push(Problem::at("type", "must be `object`"));
    }
    for key in schema.keys() {
        if !matches!(
            key.as_str(),
            "type" | "properties" | "required" | "additionalProperties" | "description" | "title"
        ) {
            problems.push(Problem::at(key.as_str(), "is not supported here"));
        }
    }
    let empty = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    for (name, property) in properties {
        let field = format!("properties.{name}");
        let Some(property) = property.as_object() else {
            problems.push(Problem::at(field, "must be an object"));
            continue;
        };
        if !matches!(property.get("type").and_then(Value::as_str), Some("string" | "integer" | "number" | "boolean")) {
            problems.push(Problem::at(format!("{field}.type"), "must be `string`, `integer`, `number` or `boolean`"));
        }
        for key in property.keys().filter(|key| !KEYWORDS.contains(&key.as_str())) {
            problems.push(Problem::at(format!("{field}.{key}"), "is not supported here"));
        }
    }
    for name in required(schema) {
        if !properties.contains_key(name) {
            problems.push(Problem::at("required", format!("`{name}` is not among the properties")));
        }
    }
    problems
}

/// What is wrong with `given` parameters. Unknown ones are always refused.
pub(super) fn check(schema: &Value, given: &Map<String, Value>) -> Vec<Problem> {
    let empty = Map::new();
    let schema = schema.as_object().unwrap_or(&empty);
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let mut problems = Vec::new();
    for name in required(schema) {
        if !given.contains_key(name) {
            problems.push(Problem::at(name, "is missing"));
        }
    }
    for (name, value) in given {
        match properties.get(name) {
            None => {
                let known: Vec<&str> = properties.keys().map(String::as_str).collect();
                let known = if known.is_empty() { "none".to_owned() } else { format!("`{}`", known.join("`, `")) };
                problems.push(Problem::at(name.as_str(), format!("is not a parameter; there is: {known}")));
            }
            Some(rule) => problems.extend(violation(rule, value).map(|message| Problem::at(name.as_str(), message))),
        }
    }
    problems
}

fn required(schema: &Map<String, Value>) -> impl Iterator<Item = &str> {
    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn violation(rule: &Value, value: &Value) -> Option<String> {
    let wanted = rule.get("type").and_then(Value::as_str).unwrap_or("nothing");
    let fits = match wanted {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => false,
    };
    if !fits {
        return Some(format!("must be of type `{wanted}`"));
    }
    if let Some(allowed) = rule.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        return Some(format!("must be one of {}", Value::Array(allowed.clone())));
    }
    let bound = |key: &str| rule.get(key).and_then(Value::as_f64);
    let size = match value {
        #[expect(clippy::cast_precision_loss, reason = "lengths of parameters are far below 2^53")]
        Value::String(text) => Some((text.chars().count() as f64, bound("minLength"), bound("maxLength"), "long")),
        _ => value.as_f64().map(|number| (number, bound("minimum"), bound("maximum"), "large")),
    };
    let (size, least, most, word) = size?;
    if least.is_some_and(|least| size < least) {
        return Some(format!("is not {word} enough: at least {}", least.unwrap_or_default()));
    }
    if most.is_some_and(|most| size > most) {
        return Some(format!("is too {word}: at most {}", most.unwrap_or_default()));
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_violation_is_found() {
        let schema = json!({
            "type": "object",
            "properties": {
                "to": {"type": "string", "maxLength": 3},
                "n": {"type": "integer", "minimum": 1, "maximum": 5},
                "mode": {"type": "string", "enum": ["a", "b"]},
            },
            "required": ["to", "n"],
        });
        assert!(check_schema(&schema).is_empty());
        // One row a way of being wrong, with the words that name it.
        let rows = [
            (json!({"n": 1}), "is missing"),
            (json!({"to": "abcd", "n": 1}), "too long"),
            (json!({"to": "a", "n": 0}), "not large enough"),
            (json!({"to": "a", "n": 1.5}), "of type `integer`"),
            (json!({"to": "a", "n": 1, "mode": "c"}), "one of"),
            (json!({"to": "a", "n": 1, "force": true}), "not a parameter"),
        ];
        for (given, words) in rows {
            let problems = check(&schema, given.as_object().unwrap());
            assert_eq!(problems.len(), 1, "{given}: {problems:?}");
            assert!(problems[0].message.contains(words), "{given}: {problems:?}");
        }
        assert!(check(&schema, json!({"to": "a", "n": 5, "mode": "b"}).as_object().unwrap()).is_empty());
    }

    #[test]
    fn a_schema_beyond_the_subset_is_refused() {
        let schema = json!({"type": "object", "properties": {"x": {"type": "string", "pattern": "^a"}}});
        assert_eq!(check_schema(&schema).len(), 1);
    }
}
