//! The contract of incident-response: nouns, traits, safety kernel and journal form.
