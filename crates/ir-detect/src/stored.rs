//! The snapshots of detectors: JSON of what they have learned, under their name and the version of its form.

use ir_core::{Error, ErrorKind, PartName, Result, Snapshot};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The form in which one kind of detector stores what it has learned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoredForm {
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    /// Larger ones are refused before they are parsed.
    pub(crate) max_bytes: usize,
}

impl StoredForm {
    pub(crate) fn write(&self, learned: &impl Serialize) -> Result<Snapshot> {
        let name = PartName::new(self.name)?;
        let failed = |error| Error::new(ErrorKind::Unknown, self.name, "cannot write the snapshot").with_source(error);
        Ok(Snapshot { name, version: self.version, bytes: serde_json::to_vec(learned).map_err(failed)? })
    }

    pub(crate) fn read<T: DeserializeOwned>(&self, from: &Snapshot) -> Result<T> {
        let invalid = |message: String| Error::new(ErrorKind::InvalidInput, self.name, message);
        if from.name.as_str() != self.name || from.version != self.version {
            let (name, version, own, own_version) = (&from.name, from.version, self.name, self.version);
            return Err(invalid(format!(
                "a snapshot of `{name}` version {version} is not one of `{own}` version {own_version}"
            )));
        }
        if from.bytes.len() > self.max_bytes {
            return Err(invalid(format!("a snapshot of {} bytes is too large", from.bytes.len())));
        }
        serde_json::from_slice(&from.bytes).map_err(|error| invalid(format!("cannot read the snapshot: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: StoredForm = StoredForm { name: "mine", version: 2, max_bytes: 16 };

    #[test]
    fn only_its_own_is_read() {
        let snapshot = FORM.write(&[1, 2, 3]).unwrap();
        assert_eq!(FORM.read::<Vec<u8>>(&snapshot).unwrap(), [1, 2, 3]);
        let read = |change: &dyn Fn(&mut Snapshot)| {
            let mut snapshot = snapshot.clone();
            change(&mut snapshot);
            FORM.read::<Vec<u8>>(&snapshot).unwrap_err().message().to_owned()
        };
        let foreign = read(&|snapshot| snapshot.name = PartName::new("yours").unwrap());
        assert_eq!(foreign, "a snapshot of `yours` version 2 is not one of `mine` version 2");
        let old = read(&|snapshot| snapshot.version = 1);
        assert_eq!(old, "a snapshot of `mine` version 1 is not one of `mine` version 2");
        assert_eq!(read(&|snapshot| snapshot.bytes = vec![b' '; 17]), "a snapshot of 17 bytes is too large");
        assert!(read(&|snapshot| snapshot.bytes.truncate(3)).starts_with("cannot read the snapshot: "));
    }
}
