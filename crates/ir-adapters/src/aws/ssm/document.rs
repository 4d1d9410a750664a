//! Documents of Systems Manager, as they are read before they are run.

use aws_sdk_ssm::types::{DocumentDescription, DocumentHashType, DocumentStatus, DocumentType};
use ir_core::{Ctx, Error, ErrorKind, Result};

use super::client::Client;
use crate::aws::error::of_reading;

/// Which document is to be run, and by whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) component: &'static str,
    pub(super) name: &'a str,
    /// The default one where nothing is said.
    pub(super) version: Option<&'a str>,
    /// The SHA-256 that its content must have; any where nothing is said.
    pub(super) sha256: Option<&'a str>,
}

/// A document that is active.
#[derive(Debug)]
pub(super) struct Document<'a> {
    wanted: Wanted<'a>,
    description: DocumentDescription,
}

impl Client {
    /// Reads a document, which is refused unless it is active.
    pub(super) async fn document<'a>(&self, ctx: &Ctx, wanted: Wanted<'a>) -> Result<Document<'a>> {
        let sent = async {
            let request = self.0.describe_document().name(wanted.name);
            let request = request.set_document_version(wanted.version.map(str::to_owned));
            request.send().await.map_err(|error| of_reading(wanted.component, &wanted.reading(), &error))
        };
        let answer = ctx.run(wanted.component, sent).await?;
        let description = answer.document.ok_or_else(|| wanted.refused("there is none"))?;
        if description.status() != Some(&DocumentStatus::Active) {
            return Err(wanted.refused("it is not active"));
        }
        Ok(Document { wanted, description })
    }
}

impl Document<'_> {
    /// Refuses every document that is no automation.
    pub(super) fn must_be_automation(&self) -> Result<()> {
        if self.description.document_type() != Some(&DocumentType::Automation) {
            return Err(self.wanted.refused("it is no automation"));
        }
        Ok(())
    }

    /// The number of the version that was read: versions never change.
    pub(super) fn version(&self) -> Result<&str> {
        self.description.document_version().ok_or_else(|| self.wanted.refused("its version is not told"))
    }

    /// The SHA-256 of its content. Another one than was wanted is refused.
    pub(super) fn hash(&self) -> Result<&str> {
        let is_sha256 = self.description.hash_type() == Some(&DocumentHashType::Sha256);
        let hash = self.description.hash().filter(|_| is_sha256);
        let hash = hash.ok_or_else(|| self.wanted.refused("its SHA-256 is not told"))?;
        let Wanted { component, name, sha256, .. } = self.wanted;
        match sha256 {
            Some(wanted) if !wanted.eq_ignore_ascii_case(hash) => {
                let message = format!("document `{name}` is not the one whose hash was given");
                Err(Error::new(ErrorKind::Conflict, component, message))
            }
            _ => Ok(hash),
        }
    }
}

impl Wanted<'_> {
    fn reading(&self) -> String {
        format!("reading document `{}`", self.name)
    }

    fn refused(&self, why: &str) -> Error {
        Error::new(ErrorKind::Conflict, self.component, format!("{}: {why}", self.reading()))
    }
}
