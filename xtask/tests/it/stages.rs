//! The stages that do more than call cargo, each seen to pass and to fail.

use crate::fixture::{Fixture, is_empty};

const README: &str = "# Tiny\n\n```toml\n[dependencies]\ntiny = { version = \"0.1\", features = [\"extra\"] }\n```\n\n\
    ```rust\nuse tiny::extra::two;\n\nfn main() {\n    # let _ = 0;\n    println!(\"{}\", two());\n}\n```\n";

#[test]
fn the_readme_program_compiles_against_what_was_packaged() {
    let fixture = Fixture::new();
    fixture.stage("package").passes("2 crates; nothing published yet: no README.md");
    fixture.write("README.md", README);
    fixture.stage("package").passes("2 crates, and the README program compiles against them");
    assert!(is_empty(&fixture.path("../temp")), "the folder outside the workspace is removed");

    // A file that is left out of the package is there in the workspace and missing for users. Cargo packages files with a fixed
    // old time, so this also shows that the second check does not take the first one's result.
    fixture.edit("crates/tiny-core/Cargo.toml", "license = 'MIT'", "license = 'MIT'\nexclude = ['src/extra.rs']");
    fixture.stage("package").fails("file not found for module `extra`");
}

#[test]
fn a_readme_that_does_not_hold_a_working_program_fails() {
    let fixture = Fixture::new();
    fixture.write("README.md", "# Tiny\n");
    fixture.stage("package").fails("README.md has no Rust block with a `fn main`");
    fixture.write("README.md", &README.replace("two())", "three())"));
    fixture.stage("package").fails("`three`");
    // Without a block of dependencies, the crates that are mentioned come with default features only.
    fixture.write("README.md", "```rust\nfn main() {\n    tiny::one();\n}\n```\n");
    fixture.stage("package").passes("1 passed, 0 failed");
}

#[test]
fn an_example_builds_when_it_is_copied_out() {
    let fixture = Fixture::new();
    fixture.stage("copied").passes("1 examples");
    fixture.edit("examples/show/Cargo.toml", "version = '0.1', path", "path");
    fixture.stage("copied").fails("`show`: `dependencies.tiny` has a path and no version");
}

#[test]
fn an_example_passes_its_own_checks() {
    let fixture = Fixture::new();
    fixture.stage("examples").passes("1 examples, 2 checks");
    fixture.edit("examples/show/Cargo.toml", "['ok', 'twice']", "['not ok']");
    fixture.stage("examples").fails("ended with exit code 3");
}

#[test]
fn the_table_of_packages_must_be_current() {
    let fixture = Fixture::new();
    fixture.stage("packages").fails("run `cargo xtask packages --write`");
    fixture.write("docs/packages.toml", "");
    fixture.stage("packages").fails("tiny default: none in the table, 2 now");
    fixture.xtask(&["packages", "--write"]).passes("wrote docs/packages.toml");
    fixture.stage("packages").passes("1 passed, 0 failed");
    assert!(fixture.read("docs/packages.toml").ends_with("\n[tiny-core]\ndefault = 1\nextra = 1\nnone = 1\n"));
}

#[test]
fn c_code_does_not_come_by_default() {
    let fixture = Fixture::new();
    let manifest = "[package]\nname = 'z-sys'\nversion = '0.1.0'\nedition = '2024'\npublish = false\n";
    fixture.write("other/z-sys/Cargo.toml", manifest);
    fixture.write("other/z-sys/src/lib.rs", "");
    fixture.edit("Cargo.toml", "'examples/*'", "'examples/*', 'other/*'");
    fixture.edit(
        "crates/tiny-core/Cargo.toml",
        "extra = []",
        "extra = []\n[dependencies]\nz-sys = { path = '../../other/z-sys' }",
    );
    fixture.xtask(&["packages", "--write"]).passes("wrote");
    // Declarations alone are not C code.
    fixture.stage("packages").passes("1 passed");
    fixture.write("other/z-sys/build.rs", "fn main() {}\n");
    fixture.stage("packages").fails("`tiny-core` brings C code by default: z-sys");
}

#[test]
fn schemas_must_be_current() {
    let fixture = Fixture::new();
    fixture.stage("schema").passes("0 schemas, all current");
    let generator = "fn main() {\n    let folder = std::env::args().nth(1).unwrap();\n    \
        std::fs::write(format!(\"{folder}/one.json\"), \"{}\\n\").unwrap();\n}\n";
    fixture.write("crates/tiny/examples/schema.rs", generator);
    fixture.write("docs/schema/old.json", "{}");
    fixture.stage("schema").fails("old.json: no code writes it");
    fixture.xtask(&["schema", "--check"]).fails("one.json: new");
    fixture.xtask(&["schema"]).passes("one.json: new");
    assert_eq!(fixture.read("docs/schema/one.json"), "{}\n");
    assert!(!fixture.path("docs/schema/old.json").exists());
    fixture.stage("schema").passes("1 schemas, all current");
}

#[test]
fn a_feature_that_needs_another_does_not_build_alone() {
    let fixture = Fixture::new();
    fixture.stage("features").passes("2 of 2 features alone (git cannot tell what changed)");
    fixture.edit("crates/tiny-core/Cargo.toml", "extra = []", "extra = []\nother = []");
    fixture.edit(
        "crates/tiny-core/src/lib.rs",
        "pub mod extra;",
        "pub mod extra;\n#[cfg(feature = \"other\")]\npub use extra::two;",
    );
    fixture.xtask(&["test", "--only", "features", "--deep"]).fails("--features other` failed");
}

#[test]
fn only_the_features_whose_folder_changed_are_checked() {
    let fixture = Fixture::new();
    fixture.edit("crates/tiny-core/Cargo.toml", "extra = []", "extra = []\nmore = []");
    fixture.write("crates/tiny-core/src/more/mod.rs", "//! More.\n");
    fixture.edit(
        "crates/tiny-core/src/lib.rs",
        "pub mod extra;",
        "pub mod extra;\n#[cfg(feature = \"more\")]\npub mod more;",
    );
    // The lock file would otherwise be new after the commit, which concerns every feature.
    fixture.stage("features").passes("3 of 3 features alone (git cannot tell what changed)");
    fixture.commit();
    fixture.stage("features").passes("3 of 3 features alone (git cannot tell what changed)");
    fixture.write("README.md", "# Tiny\n");
    fixture.commit();
    fixture.stage("features").passes("0 of 3 features alone (those whose folder changed)");
    // The facade's feature forwards to the one that changed; `more` does not come near it.
    fixture.write("crates/tiny-core/src/extra.rs", "//! Less.\n");
    fixture.stage("features").passes("2 of 3 features alone (those whose folder changed)");
    fixture.write("crates/tiny-core/src/more/new.rs", "");
    fixture.stage("features").passes("3 of 3 features alone (those whose folder changed)");
    fixture.xtask(&["test", "--only", "features", "--deep"]).passes("3 of 3 features alone\n");
}

#[test]
fn a_failure_stops_the_rest_unless_told_otherwise() {
    let fixture = Fixture::new();
    fixture.edit("examples/show/Cargo.toml", "['ok', 'twice']", "['not ok']");
    let stopped = fixture.xtask(&["test", "--from", "examples"]);
    stopped.fails("\n0 passed, 1 failed\n");
    assert!(stopped.text.contains("not run"), "{}", stopped.text);
    fixture.xtask(&["test", "--from", "examples", "--keep-going"]).fails("\n2 passed, 1 failed\n");
    fixture.stage("exmples").fails("no stage `exmples`: the stages are components, fmt");
}
