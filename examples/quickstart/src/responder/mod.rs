//! The library at work. It is not part of this program yet: this role says so and waits to be stopped.

use anyhow::Result;

use crate::cli::ResponderOptions;
use crate::parent;

pub(crate) async fn run(options: ResponderOptions) -> Result<()> {
    let _lines = parent::lines();
    println!("the responder is not part of this program yet; nobody watches at tier {}", options.tier.name());
    parent::asked_to_stop().await
}
