//! How much memory the lists of one request may take, counted before they grow.
//!
//! Two bytes on the wire can be an element of a hundred bytes here, so a bound on the body alone bounds nothing.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};

/// Bytes that lists may still take.
#[derive(Debug)]
pub(super) struct Budget(usize);

impl Budget {
    pub(super) const fn new(n_bytes: usize) -> Self {
        Self(n_bytes)
    }

    fn take<T>(&mut self) -> bool {
        let left = self.0.checked_sub(size_of::<T>());
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

/// A list that ends where the budget does.
#[derive(Debug, PartialEq)]
pub(super) struct List<T> {
    items: Vec<T>,
    /// How many were there and not taken.
    pub(super) beyond: u64,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { items: Vec::new(), beyond: 0 }
    }
}

impl<T> std::ops::Deref for List<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T> List<T> {
    /// Adds what `make` makes, if the budget has room for it.
    pub(super) fn push<E>(
        &mut self,
        budget: &mut Budget,
        make: impl FnOnce(&mut Budget) -> Result<T, E>,
    ) -> Result<(), E> {
        if budget.take::<T>() {
            let item = make(budget)?;
            self.add(item);
        } else {
            self.beyond += 1;
        }
        Ok(())
    }

    fn add(&mut self, item: T) {
        if self.items.len() == self.items.capacity() {
            // By half of it and not by all of it: what is reserved beyond the content is in no budget.
            self.items.reserve_exact((self.items.len() / 2).max(4));
        }
        self.items.push(item);
    }

    /// The same list of something else of the same size.
    pub(super) fn map<U>(self, make: impl FnMut(T) -> U) -> List<U> {
        List { items: self.items.into_iter().map(make).collect(), beyond: self.beyond }
    }
}

thread_local! {
    /// The budget of the JSON that this thread is reading: what serde derives hands nothing down, so each list finds it here.
    static LEFT: Cell<usize> = const { Cell::new(0) };
}

/// Reads JSON within `budget`.
pub(super) fn from_json<'a, T: Deserialize<'a>>(body: &'a [u8], budget: &Budget) -> serde_json::Result<T> {
    // Set anew by every reading, which waits for nothing in between.
    LEFT.set(budget.0);
    serde_json::from_slice(body)
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
            type Value = List<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_unit<E>(self) -> Result<List<T>, E> {
                Ok(List::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<T>, A::Error> {
                let mut list = List::default();
                loop {
                    let mut budget = Budget(LEFT.get());
                    if budget.take::<T>() {
                        LEFT.set(budget.0);
                        match seq.next_element()? {
                            Some(item) => list.add(item),
                            None => return Ok(list),
                        }
                    } else {
                        match seq.next_element::<IgnoredAny>()? {
                            Some(_) => list.beyond += 1,
                            None => return Ok(list),
                        }
                    }
                }
            }
        }
        deserializer.deserialize_any(Elements(PhantomData))
    }
}
