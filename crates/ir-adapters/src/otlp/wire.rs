//! Requests in protobuf, read into the [`model`](super::model) item by item. The numbers are those of the `.proto` files of OTLP.

use std::borrow::Cow;

use base64::Engine as _;

use super::budget::{Budget, Element, List};
use super::model::{
    Data, HistogramPoint, KeyValue, LogRecord, Metric, NumberPoint, Quantile, Resource, Span, SummaryPoint, Visit,
};
use super::scalar::{AnyValue, Double, Flag, Id, Int, Text, Whole};
use crate::inbox::{Fields, Malformed, Value};

/// Values nested deeper are not read.
const MAX_DEPTH: u32 = 16;

/// A message of the protocol.
pub(super) trait Message<'a>: Default {
    /// Takes one field.
    fn field(&mut self, number: u32, value: Value<'a>, budget: &mut Budget) -> Result<(), Malformed>;

    fn read(fields: Fields<'a>, budget: &mut Budget) -> Result<Self, Malformed> {
        let mut message = Self::default();
        message.merge(fields, budget)?;
        Ok(message)
    }

    /// Fields that come again replace what was read, and lists go on.
    fn merge(&mut self, fields: Fields<'a>, budget: &mut Budget) -> Result<(), Malformed> {
        for field in fields {
            let (number, value) = field?;
            self.field(number, value, budget)?;
        }
        Ok(())
    }
}

/// Reads a request: each resource, and then each of its items, which takes `max_bytes` at most. Nothing is kept in between.
pub(super) fn walk<'a, T: Message<'a>>(
    body: &'a [u8],
    max_bytes: usize,
    visit: &mut dyn FnMut(Visit<'_, 'a, T>),
) -> Result<(), Malformed> {
    for field in Fields::new(body) {
        match field? {
            (1, of_resource) => {
                let walked = of_resource.fields().and_then(|fields| walk_resource(fields, max_bytes, visit));
                if walked.is_err() {
                    visit(Visit::Wrong("resources", 1));
                }
            }
            (number, _) => visit(Visit::Unknown(&number.to_string())),
        }
    }
    Ok(())
}

fn walk_resource<'a, T: Message<'a>>(
    of_resource: Fields<'a>,
    max_bytes: usize,
    visit: &mut dyn FnMut(Visit<'_, 'a, T>),
) -> Result<(), Malformed> {
    let mut resource = Resource::default();
    let mut budget = Budget::new(max_bytes);
    // It may stand behind what belongs to it.
    for field in of_resource {
        if let (1, fields) = field? {
            resource.merge(fields.fields()?, &mut budget)?;
        }
    }
    visit(Visit::Resource(&resource));
    for field in of_resource {
        // Scopes had another number before version 0.19 was complete.
        let scope = match field? {
            (2 | 1000, scope) => scope,
            // The resource, and where its names are defined.
            (1 | 3, _) => continue,
            (number, _) => {
                visit(Visit::Unknown(&number.to_string()));
                continue;
            }
        };
        for field in scope.fields()? {
            let (2, item) = field? else { continue };
            match item.fields().and_then(|fields| T::read(fields, &mut Budget::new(max_bytes))) {
                Ok(item) => visit(Visit::Item(&item)),
                Err(Malformed) => visit(Visit::Wrong("signals", 1)),
            }
        }
    }
    Ok(())
}

fn add<'a, T: Element + Message<'a>>(
    list: &mut List<T>,
    value: Value<'a>,
    budget: &mut Budget,
) -> Result<(), Malformed> {
    let fields = value.fields()?;
    list.push(budget, |budget| T::read(fields, budget))
}

fn text(value: Value<'_>) -> Result<Text<'_>, Malformed> {
    value.text().map(|text| Text(Cow::Borrowed(text)))
}

fn id<const N: usize>(value: Value<'_>) -> Result<Id<N>, Malformed> {
    value.bytes().map(Id::from_bytes)
}

fn fixed(value: Value<'_>) -> Result<Whole, Malformed> {
    value.fixed64().map(Whole)
}

/// A number written as eight bytes, whose sign is in its highest bit.
fn int(bits: u64) -> i64 {
    i64::from_le_bytes(bits.to_le_bytes())
}

impl<'a> Message<'a> for Resource<'a> {
    fn field(&mut self, number: u32, value: Value<'a>, budget: &mut Budget) -> Result<(), Malformed> {
        match number {
            1 => add(&mut self.attributes, value, budget),
            _ => Ok(()),
        }
    }
}

impl<'a> Message<'a> for KeyValue<'a> {
    fn field(&mut self, number: u32, value: Value<'a>, budget: &mut Budget) -> Result<(), Malformed> {
        key_value(self, number, value, budget, 0)
    }
}

fn key_value<'a>(
    into: &mut KeyValue<'a>,
    number: u32,
    value: Value<'a>,
    budget: &mut Budget,
    depth: u32,
) -> Result<(), Malformed> {
    match number {
        1 => into.key = text(value)?,
        2 => into.value = any_value(value.fields()?, budget, depth)?,
        _ => {}
    }
    Ok(())
}

fn any_value<'a>(fields: Fields<'a>, budget: &mut Budget, depth: u32) -> Result<AnyValue<'a>, Malformed> {
    let mut read = AnyValue::Nothing;
    for field in fields {
        let (number, value) = field?;
        read = match number {
            1 => AnyValue::Text(text(value)?),
            2 => AnyValue::Bool(value.varint()? != 0),
            3 => AnyValue::Int(int(value.varint()?)),
            4 => AnyValue::Double(value.double()?),
            5 | 6 if depth >= MAX_DEPTH => AnyValue::TooDeep,
            5 => AnyValue::List(values(value, budget, |fields, budget| any_value(fields, budget, depth + 1))?),
            6 => AnyValue::Map(values(value, budget, |fields, budget| {
                let mut read = KeyValue::default();
                for field in fields {
                    let (number, value) = field?;
                    key_value(&mut read, number, value, budget, depth + 1)?;
                }
                Ok(read)
            })?),
            7 => {
                let bytes = base64::engine::general_purpose::STANDARD.encode(value.bytes()?);
                AnyValue::Text(Text(Cow::Owned(bytes)))
            }
            _ => continue,
        };
    }
    Ok(read)
}

/// The elements of an `ArrayValue` or a `KeyValueList`.
fn values<'a, T: Element>(
    list: Value<'a>,
    budget: &mut Budget,
    read: impl Fn(Fields<'a>, &mut Budget) -> Result<T, Malformed>,
) -> Result<List<T>, Malformed> {
    let mut values = List::default();
    for field in list.fields()? {
        if let (1, value) = field? {
            let fields = value.fields()?;
            values.push(budget, |budget| read(fields, budget))?;
        }
    }
    Ok(values)
}

impl<'a> Message<'a> for Span<'a> {
    fn field(&mut self, number: u32, value: Value<'a>, _budget: &mut Budget) -> Result<(), Malformed> {
        match number {
            1 => self.trace_id = id(value)?,
            2 => self.span_id = id(value)?,
            4 => self.parent_span_id = id(value)?,
            5 => self.name = text(value)?,
            7 => self.start = fixed(value)?,
            8 => self.end = fixed(value)?,
            15 => {
                for field in value.fields()? {
                    if let (3, code) = field? {
                        self.status.code = Int(int(code.varint()?));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Message<'a> for LogRecord<'a> {
    fn field(&mut self, number: u32, value: Value<'a>, budget: &mut Budget) -> Result<(), Malformed> {
        match number {
            1 => self.time = fixed(value)?,
            2 => self.severity_number = Int(int(value.varint()?)),
            3 => self.severity_text = text(value)?,
            5 => self.body = any_value(value.fields()?, budget, 0)?,
            6 => add(&mut self.attributes, value, budget)?,
            9 => self.trace_id = id(value)?,
            10 => self.span_id = id(value)?,
            11 => self.observed = fixed(value)?,
            12 => self.event_name = text(value)?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Message<'a> for Metric<'a> {
    fn field(&mut self, number: u32, value: Value<'a>, budget: &mut Budget) -> Result<(), Malformed> {
        match number {
            1 => self.name = text(value)?,
            3 => self.unit = text(value)?,
            5 => self.gauge = Some(Data::read(value.fields()?, budget)?),
            7 => self.sum = Some(Data::read(value.fields()?, budget)?),
            9 => self.histogram = Some(Data::read(value.fields()?, budget)?),
            // Its points have the same fields up to the sum, and what follows says something else there.
            10 => {
                let data = Data::<Exponential<'a>>::read(value.fields()?, budget)?;
                self.exponential_histogram = Some(Data {
                    points: data.points.map(|point| point.0),
                    aggregation_temporality: data.aggregation_temporality,
                    is_monotonic: Flag(false),
                });
            }
            11 => self.summary = Some(Data::read(value.fields()?, budget)?),
            _ => {}
        }
        Ok(())
    }
}

impl<'a, T: Element + Message<'a>> Message<'a> for Data<T> {
    fn field(&mut self, number: u32, value: Value<'a>, budget: &mut Budget) -> Result<(), Malformed> {
        match number {
            1 => add(&mut self.points, value, budget)?,
            2 => self.aggregation_temporality = Int(int(value.varint()?)),
            3 => self.is_monotonic = Flag(value.varint()? != 0),
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Message<'a> for NumberPoint<'a> {
    fn field(&mut self, number: u32, value: Value<'a>, budget: &mut Budget) -> Result<(), Malformed> {
        match number {
            2 => self.start = fixed(value)?,
            3 => self.time = fixed(value)?,
            4 => (self.as_double, self.as_int) = (Some(Double(value.double()?)), None),
            6 => (self.as_double, self.as_int) = (None, Some(Int(int(value.fixed64()?)))),
            7 => add(&mut self.attributes, value, budget)?,
            8 => self.flags = Whole(value.varint()?),
            _ => {}
        }
        Ok(())
    }
}

/// A list of numbers of eight bytes, packed into one field or each in its own.
fn numbers<T: Element>(
    list: &mut List<T>,
    value: Value<'_>,
    budget: &mut Budget,
    make: impl Fn(u64) -> T,
) -> Result<(), Malformed> {
    let Value::Bytes(bytes) = value else {
        let bits = value.fixed64()?;
        return list.push(budget, |_| Ok(make(bits)));
    };
    let (all, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(Malformed);
    }
    for bits in all {
        list.push(budget, |_| Ok(make(u64::from_le_bytes(*bits))))?;
    }
    Ok(())
}

impl<'a> Message<'a> for HistogramPoint<'a> {
    fn field(&mut self, number: u32, value: Value<'a>, budget: &mut Budget) -> Result<(), Malformed> {
        match number {
            2 => self.start = fixed(value)?,
            3 => self.time = fixed(value)?,
            4 => self.count = fixed(value)?,
            5 => self.sum = Some(Double(value.double()?)),
            6 => numbers(&mut self.bucket_counts, value, budget, Whole)?,
            7 => numbers(&mut self.explicit_bounds, value, budget, |bits| Double(f64::from_bits(bits)))?,
            9 => add(&mut self.attributes, value, budget)?,
            10 => self.flags = Whole(value.varint()?),
            _ => {}
        }
        Ok(())
    }
}

/// A point of an exponential histogram.
#[derive(Debug, Default)]
struct Exponential<'a>(HistogramPoint<'a>);

impl Element for Exponential<'_> {
    const IS_PART: bool = true;
}

impl<'a> Message<'a> for Exponential<'a> {
    fn field(&mut self, number: u32, value: Value<'a>, budget: &mut Budget) -> Result<(), Malformed> {
        match number {
            1 => add(&mut self.0.attributes, value, budget)?,
            2 => self.0.start = fixed(value)?,
            3 => self.0.time = fixed(value)?,
            4 => self.0.count = fixed(value)?,
            5 => self.0.sum = Some(Double(value.double()?)),
            10 => self.0.flags = Whole(value.varint()?),
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Message<'a> for SummaryPoint<'a> {
    fn field(&mut self, number: u32, value: Value<'a>, budget: &mut Budget) -> Result<(), Malformed> {
        match number {
            3 => self.time = fixed(value)?,
            4 => self.count = fixed(value)?,
            5 => self.sum = Double(value.double()?),
            6 => add(&mut self.quantile_values, value, budget)?,
            7 => add(&mut self.attributes, value, budget)?,
            8 => self.flags = Whole(value.varint()?),
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Message<'a> for Quantile {
    fn field(&mut self, number: u32, value: Value<'a>, _budget: &mut Budget) -> Result<(), Malformed> {
        match number {
            1 => self.quantile = Double(value.double()?),
            2 => self.value = Double(value.double()?),
            _ => {}
        }
        Ok(())
    }
}
