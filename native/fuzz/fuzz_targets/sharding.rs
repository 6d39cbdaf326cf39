//! Runs `city_chain_fuzz::targets::sharding`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| city_chain_fuzz::targets::sharding(data));
