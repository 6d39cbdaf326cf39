//! The body of the fuzz target of EC.

use std::collections::BTreeMap;

use city_chain_native::algorithms::ec;
use city_chain_native::error::Error;

use super::Script;

/// EC: fragments as an attacker gives them, and fragments as they were with some left out; either code, every kernel.
pub fn erasure(data: &[u8]) {
    let mut script = Script(data);
    let shape = script.byte();
    let (k, p) = (usize::from(script.byte()) % 40, usize::from(script.byte()) % 40);
    let code = [None, Some(ec::Code::Rs16), Some(ec::Code::Gf8)][usize::from(script.byte()) % 3];
    let kernels = ec::Kernel::ALL.into_iter().filter(|kernel| kernel.is_supported());
    if shape % 2 == 0 {
        let (k, p) = if shape % 4 == 0 { (k, p) } else { (script.short() * 3, script.short() * 3) };
        let length = if shape % 8 < 4 { script.short() as u64 } else { script.long() };
        for codec in kernels.filter_map(|kernel| ec::Codec::with_kernel(k, p, code, kernel).ok()) {
            hostile_fragments(&codec, length, &mut Script(script.0));
        }
        return;
    }
    let (k, keep) = (k.max(1), script.long());
    let input = script.0;
    let mut first: Option<Vec<u8>> = None;
    for kernel in kernels {
        let codec = ec::Codec::with_kernel(k, p, code, kernel).expect("both codes have so few");
        let encoded = codec.encode(input).expect("it fits");
        assert_eq!(*first.get_or_insert_with(|| encoded.parity().to_vec()), encoded.parity(), "{kernel:?}");
        restored_fragments(&codec, input, &encoded, keep);
    }
}

fn hostile_fragments(codec: &ec::Codec, length: u64, script: &mut Script<'_>) {
    let count = usize::from(script.byte()) % 48;
    let size = codec.code().fragment_len(length, codec.k()).unwrap_or(7).min(1 << 12);
    let heads: Vec<(usize, usize)> = (0..count)
        .map(|_| match script.byte() {
            0..250 => (usize::from(script.byte()), size),
            _ => (script.long() as usize, script.short()),
        })
        .collect();
    let buffer: Vec<u8> = script.0.iter().copied().cycle().take(if script.done() { 0 } else { 1 << 16 }).collect();
    let given: BTreeMap<usize, &[u8]> =
        heads.iter().map(|(index, size)| (*index, &buffer[..(*size).min(buffer.len())])).collect();
    let fragments = ec::Fragments::from(&given);
    let decoded = codec.decode(&fragments, length);
    if let Ok(decoded) = &decoded {
        assert_eq!(decoded.len() as u64, length);
    }
    let mut missing: Vec<usize> = heads.iter().map(|(index, _)| index / 2).collect();
    missing.sort_unstable();
    missing.dedup();
    if decoded.is_err() {
        assert!(codec.rebuild(&fragments, &missing, length).is_err());
    } else if let Ok(rebuilt) = codec.rebuild(&fragments, &missing, length) {
        assert_eq!(rebuilt.len(), missing.len());
    }
}

fn restored_fragments(codec: &ec::Codec, input: &[u8], encoded: &ec::Encoded<'_>, keep: u64) {
    let (k, length) = (codec.k(), input.len() as u64);
    let all = (0..encoded.n()).map(|index| (index, encoded.fragment(index).expect("there is one")));
    let kept: BTreeMap<usize, &[u8]> = all.filter(|(index, _)| keep >> (index % 64) & 1 == 1).collect();
    let fragments = ec::Fragments::from(&kept);
    match codec.decode(&fragments, length) {
        Ok(decoded) => assert!(kept.len() >= k && decoded == input),
        Err(error) => {
            assert!(kept.len() < k && matches!(error, Error::Unavailable { .. }), "{error}");
            return;
        }
    }
    let every: Vec<usize> = (0..encoded.n()).collect();
    let missing: Vec<usize> = every.iter().copied().filter(|index| !kept.contains_key(index)).collect();
    for wanted in [&missing, &every] {
        for (index, fragment) in wanted.iter().zip(codec.rebuild(&fragments, wanted, length).expect("enough are left"))
        {
            assert_eq!(Some(fragment.as_slice()), encoded.fragment(*index));
        }
    }
}
