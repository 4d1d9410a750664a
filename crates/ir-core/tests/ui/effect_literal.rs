//! An effect comes from a permit alone.
fn main() {
    let _ = ir_core::Effect {};
}
