//! Runs `city_chain_fuzz::targets::places`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| city_chain_fuzz::targets::places(data));
