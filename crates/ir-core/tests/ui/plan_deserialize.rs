//! A plan is checked against catalogue and topology; reading one from text would go around the check.
fn main() {
    let _: Result<ir_core::Plan, _> = serde_json::from_str("{}");
}
