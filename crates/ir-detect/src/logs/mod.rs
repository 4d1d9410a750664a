//! Logs: the templates behind lines, mined online.
//!
//! [`TemplateMiner`] reads lines once, in order, and gives each the id of its template: what is the same in all lines that one
//! statement in a program writes. How it works, and why so:
//!
//! 1. The message is taken out of JSON and logfmt, and the header (time, host, level, thread, logger) that was learned for the
//!    stream is peeled off.
//! 2. One pass over the bytes cuts it into pieces and tells variables from constants by their looks (digits, paths, host names,
//!    values after `=`), without regular expressions.
//! 3. The hash of what is left finds the template. On a settled stream nearly all lines end here: no allocation, no search.
//! 4. A form nobody has seen is looked up once per column, with that column left out. When a column has had several constants it
//!    is a variable, and the templates that differ only there become one.
//!
//! This differs from Drain (He et al. 2017, doi:10.1109/ICWS.2017.13), which walks a tree by length and first words and compares
//! with every template of a leaf: here a miss costs one lookup a column, whatever the number of templates, and lines of different
//! length share a form when they differ in the length of a list.
//!
//! **Ids** are hashes of the stream's kind and of the first form of the template, never counters: the same lines give the same
//! ids on every machine and after every restart. When templates merge, the older id stays and the others become its aliases
//! ([`TemplateMiner::resolve`]); a merge is never a new template.
//!
//! **Bounds.** Lines, tokens, forms per stream, streams and aliases are capped. What was not seen for longest is forgotten first,
//! but a filter remembers that it was there, so that it comes back as [`Observed::returned`], not as new. When nearly every line
//! brings a form nobody knows, such lines share one template until the flood is over.

mod bounds;
mod detector;
mod elsewhere;
mod entity;
mod fields;
mod follow;
mod form;
mod hash;
mod header;
mod merge;
mod pairs;
mod room;
mod scan;
mod severity;
mod site;
mod statement;
mod stream;
mod thread;
mod usual;
mod watch;
mod words;
mod work;

use std::collections::{BTreeMap, VecDeque};

use ir_core::{ConfigError, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

pub use detector::{LogTemplates, LogTemplatesConfig};

use crate::check::Check;
use hash::HashedMap;
use stream::{Scratch, Stream};

/// The id of a template: a 64-bit hash of its stream's kind and its first form. Written as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TemplateId(pub u64);

impl std::fmt::Display for TemplateId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A stream of one miner. Good for the miner that gave it and for what is restored from its snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamIdx(u32);

/// What a [`TemplateMiner`] may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MinerConfig {
    /// Bytes of a line that are looked at; what follows is as if it were not there. Default 8192.
    #[schemars(range(min = 64, max = 1_073_741_824))]
    pub max_line_bytes: usize,
    /// Pieces of a message that are told apart; the rest is one variable. Default 256.
    #[schemars(range(min = 8, max = 65_536))]
    pub max_tokens: usize,
    /// Templates, and exact forms, that a stream remembers. Default 20000.
    #[schemars(range(min = 64, max = 16_777_216))]
    pub max_forms_per_stream: usize,
    /// Streams; lines of any further stream share one. Default 4096.
    #[schemars(range(min = 1, max = 16_777_216))]
    pub max_streams: usize,
    /// Bytes of all streams together, before the largest are cut to half their templates. Default 256 MiB.
    #[schemars(range(min = 1_048_576))]
    pub max_bytes: usize,
    /// Ids that became other ids and can still be resolved. Default 100000.
    #[schemars(range(min = 1, max = 268_435_456))]
    pub max_aliases: usize,
}

impl Default for MinerConfig {
    fn default() -> Self {
        Self {
            max_line_bytes: 8192,
            max_tokens: 256,
            max_forms_per_stream: 20_000,
            max_streams: 4096,
            max_bytes: 256 << 20,
            max_aliases: 100_000,
        }
    }
}

/// What a line turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// The template, as known now. Later merges may make it an alias: see [`TemplateMiner::resolve`].
    pub id: TemplateId,
    /// Whether this is the first line of its template, ever.
    pub is_new: bool,
    /// Whether the template was forgotten and is back: rare, not new.
    pub returned: bool,
}

/// Finds the templates of log lines, online. See the [module](self) for how.
///
/// One line costs a pass over its bytes and one lookup; a form not seen before costs one lookup more for each of its constants.
///
/// # Examples
///
/// ```
/// use ir_detect::logs::{MinerConfig, TemplateMiner};
///
/// let mut miner = TemplateMiner::new(MinerConfig::default())?;
/// let sshd = miner.stream("sshd");
/// let first = miner.observe(sshd, b"Connection closed by 10.0.0.1 port 4711");
/// let again = miner.observe(sshd, b"Connection closed by 10.0.0.7 port 80");
/// assert!(first.is_new && !again.is_new);
/// assert_eq!(first.id, again.id);
/// assert_eq!(miner.template(first.id).as_deref(), Some("Connection closed by <*> port <*>"));
/// # Ok::<(), ir_core::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct TemplateMiner {
    config: MinerConfig,
    state: State,
    by_name: BTreeMap<String, u32>,
    scratch: Scratch,
}

/// What a snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct State {
    streams: Vec<Stream>,
    #[serde(with = "pairs")]
    aliases: HashedMap<u64, u64>,
    /// Absorbed ids, oldest first, so that the oldest can be dropped.
    alias_order: VecDeque<u64>,
    #[serde(with = "pairs")]
    index: HashedMap<u64, (u32, u32)>,
    /// Bytes of all streams when they were last reckoned.
    held: usize,
}

/// All that a miner has learned, in a form that can be stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MinerSnapshot {
    version: u32,
    config: MinerConfig,
    state: State,
}

const VERSION: u32 = 1;
/// The stream for lines of streams beyond [`MinerConfig::max_streams`].
const SHARED: &str = "(others)";

impl TemplateMiner {
    /// A miner that has seen nothing.
    ///
    /// # Errors
    ///
    /// Every limit below its smallest useful value, by name.
    pub fn new(config: MinerConfig) -> std::result::Result<Self, ConfigError> {
        check(&config)?;
        Ok(Self { config, state: State::default(), by_name: BTreeMap::new(), scratch: Scratch::default() })
    }

    /// The stream with this name, made when it is not there.
    ///
    /// Name a stream by what writes it (a service, a unit), not by an instance: the name is the kind in the ids of its templates.
    pub fn stream(&mut self, name: &str) -> StreamIdx {
        if let Some(idx) = self.by_name.get(name) {
            return StreamIdx(*idx);
        }
        if self.state.streams.len() >= self.config.max_streams {
            return match self.by_name.get(SHARED) {
                Some(idx) => StreamIdx(*idx),
                None => self.add_stream(SHARED),
            };
        }
        self.add_stream(name)
    }

    fn add_stream(&mut self, name: &str) -> StreamIdx {
        let idx = self.state.streams.len() as u32;
        self.state.streams.push(Stream::new(name, &self.config));
        self.by_name.insert(name.to_owned(), idx);
        StreamIdx(idx)
    }

    /// Reads the next line of a stream, without its line end. Any bytes will do; an empty line has a template too.
    ///
    /// A stream of another miner gives the id 0 and learns nothing.
    pub fn observe(&mut self, stream: StreamIdx, line: &[u8]) -> Observed {
        let Some(of) = self.state.streams.get_mut(stream.0 as usize) else {
            return Observed { id: TemplateId(0), is_new: false, returned: false };
        };
        let seat = of.observe(line, &self.config, &mut self.scratch);
        if self.scratch.changed() {
            self.note(stream.0);
        }
        Observed { id: TemplateId(seat.id), is_new: seat.is_new, returned: seat.returned }
    }

    /// The id that stands for `id` now: itself, or the id it was merged into.
    pub fn resolve(&self, id: TemplateId) -> TemplateId {
        let mut at = id.0;
        // No chain is longer than the table; the bound holds even for a snapshot somebody made up.
        for _ in 0..=self.state.aliases.len() {
            match self.state.aliases.get(&at) {
                Some(to) if *to != at => at = *to,
                _ => break,
            }
        }
        TemplateId(at)
    }

    /// The text of a template, `<*>` where it varies; `None` when it is not known or was forgotten.
    pub fn template(&self, id: TemplateId) -> Option<String> {
        self.find(id).map(|template| template.text.to_string())
    }

    /// How many lines a template has had, those of the templates it absorbed among them.
    pub fn lines(&self, id: TemplateId) -> Option<u64> {
        self.find(id).map(|template| template.lines)
    }

    /// How many templates are remembered, over all streams, without those that were absorbed.
    pub fn n_templates(&self) -> usize {
        let of = |stream: &Stream| {
            stream.templates.iter().enumerate().filter(|(i, t)| t.used && t.parent as usize == *i).count()
        };
        self.state.streams.iter().map(of).sum()
    }

    /// Bytes held, at most, reckoned from what is stored. Linear in the number of streams.
    pub fn bytes(&self) -> usize {
        let streams: usize = self.state.streams.iter().map(Stream::bytes).sum();
        streams + (self.state.index.len() + self.state.aliases.len()) * 64 + self.by_name.len() * 64
    }

    /// All that was learned.
    pub fn snapshot(&self) -> MinerSnapshot {
        MinerSnapshot { version: VERSION, config: self.config.clone(), state: self.state.clone() }
    }

    /// A miner that goes on where the snapshot was taken: what it says from here on is what the other would have said.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a snapshot of another version, or with limits that [`TemplateMiner::new`] refuses.
    pub fn restore(snapshot: MinerSnapshot) -> Result<Self> {
        if snapshot.version != VERSION {
            let message = format!("a snapshot of version {}, and this reads version {VERSION}", snapshot.version);
            return Err(Error::new(ErrorKind::InvalidInput, "log-templates", message));
        }
        check(&snapshot.config)
            .map_err(|problem| Error::new(ErrorKind::InvalidInput, "log-templates", problem.to_string()))?;
        let by_name = snapshot.state.streams.iter().zip(0..).map(|(stream, idx)| (stream.name.clone(), idx)).collect();
        Ok(Self { config: snapshot.config, state: snapshot.state, by_name, scratch: Scratch::default() })
    }

    fn find(&self, id: TemplateId) -> Option<&stream::Template> {
        let id = self.resolve(id).0;
        let (stream, slot) = self.state.index.get(&id)?;
        self.state
            .streams
            .get(*stream as usize)?
            .templates
            .get(*slot as usize)
            .filter(|template| template.used && template.id == id)
    }

    /// Takes over what changed while a line was read: forgotten and new templates, aliases, memory.
    fn note(&mut self, stream: u32) {
        for id in self.scratch.forgotten.drain(..) {
            self.state.index.remove(&id);
        }
        for id in self.scratch.reset.drain(..) {
            self.state.aliases.remove(&id);
        }
        for (id, slot) in self.scratch.born.drain(..) {
            // What was absorbed once, forgotten and is back stands for itself again.
            self.state.aliases.remove(&id);
            self.state.index.insert(id, (stream, slot));
        }
        for (from, to) in self.scratch.aliases.drain(..) {
            if self.state.aliases.insert(from, to).is_none() {
                self.state.alias_order.push_back(from);
            }
        }
        while self.state.alias_order.len() > self.config.max_aliases {
            if let Some(oldest) = self.state.alias_order.pop_front() {
                self.state.aliases.remove(&oldest);
            }
        }
        if let Some(of) = self.state.streams.get_mut(stream as usize) {
            let now = of.bytes();
            self.state.held = self.state.held + now - of.held.min(self.state.held);
            of.held = now;
        }
        if self.state.held > self.config.max_bytes {
            self.cut();
        }
    }

    /// Cuts the stream that holds most to half of its templates.
    fn cut(&mut self) {
        let Some((idx, of)) = self.state.streams.iter_mut().enumerate().max_by_key(|(_, stream)| stream.held) else {
            return;
        };
        let before = of.held;
        of.evict(of.n_used() / 2, None, &mut self.scratch);
        of.held = of.bytes();
        self.state.held = self.state.held + of.held - before.min(self.state.held);
        for id in self.scratch.forgotten.drain(..) {
            self.state.index.remove(&id);
        }
        tracing::debug!(stream = idx, before, after = of.held, "log templates were cut to save memory");
    }
}

fn check(config: &MinerConfig) -> std::result::Result<(), ConfigError> {
    ConfigError::check(config.problems().done(), ())
}

impl MinerConfig {
    fn problems(&self) -> Check {
        let mut check = Check::default();
        check
            .count("max_line_bytes", self.max_line_bytes, 64, 1 << 30)
            .count("max_tokens", self.max_tokens, 8, 1 << 16)
            .count("max_forms_per_stream", self.max_forms_per_stream, 64, 1 << 24)
            .count("max_streams", self.max_streams, 1, 1 << 24)
            .count("max_bytes", self.max_bytes, 1 << 20, usize::MAX)
            .count("max_aliases", self.max_aliases, 1, 1 << 28);
        check
    }
}

#[cfg(test)]
mod tests;
