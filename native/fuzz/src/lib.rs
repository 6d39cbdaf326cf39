//! What the fuzz targets run. The bodies are shared with the tests of `city-chain-native`, which drive them on stable Rust
//! with seeded input; cargo-fuzz drives them from `fuzz_targets/`. From the folder `native`:
//!
//! ```text
//! CITY_CHAIN_WRITE_VECTORS=1 cargo test --test public golden    # the golden vectors as seeds, into fuzz/corpus/records
//! cargo +nightly fuzz run records -- -max_total_time=60         # or another target; `cargo fuzz list` names them
//! ```

#[path = "../../tests/public/builders.rs"]
pub mod builders;
pub mod targets;
