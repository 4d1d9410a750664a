//! How much memory the lists of one request may take, counted before they grow.
//!
//! Two bytes on the wire can be an element of a hundred bytes here, so a bound on the body alone bounds nothing.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::scalar::{n_wrong, note_wrong, object, set_wrong};

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

/// What may stand in a list.
pub(super) trait Element {
    /// Whether one that cannot be read costs itself alone. Of all others it costs what is around them: a point without one of its
    /// labels would be another point.
    const IS_PART: bool;
}

/// A list that ends where the budget does.
#[derive(Debug, PartialEq)]
pub(super) struct List<T> {
    items: Vec<T>,
    /// How many were there and not taken.
    pub(super) beyond: u64,
    /// How many cannot be read.
    pub(super) wrong: u64,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { items: Vec::new(), beyond: 0, wrong: 0 }
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
    ) -> Result<(), E>
    where
        T: Element,
    {
        if !budget.take::<T>() {
            self.beyond += 1;
            return Ok(());
        }
        match make(budget) {
            Ok(item) => self.add(item),
            Err(_) if T::IS_PART => self.wrong += 1,
            Err(error) => return Err(error),
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
        List { items: self.items.into_iter().map(make).collect(), beyond: self.beyond, wrong: self.wrong }
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
    set_wrong(0);
    let read = serde_json::from_slice(body)?;
    // Outside of all parts it costs the request.
    if n_wrong() > 0 { Err(serde_json::Error::custom("a list or an object was expected")) } else { Ok(read) }
}

/// An element of a list, or nothing where it is no object or something in it is of the wrong kind.
struct Read<T>(Option<T>);

impl<'de, T: Element + Deserialize<'de>> Deserialize<'de> for Read<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !T::IS_PART {
            return T::deserialize(deserializer).map(|item| Self(Some(item)));
        }
        struct Item<T>(Option<T>);
        impl<T> Default for Item<T> {
            fn default() -> Self {
                Self(None)
            }
        }
        impl<'de, T: Deserialize<'de>> Deserialize<'de> for Item<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                T::deserialize(deserializer).map(|item| Self(Some(item)))
            }
        }
        let before = n_wrong();
        let Item(item): Item<T> = object(deserializer)?;
        let is_right = n_wrong() == before;
        set_wrong(before);
        Ok(Self(item.filter(|_| is_right)))
    }
}

impl<'de, T: Element + Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T>(PhantomData<T>);
        impl<'de, T: Element + Deserialize<'de>> Visitor<'de> for Elements<T> {
            type Value = List<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_unit<E>(self) -> Result<List<T>, E> {
                Ok(List::default())
            }
            fn visit_bool<E>(self, _: bool) -> Result<List<T>, E> {
                Ok(note_wrong())
            }
            fn visit_u64<E>(self, _: u64) -> Result<List<T>, E> {
                Ok(note_wrong())
            }
            fn visit_i64<E>(self, _: i64) -> Result<List<T>, E> {
                Ok(note_wrong())
            }
            fn visit_f64<E>(self, _: f64) -> Result<List<T>, E> {
                Ok(note_wrong())
            }
            fn visit_str<E>(self, _: &str) -> Result<List<T>, E> {
                Ok(note_wrong())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<List<T>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(note_wrong())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<T>, A::Error> {
                let mut list = List::default();
                loop {
                    let mut budget = Budget(LEFT.get());
                    if budget.take::<T>() {
                        LEFT.set(budget.0);
                        match seq.next_element()? {
                            Some(Read(Some(item))) => list.add(item),
                            Some(Read(None)) => list.wrong += 1,
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
