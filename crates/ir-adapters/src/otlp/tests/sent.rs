//! Requests as another library writes them: the messages of OTLP, as far as they are read here.

use std::fmt::Debug;

use prost::{Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub(super) struct Request<T: Message + Default + Debug> {
    #[prost(message, repeated, tag = "1")]
    pub(super) resources: Vec<OfResource<T>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OfResource<T: Message + Default + Debug> {
    #[prost(message, optional, tag = "1")]
    pub(super) resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub(super) scopes: Vec<OfScope<T>>,
    #[prost(string, tag = "3")]
    pub(super) schema_url: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OfScope<T: Message + Default + Debug> {
    #[prost(message, repeated, tag = "2")]
    pub(super) items: Vec<T>,
    #[prost(string, tag = "3")]
    pub(super) schema_url: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub(super) attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct KeyValue {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(message, optional, tag = "2")]
    pub(super) value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AnyValue {
    #[prost(oneof = "Any", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub(super) value: Option<Any>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Any {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    List(AnyValues),
    #[prost(message, tag = "6")]
    Map(KeyValues),
    #[prost(bytes, tag = "7")]
    Bytes(Vec<u8>),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AnyValues {
    #[prost(message, repeated, tag = "1")]
    pub(super) values: Vec<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct KeyValues {
    #[prost(message, repeated, tag = "1")]
    pub(super) values: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Span {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(super) name: String,
    #[prost(fixed64, tag = "7")]
    pub(super) start: u64,
    #[prost(fixed64, tag = "8")]
    pub(super) end: u64,
    #[prost(message, optional, tag = "15")]
    pub(super) status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    #[prost(int64, tag = "3")]
    pub(super) code: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LogRecord {
    #[prost(fixed64, tag = "1")]
    pub(super) time: u64,
    #[prost(int64, tag = "2")]
    pub(super) severity_number: i64,
    #[prost(string, tag = "3")]
    pub(super) severity_text: String,
    #[prost(message, optional, tag = "5")]
    pub(super) body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    pub(super) attributes: Vec<KeyValue>,
    #[prost(bytes = "vec", tag = "9")]
    pub(super) trace_id: Vec<u8>,
    #[prost(fixed64, tag = "11")]
    pub(super) observed: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metric {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "3")]
    pub(super) unit: String,
    #[prost(message, optional, tag = "5")]
    pub(super) gauge: Option<Data<NumberPoint>>,
    #[prost(message, optional, tag = "7")]
    pub(super) sum: Option<Data<NumberPoint>>,
    #[prost(message, optional, tag = "9")]
    pub(super) histogram: Option<Data<HistogramPoint>>,
    #[prost(message, optional, tag = "10")]
    pub(super) exponential_histogram: Option<Data<ExponentialPoint>>,
    #[prost(message, optional, tag = "11")]
    pub(super) summary: Option<Data<SummaryPoint>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Data<T: Message + Default + Debug> {
    #[prost(message, repeated, tag = "1")]
    pub(super) points: Vec<T>,
    #[prost(int64, tag = "2")]
    pub(super) temporality: i64,
    #[prost(bool, tag = "3")]
    pub(super) monotonic: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct NumberPoint {
    #[prost(fixed64, tag = "3")]
    pub(super) time: u64,
    #[prost(double, optional, tag = "4")]
    pub(super) as_double: Option<f64>,
    #[prost(sfixed64, optional, tag = "6")]
    pub(super) as_int: Option<i64>,
    #[prost(message, repeated, tag = "7")]
    pub(super) attributes: Vec<KeyValue>,
    #[prost(uint64, tag = "8")]
    pub(super) flags: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HistogramPoint {
    #[prost(fixed64, tag = "3")]
    pub(super) time: u64,
    #[prost(fixed64, tag = "4")]
    pub(super) count: u64,
    #[prost(double, optional, tag = "5")]
    pub(super) sum: Option<f64>,
    #[prost(fixed64, repeated, tag = "6")]
    pub(super) bucket_counts: Vec<u64>,
    #[prost(double, repeated, tag = "7")]
    pub(super) explicit_bounds: Vec<f64>,
    #[prost(message, repeated, tag = "9")]
    pub(super) attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ExponentialPoint {
    #[prost(message, repeated, tag = "1")]
    pub(super) attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "3")]
    pub(super) time: u64,
    #[prost(fixed64, tag = "4")]
    pub(super) count: u64,
    #[prost(double, optional, tag = "5")]
    pub(super) sum: Option<f64>,
    #[prost(sint32, tag = "6")]
    pub(super) scale: i32,
    #[prost(fixed64, tag = "7")]
    pub(super) zero_count: u64,
    #[prost(message, repeated, tag = "9")]
    pub(super) buckets: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SummaryPoint {
    #[prost(fixed64, tag = "3")]
    pub(super) time: u64,
    #[prost(fixed64, tag = "4")]
    pub(super) count: u64,
    #[prost(double, tag = "5")]
    pub(super) sum: f64,
    #[prost(message, repeated, tag = "6")]
    pub(super) quantiles: Vec<Quantile>,
    #[prost(message, repeated, tag = "7")]
    pub(super) attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Quantile {
    #[prost(double, tag = "1")]
    pub(super) quantile: f64,
    #[prost(double, tag = "2")]
    pub(super) value: f64,
}

pub(super) fn attribute(key: &str, value: impl Into<String>) -> KeyValue {
    any(key, Any::Text(value.into()))
}

pub(super) fn any(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}

/// A request of the service `web`.
pub(super) fn request<T: Message + Default + Debug>(items: Vec<T>) -> Request<T> {
    of("web", items)
}

pub(super) fn of<T: Message + Default + Debug>(service: &str, items: Vec<T>) -> Request<T> {
    let attributes = vec![attribute("telemetry.sdk.name", "x"), attribute("service.name", service)];
    let scopes = vec![OfScope { items, schema_url: "https://example.org".to_owned() }];
    let resource = Some(Resource { attributes });
    Request { resources: vec![OfResource { resource, scopes, schema_url: String::new() }] }
}
