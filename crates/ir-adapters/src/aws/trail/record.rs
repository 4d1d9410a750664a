//! A record of CloudTrail, as far as it is of interest. Its form: *CloudTrail record contents* in the guide of CloudTrail.

use ir_core::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::cut;

/// Older records do not say whether a call reads. Then its first word does.
const READING: [&str; 11] =
    ["Describe", "Get", "List", "Head", "Lookup", "Search", "BatchGet", "Check", "Preview", "Simulate", "Validate"];

/// One call.
#[derive(Debug, Deserialize)]
pub(super) struct Record {
    #[serde(rename = "eventTime")]
    pub(super) at: Timestamp,
    #[serde(rename = "eventSource")]
    source: String,
    /// The call's name as it stands there.
    #[serde(rename = "eventName")]
    pub(super) name: String,
    #[serde(rename = "readOnly")]
    read_only: Option<Value>,
    #[serde(rename = "managementEvent")]
    management: Option<bool>,
    #[serde(rename = "eventCategory")]
    category: Option<String>,
    /// Why it was refused, as a word.
    #[serde(rename = "errorCode")]
    pub(super) error: Option<String>,
    #[serde(rename = "awsRegion")]
    pub(super) region: Option<String>,
    /// Where the call came from: an address, or a service.
    #[serde(rename = "sourceIPAddress")]
    pub(super) from: Option<String>,
    #[serde(rename = "userIdentity")]
    who: Option<Who>,
    #[serde(rename = "requestParameters", default)]
    request: Value,
    #[serde(rename = "responseElements", default)]
    response: Value,
    #[serde(default)]
    resources: Option<Vec<Resource>>,
}

#[derive(Debug, Deserialize)]
struct Who {
    #[serde(rename = "type")]
    kind: Option<String>,
    arn: Option<String>,
    #[serde(rename = "userName")]
    name: Option<String>,
    #[serde(rename = "invokedBy")]
    invoked_by: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Resource {
    #[serde(rename = "ARN")]
    arn: Option<String>,
}

impl Record {
    pub(super) fn read(record: &Value) -> Result<Self, String> {
        // The parser's own words would repeat what stands in the record, which may be anything.
        Self::deserialize(record)
            .map_err(|_| "a record without a time, a source or a name, or of another form".to_owned())
    }

    /// The service that was called: `ecs`.
    pub(super) fn service(&self) -> &str {
        self.source.strip_suffix(".amazonaws.com").unwrap_or(&self.source)
    }

    /// The call without the version that Lambda writes behind it: `UpdateFunctionCode` of `UpdateFunctionCode20150331v2`.
    pub(super) fn action(&self) -> &str {
        let Some(at) = self.name.find(|c: char| c.is_ascii_digit()) else { return &self.name };
        let (action, version) = self.name.split_at(at);
        let is_version = version.len() >= 8 && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'v');
        if is_version && !action.is_empty() { action } else { &self.name }
    }

    pub(super) fn is_reading(&self) -> bool {
        match &self.read_only {
            Some(Value::Bool(reads)) => *reads,
            Some(Value::String(reads)) => reads == "true",
            _ => READING.iter().any(|word| self.name.starts_with(word)),
        }
    }

    /// Whether it is about the account's things, and not about data, insights or traffic.
    pub(super) fn is_management(&self) -> bool {
        self.management != Some(false) && self.category.as_deref().is_none_or(|category| category == "Management")
    }

    /// Whether it is a login, and whether that succeeded.
    pub(super) fn login(&self) -> Option<bool> {
        let is_login = self.name == "ConsoleLogin";
        is_login.then(|| self.response.get("ConsoleLogin").and_then(Value::as_str) == Some("Success"))
    }

    /// A parameter of the call that is a text.
    pub(super) fn text(&self, parameter: &str) -> Option<&str> {
        self.request.get(parameter).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// A parameter of the call.
    pub(super) fn parameter(&self, parameter: &str) -> Option<&Value> {
        self.request.get(parameter).filter(|value| !value.is_null())
    }

    /// All parameters at the top, by name.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.request.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
    }

    /// A part of what was answered.
    pub(super) fn answered(&self, pointer: &str) -> Option<&Value> {
        self.response.pointer(pointer)
    }

    pub(super) fn arns(&self) -> impl Iterator<Item = &str> {
        self.resources.iter().flatten().filter_map(|resource| resource.arn.as_deref())
    }

    /// Who did it: `alice`, `Deploy/run-7` (a role and the session's own name for itself), `root`, or a service.
    pub(super) fn by(&self) -> Option<String> {
        let who = self.who.as_ref()?;
        if who.kind.as_deref() == Some("Root") {
            return Some("root".to_owned());
        }
        let of_arn = |arn: &str| {
            let rest = arn.rsplit(':').next()?;
            let (_, name) = rest.split_once('/')?;
            (!name.is_empty()).then(|| name.to_owned())
        };
        let name = who.arn.as_deref().and_then(of_arn).or_else(|| who.name.clone());
        name.or_else(|| who.invoked_by.clone()).map(|name| cut(&name))
    }
}
