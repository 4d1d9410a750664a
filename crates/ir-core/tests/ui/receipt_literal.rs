//! A receipt proves that records are durable: only the gate gives it.
fn main() {
    let _ = ir_core::kernel::Receipt { first_seq: 1, last_seq: 1 };
}
