//! A fence is minted by the gate alone.
fn main() {
    let _ = ir_core::Fence { token: 7 };
}
