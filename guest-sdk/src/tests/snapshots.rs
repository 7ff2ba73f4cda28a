//! What authors read when they got an attribute wrong: `tests/ui/*.rs` beside their `.stderr`.

#[test]
fn compile_errors_point_at_the_authors_code() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
