//! Bytes that are not the encoding of anything.

use crate::fuzzing::Noise;
use crate::fuzzing::targets::{Known, RECORDS};
use crate::golden::{recoder, samples};
use crate::memory::largest_allocation;

#[test]
fn every_truncation_and_extension_of_every_record_is_refused() {
    for (name, bytes) in samples() {
        let recode = recoder(name);
        assert_eq!(recode(&bytes).unwrap(), bytes, "{name}");
        for end in (0..bytes.len()).step_by(bytes.len() / 2048 + 1) {
            assert!(recode(&bytes[..end]).is_err(), "{name} cut to {end} of {}", bytes.len());
        }
        for more in [&[0][..], &[0xff], &[0; 4], &bytes] {
            assert!(recode(&[&bytes, more].concat()).is_err(), "{name} with {} bytes more", more.len());
        }
    }
}

#[test]
fn no_record_is_read_as_another_or_in_another_version() {
    for (name, bytes) in samples() {
        let (known, others): (Vec<Known>, Vec<Known>) =
            RECORDS.iter().partition(|known| name.split('.').next() == Some(known.name));
        for other in others {
            assert!((other.recode)(&bytes).is_err(), "{name} read as {}", other.name);
        }
        let [known] = known[..] else { panic!("{name}: one record has this name") };
        let own = u16::from_le_bytes([bytes[4], bytes[5]]);
        assert_eq!((known.tag, (known.oldest..=known.newest).contains(&own)), (bytes[..4].try_into().unwrap(), true));
        for version in [0u16, 1, 2, 3, 0x0101, u16::MAX] {
            let mut wrong = bytes.clone();
            wrong[4..6].copy_from_slice(&version.to_le_bytes());
            let outcome = (known.recode)(&wrong);
            if (known.oldest..=known.newest).contains(&version) {
                assert!(version == own || outcome.is_err(), "{name} read in version {version}");
                continue;
            }
            let message = outcome.unwrap_err().to_string();
            assert!(message.contains(&format!("version {version}")), "{message}");
        }
    }
}

/// Wherever a count stands in a record, a lie about it is refused before memory is taken for it. Where the four bytes are no
/// count, what is accepted is a value of its own.
#[test]
fn absurd_counts_allocate_nothing() {
    let mut refused = 0;
    for (name, bytes) in samples() {
        let recode = recoder(name);
        // Of long samples some places only, others with each of them: most of their bytes are keys and signatures.
        for at in (6..bytes.len() - 3).step_by(bytes.len() / 2048 + 1) {
            for count in [1u32 << 31, u32::MAX, u32::MAX >> 1, 1 << 16, 1 << 20] {
                let mut wrong = bytes.clone();
                wrong[at..at + 4].copy_from_slice(&count.to_le_bytes());
                let (outcome, largest) = largest_allocation(|| recode(&wrong));
                let most = 8 * bytes.len() + 8192;
                assert!(largest <= most, "{name}: {largest} bytes at once for a count of {count} at byte {at}");
                match outcome {
                    Ok(again) => assert_eq!(again, wrong, "{name} at {at}"),
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(refused > 1000, "{refused}");
}

#[test]
fn records_longer_than_their_limit_are_refused_unread() {
    for (name, bytes) in samples() {
        // Longer than every record but a transaction and a message may be.
        let long = [bytes.clone(), vec![0; 17 << 20]].concat();
        let (outcome, largest) = largest_allocation(|| recoder(name)(&long).unwrap_err().to_string());
        assert!(largest < 1 << 16, "{name}: {largest}");
        assert!(outcome.contains("at most") || outcome.contains("not well-formed"), "{name}: {outcome}");
    }
}

#[test]
fn noise_behind_a_right_envelope_is_refused_or_canonical() {
    let mut noise = Noise(3);
    for (name, bytes) in samples() {
        for _ in 0..200 {
            let mut wrong = bytes[..6].to_vec();
            wrong.extend((0..noise.below(bytes.len())).map(|_| 0u8));
            for byte in &mut wrong[6..] {
                *byte = if noise.below(3) == 0 { noise.below(256) as u8 } else { 0 };
            }
            if let Ok(again) = recoder(name)(&wrong) {
                assert_eq!(again, wrong, "{name}");
            }
        }
    }
}
