//! What the fuzz targets run. The bodies are shared with the tests of `city-chain-native`, which drive them on stable Rust
//! with seeded input; cargo-fuzz drives them from `fuzz_targets/`.

#[path = "../../tests/public/builders.rs"]
pub mod builders;
pub mod targets;
