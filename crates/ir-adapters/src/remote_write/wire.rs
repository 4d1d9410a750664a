//! A `WriteRequest` of remote-write 1.0, read series by series.
//!
//! Source: "Prometheus Remote-Write Specification" 1.0 and `prometheus/prompb/{remote,types}.proto`. Exemplars are passed over,
//! metadata too; native histograms are only counted.

use crate::inbox::{Fields, Malformed, Value};

/// The most labels of one series.
pub(super) const MAX_LABELS: usize = 64;

/// One series of a request, borrowed from it.
#[derive(Debug, Default)]
pub(super) struct TimeSeries<'a> {
    /// The first [`MAX_LABELS`] labels.
    pub(super) labels: Vec<(&'a str, &'a str)>,
    /// How many labels there were.
    pub(super) n_labels: usize,
    pub(super) n_samples: u64,
    pub(super) n_histograms: u64,
    message: &'a [u8],
}

/// One sample.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sample {
    pub(super) value: f64,
    pub(super) millis: i64,
}

/// Gives each series of a request to `take`.
pub(super) fn read<'a>(body: &'a [u8], mut take: impl FnMut(&TimeSeries<'a>)) -> Result<(), Malformed> {
    // All of it is looked at before anything is taken, so that a request is taken as a whole or not at all.
    for field in Fields::new(body) {
        if let (1, series) = field? {
            let series = TimeSeries::read(series.bytes()?)?;
            series.samples().try_for_each(|sample| sample.map(drop))?;
        }
    }
    for field in Fields::new(body) {
        if let (1, series) = field? {
            take(&TimeSeries::read(series.bytes()?)?);
        }
    }
    Ok(())
}

impl<'a> TimeSeries<'a> {
    fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut series = Self { message, ..Self::default() };
        for field in Fields::new(message) {
            match field? {
                (1, label) => {
                    let label = read_label(label)?;
                    series.n_labels += 1;
                    if series.labels.len() < MAX_LABELS {
                        series.labels.push(label);
                    }
                }
                (2, sample) => {
                    sample.bytes()?;
                    series.n_samples += 1;
                }
                (4, histogram) => {
                    histogram.bytes()?;
                    series.n_histograms += 1;
                }
                _ => {}
            }
        }
        Ok(series)
    }

    pub(super) fn label(&self, name: &str) -> Option<&'a str> {
        self.labels.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    /// The samples in their order.
    pub(super) fn samples(&self) -> impl Iterator<Item = Result<Sample, Malformed>> + use<'a> {
        Fields::new(self.message).filter_map(|field| match field {
            Ok((2, sample)) => Some(read_sample(sample)),
            Ok(_) => None,
            Err(malformed) => Some(Err(malformed)),
        })
    }
}

fn read_label(label: Value<'_>) -> Result<(&str, &str), Malformed> {
    let (mut name, mut value) = ("", "");
    for field in label.fields()? {
        match field? {
            (1, text) => name = text.text()?,
            (2, text) => value = text.text()?,
            _ => {}
        }
    }
    Ok((name, value))
}

fn read_sample(sample: Value<'_>) -> Result<Sample, Malformed> {
    let mut read = Sample::default();
    for field in sample.fields()? {
        match field? {
            (1, value) => read.value = value.double()?,
            (2, millis) => read.millis = i64::from_le_bytes(millis.varint()?.to_le_bytes()),
            _ => {}
        }
    }
    Ok(read)
}
