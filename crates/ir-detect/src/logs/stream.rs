//! The templates of one stream: the exact path, the miss path, and what happens when memory is short.

use ir_core::text::plain_bytes;
use serde::{Deserialize, Serialize};

use super::form::{self, Form};
use super::hash::{self, HashedMap};
use super::header::{self, Header, LEARN_BYTES, LEARN_LINES};
use super::merge::{Found, Patterns};
use super::scan::{self, Piece};
use super::{MinerConfig, bounds::Seen, fields, pairs};

/// One template of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Template {
    /// Its id, for ever.
    pub(super) id: u64,
    /// The template that absorbed it, or itself.
    pub(super) parent: u32,
    /// What people read.
    pub(super) text: Box<str>,
    /// How many lines had it while it was on its own or after it absorbed others.
    pub(super) lines: u64,
    /// The stream's line count when it was made.
    pub(super) born: u64,
    /// The stream's line count when it was last seen.
    pub(super) last: u64,
    /// Whether the slot is in use.
    pub(super) used: bool,
}

/// Where an exact form leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    template: u32,
    /// The stream's line count when it was last seen.
    last: u64,
}

/// What a line turned out to be, inside its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seat {
    template: u32,
    pub(super) id: u64,
    pub(super) is_new: bool,
    pub(super) returned: bool,
}

/// Ids that became other ids while a line was read, absorbed id first.
pub(super) type Aliases = Vec<(u64, u64)>;

/// What every line needs and no line keeps.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pieces: Vec<Piece>,
    /// Ids absorbed by others since the miner last took them.
    pub(super) aliases: Aliases,
    /// Ids whose templates were forgotten since the miner last took them.
    pub(super) forgotten: Vec<u64>,
    /// Templates made since the miner last took them: id and slot.
    pub(super) born: Vec<(u64, u32)>,
    /// Ids whose aliases no longer hold, because their lines were read again; they go before new aliases come.
    pub(super) reset: Vec<u64>,
}

impl Scratch {
    /// Whether there is anything the miner must take over.
    pub(super) fn changed(&self) -> bool {
        !(self.born.is_empty() && self.aliases.is_empty() && self.forgotten.is_empty() && self.reset.is_empty())
    }
}

/// All state of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stream {
    pub(super) name: String,
    kind: u64,
    header: Header,
    /// The first lines, kept until the header is settled, with the ids they were given.
    lesson: Vec<(Vec<u8>, u64)>,
    lesson_bytes: usize,
    settled: bool,
    /// Whether the lesson holds every line there was, so that it can be read again with what was learned.
    whole: bool,
    /// Lines since the last look at the misses, and those of them without the learned header.
    recent: u32,
    missed: u32,
    #[serde(with = "pairs")]
    exact: HashedMap<u128, Entry>,
    #[serde(with = "pairs")]
    forms: HashedMap<u128, u32>,
    patterns: Patterns,
    pub(super) templates: Vec<Template>,
    free: Vec<u32>,
    text_bytes: usize,
    /// New templates among the last lines: when nearly every line brings one, they are not worth their memory.
    fresh: u32,
    window: u32,
    flooded: bool,
    seen: Seen,
    lines: u64,
    /// Bytes held when it was last reckoned.
    pub(super) held: usize,
}

/// Patterns that may be held for every form: forms have more columns, but most are never looked up again.
const PATTERNS_PER_FORM: usize = 4;
/// Forgotten templates that are known again, for every form that may be held: they cost two bytes each.
const SEEN_PER_FORM: usize = 8;
/// Lines over which floods and lost headers are noticed.
const WINDOW: u32 = 1024;
/// New templates in a window from which on a stream is flooded.
const FLOOD: u32 = WINDOW / 2;

impl Stream {
    pub(super) fn new(name: &str, config: &MinerConfig) -> Self {
        Self {
            name: name.to_owned(),
            kind: header::kind_hash(name),
            header: Header::default(),
            lesson: Vec::new(),
            lesson_bytes: 0,
            settled: false,
            whole: true,
            recent: 0,
            missed: 0,
            exact: HashedMap::default(),
            forms: HashedMap::default(),
            patterns: Patterns::default(),
            templates: Vec::new(),
            free: Vec::new(),
            text_bytes: 0,
            fresh: 0,
            window: 0,
            flooded: false,
            seen: Seen::new((config.max_forms_per_stream * SEEN_PER_FORM) as u32),
            lines: 0,
            held: 0,
        }
    }

    /// Reads one line.
    pub(super) fn observe(&mut self, line: &[u8], config: &MinerConfig, scratch: &mut Scratch) -> Seat {
        let line = &line[..line.len().min(config.max_line_bytes)];
        // Colours and marks are in front of levels, times and words, and none of them.
        let plain = plain_bytes(line);
        let line = plain.as_ref();
        let line = fields::message(line).unwrap_or(line);
        if !self.settled {
            self.learn(line, config, scratch);
        }
        let (message, had_header) = self.header.peel(line);
        let seat = self.place(message, config, scratch);
        if self.settled {
            self.watch(had_header);
        } else {
            self.keep(line, seat);
        }
        seat
    }

    /// The template that stands for `template` now.
    pub(super) fn root(&self, mut template: u32) -> u32 {
        while let Some(of) = self.templates.get(template as usize) {
            if of.parent == template {
                break;
            }
            template = of.parent;
        }
        template
    }

    /// Bytes held, at most, reckoned from how much is stored: the same for equal states, whatever was reserved for them.
    pub(super) fn bytes(&self) -> usize {
        // Tables are at least 7/16 full when they have just grown, lists at least half.
        let map = |len: usize, entry: usize| len * (entry + 1) * 16 / 7;
        map(self.exact.len(), size_of::<(u128, Entry)>())
            + map(self.forms.len(), size_of::<(u128, u32)>())
            + self.patterns.bytes()
            + 2 * self.templates.len() * size_of::<Template>()
            + 2 * self.free.len() * size_of::<u32>()
            + self.text_bytes
            + self.lesson_bytes
            + 2 * self.lesson.len() * size_of::<(Vec<u8>, u64)>()
            + self.seen.bytes()
            + self.name.len()
    }

    /// Finds or makes the template of a message.
    fn place(&mut self, message: &[u8], config: &MinerConfig, scratch: &mut Scratch) -> Seat {
        self.lines += 1;
        self.window += 1;
        if self.window >= WINDOW {
            self.flooded = self.fresh >= FLOOD;
            (self.window, self.fresh) = (0, 0);
        }
        scan::scan(message, config.max_tokens, &mut scratch.pieces);
        let exact = form::exact(&scratch.pieces);
        if let Some(entry) = self.exact.get_mut(&exact) {
            entry.last = self.lines;
            let held = entry.template;
            if let Some(template) = self.templates.get_mut(held as usize)
                && template.parent == held
            {
                template.lines += 1;
                template.last = self.lines;
                return Seat { template: held, id: template.id, is_new: false, returned: false };
            }
            let root = self.root(held);
            if let Some(entry) = self.exact.get_mut(&exact) {
                entry.template = root;
            }
            self.touch(root);
            return self.known(root);
        }
        let seat = self.miss(message, config, scratch);
        self.touch(seat.template);
        if !(self.flooded && self.exact.len() >= config.max_forms_per_stream / 2) {
            self.exact.insert(exact, Entry { template: seat.template, last: self.lines });
        }
        let most = config.max_forms_per_stream;
        if self.exact.len() > most || self.n_used() > most || self.patterns.len() > most * PATTERNS_PER_FORM {
            self.evict(most / 4 * 3, Some(seat.template), scratch);
        }
        seat
    }

    /// A line of a template that is known, or of the one that absorbed it.
    fn known(&self, template: u32) -> Seat {
        let root = self.root(template);
        let id = self.templates.get(root as usize).map_or(0, |template| template.id);
        Seat { template: root, id, is_new: false, returned: false }
    }

    /// Slots in use, those of absorbed templates too.
    pub(super) fn n_used(&self) -> usize {
        self.templates.len() - self.free.len()
    }

    fn touch(&mut self, template: u32) {
        let lines = self.lines;
        if let Some(template) = self.templates.get_mut(template as usize) {
            template.lines += 1;
            template.last = lines;
        }
    }

    /// The rare path: a form not seen before.
    fn miss(&mut self, message: &[u8], config: &MinerConfig, scratch: &mut Scratch) -> Seat {
        let form = Form::of(message, &scratch.pieces);
        let hash = form.hash();
        if let Some(template) = self.forms.get(&hash) {
            return self.known(*template);
        }
        if let Some(template) = self.patterns.general(&form) {
            return self.known(template);
        }
        self.fresh += 1;
        let flood = self.flooded && self.n_used() >= config.max_forms_per_stream / 4;
        if flood {
            return self.overflow(scratch);
        }
        let text = form.render(message, &scratch.pieces);
        let mut seat = self.add(hash, text, scratch);
        let mut form = form;
        // Each merge makes a more general form, which may be one value of a column of a still more general one.
        while let Some(Found { erased, members }) = self.patterns.add(&form, seat.template, &self.templates) {
            let general = form.without(&[erased]);
            let hash = general.hash();
            let oldest = members.iter().map(|member| self.root(*member)).min_by_key(|root| self.age(*root));
            let Some(root) = oldest else { break };
            let text = general.render(message, &scratch.pieces);
            if let Some(held) = self.templates.get_mut(root as usize) {
                self.text_bytes = self.text_bytes + text.len() - held.text.len();
                held.text = text.into_boxed_str();
            }
            for member in members {
                self.absorb(member, root, scratch);
            }
            if let Some(also) = self.forms.insert(hash, root) {
                self.absorb(also, root, scratch);
            }
            if root != seat.template {
                seat = self.known(root);
            }
            form = general;
        }
        seat
    }

    /// Older templates survive when two become one.
    fn age(&self, template: u32) -> (u64, u32) {
        (self.templates.get(template as usize).map_or(u64::MAX, |t| t.born), template)
    }

    /// Makes `root` stand for `member`.
    fn absorb(&mut self, member: u32, root: u32, scratch: &mut Scratch) {
        let member = self.root(member);
        if member == root {
            return;
        }
        let Some(id) = self.templates.get(root as usize).map(|t| t.id) else { return };
        let Some(template) = self.templates.get_mut(member as usize) else { return };
        template.parent = root;
        let lines = template.lines;
        scratch.aliases.push((template.id, id));
        if let Some(template) = self.templates.get_mut(root as usize) {
            template.lines += lines;
        }
    }

    fn add(&mut self, hash: u128, text: String, scratch: &mut Scratch) -> Seat {
        let id = hash::id(self.kind, hash);
        let returned = self.seen.knows(id);
        self.text_bytes += text.len();
        let slot = self.free.pop().unwrap_or(self.templates.len() as u32);
        let template = Template {
            id,
            parent: slot,
            text: text.into_boxed_str(),
            lines: 0,
            born: self.lines,
            last: self.lines,
            used: true,
        };
        match self.templates.get_mut(slot as usize) {
            Some(free) => *free = template,
            None => self.templates.push(template),
        }
        self.forms.insert(hash, slot);
        scratch.born.push((id, slot));
        Seat { template: slot, id, is_new: !returned, returned }
    }

    /// One template for all that comes in while new forms come faster than they can be worth keeping.
    fn overflow(&mut self, scratch: &mut Scratch) -> Seat {
        const OVERFLOW: u128 = 0;
        if let Some(template) = self.forms.get(&OVERFLOW) {
            return self.known(*template);
        }
        self.add(OVERFLOW, "<*>".to_owned(), scratch)
    }
}

mod memory;
