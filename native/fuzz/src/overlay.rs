//! HyParView + Plumtree: hostile bytes into every decoder, and right messages, spoilt, from anybody, into one node.

use std::sync::LazyLock;

use city_chain_native::algorithms::hvp::message::{Announced, Control, Gossip, Message, Priority};
use city_chain_native::algorithms::hvp::{
    AWAITED_MAX, Action, CONTROL_MAX, Config, Contact, Hvp, PAYLOAD_MAX, PeerId, Stats, Trust,
};
use city_chain_native::crypto::ed25519::SigningKey;
use city_chain_native::primitives::wire::{self, Bytes, List, Record};

use super::Script;

const NETWORK: [u8; 32] = [0x0e; 32];
/// How many peers speak; those from 1 on know the node.
const PEERS: usize = 8;

static KEYS: LazyLock<Vec<SigningKey>> =
    LazyLock::new(|| (0..PEERS as u8).map(|at| SigningKey::from_seed(&[at; 32])).collect());
static CONTACTS: LazyLock<Vec<Contact>> = LazyLock::new(|| {
    let contact = |key: &SigningKey| Contact::new(key, &NETWORK, "127.0.0.1:1", 1).expect("a short address");
    KEYS.iter().map(contact).collect()
});

fn fresh() -> Hvp {
    let config = Config { network: NETWORK, active: 3, passive: 4, ordered: true, ..Config::default() };
    let trust = Trust::Signed(KEYS[0].clone());
    let mut node = Hvp::new(CONTACTS[0].clone(), [7; 32], config, trust).expect("all is right");
    node.join(0, &CONTACTS[1..2]).expect("a right contact");
    node
}

/// A right message of anybody, or one with a contact that is not its sender's.
fn message(script: &mut Script<'_>) -> Vec<u8> {
    let contact = CONTACTS[usize::from(script.byte()) % PEERS].clone();
    let records = |script: &mut Script<'_>| {
        let count = 1 + usize::from(script.byte()) % 8;
        let some = (0..count).map(|_| CONTACTS[usize::from(script.byte()) % PEERS].clone()).collect();
        List::new("records", some).expect("at most eight")
    };
    let ttl = script.byte() % 9;
    let said = match script.byte() % 13 {
        0 => Control::Join { contact },
        1 => Control::ForwardJoin { ttl, contact },
        2 => Control::Neighbor { priority: Priority::Low, contact },
        3 => Control::Neighbor { priority: Priority::High, contact },
        4 => Control::Neighbor { priority: Priority::Again, contact },
        5 => Control::Accept { contact },
        6 => Control::Reject,
        7 => Control::Disconnect { leaves: ttl > 4 },
        8 => Control::Shuffle { ttl, nonce: script.long(), records: records(script) },
        9 => Control::ShuffleReply { nonce: script.long(), records: records(script) },
        10 => Control::IHave {
            announced: List::new("ids", vec![Announced { id: broadcast(script).id(), hops: ttl }]).expect("one"),
        },
        11 => Control::Graft { ids: List::new("ids", vec![broadcast(script).id(), [ttl; 32]]).expect("two") },
        _ if ttl == 0 => Control::Prune,
        _ => return wire::encode(&broadcast(script)).expect("it is right"),
    };
    wire::encode(&Message(said)).expect("it is right")
}

/// One of a few broadcasts, signed.
fn broadcast(script: &mut Script<'_>) -> Gossip {
    let key = &KEYS[usize::from(script.byte()) % PEERS];
    let mut gossip = Gossip {
        hops: 1 + script.byte() % 64,
        origin: key.public(),
        life: u64::from(script.byte() % 2),
        number: u64::from(script.byte() % 4),
        signature: [0; 64],
        topic: Bytes::default(),
        payload: Bytes::default(),
    };
    gossip.sign(key, &gossip.id(), &NETWORK);
    gossip
}

fn one_encoding<R: Record>(data: &[u8]) {
    if let Ok(record) = wire::decode::<R>(data) {
        assert_eq!(wire::encode(&record).expect("it was read"), data, "{}: a second encoding of one value", R::NAME);
    }
}

type Look = (Vec<PeerId>, Vec<PeerId>, Vec<PeerId>, Option<u64>, Stats);

fn look(node: &Hvp) -> Look {
    (node.active(), node.passive(), node.eager(), node.next_deadline(), node.stats())
}

fn check(node: &mut Hvp) {
    for action in node.drain() {
        if let Action::Send { to, message } = action {
            assert!(to != KEYS[0].public(), "a message to itself");
            assert!(message.len() <= CONTROL_MAX + PAYLOAD_MAX);
        }
    }
    let (active, passive, held) = (node.active(), node.passive(), node.stats());
    assert!(active.len() <= 3 && passive.len() <= 4 && held.awaited <= AWAITED_MAX && held.outbox == 0);
    assert!(active.iter().all(|peer| !passive.contains(peer)), "a peer in both views");
    assert!(!active.contains(&KEYS[0].public()) && !passive.contains(&KEYS[0].public()), "the node knows itself");
}

/// Messages and time: what is refused leaves the node as it was; views and what is held keep their bounds.
pub fn hyparview(data: &[u8]) {
    one_encoding::<Contact>(data);
    one_encoding::<Message>(data);
    one_encoding::<Gossip>(data);
    let _ = wire::decode::<Contact>(data).map(|contact| contact.verify(&NETWORK));
    let mut node = fresh();
    check(&mut node);
    let (mut script, mut now) = (Script(data), 0);
    let _ = node.handle(now, &KEYS[1].public(), data);
    check(&mut node);
    for _ in 0..40 {
        if script.done() {
            return;
        }
        let peer = KEYS[usize::from(script.byte()) % PEERS].public();
        let before = look(&node);
        match script.byte() % 8 {
            0 => node.peer_down(now, &peer),
            1 => {
                now += script.short() as u64 * 100;
                node.tick(now);
            }
            2 => node.broadcast(now, b"", &[script.byte()]).map(drop).expect("it is small and there is room"),
            kind => {
                let mut bytes = message(&mut script);
                if kind == 3 {
                    let at = script.short() % bytes.len();
                    bytes[at] ^= script.byte();
                }
                if node.handle(now, &peer, &bytes).is_err() {
                    node.drain();
                    assert_eq!(look(&node), before, "refused, and yet changed");
                }
            }
        }
        check(&mut node);
    }
}
