//! A request as far as it is read, borrowed from its body: by serde from JSON, by [`wire`](super::wire) from protobuf.
//!
//! Source: OpenTelemetry protocol, `opentelemetry/proto/{common,resource,trace,metrics,logs}/v1`, and the section "JSON Protobuf
//! Encoding" of its specification. What is not needed for a signal of ours is passed over.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::budget::{Element, List};
use super::scalar::{AnyValue, Double, Flag, Id, Int, Text, Whole, object, some_object};

/// What is met on the way through a request.
pub(super) enum Visit<'v, 'a, T> {
    /// From here on it is about this resource.
    Resource(&'v Resource<'a>),
    Item(&'v T),
    /// So many of something were there and could not be read for want of memory.
    Beyond(&'static str, u64),
    /// So many of something cannot be read.
    Wrong(&'static str, u64),
    /// Fields that are not known, where there is nothing else.
    Unknown(&'v str),
}

/// What stands at the bottom of a request, and how the lists above it are called in JSON.
pub(super) trait Item {
    const RESOURCES: &'static str;
    const SCOPES: &'static str;
    const ITEMS: &'static str;
    /// How the scopes were called before version 0.19, and the items before 0.16.
    const SCOPES_BEFORE: &'static str;
    const ITEMS_BEFORE: &'static str = "";
}

/// A request in JSON: what was observed, by resource.
#[derive(Debug)]
pub(super) struct Request<'a, T> {
    pub(super) resources: List<OfResource<'a, T>>,
    unknown: String,
}

impl<'a, T> Request<'a, T> {
    /// Goes through all of it.
    pub(super) fn walk(&self, visit: &mut dyn FnMut(Visit<'_, 'a, T>)) {
        visit(Visit::Unknown(&self.unknown));
        visit(Visit::Beyond("resources", self.resources.beyond));
        visit(Visit::Wrong("resources", self.resources.wrong));
        for of in &*self.resources {
            visit(Visit::Resource(&of.resource));
            visit(Visit::Unknown(&of.unknown));
            visit(Visit::Beyond("scopes", of.scopes.beyond));
            visit(Visit::Wrong("scopes", of.scopes.wrong));
            for scope in &*of.scopes {
                visit(Visit::Unknown(&scope.unknown));
                visit(Visit::Beyond("signals", scope.items.beyond));
                visit(Visit::Wrong("signals", scope.items.wrong));
                for item in &*scope.items {
                    visit(Visit::Item(item));
                }
            }
        }
    }
}

/// What was observed of one resource, by scope.
#[derive(Debug)]
pub(super) struct OfResource<'a, T> {
    pub(super) resource: Resource<'a>,
    pub(super) scopes: List<OfScope<T>>,
    unknown: String,
}

/// What was observed by one library.
#[derive(Debug)]
pub(super) struct OfScope<T> {
    pub(super) items: List<T>,
    unknown: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Resource<'a> {
    #[serde(borrow)]
    pub(super) attributes: List<KeyValue<'a>>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct KeyValue<'a> {
    #[serde(borrow)]
    pub(super) key: Text<'a>,
    pub(super) value: AnyValue<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Span<'a> {
    pub(super) trace_id: Id<16>,
    pub(super) span_id: Id<8>,
    pub(super) parent_span_id: Id<8>,
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(rename = "startTimeUnixNano")]
    pub(super) start: Whole,
    #[serde(rename = "endTimeUnixNano")]
    pub(super) end: Whole,
    #[serde(deserialize_with = "object")]
    pub(super) status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) code: Int,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LogRecord<'a> {
    #[serde(rename = "timeUnixNano")]
    pub(super) time: Whole,
    #[serde(rename = "observedTimeUnixNano")]
    pub(super) observed: Whole,
    pub(super) severity_number: Int,
    #[serde(borrow)]
    pub(super) severity_text: Text<'a>,
    #[serde(borrow)]
    pub(super) body: AnyValue<'a>,
    #[serde(borrow)]
    pub(super) attributes: List<KeyValue<'a>>,
    pub(super) trace_id: Id<16>,
    pub(super) span_id: Id<8>,
    #[serde(borrow)]
    pub(super) event_name: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metric<'a> {
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    pub(super) unit: Text<'a>,
    #[serde(borrow, deserialize_with = "some_object")]
    pub(super) gauge: Option<Data<NumberPoint<'a>>>,
    #[serde(borrow, deserialize_with = "some_object")]
    pub(super) sum: Option<Data<NumberPoint<'a>>>,
    #[serde(borrow, deserialize_with = "some_object")]
    pub(super) histogram: Option<Data<HistogramPoint<'a>>>,
    #[serde(borrow, deserialize_with = "some_object")]
    pub(super) exponential_histogram: Option<Data<HistogramPoint<'a>>>,
    #[serde(borrow, deserialize_with = "some_object")]
    pub(super) summary: Option<Data<SummaryPoint<'a>>>,
}

/// The points of a metric.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default, bound(deserialize = "T: Element + Deserialize<'de>"))]
pub(super) struct Data<T> {
    #[serde(rename = "dataPoints")]
    pub(super) points: List<T>,
    pub(super) aggregation_temporality: Int,
    pub(super) is_monotonic: Flag,
}

impl<T> Default for Data<T> {
    fn default() -> Self {
        Self { points: List::default(), aggregation_temporality: Int(0), is_monotonic: Flag(false) }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct NumberPoint<'a> {
    #[serde(borrow)]
    pub(super) attributes: List<KeyValue<'a>>,
    #[serde(rename = "startTimeUnixNano")]
    pub(super) start: Whole,
    #[serde(rename = "timeUnixNano")]
    pub(super) time: Whole,
    pub(super) as_double: Option<Double>,
    pub(super) as_int: Option<Int>,
    pub(super) flags: Whole,
}

/// A point of a histogram. Those of exponential ones are read without their buckets.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct HistogramPoint<'a> {
    #[serde(borrow)]
    pub(super) attributes: List<KeyValue<'a>>,
    #[serde(rename = "startTimeUnixNano")]
    pub(super) start: Whole,
    #[serde(rename = "timeUnixNano")]
    pub(super) time: Whole,
    pub(super) count: Whole,
    pub(super) sum: Option<Double>,
    pub(super) bucket_counts: List<Whole>,
    pub(super) explicit_bounds: List<Double>,
    pub(super) flags: Whole,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SummaryPoint<'a> {
    #[serde(borrow)]
    pub(super) attributes: List<KeyValue<'a>>,
    #[serde(rename = "timeUnixNano")]
    pub(super) time: Whole,
    pub(super) count: Whole,
    pub(super) sum: Double,
    pub(super) quantile_values: List<Quantile>,
    pub(super) flags: Whole,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Quantile {
    pub(super) quantile: Double,
    pub(super) value: Double,
}

macro_rules! elements {
    ($is_part:literal: $([$($of:tt)*] $name:ty),+) => {
        $(impl<$($of)*> Element for $name {
            const IS_PART: bool = $is_part;
        })+
    };
}

elements!(true: [T] OfResource<'_, T>, [T] OfScope<T>, [] Span<'_>, [] LogRecord<'_>, [] Metric<'_>, [] NumberPoint<'_>,
    [] HistogramPoint<'_>, [] SummaryPoint<'_>);
elements!(false: [] KeyValue<'_>, [] AnyValue<'_>, [] Whole, [] Double, [] Quantile);

impl Item for Span<'_> {
    const RESOURCES: &'static str = "resourceSpans";
    const SCOPES: &'static str = "scopeSpans";
    const SCOPES_BEFORE: &'static str = "instrumentationLibrarySpans";
    const ITEMS: &'static str = "spans";
}

impl Item for Metric<'_> {
    const RESOURCES: &'static str = "resourceMetrics";
    const SCOPES: &'static str = "scopeMetrics";
    const SCOPES_BEFORE: &'static str = "instrumentationLibraryMetrics";
    const ITEMS: &'static str = "metrics";
}

impl Item for LogRecord<'_> {
    const RESOURCES: &'static str = "resourceLogs";
    const SCOPES: &'static str = "scopeLogs";
    const SCOPES_BEFORE: &'static str = "instrumentationLibraryLogs";
    const ITEMS_BEFORE: &'static str = "logs";
    const ITEMS: &'static str = "logRecords";
}

impl<T> Default for Request<'_, T> {
    fn default() -> Self {
        Self { resources: List::default(), unknown: String::new() }
    }
}

impl<T> Default for OfResource<'_, T> {
    fn default() -> Self {
        Self { resource: Resource::default(), scopes: List::default(), unknown: String::new() }
    }
}

impl<T> Default for OfScope<T> {
    fn default() -> Self {
        Self { items: List::default(), unknown: String::new() }
    }
}

/// Something with a field whose name depends on the kind of request.
trait Level<'de>: Default {
    /// Reads the value of `key` if it is one of its fields, and says whether it was.
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error>;

    /// Takes note of the name of a field that is none of them.
    fn unknown(&mut self) -> &mut String;
}

/// So much of the name of a field is quoted.
const MAX_NAME_CHARS: usize = 64;
/// Fields that are known and hold no signals.
const OF_NO_INTEREST: [&str; 5] =
    ["schemaUrl", "scope", "instrumentationLibrary", "droppedAttributesCount", "resource"];

impl<'de, T: Item + Element + Deserialize<'de>> Level<'de> for Request<'de, T> {
    fn unknown(&mut self) -> &mut String {
        &mut self.unknown
    }

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        if key == T::RESOURCES {
            self.resources = map.next_value()?;
        }
        Ok(key == T::RESOURCES)
    }
}

impl<'de, T: Item + Element + Deserialize<'de>> Level<'de> for OfResource<'de, T> {
    fn unknown(&mut self) -> &mut String {
        &mut self.unknown
    }

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        match key {
            "resource" => {
                struct Of<'a>(Resource<'a>);
                impl<'de: 'a, 'a> Deserialize<'de> for Of<'a> {
                    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                        object(deserializer).map(Self)
                    }
                }
                self.resource = map.next_value::<Of<'de>>()?.0;
            }
            key if key == T::SCOPES || key == T::SCOPES_BEFORE => self.scopes = map.next_value()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl<'de, T: Item + Element + Deserialize<'de>> Level<'de> for OfScope<T> {
    fn unknown(&mut self) -> &mut String {
        &mut self.unknown
    }

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        let is_known = key == T::ITEMS || (!key.is_empty() && key == T::ITEMS_BEFORE);
        if is_known {
            self.items = map.next_value()?;
        }
        Ok(is_known)
    }
}

fn level<'de, D: Deserializer<'de>, L: Level<'de>>(deserializer: D) -> Result<L, D::Error> {
    struct Object<L>(PhantomData<L>);
    impl<'de, L: Level<'de>> Visitor<'de> for Object<L> {
        type Value = L;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<L, A::Error> {
            let mut level = L::default();
            while let Some(Text(key)) = map.next_key()? {
                if !level.field(&key, &mut map)? {
                    map.next_value::<IgnoredAny>()?;
                    let unknown = level.unknown();
                    if unknown.is_empty() && !OF_NO_INTEREST.contains(&key.as_ref()) {
                        *unknown = key.chars().take(MAX_NAME_CHARS).collect();
                    }
                }
            }
            Ok(level)
        }
    }
    deserializer.deserialize_map(Object(PhantomData))
}

impl<'de, T: Item + Element + Deserialize<'de>> Deserialize<'de> for Request<'de, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        level(deserializer)
    }
}

impl<'de, T: Item + Element + Deserialize<'de>> Deserialize<'de> for OfResource<'de, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        level(deserializer)
    }
}

impl<'de, T: Item + Element + Deserialize<'de>> Deserialize<'de> for OfScope<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        level(deserializer)
    }
}
