//! The client of NTP version 4 (RFC 5905) and SNTP, without input or output: it makes a request and reads the answer.
//!
//! A packet of the network is believed only if it echoes the one outstanding transmit timestamp, which is 64 random bits
//! and says nothing of the client's clock (draft-ietf-ntp-data-minimization). That comes before everything else, so
//! somebody who cannot see the request can neither shift the clock nor stop the client by a kiss of death. What is refused
//! leaves the client as it was: the true answer may still come.

use crate::error::{Error, Result};

/// Bytes of a packet without extension fields.
pub const PACKET_LEN: usize = 48;

/// The most bytes of a packet that is read: what follows the header is not looked at.
pub const PACKET_MAX: usize = 1024;

/// How fast a clock that nobody corrects is taken to drift, parts per million (RFC 5905, section 7.2: PHI).
pub const DRIFT_PPM: u64 = 15;

/// A server that is further than this from its reference is of no use, nanoseconds (RFC 5905: MAXDISP).
const DISTANCE_MAX_NS: u64 = 16_000_000_000;

/// A reply that takes longer says nothing worth having, nanoseconds.
const ROUND_TRIP_MAX_NS: u64 = 16_000_000_000;

/// Seconds from 1900, where NTP begins, to 1970.
const EPOCH_S: u64 = 2_208_988_800;

const NS: u64 = 1_000_000_000;
const VERSION: u8 = 4;
const MODE_CLIENT: u8 = 3;
const MODE_SERVER: u8 = 4;
const LEAP_UNKNOWN: u8 = 3;

/// The kisses that are to be obeyed (RFC 5905, section 7.4). Another reason at stratum 0 tells why the server has no time yet,
/// such as `INIT`; it asks for nothing.
const KISSES: [&[u8; 4]; 3] = [b"DENY", b"RSTR", b"RATE"];

const STRATUM_MAX: u8 = 15;

/// What a server's answer says about the clock of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// What to add to the local clock to have the server's, nanoseconds.
    pub offset_ns: i64,
    /// The round trip without the server's own time, nanoseconds.
    pub delay_ns: u64,
    /// The server's round trip to its reference, nanoseconds.
    pub root_delay_ns: u64,
    /// How far the server may be from its reference, nanoseconds.
    pub root_dispersion_ns: u64,
    /// How far the measurement itself may be off beside the way: the granule of the server's clock, and the drift of the two
    /// clocks during the round trip, nanoseconds.
    pub dispersion_ns: u64,
    /// When the answer came, on the local clock, nanoseconds.
    pub received_ns: u64,
    /// How many servers stand between this one and a reference clock, 1 to 15.
    pub stratum: u8,
    /// 0 no warning, 1 a minute of 61 seconds comes, 2 one of 59.
    pub leap: u8,
    /// What the server follows: four letters at stratum 1, else an address or a part of its digest.
    pub reference: [u8; 4],
}

impl Sample {
    /// How far the true offset may be from [`Sample::offset_ns`] at an instant of the local clock, nanoseconds: half of both
    /// round trips, both dispersions, and the drift since the answer came.
    pub fn uncertainty_ns(&self, now_ns: u64) -> u64 {
        let age = now_ns.saturating_sub(self.received_ns);
        self.root_delay_ns
            .div_ceil(2)
            .saturating_add(self.root_dispersion_ns)
            .saturating_add(self.dispersion_ns)
            .saturating_add(self.delay_ns.div_ceil(2))
            .saturating_add(drift_ns(age))
    }
}

/// How far a clock may drift in a time, nanoseconds.
pub fn drift_ns(age_ns: u64) -> u64 {
    u64::try_from((u128::from(age_ns) * u128::from(DRIFT_PPM)).div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// What came of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A measurement.
    Sample(Sample),
    /// The server asks to be left alone: its reason, four letters (RFC 5905, section 7.4).
    Kiss([u8; 4]),
}

/// The requests to one server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    outstanding: Option<[u8; 8]>,
    last: Option<[u8; 8]>,
}

impl Client {
    /// The next request. An earlier one that has no answer yet is given up.
    ///
    /// # Arguments
    /// * `nonce`: 64 bits that nobody can predict; they stand in the place of the transmit timestamp.
    ///
    /// # Errors
    /// [`Error::Input`] if they are 0, which means no timestamp, or those of the request before.
    pub fn request(&mut self, nonce: [u8; 8]) -> Result<[u8; PACKET_LEN]> {
        if nonce == [0; 8] || Some(nonce) == self.last {
            return Err(Error::input("ntp: the nonce of a request is 0 or was used; take eight random bytes"));
        }
        let mut packet = [0; PACKET_LEN];
        packet[0] = VERSION << 3 | MODE_CLIENT;
        packet[40..].copy_from_slice(&nonce);
        self.last = Some(nonce);
        self.outstanding = Some(nonce);
        Ok(packet)
    }

    /// Whether a request waits for its answer.
    pub fn waits(&self) -> bool {
        self.outstanding.is_some()
    }

    /// Reads a packet.
    ///
    /// # Arguments
    /// * `packet`: What came.
    /// * `sent_ns`, `received_ns`: When the request left and the packet came, on the local clock, nanoseconds since 1970.
    ///
    /// # Errors
    /// [`Error::Protocol`] if it is no answer to the outstanding request or says nothing that can be used;
    /// [`Error::Input`] if the two instants are not in order.
    pub fn on_packet(&mut self, packet: &[u8], sent_ns: u64, received_ns: u64) -> Result<Answer> {
        let header = Header::read(packet)?;
        if self.outstanding != Some(header.origin) {
            return Err(Error::protocol("ntp: the packet answers no outstanding request"));
        }
        let Some(round_trip_ns) = received_ns.checked_sub(sent_ns) else {
            return Err(Error::input(format!("ntp: received at {received_ns} ns, before it was sent at {sent_ns} ns")));
        };
        let answer = if header.stratum == 0 && KISSES.contains(&&header.reference) {
            Answer::Kiss(header.reference)
        } else {
            Answer::Sample(header.sample(sent_ns, received_ns, round_trip_ns)?)
        };
        self.outstanding = None;
        Ok(answer)
    }
}

/// The fields of a server's packet that are used.
struct Header {
    leap: u8,
    stratum: u8,
    precision: i8,
    root_delay: u32,
    root_dispersion: u32,
    reference: [u8; 4],
    updated: u64,
    origin: [u8; 8],
    receive: u64,
    transmit: u64,
}

impl Header {
    /// Reads a packet that has the form of a server's.
    fn read(packet: &[u8]) -> Result<Self> {
        if !(PACKET_LEN..=PACKET_MAX).contains(&packet.len()) {
            return Err(Error::protocol(format!("ntp: a packet of {} bytes, not {PACKET_LEN}", packet.len())));
        }
        let (version, mode) = (packet[0] >> 3 & 7, packet[0] & 7);
        if mode != MODE_SERVER || !(3..=VERSION).contains(&version) {
            return Err(Error::protocol(format!("ntp: a packet of version {version} and mode {mode}, no server's")));
        }
        Ok(Self {
            leap: packet[0] >> 6,
            stratum: packet[1],
            precision: i8::from_be_bytes([packet[3]]),
            root_delay: u32::from_be_bytes(field(packet, 4)),
            root_dispersion: u32::from_be_bytes(field(packet, 8)),
            reference: field(packet, 12),
            updated: u64::from_be_bytes(field(packet, 16)),
            origin: field(packet, 24),
            receive: u64::from_be_bytes(field(packet, 32)),
            transmit: u64::from_be_bytes(field(packet, 40)),
        })
    }

    /// What it says about the local clock.
    fn sample(&self, sent_ns: u64, received_ns: u64, round_trip_ns: u64) -> Result<Sample> {
        if self.leap == LEAP_UNKNOWN || !(1..=STRATUM_MAX).contains(&self.stratum) {
            return Err(Error::protocol(format!(
                "ntp: the server is not synchronised (leap {}, stratum {})",
                self.leap, self.stratum
            )));
        }
        let (root_delay_ns, root_dispersion_ns) = (short_ns(self.root_delay), short_ns(self.root_dispersion));
        let distance_ns = root_delay_ns / 2 + root_dispersion_ns;
        if distance_ns >= DISTANCE_MAX_NS {
            return Err(Error::protocol(format!("ntp: the server may be {distance_ns} ns from its reference")));
        }
        if self.receive == 0 || self.transmit == 0 {
            return Err(Error::protocol("ntp: the server tells no time"));
        }
        let held_ns = apart_ns(self.transmit, self.receive);
        if held_ns < 0 || (self.updated != 0 && apart_ns(self.transmit, self.updated) < 0) {
            return Err(Error::protocol("ntp: the server's timestamps are not in order"));
        }
        if round_trip_ns > ROUND_TRIP_MAX_NS {
            return Err(Error::protocol(format!("ntp: the answer took {round_trip_ns} ns")));
        }
        let granule_ns = precision_ns(self.precision);
        let net_ns = i128::from(round_trip_ns) - i128::from(held_ns);
        if net_ns < -i128::from(granule_ns) {
            return Err(Error::protocol(format!(
                "ntp: the server held the request for {held_ns} ns, its answer took {round_trip_ns} ns"
            )));
        }
        let there = i128::from(apart_ns(self.receive, timestamp(sent_ns)));
        let back = i128::from(apart_ns(self.transmit, timestamp(received_ns)));
        let offset = (there + back).div_euclid(2);
        Ok(Sample {
            offset_ns: i64::try_from(offset).map_err(|_| Error::protocol("ntp: the offset is out of range"))?,
            delay_ns: u64::try_from(net_ns).unwrap_or(0).max(granule_ns),
            root_delay_ns,
            root_dispersion_ns,
            dispersion_ns: granule_ns.saturating_add(drift_ns(round_trip_ns)),
            received_ns,
            stratum: self.stratum,
            leap: self.leap,
            reference: self.reference,
        })
    }
}

/// The bytes of a field; `packet` has [`PACKET_LEN`] at least, and no field ends behind them.
fn field<const N: usize>(packet: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&packet[at..at + N]);
    bytes
}

/// The 16.16 seconds of a short as nanoseconds.
fn short_ns(short: u32) -> u64 {
    (u64::from(short) * NS) >> 16
}

/// The timestamp (32.32 seconds since 1900, without the era) of nanoseconds since 1970.
fn timestamp(unix_ns: u64) -> u64 {
    let seconds = unix_ns / NS + EPOCH_S;
    let fraction = ((unix_ns % NS) << 32) / NS;
    seconds << 32 | fraction
}

/// The nanoseconds from `from` to `to`, taken as at most 68 years apart: so eras need not be known (RFC 5905, section 6).
fn apart_ns(to: u64, from: u64) -> i64 {
    let apart = (i128::from(to.wrapping_sub(from).cast_signed()) * i128::from(NS)) >> 32;
    i64::try_from(apart).unwrap_or(if apart < 0 { i64::MIN } else { i64::MAX })
}

/// The granule of a clock that tells 2^`precision` seconds apart, at least 1 ns and at most a second.
fn precision_ns(precision: i8) -> u64 {
    let shift = u32::from(precision.min(0).unsigned_abs()).min(30);
    (NS >> shift).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONCE: [u8; 8] = *b"\x01random!";
    const NOW: u64 = 1_800_000_000 * NS;

    /// A good answer of a server whose clock is `offset_ns` ahead, 10 ms away, that held the request for 1 ms.
    fn answer(offset_ns: i64) -> [u8; PACKET_LEN] {
        let mut packet = [0; PACKET_LEN];
        packet[0] = VERSION << 3 | MODE_SERVER;
        packet[1] = 2;
        packet[3] = 0xe8;
        packet[4..8].copy_from_slice(&(1u32 << 12).to_be_bytes());
        packet[8..12].copy_from_slice(&(1u32 << 10).to_be_bytes());
        packet[12..16].copy_from_slice(b"\x7f\0\0\x01");
        packet[24..32].copy_from_slice(&NONCE);
        let receive = (NOW + 10_000_000).checked_add_signed(offset_ns).unwrap();
        packet[16..24].copy_from_slice(&timestamp(receive - NS).to_be_bytes());
        packet[32..40].copy_from_slice(&timestamp(receive).to_be_bytes());
        packet[40..48].copy_from_slice(&timestamp(receive + 1_000_000).to_be_bytes());
        packet
    }

    fn asked() -> Client {
        let mut client = Client::default();
        client.request(NONCE).unwrap();
        client
    }

    const BACK: u64 = NOW + 21_000_000;

    fn sample(packet: &[u8]) -> Result<Sample> {
        match asked().on_packet(packet, NOW, BACK)? {
            Answer::Sample(sample) => Ok(sample),
            Answer::Kiss(code) => panic!("a kiss: {code:?}"),
        }
    }

    #[test]
    fn a_request_tells_nothing_but_a_nonce() {
        let packet = Client::default().request(NONCE).unwrap();
        assert_eq!(packet[0], 0x23);
        assert!(packet[1..40].iter().all(|byte| *byte == 0));
        assert_eq!(packet[40..], NONCE);
    }

    #[test]
    fn a_nonce_is_used_once() {
        let mut client = asked();
        assert!(client.request(NONCE).is_err());
        assert!(client.request([0; 8]).is_err());
        client.request([9; 8]).unwrap();
        assert!(client.on_packet(&answer(0), NOW, BACK).is_err(), "the request before was given up");
    }

    #[test]
    fn the_offset_is_the_middle_and_the_delay_the_network_s() {
        for offset in [0, 5 * NS.cast_signed(), -5 * NS.cast_signed(), 1, -1, 3_600_000_000_000_000] {
            let sample = sample(&answer(offset)).unwrap();
            assert!((sample.offset_ns - offset).abs() <= 2, "{sample:?}");
            assert!(sample.delay_ns.abs_diff(20_000_000) <= 2, "{sample:?}");
            assert_eq!((sample.root_delay_ns, sample.root_dispersion_ns), (62_500_000, 15_625_000));
            assert_eq!((sample.stratum, sample.leap, sample.received_ns), (2, 0, BACK));
        }
    }

    #[test]
    fn uncertainty_is_both_round_trips_the_dispersions_and_the_drift() {
        let sample = Sample { delay_ns: 20_000_000, ..sample(&answer(0)).unwrap() };
        // The server's clock tells 2^-24 s apart, and 21 ms at 15 ppm are 315 ns.
        assert_eq!(sample.dispersion_ns, 59 + 315);
        assert_eq!(sample.uncertainty_ns(BACK), 31_250_000 + 15_625_000 + 10_000_000 + 374);
        assert_eq!(sample.uncertainty_ns(BACK + 1000 * NS), 56_875_374 + 15_000_000);
        assert_eq!(sample.uncertainty_ns(0), 56_875_374, "a clock set back does not make it better");
        assert!(sample.uncertainty_ns(u64::MAX) > 200_000 * NS);
    }

    #[test]
    fn an_era_ends_without_notice() {
        // 2036-02-07 06:28:16, where the 32 bits of seconds begin anew, falls between request and answer.
        let end = ((1u64 << 32) - EPOCH_S) * NS;
        let mut packet = answer(0);
        packet[16..24].fill(0);
        packet[32..40].copy_from_slice(&timestamp(end + 5).to_be_bytes());
        packet[40..48].copy_from_slice(&timestamp(end + 6).to_be_bytes());
        let Answer::Sample(sample) = asked().on_packet(&packet, end - 10_000, end + 10_000).unwrap() else { panic!() };
        assert!(sample.offset_ns.abs() < 10, "{sample:?}");
    }

    #[test]
    fn every_fault_is_refused_by_name_and_the_true_answer_still_counts() {
        type Harm = fn(&mut [u8; PACKET_LEN]);
        let faults: [(&str, Harm); 14] = [
            ("mode 3", |packet| packet[0] = 0x23),
            ("mode 5", |packet| packet[0] = 0x25),
            ("version 2", |packet| packet[0] = 0x14),
            ("version 5", |packet| packet[0] = 0x2c),
            ("no outstanding", |packet| packet[24] ^= 1),
            ("not synchronised", |packet| packet[0] |= 0xc0),
            ("stratum 16", |packet| packet[1] = 16),
            ("stratum 255", |packet| packet[1] = 255),
            ("from its reference", |packet| packet[8..12].fill(0xff)),
            ("from its reference", |packet| packet[4..8].fill(0xff)),
            ("tells no time", |packet| packet[32..40].fill(0)),
            ("tells no time", |packet| packet[40..48].fill(0)),
            ("not in order", |packet| packet.copy_within(16..24, 40)),
            ("held the request", |packet| packet[43] ^= 1),
        ];
        for (what, harm) in faults {
            let (mut client, mut packet) = (asked(), answer(0));
            harm(&mut packet);
            let error = client.on_packet(&packet, NOW, BACK).unwrap_err();
            assert!(matches!(&error, Error::Protocol(message) if message.contains(what)), "{what}: {error}");
            assert_eq!(client, asked(), "{what}");
            client.on_packet(&answer(0), NOW, BACK).unwrap();
        }
    }

    #[test]
    fn a_kiss_of_death_counts_only_from_who_saw_the_request() {
        let mut packet = answer(0);
        packet[0] |= 0xc0;
        packet[1] = 0;
        packet[12..16].copy_from_slice(b"RATE");
        let mut forged = packet;
        forged[31] ^= 1;
        let mut client = asked();
        assert!(client.on_packet(&forged, NOW, BACK).is_err());
        assert_eq!(client.on_packet(&packet, NOW, BACK).unwrap(), Answer::Kiss(*b"RATE"));
        assert!(!client.waits());
    }

    #[test]
    fn a_server_that_has_no_time_yet_does_not_ask_to_be_left_alone() {
        // So ntpd (INIT, STEP) and chronyd (no letters) answer until they are synchronised.
        for code in [b"INIT", b"STEP", b"\0\0\0\0", b"XFUN"] {
            for leap in [0, 0xc0] {
                let (mut client, mut packet) = (asked(), answer(0));
                packet[0] |= leap;
                packet[1] = 0;
                packet[12..16].copy_from_slice(code);
                let error = client.on_packet(&packet, NOW, BACK).unwrap_err();
                assert!(error.to_string().contains("not synchronised"), "{error}");
                assert!(client.waits());
            }
        }
    }

    #[test]
    fn a_granule_is_a_nanosecond_to_a_second() {
        assert_eq!([-128, -30, -29, -24, -1, 0, 127].map(precision_ns), [1, 1, 1, 59, 500_000_000, NS, NS]);
    }

    #[test]
    fn an_answer_counts_once() {
        let mut client = asked();
        client.on_packet(&answer(0), NOW, BACK).unwrap();
        assert!(client.on_packet(&answer(0), NOW, BACK).is_err());
    }

    #[test]
    fn instants_out_of_order_are_the_caller_s_fault() {
        assert!(matches!(asked().on_packet(&answer(0), BACK, NOW), Err(Error::Input(_))));
        assert!(sample(&answer(0)).is_ok());
        assert!(asked().on_packet(&answer(0), NOW, NOW + 17 * NS).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..1100), sent: u64, later in 0..20 * NS) {
            let mut client = asked();
            let mut bytes = bytes;
            if bytes.len() >= 32 && bytes[0] & 1 == 0 {
                bytes[24..32].copy_from_slice(&NONCE);
            }
            let before = client.clone();
            if client.on_packet(&bytes, sent, sent.saturating_add(later)).is_err() {
                prop_assert_eq!(client, before);
            }
        }

        #[test]
        fn the_truth_is_within_the_uncertainty(offset in -1_000_000_000_000i64..1_000_000_000_000, there in 0..50_000_000u64,
                                               held in 0..5_000_000u64, back in 0..50_000_000u64, precision in -30i8..=-4) {
            let receive = (NOW + there).checked_add_signed(offset).unwrap();
            // The server's clock goes on in steps of its granule.
            let granule = precision_ns(precision);
            let shown = |instant: u64| timestamp(instant - instant % granule).to_be_bytes();
            let mut packet = answer(0);
            packet[3] = precision.cast_unsigned();
            packet[4..12].fill(0);
            packet[16..24].fill(0);
            packet[32..40].copy_from_slice(&shown(receive));
            packet[40..48].copy_from_slice(&shown(receive + held));
            let received = NOW + there + held + back;
            let Answer::Sample(sample) = asked().on_packet(&packet, NOW, received).unwrap() else { panic!() };
            prop_assert!(sample.offset_ns.abs_diff(offset) <= sample.uncertainty_ns(received) + 2, "{:?}", sample);
        }
    }
}
