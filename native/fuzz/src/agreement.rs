//! The body of the fuzz target of ABBA: hostile bytes, and messages with real keys, into both machines.

use std::sync::LazyLock;

use city_chain_native::algorithms::abba::{
    Abba, Body, Certificate, Endorsement, Instance, Message, Signatures, Statement, Subset, Vote, payload_digest,
};
use city_chain_native::crypto::ed25519::SigningKey;
use city_chain_native::crypto::hash::Digest;
use city_chain_native::error::Result;
use city_chain_native::primitives::committee::{Committee, Member};
use city_chain_native::primitives::machine::Machine;
use city_chain_native::primitives::outbox::Effect;
use city_chain_native::primitives::wire::{self, Bytes};

use super::Script;

const INSTANCE: Instance = Instance { chain: [1; 32], epoch: 2, name: [3; 32] };

/// Inputs whose first byte is below this are handed over as they are; the others are scripts, which cost signatures.
const RAW: u8 = 244;

struct Parties {
    keys: Vec<SigningKey>,
    committee: Committee,
    scope: Digest,
}

static PARTIES: LazyLock<Parties> = LazyLock::new(|| {
    let keys: Vec<SigningKey> = (0..4).map(|at| SigningKey::from_seed(&[at; 32])).collect();
    let members = keys.iter().map(|key| Member { key: key.public(), weight: 1 }).collect();
    let committee = Committee::new(members).expect("four parties");
    let scope = INSTANCE.scope(&committee);
    Parties { keys, committee, scope }
});

fn one(records: &[Vec<u8>]) -> Result<Abba> {
    Abba::restore(INSTANCE, PARTIES.committee.clone(), PARTIES.keys[0].clone(), records)
}

fn subset(records: &[Vec<u8>]) -> Result<Subset> {
    Subset::restore(INSTANCE, PARTIES.committee.clone(), PARTIES.keys[0].clone(), records)
}

/// Both machines: bytes as they come, or a script with real keys. What is refused changes nothing, and a machine comes back
/// from what it has written as it was.
pub fn abba(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    if *first < RAW {
        return raw(u16::from(first % 6), rest);
    }
    let mut script = Script(rest);
    let (mut bit, mut set) = (one(&[]).expect("a machine"), subset(&[]).expect("a machine"));
    for _ in 0..6 {
        if script.done() {
            break;
        }
        let by = usize::from(script.byte() % 4);
        match script.byte() % 8 {
            0 => drop(bit.input(script.byte() % 2 == 1)),
            1 => drop(set.input(script.take::<3>().to_vec())),
            2 => drop(bit.coin_result(u32::from(script.byte() % 3), script.byte() % 2 == 1)),
            3 => drop(set.payload_result(u16::from(script.byte() % 5), script.byte() % 2 == 1)),
            4 => drop((bit.resend(), set.resend(), set.confirm([script.byte(); 32]))),
            5 | 6 => hear(&mut bit, by, &vote(&mut script, by), |machine| machine.snapshot().expect("it is small")),
            _ => hear(&mut set, by, &message(&mut script, by), |machine| machine.snapshot().expect("it is small")),
        }
    }
    settle(&mut bit);
    settle(&mut set);
    let (written, all) = (bit.snapshot().expect("it is small"), set.snapshot().expect("it is small"));
    let again = one(std::slice::from_ref(&written)).expect("its own record");
    assert_eq!((again.round(), again.decided(), again.snapshot()), (bit.round(), bit.decided(), Ok(written)));
    let again = subset(std::slice::from_ref(&all)).expect("its own record");
    assert_eq!((again.rounds(), again.decided(), again.snapshot()), (set.rounds(), set.decided(), Ok(all)));
}

/// Messages, a certificate and records that are right in all but who signed them: a stranger's key, which no party has. Each
/// begins with the byte that says who sends it.
pub fn abba_samples() -> Vec<Vec<u8>> {
    let (stranger, scope) = (SigningKey::from_seed(&[0x99; 32]), PARTIES.scope);
    let statements = [
        Statement::Echo1 { round: 0, bit: true },
        Statement::Echo2 { round: 0, bit: false },
        Statement::Echo3 { round: 1, bit: None },
        Statement::Echo3 { round: 1, bit: Some(true) },
        Statement::Decide { bit: false },
    ];
    let digest = payload_digest(b"x");
    let signatures = || {
        let endorsement = |party| Endorsement { party, signature: stranger.sign(&digest) };
        Signatures::new((0..3).map(endorsement).collect()).expect("different parties")
    };
    let payload = || Bytes::new("payload", b"x".to_vec()).expect("it is short");
    let bodies = [
        Message::initial(&stranger, &scope, b"x".to_vec()).expect("it is short"),
        Message::echo(&stranger, &scope, 1, digest),
        Body::Final { proposer: 1, digest, signatures: signatures() },
        Message::statements(&stranger, &scope, statements.iter().map(|of| (2, *of)).collect()).expect("they are few"),
        Message::request(&stranger, &scope, vec![0, 1]).expect("they are few"),
        Body::Delivery { proposer: 1, payload: payload(), signatures: signatures() },
        Body::Confirm { digest, signature: stranger.sign(&digest) },
        Body::Confirmed { digest, signatures: signatures() },
    ];
    let vote = |of: &Statement| Vote::new(&stranger, scope, *of).and_then(|vote| wire::encode(&vote)).expect("a vote");
    let mut samples: Vec<Vec<u8>> = statements.iter().map(vote).collect();
    samples.extend(bodies.into_iter().map(|body| Message::encode(scope, body).expect("it is short")));
    let (mut bit, mut set) = (one(&[]).expect("a machine"), subset(&[]).expect("a machine"));
    bit.input(true).expect("its first");
    set.input(b"x".to_vec()).expect("its first");
    samples.extend([bit.snapshot().expect("it is small"), set.snapshot().expect("it is small")]);
    let whole = |(sender, bytes): (usize, Vec<u8>)| [&[(sender % 4) as u8][..], &bytes].concat();
    samples.into_iter().enumerate().map(whole).collect()
}

fn raw(sender: u16, bytes: &[u8]) {
    let (mut bit, mut set) = (one(&[]).expect("a machine"), subset(&[]).expect("a machine"));
    assert!(bit.handle(sender, bytes, 0).is_err(), "nobody can guess a signature");
    assert!(set.handle(sender, bytes, 0).is_err(), "nobody can guess a signature");
    assert!(bit.drain().is_empty() && set.drain().is_empty(), "refused, and yet something comes out");
    let certificate = wire::decode::<Certificate>(bytes);
    assert!(certificate.is_err() || certificate.is_ok_and(|made| made.verify(&PARTIES.committee).is_err()));
    let record = [bytes.to_vec()];
    let _ = one(&record).map(|mut machine| machine.resend());
    let _ = subset(&record).map(|mut machine| machine.resend());
}

fn settle<M: Machine>(machine: &mut M) {
    for _ in 0..8 {
        for effect in machine.drain() {
            if let Effect::Persist { ticket, .. } = effect {
                machine.durable(ticket).expect("it was handed out");
            }
        }
    }
}

fn hear<M: Machine>(machine: &mut M, by: usize, message: &[u8], picture: impl Fn(&M) -> Vec<u8>) {
    let before = picture(machine);
    if machine.handle(by as u16, message, 0).is_err() {
        assert!(picture(machine) == before, "refused, and yet changed");
    }
}

fn statement(script: &mut Script<'_>) -> Statement {
    let (kind, byte) = (script.byte(), script.byte());
    let (round, bit) = (u32::from(byte / 2 % 3) + u32::from(kind / 250) * 300, byte % 2 == 1);
    match kind % 4 {
        0 => Statement::Echo1 { round, bit },
        1 => Statement::Echo2 { round, bit },
        2 => Statement::Echo3 { round, bit: (byte < 200).then_some(bit) },
        _ => Statement::Decide { bit },
    }
}

/// Now and then a byte of it is wrong.
fn spoil(script: &mut Script<'_>, mut bytes: Vec<u8>) -> Vec<u8> {
    let (at, with) = (script.short(), script.byte());
    if with > 128 {
        let at = at % bytes.len();
        bytes[at] ^= with & 0x7f;
    }
    bytes
}

fn vote(script: &mut Script<'_>, by: usize) -> Vec<u8> {
    let statement = statement(script);
    let vote = Vote::new(&PARTIES.keys[by], PARTIES.scope, statement).expect("a vote");
    spoil(script, wire::encode(&vote).expect("a vote"))
}

fn echoes(proposer: u16, digest: Digest, mask: u8) -> Signatures {
    let signers = (0..4u16).filter(|at| mask >> at & 1 == 1);
    let echo = |party: u16| {
        let Body::Echo { signature, .. } =
            Message::echo(&PARTIES.keys[usize::from(party)], &PARTIES.scope, proposer, digest)
        else {
            unreachable!("it is an echo")
        };
        Endorsement { party, signature }
    };
    Signatures::new(signers.map(echo).collect()).expect("different parties")
}

fn message(script: &mut Script<'_>, by: usize) -> Vec<u8> {
    let (key, scope) = (&PARTIES.keys[by], &PARTIES.scope);
    let (kind, proposer, payload) = (script.byte(), u16::from(script.byte() % 5), vec![script.byte() % 3]);
    let digest = payload_digest(&payload);
    let body = match kind % 8 {
        0 => Message::initial(key, scope, payload).expect("it is short"),
        1 => Message::echo(key, scope, proposer, digest),
        2 => Body::Final { proposer, digest, signatures: echoes(proposer, digest, script.byte()) },
        3 => {
            let said = (0..script.byte() % 4).map(|_| (u16::from(script.byte() % 5), statement(script))).collect();
            Message::statements(key, scope, said).expect("they are few")
        }
        4 => Message::request(key, scope, vec![proposer, u16::from(script.byte())]).expect("they are few"),
        5 => {
            let payload = Bytes::new("payload", payload).expect("it is short");
            Body::Delivery { proposer, payload, signatures: echoes(proposer, digest, script.byte()) }
        }
        6 => Body::Confirm { digest, signature: key.sign(&digest) },
        _ => Body::Confirmed { digest, signatures: echoes(proposer, digest, script.byte()) },
    };
    spoil(script, Message::encode(*scope, body).expect("it is short"))
}
