//! The library at work. It is not part of this program yet: this role says so and waits to be stopped.

use anyhow::Result;

use crate::cli::ResponderOptions;
use crate::parent;

pub(crate) async fn run(options: ResponderOptions) -> Result<()> {
    let ResponderOptions { run, tier, answer, journal } = options;
    let _lines = parent::lines();
    println!("not part of this program yet: nobody watches, nothing will be done at tier {}", tier.name());
    eprintln!("run {}, journal {}, answer {answer:?}", run.0.display(), journal.display());
    parent::asked_to_stop().await
}
