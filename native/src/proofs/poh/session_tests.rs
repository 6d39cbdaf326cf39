use super::*;
use crate::crypto::hash;
use crate::primitives::bulk::BulkSignature;
use crate::primitives::wire::Bytes;

const NETWORK: Digest = [1; 32];
const SUITES: [Suite; 2] = [Suite::XWing, Suite::Sntrup761X25519];

/// A node: its id and its keys.
struct Node(u8, [kem::SecretKey; 2]);

impl Node {
    fn new(seed: u8) -> Self {
        Self(seed, SUITES.map(|suite| kem::SecretKey::from_seed(suite, &[seed; 32]).unwrap()))
    }

    fn id(&self) -> [u8; 32] {
        [self.0; 32]
    }

    #[allow(clippy::unnecessary_wraps, reason = "it is what is asked for")]
    fn kem(&self, suite: Suite) -> Result<&kem::SecretKey> {
        Ok(&self.1[usize::from(suite == SUITES[1])])
    }
}

struct Parties {
    sender: [u8; 32],
    node: Node,
    session: Session,
}

fn parties(suite: Suite) -> Parties {
    let (sender, node) = ([2; 32], Node::new(3));
    let session = Session::seal(&NETWORK, &sender, &node.id(), &node.kem(suite).unwrap().public()).unwrap();
    Parties { sender, node, session }
}

impl Parties {
    fn open(&self, sealed: &[u8]) -> Result<Session> {
        Session::open(&NETWORK, &self.sender, &self.node.id(), sealed, |suite| self.node.kem(suite))
    }

    fn request(&self, fragment: &[u8]) -> HoldRequest {
        HoldRequest {
            network: NETWORK,
            sender: self.sender,
            node: self.node.id(),
            tx_id: [4; 32],
            manifest_hash: [5; 32],
            index: 6,
            n: 7,
            fragment_hash: hash::fragment(fragment),
            challenge: [8; 32],
            hlc: 9,
            deadline_ms: 10,
            hold_until_ms: 11,
            session: Bytes::new("session", self.session.id().to_vec()).unwrap(),
            authorization: BulkSignature::empty(),
        }
    }
}

#[test]
fn what_is_sealed_opens_at_the_node_alone() {
    for suite in SUITES {
        let parties = parties(suite);
        let opened = parties.open(parties.session.sealed()).unwrap();
        assert_eq!(opened.id(), parties.session.id());
        for len in [0, 1, 700, 300_000] {
            let fragment = vec![7; len];
            let request = parties.request(&fragment);
            let sealed = parties.session.seal_fragment(&request, &fragment).unwrap();
            assert_eq!(sealed.len(), len + dem::TAG_LEN);
            assert_eq!(opened.open_fragment(&request, &sealed).unwrap(), fragment);
            assert!(len < 16 || sealed.windows(16).all(|run| run != &fragment[..16]));
        }
        // Another node with the very same bytes, and a sender that claims them.
        let other = Node::new(9);
        let sealed = parties.session.sealed();
        let stolen = Session::open(&NETWORK, &parties.sender, &other.id(), sealed, |suite| other.kem(suite));
        assert!(stolen.unwrap_err().to_string().contains("was not sealed to node"));
        let node = &parties.node;
        for (network, sender) in [(&NETWORK, &[9; 32]), (&[9; 32], &parties.sender)] {
            let claimed = Session::open(network, sender, &node.id(), sealed, |suite| node.kem(suite));
            assert!(claimed.unwrap_err().to_string().contains("was not sealed to node"));
        }
    }
}

#[test]
fn every_byte_of_a_sealed_session_counts() {
    for suite in SUITES {
        let parties = parties(suite);
        let sealed = parties.session.sealed();
        for at in 0..sealed.len() {
            let mut wrong = sealed.to_vec();
            wrong[at] ^= 1 << (at % 8);
            assert!(parties.open(&wrong).is_err(), "byte {at}");
        }
        for wrong in [&[][..], &sealed[..1], &sealed[..sealed.len() - 1], &[sealed, &[0]].concat()] {
            assert!(matches!(parties.open(wrong), Err(Error::Input(_))), "{} bytes", wrong.len());
        }
    }
}

#[test]
fn every_field_that_names_the_fragment_changes_its_key() {
    let parties = parties(Suite::XWing);
    let fragment = [1; 100];
    let request = parties.request(&fragment);
    let sealed = parties.session.seal_fragment(&request, &fragment).unwrap();
    let changes: [fn(&mut HoldRequest); 5] = [
        |request| request.challenge[0] ^= 1,
        |request| request.tx_id[31] ^= 1,
        |request| request.manifest_hash[0] ^= 1,
        |request| request.fragment_hash[0] ^= 1,
        |request| request.index ^= 1,
    ];
    for change in changes {
        let mut other = request.clone();
        change(&mut other);
        let again = parties.session.seal_fragment(&other, &fragment).unwrap();
        assert_ne!(again[..100], sealed[..100], "another key gives another stream");
        let why = parties.session.open_fragment(&other, &sealed).unwrap_err().to_string();
        assert!(why.contains("not what was sealed for this request"), "{why}");
    }
    for at in 0..sealed.len() {
        let mut wrong = sealed.clone();
        wrong[at] ^= 1;
        assert!(parties.session.open_fragment(&request, &wrong).is_err(), "byte {at}");
    }
}

#[test]
fn a_request_of_another_session_or_of_others_is_refused() {
    let parties = parties(Suite::XWing);
    let request = parties.request(b"x");
    let sealed = parties.session.seal_fragment(&request, b"x").unwrap();
    type Change = fn(&mut HoldRequest);
    let changes: [(Change, &str); 5] = [
        (|request| request.sender[0] ^= 1, "of sender"),
        (|request| request.node[0] ^= 1, "of sender"),
        (|request| request.network[0] ^= 1, "of sender"),
        (|request| request.session = Bytes::default(), "the request names"),
        (|request| request.session = Bytes::new("id", vec![0; 32]).unwrap(), "the request names"),
    ];
    for (change, word) in changes {
        let mut other = request.clone();
        change(&mut other);
        for why in [
            parties.session.open_fragment(&other, &sealed).unwrap_err().to_string(),
            parties.session.seal_fragment(&other, b"x").unwrap_err().to_string(),
        ] {
            assert!(why.contains(word), "{why}");
        }
    }
}

#[test]
fn secrets_are_not_shown() {
    let parties = parties(Suite::XWing);
    let shown = format!("{:?}", parties.session);
    assert!(!shown.contains(&hex(&*parties.session.key)) && !shown.contains(&format!("{:?}", parties.session.key)));
}

#[test]
fn many_are_made_at_once_and_a_bad_key_costs_itself_only() {
    let nodes: Vec<Node> = (0..6).map(Node::new).collect();
    let publics: Vec<kem::PublicKey> =
        nodes.iter().zip(SUITES.into_iter().cycle()).map(|(node, suite)| node.kem(suite).unwrap().public()).collect();
    let mut asked: Vec<([u8; 32], &[u8])> =
        nodes.iter().zip(&publics).map(|(node, public)| (node.id(), public.as_bytes())).collect();
    asked[2].1 = b"xp no key";
    for count in [1, 3, 6] {
        let made = seal_many(&NETWORK, &[2; 32], &asked[..count]);
        for (at, (session, node)) in made.iter().zip(&nodes).enumerate() {
            if at == 2 {
                assert!(session.is_err());
                continue;
            }
            let session = session.as_ref().unwrap();
            let opened =
                Session::open(&NETWORK, &[2; 32], &node.id(), session.sealed(), |suite| node.kem(suite)).unwrap();
            assert_eq!(opened.key, session.key);
        }
    }
}

#[test]
fn the_oldest_go_when_there_are_too_many() {
    let opened = Opened::new(2);
    let sessions: Vec<Arc<Session>> = (0..3).map(|_| Arc::new(parties(Suite::XWing).session)).collect();
    assert!(opened.is_empty());
    for session in &sessions {
        opened.put(Arc::clone(session));
        opened.put(Arc::clone(session));
    }
    assert_eq!(opened.len(), 2);
    assert!(opened.get(sessions[0].id()).is_none());
    assert!(opened.get(sessions[1].id()).is_some() && opened.get(sessions[2].id()).is_some());
}
