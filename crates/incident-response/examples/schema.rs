//! Writes the JSON schema of every document that a user writes, and of a journal record, into a folder: one file a document.
//!
//! `cargo xtask schema` runs it and keeps `docs/schema` current. Editors check and complete documents with these files.

use std::error::Error;
use std::path::{Path, PathBuf};

use incident_response::EngineSettings;
use incident_response::core::journal::Record;
use incident_response::core::topology::TopologyDocument;
use incident_response::plan::decision::PolicyDocument;
use incident_response::plan::plan::PlaybooksDocument;
use schemars::{JsonSchema, schema_for};
use serde_json::{Map, Value};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let folder: PathBuf = std::env::args_os().nth(1).ok_or("usage: schema FOLDER")?.into();
    std::fs::create_dir_all(&folder)?;
    write(&folder, "topology", schema::<TopologyDocument>()?)?;
    write(&folder, "playbooks", with_numbers(schema::<PlaybooksDocument>()?)?)?;
    write(&folder, "policy", with_numbers(schema::<PolicyDocument>()?)?)?;
    write(&folder, "settings", schema::<EngineSettings>()?)?;
    write(&folder, "record", schema::<Record>()?)
}

fn schema<T: JsonSchema>() -> Result<Value> {
    Ok(serde_json::to_value(schema_for!(T))?)
}

/// Measured values are texts in records, because canonical JSON has no NaN; people write plain numbers, and both are read.
fn with_numbers(mut schema: Value) -> Result<Value> {
    let place = "/$defs/Measured/type";
    let value = schema.pointer_mut(place).ok_or_else(|| format!("the schema has nothing at `{place}`"))?;
    *value = serde_json::json!(["number", "string"]);
    Ok(schema)
}

fn write(folder: &Path, name: &str, schema: Value) -> Result<()> {
    let mut text = serde_json::to_string_pretty(&sorted(schema))?;
    text.push('\n');
    Ok(std::fs::write(folder.join(format!("{name}.schema.json")), text)?)
}

/// Keys by name, whatever order the map type of this build keeps.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<(String, Value)> = map.into_iter().collect();
            fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(fields.into_iter().map(|(key, value)| (key, sorted(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
