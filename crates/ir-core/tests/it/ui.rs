//! What must not compile, with the messages that say why.

#[test]
fn what_only_the_gate_makes_cannot_be_made_otherwise() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
