//! Certificates: what verifies, what does not, and their bytes.

use super::*;
use crate::algorithms::abba::certificate::confirm;

fn certificate(n: usize, signers: &[u16]) -> Certificate {
    let scope = INSTANCE.scope(&committee(n));
    let endorse =
        |party: &u16| Endorsement { party: *party, signature: confirm(&key((*party).into()), &scope, &[9; 32]) };
    let signatures = Signatures::new(signers.iter().map(endorse).collect()).unwrap();
    let Instance { chain, epoch, name } = INSTANCE;
    Certificate { chain, epoch, instance: name, digest: [9; 32], signatures }
}

fn refused(certificate: &Certificate, n: usize, word: &str) {
    let error = certificate.verify(&committee(n)).unwrap_err().to_string();
    assert!(error.contains(word), "{error}");
}

#[test]
fn a_quorum_verifies_and_nothing_less() {
    certificate(4, &[0, 2, 3]).verify(&committee(4)).unwrap();
    certificate(7, &[0, 1, 2, 3, 4]).verify(&committee(7)).unwrap();
    refused(&certificate(4, &[0, 2]), 4, "a weight of 2 signed, 3 is needed");
    refused(&certificate(7, &[0, 1, 2, 3]), 7, "a weight of 4 signed, 5 is needed");
    let again = wire::decode::<Certificate>(&wire::encode(&certificate(4, &[0, 2, 3])).unwrap()).unwrap();
    assert_eq!(again, certificate(4, &[3, 2, 0]), "in one order");
}

#[test]
fn it_is_bound_to_everything() {
    let right = certificate(4, &[0, 1, 2]);
    refused(&Certificate { chain: [8; 32], ..right.clone() }, 4, "signature of party 0 is wrong");
    refused(&Certificate { epoch: 8, ..right.clone() }, 4, "signature of party 0 is wrong");
    refused(&Certificate { instance: [8; 32], ..right.clone() }, 4, "signature of party 0 is wrong");
    refused(&Certificate { digest: [8; 32], ..right.clone() }, 4, "signature of party 0 is wrong");
    assert!(right.verify(&weighted(&[1, 1, 1, 2])).is_err(), "and to the committee");
    let mut items = right.signatures.items().to_vec();
    items[1].signature[5] ^= 1;
    let forged = Certificate { signatures: Signatures::new(items).unwrap(), ..right };
    refused(&forged, 4, "signature of party 1 is wrong");
}

#[test]
fn parties_stand_once_and_are_of_the_committee() {
    refused(&certificate(7, &[0, 1, 5]), 4, "there is no party 5");
    let one = certificate(4, &[1]).signatures.items()[0].clone();
    assert!(Signatures::new(vec![one.clone(), one]).unwrap_err().to_string().contains("distinct"));
    let mut bytes = wire::encode(&certificate(4, &[0, 1, 2])).unwrap();
    let first = bytes.len() - 3 * 66;
    bytes[first] = 1;
    assert!(wire::decode::<Certificate>(&bytes).unwrap_err().to_string().contains("ascending"));
}
