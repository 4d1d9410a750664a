//! A request as far as it is read, borrowed from its body: by serde from JSON, by [`wire`](super::wire) from protobuf.
//!
//! Source: OpenTelemetry protocol, `opentelemetry/proto/{common,resource,trace,metrics,logs}/v1`, and the section "JSON Protobuf
//! Encoding" of its specification. What is not needed for a signal of ours is passed over.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::budget::List;
use super::scalar::{AnyValue, Double, Id, Int, Text, Whole, or_default};

/// What is met on the way through a request.
pub(super) enum Visit<'v, 'a, T> {
    /// From here on it is about this resource.
    Resource(&'v Resource<'a>),
    Item(&'v T),
    /// So many of something were there and could not be read for want of memory.
    Beyond(&'static str, u64),
}

/// What stands at the bottom of a request, and how the lists above it are called in JSON.
pub(super) trait Item {
    const RESOURCES: &'static str;
    const SCOPES: &'static str;
    const ITEMS: &'static str;
}

/// A request in JSON: what was observed, by resource.
#[derive(Debug)]
pub(super) struct Request<'a, T> {
    pub(super) resources: List<OfResource<'a, T>>,
}

impl<'a, T> Request<'a, T> {
    /// Goes through all of it.
    pub(super) fn walk(&self, visit: &mut dyn FnMut(Visit<'_, 'a, T>)) {
        visit(Visit::Beyond("resources", self.resources.beyond));
        for of in &*self.resources {
            visit(Visit::Resource(&of.resource));
            visit(Visit::Beyond("scopes", of.scopes.beyond));
            for scope in &*of.scopes {
                visit(Visit::Beyond("signals", scope.items.beyond));
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
}

/// What was observed by one library.
#[derive(Debug)]
pub(super) struct OfScope<T> {
    pub(super) items: List<T>,
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
    #[serde(deserialize_with = "or_default")]
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
    #[serde(borrow)]
    pub(super) gauge: Option<Data<NumberPoint<'a>>>,
    #[serde(borrow)]
    pub(super) sum: Option<Data<NumberPoint<'a>>>,
    #[serde(borrow)]
    pub(super) histogram: Option<Data<HistogramPoint<'a>>>,
    #[serde(borrow)]
    pub(super) exponential_histogram: Option<Data<HistogramPoint<'a>>>,
    #[serde(borrow)]
    pub(super) summary: Option<Data<SummaryPoint<'a>>>,
}

/// The points of a metric.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default, bound(deserialize = "T: Deserialize<'de>"))]
pub(super) struct Data<T> {
    #[serde(rename = "dataPoints")]
    pub(super) points: List<T>,
    pub(super) aggregation_temporality: Int,
    #[serde(deserialize_with = "or_default")]
    pub(super) is_monotonic: bool,
}

impl<T> Default for Data<T> {
    fn default() -> Self {
        Self { points: List::default(), aggregation_temporality: Int(0), is_monotonic: false }
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

impl Item for Span<'_> {
    const RESOURCES: &'static str = "resourceSpans";
    const SCOPES: &'static str = "scopeSpans";
    const ITEMS: &'static str = "spans";
}

impl Item for Metric<'_> {
    const RESOURCES: &'static str = "resourceMetrics";
    const SCOPES: &'static str = "scopeMetrics";
    const ITEMS: &'static str = "metrics";
}

impl Item for LogRecord<'_> {
    const RESOURCES: &'static str = "resourceLogs";
    const SCOPES: &'static str = "scopeLogs";
    const ITEMS: &'static str = "logRecords";
}

impl<T> Default for Request<'_, T> {
    fn default() -> Self {
        Self { resources: List::default() }
    }
}

impl<T> Default for OfResource<'_, T> {
    fn default() -> Self {
        Self { resource: Resource::default(), scopes: List::default() }
    }
}

impl<T> Default for OfScope<T> {
    fn default() -> Self {
        Self { items: List::default() }
    }
}

/// Something with a field whose name depends on the kind of request.
trait Level<'de>: Default {
    /// Reads the value of `key` if it is one of its fields, and says whether it was.
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error>;
}

impl<'de, T: Item + Deserialize<'de>> Level<'de> for Request<'de, T> {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        if key == T::RESOURCES {
            self.resources = map.next_value()?;
        }
        Ok(key == T::RESOURCES)
    }
}

impl<'de, T: Item + Deserialize<'de>> Level<'de> for OfResource<'de, T> {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        match key {
            "resource" => self.resource = map.next_value::<Option<Resource<'de>>>()?.unwrap_or_default(),
            key if key == T::SCOPES => self.scopes = map.next_value()?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl<'de, T: Item + Deserialize<'de>> Level<'de> for OfScope<T> {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        if key == T::ITEMS {
            self.items = map.next_value()?;
        }
        Ok(key == T::ITEMS)
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
                }
            }
            Ok(level)
        }
    }
    deserializer.deserialize_map(Object(PhantomData))
}

impl<'de, T: Item + Deserialize<'de>> Deserialize<'de> for Request<'de, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        level(deserializer)
    }
}

impl<'de, T: Item + Deserialize<'de>> Deserialize<'de> for OfResource<'de, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        level(deserializer)
    }
}

impl<'de, T: Item + Deserialize<'de>> Deserialize<'de> for OfScope<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        level(deserializer)
    }
}
