//! What a stream does with its memory: learning the header from the first lines, and forgetting what was not seen for longest.

use super::{LEARN_BYTES, LEARN_LINES, Seat, Stream, WINDOW, header};
use crate::logs::MinerConfig;
use crate::logs::header::Header;
use crate::logs::stream::Scratch;

impl Stream {
    /// Notices that the header which was learned is no longer there.
    pub(super) fn watch(&mut self, had_header: bool) {
        self.recent += 1;
        self.missed += u32::from(!had_header);
        if self.recent >= WINDOW {
            if self.missed > WINDOW / 2 {
                self.settled = false;
                self.whole = false;
            }
            (self.recent, self.missed) = (0, 0);
        }
    }

    /// Learns the header from the lesson and the line that comes next, when there are enough.
    pub(super) fn learn(&mut self, line: &[u8], config: &MinerConfig, scratch: &mut Scratch) {
        let lines = self.lesson.len() + 1;
        let last = lines >= LEARN_LINES || self.lesson_bytes + line.len() > LEARN_BYTES;
        if !last && !header::is_lesson(lines, self.whole) {
            return;
        }
        let learned = Header::learn(self.lesson.iter().map(|(line, _)| line.as_slice()).chain(std::iter::once(line)));
        if learned != self.header {
            self.header = learned;
            if self.whole {
                self.read_again(config, scratch);
            }
        }
        if last {
            self.settled = true;
            self.lesson = Vec::new();
            self.lesson_bytes = 0;
        }
    }

    /// Keeps a line for the lesson, with the id it was given.
    pub(super) fn keep(&mut self, line: &[u8], seat: Seat) {
        self.lesson.push((line.to_vec(), seat.id));
        self.lesson_bytes += line.len();
    }

    /// Starts over with the lesson's lines, now that their header is known. An id given before stands for the one its lines have
    /// now, when they all have the same.
    fn read_again(&mut self, config: &MinerConfig, scratch: &mut Scratch) {
        let lesson = std::mem::take(&mut self.lesson);
        scratch.born.clear();
        scratch.aliases.clear();
        self.exact.clear();
        self.forms.clear();
        self.patterns = Default::default();
        scratch.forgotten.extend(self.templates.drain(..).filter(|template| template.used).map(|template| template.id));
        scratch.reset.extend(lesson.iter().map(|(_, id)| *id));
        self.free.clear();
        (self.text_bytes, self.lines, self.window, self.fresh) = (0, 0, 0, 0);
        let seats: Vec<u32> = lesson
            .iter()
            .map(|(line, _)| {
                let (message, _) = self.header.peel(line);
                self.place(message, config, scratch).template
            })
            .collect();
        let mut moved: std::collections::BTreeMap<u64, Option<u64>> = std::collections::BTreeMap::new();
        for ((_, id), seat) in lesson.iter().zip(seats) {
            let now = self.templates.get(self.root(seat) as usize).map(|template| template.id);
            moved.entry(*id).and_modify(|held| *held = held.filter(|held| Some(*held) == now)).or_insert(now);
        }
        for template in &self.templates {
            moved.remove(&template.id);
        }
        scratch.aliases.extend(moved.into_iter().filter_map(|(id, now)| Some((id, now?))));
        self.lesson = lesson;
    }

    /// Forgets the oldest so that about `keep` templates and as many exact forms stay. `spare` stays whatever its age.
    pub(in crate::logs) fn evict(&mut self, keep: usize, spare: Option<u32>, scratch: &mut Scratch) {
        let oldest = |mut ages: Vec<u64>| {
            let drop = ages.len().saturating_sub(keep);
            if drop == 0 { 0 } else { *ages.select_nth_unstable(drop - 1).1 + 1 }
        };
        let roots: Vec<u32> = (0..self.templates.len() as u32).map(|template| self.root(template)).collect();
        let is_root =
            |template: &(usize, &super::Template)| template.1.used && template.1.parent as usize == template.0;
        let limit =
            oldest(self.templates.iter().enumerate().filter(is_root).map(|(_, template)| template.last).collect());
        let spare = spare.map(|template| self.root(template));
        let stays: Vec<bool> = self
            .templates
            .iter()
            .enumerate()
            .map(|(slot, t)| is_root(&(slot, t)) && (t.last >= limit || Some(slot as u32) == spare))
            .collect();
        let rename = |template: u32| {
            roots.get(template as usize).copied().filter(|root| stays.get(*root as usize).copied().unwrap_or(false))
        };
        let limit = oldest(self.exact.values().map(|entry| entry.last).collect());
        self.exact.retain(|_, entry| {
            let to = rename(entry.template);
            entry.template = to.unwrap_or(entry.template);
            to.is_some() && entry.last >= limit
        });
        self.forms.retain(|_, template| {
            let to = rename(*template);
            *template = to.unwrap_or(*template);
            to.is_some()
        });
        self.patterns.shrink(keep * super::PATTERNS_PER_FORM, rename);
        for (slot, template) in self.templates.iter_mut().enumerate() {
            if template.used && !stays.get(slot).copied().unwrap_or(false) {
                self.seen.add(template.id);
                scratch.forgotten.push(template.id);
                self.text_bytes -= template.text.len().min(self.text_bytes);
                template.text = Box::default();
                template.used = false;
                template.parent = slot as u32;
                self.free.push(slot as u32);
            }
        }
        self.exact.shrink_to_fit();
        self.forms.shrink_to_fit();
    }
}
