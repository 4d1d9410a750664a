//! A `WriteRequest` of remote-write 1.0, read series by series.
//!
//! Source: "Prometheus Remote-Write Specification" 1.0 and `prometheus/prompb/{remote,types}.proto`. Exemplars are passed over,
//! metadata too; native histograms are only counted. A series that cannot be read costs itself alone. What version 2.0 puts into its
//! requests (symbols, and series in another field) is counted where it comes under the name of 1.0.

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

/// What was in a request beside series that can be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Beside {
    /// Series that cannot be read.
    pub(super) wrong: u64,
    /// Series of version 2.0.
    pub(super) of_version_2: u64,
    /// There is something, and nothing that is known.
    pub(super) is_unknown: bool,
}

/// Gives each series of a request to `take`.
pub(super) fn read<'a>(body: &'a [u8], mut take: impl FnMut(&TimeSeries<'a>)) -> Result<Beside, Malformed> {
    // Where one field ends and the next begins is checked before anything is taken, so that a request that was cut off or is
    // something else is refused as a whole.
    let mut beside = Beside { is_unknown: !body.is_empty(), ..Beside::default() };
    for field in Fields::new(body) {
        let (number, value) = field?;
        match number {
            1 => drop(value.bytes()?),
            5 => beside.of_version_2 += 1,
            _ => {}
        }
        // Series and metadata of version 1.0, symbols and series of version 2.0.
        beside.is_unknown &= !matches!(number, 1 | 3 | 4 | 5);
    }
    for field in Fields::new(body) {
        if let (1, series) = field? {
            match TimeSeries::whole(series.bytes()?) {
                Ok(series) => take(&series),
                Err(Malformed) => beside.wrong += 1,
            }
        }
    }
    Ok(beside)
}

impl<'a> TimeSeries<'a> {
    /// A series of which every sample can be read.
    fn whole(message: &'a [u8]) -> Result<Self, Malformed> {
        let series = Self::read(message)?;
        series.samples().try_for_each(|sample| sample.map(drop))?;
        Ok(series)
    }

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
