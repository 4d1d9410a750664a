//! Redeeming uses the permit up.
fn twice(permit: ir_core::Permit) {
    let _ = permit.redeem();
    let _ = permit.redeem();
}

fn main() {
    let _ = twice;
}
