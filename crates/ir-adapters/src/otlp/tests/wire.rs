//! Protobuf read here beside what another library reads of the same bytes.

use proptest::prelude::*;
use prost::Message as _;

use super::sent;
use crate::otlp::budget::{Budget, from_json};
use crate::otlp::model::{self, Request, Visit};
use crate::otlp::scalar::{AnyValue, Id};
use crate::otlp::wire::{Message, walk};

/// The resources of a request, their items as told by `tell`.
fn read<'a, T: Message<'a>>(body: &'a [u8], tell: impl Fn(&T) -> String) -> Option<Vec<Told>> {
    let mut told: Vec<Told> = Vec::new();
    let mut wrong = 0;
    let mut visit = |visit: Visit<'_, 'a, T>| match visit {
        Visit::Resource(resource) => told.push((our_attributes(&resource.attributes), Vec::new())),
        Visit::Item(item) => told.last_mut().unwrap().1.push(tell(item)),
        Visit::Beyond(what, n) => panic!("{n} {what} were not read"),
        Visit::Wrong(_, n) => wrong += n,
        Visit::Unknown(_) => {}
    };
    walk(body, 64 << 20, &mut visit).ok()?;
    // The other library reads all of a request or nothing.
    (wrong == 0).then_some(told)
}

fn value() -> impl Strategy<Value = sent::AnyValue> {
    use sent::{Any, AnyValues, KeyValue, KeyValues};
    let of = |value: Any| sent::AnyValue { value: Some(value) };
    let leaf = prop_oneof![
        Just(sent::AnyValue { value: None }),
        ".{0,12}".prop_map(move |text| of(Any::Text(text))),
        any::<bool>().prop_map(move |value| of(Any::Bool(value))),
        any::<i64>().prop_map(move |value| of(Any::Int(value))),
        (-1e9..1e9).prop_map(move |value| of(Any::Double(value))),
        any::<Vec<u8>>().prop_map(move |value| of(Any::Bytes(value))),
    ];
    leaf.prop_recursive(4, 16, 4, move |inner| {
        let pair = (".{0,6}", inner.clone()).prop_map(|(key, value)| KeyValue { key, value: Some(value) });
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(move |values| of(Any::List(AnyValues { values }))),
            prop::collection::vec(pair, 0..4).prop_map(move |values| of(Any::Map(KeyValues { values }))),
        ]
    })
}

fn attributes() -> impl Strategy<Value = Vec<sent::KeyValue>> {
    let pair = (".{0,6}", prop::option::of(value())).prop_map(|(key, value)| sent::KeyValue { key, value });
    prop::collection::vec(pair, 0..4)
}

fn request<T: prost::Message + Default + std::fmt::Debug>(
    items: impl Strategy<Value = T>,
) -> impl Strategy<Value = sent::Request<T>> {
    let scope = prop::collection::vec(items, 0..3)
        .prop_map(|items| sent::OfScope { items, schema_url: "https://example.org".to_owned() });
    let of = (prop::option::of(attributes()), prop::collection::vec(scope, 0..3)).prop_map(|(attributes, scopes)| {
        let resource = attributes.map(|attributes| sent::Resource { attributes });
        sent::OfResource { resource, scopes, schema_url: "x".to_owned() }
    });
    prop::collection::vec(of, 0..3).prop_map(|resources| sent::Request { resources })
}

fn id() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 16),
        prop::collection::vec(any::<u8>(), 8),
        prop::collection::vec(any::<u8>(), 0..20)
    ]
}

fn span() -> impl Strategy<Value = sent::Span> {
    (id(), id(), id(), ".{0,12}", any::<u64>(), any::<u64>(), prop::option::of(any::<i64>())).prop_map(
        |(trace_id, span_id, parent_span_id, name, start, end, code)| {
            let status = code.map(|code| sent::Status { code });
            sent::Span { trace_id, span_id, parent_span_id, name, start, end, status }
        },
    )
}

fn log() -> impl Strategy<Value = sent::LogRecord> {
    (any::<u64>(), any::<i64>(), ".{0,6}", prop::option::of(value()), attributes(), id(), any::<u64>()).prop_map(
        |(time, severity_number, severity_text, body, attributes, trace_id, observed)| sent::LogRecord {
            time,
            severity_number,
            severity_text,
            body,
            attributes,
            trace_id,
            observed,
        },
    )
}

fn metric() -> impl Strategy<Value = sent::Metric> {
    let number = || {
        (any::<u64>(), prop::option::of(any::<f64>()), prop::option::of(any::<i64>()), attributes()).prop_map(
            |(time, as_double, as_int, attributes)| {
                // They exclude each other.
                let as_int = as_int.filter(|_| as_double.is_none());
                sent::NumberPoint { time, as_double, as_int, attributes, flags: time % 3 }
            },
        )
    };
    let numbers = || prop::collection::vec(number(), 0..3);
    let sum = (numbers(), 0..4_i64, any::<bool>());
    let buckets = (any::<u64>(), prop::collection::vec(any::<u64>(), 0..5), prop::collection::vec(-1e9..1e9, 0..5));
    let histogram = (buckets, attributes()).prop_map(|((count, bucket_counts, explicit_bounds), attributes)| {
        sent::HistogramPoint { time: 1, count, sum: Some(2.5), bucket_counts, explicit_bounds, attributes }
    });
    let histograms = prop::collection::vec(histogram, 0..3);
    (".{0,12}", prop::option::of(numbers()), prop::option::of(sum), prop::option::of(histograms)).prop_map(
        |(name, gauge, sum, histogram)| sent::Metric {
            name,
            unit: "s".to_owned(),
            gauge: gauge.map(|points| sent::Data { points, ..sent::Data::default() }),
            sum: sum.map(|(points, temporality, monotonic)| sent::Data { points, temporality, monotonic }),
            histogram: histogram.map(|points| sent::Data { points, ..sent::Data::default() }),
            ..sent::Metric::default()
        },
    )
}

/// A value as both of them tell it.
fn ours(value: &AnyValue<'_>) -> String {
    match value {
        AnyValue::Nothing => "-".to_owned(),
        AnyValue::Text(text) => format!("{:?}", text.0),
        AnyValue::Bool(value) => value.to_string(),
        AnyValue::Int(value) => value.to_string(),
        AnyValue::Double(value) => format!("{value:?}"),
        AnyValue::List(values) => format!("[{}]", values.iter().map(ours).collect::<Vec<_>>().join(",")),
        AnyValue::Map(values) => {
            let pair = |pair: &model::KeyValue<'_>| format!("{:?}:{}", pair.key.0, ours(&pair.value));
            format!("{{{}}}", values.iter().map(pair).collect::<Vec<_>>().join(","))
        }
        AnyValue::TooDeep => panic!("it is not that deep"),
    }
}

fn theirs(value: Option<&sent::AnyValue>) -> String {
    use base64::Engine as _;
    use sent::Any;
    match value.and_then(|value| value.value.as_ref()) {
        None => "-".to_owned(),
        Some(Any::Text(text)) => format!("{text:?}"),
        Some(Any::Bool(value)) => value.to_string(),
        Some(Any::Int(value)) => value.to_string(),
        Some(Any::Double(value)) => format!("{value:?}"),
        Some(Any::Bytes(bytes)) => format!("{:?}", base64::engine::general_purpose::STANDARD.encode(bytes)),
        Some(Any::List(list)) => {
            format!("[{}]", list.values.iter().map(|value| theirs(Some(value))).collect::<Vec<_>>().join(","))
        }
        Some(Any::Map(map)) => {
            let pair = |pair: &sent::KeyValue| format!("{:?}:{}", pair.key, theirs(pair.value.as_ref()));
            format!("{{{}}}", map.values.iter().map(pair).collect::<Vec<_>>().join(","))
        }
    }
}

fn our_attributes(of: &[model::KeyValue<'_>]) -> Vec<(String, String)> {
    of.iter().map(|pair| (pair.key.0.to_string(), ours(&pair.value))).collect()
}

fn their_attributes(of: &[sent::KeyValue]) -> Vec<(String, String)> {
    of.iter().map(|pair| (pair.key.clone(), theirs(pair.value.as_ref()))).collect()
}

/// The attributes of a resource, and its items, in words.
type Told = (Vec<(String, String)>, Vec<String>);

fn their_request<T: prost::Message + Default + std::fmt::Debug>(
    request: &sent::Request<T>,
    tell: impl Fn(&T) -> String,
) -> Vec<Told> {
    let of = |of: &sent::OfResource<T>| {
        let attributes = of.resource.as_ref().map(|resource| their_attributes(&resource.attributes));
        let items = of.scopes.iter().flat_map(|scope| scope.items.iter());
        (attributes.unwrap_or_default(), items.map(&tell).collect())
    };
    request.resources.iter().map(of).collect()
}

fn our_span(span: &model::Span<'_>) -> String {
    let ids = format!("{:?} {:?} {:?}", span.trace_id, span.span_id, span.parent_span_id);
    format!("{ids} {:?} {} {} {}", span.name.0, span.start.0, span.end.0, span.status.code.0)
}

fn their_span(span: &sent::Span) -> String {
    let ids = (Id::<16>::from_bytes(&span.trace_id), Id::<8>::from_bytes(&span.span_id));
    let ids = format!("{:?} {:?} {:?}", ids.0, ids.1, Id::<8>::from_bytes(&span.parent_span_id));
    let code = span.status.as_ref().map_or(0, |status| status.code);
    format!("{ids} {:?} {} {} {code}", span.name, span.start, span.end)
}

fn our_metric(metric: &model::Metric<'_>) -> String {
    let number = |p: &model::NumberPoint<'_>| {
        let value = (p.as_double.map(|v| v.0.to_bits()), p.as_int.map(|v| v.0));
        format!("{} {value:?} {:?} {}", p.time.0, our_attributes(&p.attributes), p.flags.0)
    };
    let numbers = |data: Option<&model::Data<model::NumberPoint<'_>>>| {
        data.map(|data| {
            let points: Vec<String> = data.points.iter().map(number).collect();
            (points, data.aggregation_temporality.0, data.is_monotonic.0)
        })
    };
    let histogram = metric.histogram.as_ref().map(|data| {
        let point = |p: &model::HistogramPoint<'_>| {
            let counts: Vec<u64> = p.bucket_counts.iter().map(|count| count.0).collect();
            let bounds: Vec<f64> = p.explicit_bounds.iter().map(|bound| bound.0).collect();
            let sum = p.sum.map(|sum| sum.0);
            format!("{} {} {sum:?} {counts:?} {bounds:?} {:?}", p.time.0, p.count.0, our_attributes(&p.attributes))
        };
        data.points.iter().map(point).collect::<Vec<_>>()
    });
    let (gauge, sum) = (numbers(metric.gauge.as_ref()), numbers(metric.sum.as_ref()));
    format!("{:?} {:?} {gauge:?} {sum:?} {histogram:?}", metric.name.0, metric.unit.0)
}

fn their_metric(metric: &sent::Metric) -> String {
    let number = |p: &sent::NumberPoint| {
        let value = (p.as_double.map(f64::to_bits), p.as_int);
        format!("{} {value:?} {:?} {}", p.time, their_attributes(&p.attributes), p.flags)
    };
    let numbers = |data: Option<&sent::Data<sent::NumberPoint>>| {
        data.map(|data| {
            let points: Vec<String> = data.points.iter().map(number).collect();
            (points, data.temporality, data.monotonic)
        })
    };
    let histogram = metric.histogram.as_ref().map(|data| {
        let point = |p: &sent::HistogramPoint| {
            let attributes = their_attributes(&p.attributes);
            format!("{} {} {:?} {:?} {:?} {attributes:?}", p.time, p.count, p.sum, p.bucket_counts, p.explicit_bounds)
        };
        data.points.iter().map(point).collect::<Vec<_>>()
    });
    let (gauge, sum) = (numbers(metric.gauge.as_ref()), numbers(metric.sum.as_ref()));
    format!("{:?} {:?} {gauge:?} {sum:?} {histogram:?}", metric.name, metric.unit)
}

proptest! {
    #[test]
    fn spans_are_read_as_by_another_library(request in request(span())) {
        let body = request.encode_to_vec();
        prop_assert_eq!(read(&body, our_span).unwrap(), their_request(&request, their_span));
    }

    #[test]
    fn logs_are_read_as_by_another_library(request in request(log())) {
        let body = request.encode_to_vec();
        let told = read(&body, |log: &model::LogRecord<'_>| {
            let number = log.severity_number.0;
            let text = format!("{:?} {} {:?}", log.severity_text.0, ours(&log.body), our_attributes(&log.attributes));
            format!("{} {number} {text} {:?} {}", log.time.0, log.trace_id, log.observed.0)
        }).unwrap();
        let theirs = their_request(&request, |log| {
            let attributes = their_attributes(&log.attributes);
            let text = format!("{:?} {} {attributes:?}", log.severity_text, theirs(log.body.as_ref()));
            let id = Id::<16>::from_bytes(&log.trace_id);
            format!("{} {} {text} {id:?} {}", log.time, log.severity_number, log.observed)
        });
        prop_assert_eq!(told, theirs);
    }

    #[test]
    fn metrics_are_read_as_by_another_library(request in request(metric())) {
        let body = request.encode_to_vec();
        prop_assert_eq!(read(&body, our_metric).unwrap(), their_request(&request, their_metric));
    }

    #[test]
    fn garbled_requests_are_read_without_a_panic(
        spans in request(span()), logs in request(log()), metrics in request(metric()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let garble = |mut bytes: Vec<u8>| {
            for (at, byte) in &changes {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
            }
            bytes
        };
        for bytes in [garble(spans.encode_to_vec()), garble(logs.encode_to_vec()), garble(metrics.encode_to_vec())] {
            let _ = (read(&bytes, our_span), read(&bytes, our_metric));
            let _ = read(&bytes, |log: &model::LogRecord<'_>| ours(&log.body));
        }
    }

    #[test]
    fn garbled_json_is_read_without_a_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), "[\\[\\]{},:\"0-9enull\\\\-]{0,3}"), 1..6),
    ) {
        const TEXT: &str = r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"a","value":{"arrayValue":{"values":
            [{"intValue":"1"},{"kvlistValue":{"values":[{"key":"b","value":{"doubleValue":"NaN"}}]}}]}}}]},"scopeMetrics":[
            {"metrics":[{"name":"m","unit":"s","histogram":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"1",
            "count":2,"sum":1.5,"bucketCounts":["1",1],"explicitBounds":[1e3]}]}}]}]}]}"#;
        let mut text = TEXT.to_owned();
        for (at, piece) in changes {
            let at = at.index(text.len());
            text.replace_range(at..=at, &piece);
        }
        let budget = Budget::new(1 << 20);
        let _ = from_json::<Request<'_, model::Metric<'_>>>(text.as_bytes(), &budget);
        let _ = from_json::<Request<'_, model::LogRecord<'_>>>(text.replace("Metrics", "Logs").as_bytes(), &budget);
        let _ = from_json::<Request<'_, model::Span<'_>>>(text.replace("Metrics", "Spans").as_bytes(), &budget);
        prop_assert!(from_json::<Request<'_, model::Metric<'_>>>(TEXT.as_bytes(), &budget).is_ok());
    }
}
