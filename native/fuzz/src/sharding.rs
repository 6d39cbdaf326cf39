//! Sharding: hostile bytes into every decoder, and right commands, spoilt, in any order, into a shard's machine.

use std::sync::LazyLock;

use city_chain_native::algorithms::sc::{
    Certificate, Certificates, Command, Config, Event, Handover, HandoverCertificate, Input, Layout, Manifest, Part,
    Participant, Signature, Statement,
};
use city_chain_native::crypto::ed25519::SigningKey;
use city_chain_native::primitives::committee::{Committee, Member};
use city_chain_native::primitives::outbox::Effect;
use city_chain_native::primitives::wire::{self, Record};

use super::Script;

/// How many steps of one input are carried out.
const STEPS: usize = 12;

struct Fixture {
    layout: Layout,
    commands: Vec<Vec<u8>>,
    certificates: Vec<Vec<u8>>,
}

fn key(shard: u16) -> SigningKey {
    SigningKey::from_seed(&[shard as u8; 32])
}

fn committee(shard: u16) -> Committee {
    Committee::new(vec![Member { key: key(shard).public(), weight: 1 }]).expect("one member")
}

/// What a machine says, signed; its journal is as good as durable.
fn settle(machine: &mut Participant) -> Vec<Certificate> {
    let mut said = Vec::new();
    loop {
        let effects = machine.drain();
        if effects.is_empty() {
            return said;
        }
        for effect in effects {
            match effect {
                Effect::Persist { ticket, .. } => machine.durable(ticket).expect("it was handed out"),
                Effect::Output(Event::Say(statement)) => said.push(certify(machine, statement)),
                Effect::Output(_) => {}
            }
        }
    }
}

fn certify(machine: &Participant, statement: Statement) -> Certificate {
    let signature = Signature { position: 0, signature: statement.sign(&key(statement.shard)) };
    let committee = machine.layout().committee(statement.shard).expect("a layout has shards");
    Certificate::collect(committee, statement, &[signature]).expect("one is a quorum of one")
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let shards = |numbers: &[u16]| numbers.iter().map(|shard| (*shard, committee(*shard))).collect();
    let layout = Layout::new([7; 32], 0, shards(&[1, 2])).expect("two shards");
    let (ones, twos) = (keys_of(&layout, 1), keys_of(&layout, 2));
    let mut machines =
        [1, 2].map(|shard| Participant::new(shard, Config::default(), layout.clone()).expect("it is there"));
    let (mut commands, mut certificates) = (Vec::new(), Vec::new());
    for number in 0..3u8 {
        let inputs = vec![
            Input { shard: 1, key: ones[usize::from(number) % 2], version: 0 },
            Input { shard: 2, key: twos[usize::from(number)], version: 0 },
        ];
        let manifest = Manifest::new([7; 32], 0, [number; 32], 9, inputs, vec![]).expect("two keys");
        let prepare = Command::Prepare { manifest: manifest.clone(), certificates: Certificates::default() };
        let votes = machines[0].on_local_commit(&prepare).map(|()| settle(&mut machines[0])).expect("it votes");
        let shown = Certificates::new("certificates", votes.clone()).expect("few");
        let decide = Command::Prepare { manifest: manifest.clone(), certificates: shown };
        let decided = machines[1].on_local_commit(&decide).map(|()| settle(&mut machines[1])).unwrap_or_default();
        let all = Certificates::new("certificates", [votes.clone(), decided.clone()].concat()).expect("few");
        let ended = decided.last().or(votes.last()).cloned().expect("somebody spoke");
        commands.extend([
            prepare,
            Command::Commit { manifest: manifest.clone(), certificates: all },
            Command::Abort { manifest: manifest.clone(), certificate: ended.clone() },
            Command::Expire { manifest: manifest.clone() },
            Command::Acknowledge { manifest, certificate: ended },
        ]);
        certificates.extend(votes.into_iter().chain(decided));
    }
    let next = layout.next(shards(&[1, 2, 3])).expect("one more");
    commands.push(Command::Boundary { layout: next, application: [0; 32] });
    Fixture {
        layout,
        commands: commands.iter().map(|command| wire::encode(command).expect("it is right")).collect(),
        certificates: certificates.iter().map(|one| wire::encode(one).expect("it is right")).collect(),
    }
});

fn keys_of(layout: &Layout, shard: u16) -> Vec<[u8; 32]> {
    (0u8..=255).map(|at| [at; 32]).filter(|key| layout.shard_of(key) == shard).collect()
}

/// Right bytes, as they are or spoilt at one place.
fn spoilt(script: &mut Script<'_>, from: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = from[usize::from(script.byte()) % from.len()].clone();
    if script.byte().is_multiple_of(2) {
        let at = script.short() % bytes.len();
        bytes[at] ^= script.byte();
    }
    bytes
}

fn one_encoding<R: Record>(data: &[u8]) {
    if let Ok(record) = wire::decode::<R>(data) {
        assert_eq!(wire::encode(&record).expect("it was read"), data, "{}: a second encoding of one value", R::NAME);
    }
}

/// Commands and certificates, hostile, spoilt or right: what is refused leaves the machine as it was.
pub fn sharding(data: &[u8]) {
    one_encoding::<Manifest>(data);
    one_encoding::<Statement>(data);
    one_encoding::<Certificate>(data);
    one_encoding::<Handover>(data);
    one_encoding::<HandoverCertificate>(data);
    one_encoding::<Layout>(data);
    one_encoding::<Part>(data);
    one_encoding::<Command>(data);
    let fixture = &*FIXTURE;
    let fresh = || Participant::new(1, Config::default(), fixture.layout.clone()).expect("it is there");
    let _ = Participant::restore(fresh(), &[data.to_vec()]);
    let mut machine = fresh();
    let mut script = Script(data);
    let mut before = machine.snapshot().expect("it is small");
    for _ in 0..STEPS {
        if script.done() {
            return;
        }
        let outcome = match script.byte() % 4 {
            0 | 1 => wire::decode(&spoilt(&mut script, &fixture.commands))
                .and_then(|command: Command| machine.on_local_commit(&command)),
            2 => machine.on_certificate(&spoilt(&mut script, &fixture.certificates)),
            _ => machine.tick_height(u64::from(script.byte() % 16)),
        };
        let after = machine.snapshot().expect("it is small");
        assert!(outcome.is_ok() || after == before, "refused, and yet changed");
        before = after;
        settle_silently(&mut machine);
    }
}

fn settle_silently(machine: &mut Participant) {
    loop {
        let effects = machine.drain();
        if effects.is_empty() {
            return;
        }
        for effect in effects {
            if let Effect::Persist { ticket, .. } = effect {
                machine.durable(ticket).expect("it was handed out");
            }
        }
    }
}
