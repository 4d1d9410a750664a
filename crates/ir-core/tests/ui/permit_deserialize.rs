//! A permit is not read from text, whoever wrote it.
fn main() {
    let _: Result<ir_core::Permit, _> = serde_json::from_str("{}");
}
