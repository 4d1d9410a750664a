//! The story as it happens, for a reader at a terminal or of a log.

use std::io::{IsTerminal, Write};

use tokio::time::Instant;

use crate::clock;

/// Who does or sees what is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    Director,
    Shop,
    Clients,
    Nature,
    Responder,
    Person,
}

impl Voice {
    fn name(self) -> &'static str {
        match self {
            Self::Director => "director",
            Self::Shop => "shop",
            Self::Clients => "clients",
            Self::Nature => "nature",
            Self::Responder => "responder",
            Self::Person => "person",
        }
    }

    /// The ANSI colour (ECMA-48, SGR 30 to 37 and 90 to 97).
    fn colour(self) -> u8 {
        match self {
            Self::Director => 90,
            Self::Shop => 36,
            Self::Clients => 34,
            Self::Nature => 31,
            Self::Responder => 32,
            Self::Person => 35,
        }
    }
}

/// What a line of the report says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Bad,
}

/// Without a terminal, a status line at most this often.
const SPARSE_SECS: f64 = 5.0;
/// Longer status lines would wrap and could not be drawn over.
const STATUS_WIDTH: usize = 78;

#[derive(Debug)]
pub(crate) struct Story {
    began: Instant,
    colour: bool,
    /// The last line may be drawn over.
    live: bool,
    status_shown: bool,
    last_status: Option<Instant>,
}

impl Story {
    pub(crate) fn begin() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            began: clock::monotonic(),
            colour: terminal && !plain && !dumb,
            live: terminal && !dumb,
            status_shown: false,
            last_status: None,
        }
    }

    pub(crate) fn secs(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// One thing that happened.
    pub(crate) fn tell(&mut self, voice: Voice, text: &str) {
        let name = self.paint(voice.colour(), &format!("{:<9}", voice.name()));
        for line in text.lines() {
            let line = format!("{:6.1} s  {name}  {line}", self.secs());
            self.print(&line);
        }
    }

    /// How it stands: drawn over the last one on a terminal, else now and then.
    pub(crate) fn status(&mut self, text: &str) {
        if self.live {
            let text: String = text.chars().take(STATUS_WIDTH - 10).collect();
            let line = self.paint(90, &format!("{:6.1} s  {text}", self.secs()));
            emit(&format!("\r\x1b[2K{line}"));
            self.status_shown = true;
        } else if self.last_status.is_none_or(|last| last.elapsed().as_secs_f64() >= SPARSE_SECS) {
            self.last_status = Some(clock::monotonic());
            emit(&format!("{:6.1} s  {text}\n", self.secs()));
        }
    }

    /// A line that stands by itself.
    pub(crate) fn print(&mut self, line: &str) {
        let over = if self.status_shown { "\r\x1b[2K" } else { "" };
        self.status_shown = false;
        emit(&format!("{over}{line}\n"));
    }

    /// One row of the closing table.
    pub(crate) fn row(&mut self, name: &str, value: &str, tone: Tone) {
        let value = match tone {
            Tone::Plain => value.to_owned(),
            Tone::Good => self.paint(32, value),
            Tone::Bad => self.paint(31, value),
        };
        self.print(&format!("  {name:<18}{value}"));
    }

    fn paint(&self, colour: u8, text: &str) -> String {
        if self.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Nobody reading us is no reason to stop what we are doing, so a closed output is ignored.
fn emit(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A bar for `share` of something, ten characters wide.
pub(crate) fn bar(share: f64) -> String {
    let filled = (share.clamp(0.0, 1.0) * 10.0).round() as usize;
    format!("[{}{}]", "#".repeat(filled), "-".repeat(10 - filled))
}
