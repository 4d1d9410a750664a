//! Whether the values of one series come from several producers in turn, which makes nonsense of a counter.
//!
//! A producer that is replaced by another one does not come back; one that comes back after another one is still there. What tells
//! producers apart (labels that are left out, the time at which a counter began) is the caller's to know.

/// The most producers that are remembered of one series.
const MAX_PRODUCERS: usize = 16;

/// The producers of one series.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    last: u64,
    before: Vec<u64>,
    told: bool,
}

impl Sources {
    /// Takes note of the producer of a value, and says once that there are several. 0 is a producer of which nothing is known.
    pub(crate) fn are_several(&mut self, producer: u64) -> bool {
        if producer == self.last || producer == 0 {
            return false;
        }
        let returned = self.before.contains(&producer);
        if self.last != 0 {
            self.before.retain(|known| *known != producer);
            if self.before.len() == MAX_PRODUCERS {
                self.before.remove(0);
            }
            self.before.push(self.last);
        }
        self.last = producer;
        returned && !std::mem::replace(&mut self.told, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn producers_in_turn_are_said_once_and_replaced_ones_never() {
        let said = |producers: &[u64]| {
            let mut sources = Sources::default();
            producers.iter().map(|producer| usize::from(sources.are_several(*producer))).sum::<usize>()
        };
        assert_eq!(said(&[1, 1, 1, 2, 2, 3, 3]), 0);
        assert_eq!(said(&[1, 0, 1, 0]), 0);
        assert_eq!(said(&[1, 2, 1, 2, 1]), 1);
        assert_eq!(said(&[1, 2, 3, 4, 1, 2, 3, 4]), 1);
        assert_eq!(said(&(1..100).collect::<Vec<_>>()), 0);
    }
}
