//! A permit has no public fields: nobody builds one.
fn main() {
    let _ = ir_core::Permit {};
}
