//! A permit is for one effect: it cannot be copied.
fn twice(permit: ir_core::Permit) -> (ir_core::Permit, ir_core::Permit) {
    (permit.clone(), permit)
}

fn main() {
    let _ = twice;
}
