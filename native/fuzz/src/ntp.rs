//! NTP: packets as somebody on the way makes them, and clocks that say anything, compared.

use city_chain_native::algorithms::tnh::agreement::{self, CLOCKS_MAX, Reading};
use city_chain_native::algorithms::tnh::ntp::{Answer, Client, PACKET_LEN, Sample};
use city_chain_native::error::{Error, Result};

use super::Script;

const NS: u64 = 1_000_000_000;
const EPOCH_S: u64 = 2_208_988_800;
/// 2027, and a moment before the 32 bits of seconds begin anew.
const STARTS: [u64; 2] = [1_800_000_000 * NS, ((1 << 32) - EPOCH_S) * NS - 1_000_000];

/// The client believes only who echoes its request, keeps what it refuses from changing it, and an honest answer holds the
/// truth; clocks that are compared are judged as by trying every point.
pub fn ntp(data: &[u8]) {
    let mut script = Script(data);
    packets(&mut script);
    comparisons(&mut script);
}

fn packets(script: &mut Script<'_>) {
    let mut client = Client::default();
    let (mut nonce, mut waits) = ([0; 8], false);
    for _ in 0..script.byte() % 16 {
        let sent = STARTS[usize::from(script.byte() % 2)];
        match script.byte() % 6 {
            0 => {
                let next = script.take();
                let before = client.clone();
                match client.request(next) {
                    Ok(packet) => {
                        assert_eq!((packet[0], &packet[40..]), (0x23, &next[..]));
                        (nonce, waits) = (next, true);
                    }
                    Err(_) => assert_eq!(client, before),
                }
            }
            1 => {
                let count = script.short() % 1100;
                let packet: Vec<u8> = (0..count).map(|_| script.byte()).collect();
                let received = sent.saturating_add(script.long() >> (script.byte() % 64));
                tried(&mut client, &packet, sent, received, nonce, &mut waits);
            }
            2 => honest(&mut client, script, sent, nonce, &mut waits),
            _ => {
                let (mut packet, received) = (packet(script, sent, nonce).0, sent + NS);
                for _ in 0..script.byte() % 4 {
                    packet[usize::from(script.byte()) % PACKET_LEN] = script.byte();
                }
                tried(&mut client, &packet, sent, received, nonce, &mut waits);
            }
        }
        assert_eq!(client.waits(), waits);
    }
}

/// A packet that counts echoes the outstanding request, and only one does.
fn tried(client: &mut Client, packet: &[u8], sent: u64, received: u64, nonce: [u8; 8], waits: &mut bool) {
    let before = client.clone();
    match client.on_packet(packet, sent, received) {
        Ok(answer) => {
            assert!(*waits && packet[24..32] == nonce && packet[0] & 7 == 4);
            if let Answer::Sample(sample) = answer {
                sound(&sample, received);
            }
            *waits = false;
            let after = client.clone();
            assert!(client.on_packet(packet, sent, received).is_err() && *client == after);
        }
        Err(_) => assert_eq!(*client, before),
    }
}

fn sound(sample: &Sample, received: u64) {
    assert!((1..=15).contains(&sample.stratum) && sample.leap < 3 && sample.received_ns == received);
    let now = sample.uncertainty_ns(received);
    assert!(now >= sample.delay_ns / 2 && now > 0);
    let later: Vec<u64> = (0..64).map(|bit| sample.uncertainty_ns(received.saturating_add(1 << bit))).collect();
    assert!(later.is_sorted() && later[0] >= now && sample.uncertainty_ns(0) == now);
}

/// A server's answer to a request that left at `sent`, how far the server's clock is ahead, and when the answer is back.
fn packet(script: &mut Script<'_>, sent: u64, nonce: [u8; 8]) -> ([u8; PACKET_LEN], i64, u64) {
    let offset = (script.long() >> 18).cast_signed() - (1 << 45);
    let [there, held, back] = [(); 3].map(|()| script.short() as u64 * 1_000);
    let receive = (sent + there).saturating_add_signed(offset);
    let mut packet = [0; PACKET_LEN];
    packet[..4].copy_from_slice(&[0x24, 1 + script.byte() % 15, 0, 0xe8]);
    packet[24..32].copy_from_slice(&nonce);
    packet[32..40].copy_from_slice(&timestamp(receive).to_be_bytes());
    packet[40..48].copy_from_slice(&timestamp(receive + held).to_be_bytes());
    (packet, offset, sent + there + held + back)
}

fn honest(client: &mut Client, script: &mut Script<'_>, sent: u64, nonce: [u8; 8], waits: &mut bool) {
    let (packet, offset, received) = packet(script, sent, nonce);
    let shows_no_time = packet[32..40] == [0; 8] || packet[40..48] == [0; 8];
    match client.on_packet(&packet, sent, received) {
        Ok(Answer::Sample(sample)) => {
            sound(&sample, received);
            assert!(sample.offset_ns.abs_diff(offset) <= sample.uncertainty_ns(received) + 2, "{offset}: {sample:?}");
            *waits = false;
        }
        Ok(Answer::Kiss(code)) => panic!("a kiss: {code:?}"),
        Err(error) => assert!(!*waits || shows_no_time, "{error}"),
    }
}

/// 32.32 seconds since 1900, without the era.
fn timestamp(unix_ns: u64) -> u64 {
    let (seconds, rest) = (unix_ns / NS + EPOCH_S, unix_ns % NS);
    let fraction = (rest << 32) / NS;
    seconds << 32 | fraction
}

fn comparisons(script: &mut Script<'_>) {
    while !script.done() {
        let count = usize::from(script.byte()) % 12;
        let total =
            count.saturating_add(usize::from(script.byte()) % 4).saturating_sub(usize::from(script.byte()) / 240);
        let readings: Vec<Reading> = (0..count)
            .map(|_| {
                let (narrow, offset, wide) = (script.byte() % 64, script.long().cast_signed(), script.long());
                // Narrow numbers meet, wide ones overflow.
                Reading { offset_ns: offset >> narrow, uncertainty_ns: wide >> narrow }
            })
            .collect();
        judged(&readings, total, agreement::intersect(&readings, total));
    }
}

/// Compares with every end of every interval tried for itself.
fn judged(readings: &[Reading], total: usize, found: Result<agreement::Agreement>) {
    if !(1..=CLOCKS_MAX).contains(&total) || readings.len() > total {
        assert!(matches!(found, Err(Error::Input(_))));
        return;
    }
    let bounds = |reading: &Reading| {
        let (middle, half) = (i128::from(reading.offset_ns), i128::from(reading.uncertainty_ns));
        [middle - half, middle + half]
    };
    let holds = |reading: &Reading, point: i128| (bounds(reading)[0]..=bounds(reading)[1]).contains(&point);
    let here = |point: i128| readings.iter().filter(|reading| holds(reading, point)).count();
    let points: Vec<i128> = readings.iter().flat_map(bounds).collect();
    let most = points.iter().map(|point| here(*point)).max().unwrap_or(0);
    let shared: Vec<i128> = points.into_iter().filter(|point| here(*point) > total / 2).collect();
    let (Some(first), Some(last)) = (shared.iter().min(), shared.iter().max()) else {
        let needed = total as u64 / 2 + 1;
        assert!(matches!(found, Err(Error::Unavailable { needed: n, had, .. }) if (n, had) == (needed, most as u64)));
        return;
    };
    let found = found.expect("a majority meets");
    let clamped = |ns: &i128| (*ns).clamp(i64::MIN.into(), i64::MAX.into());
    assert_eq!((i128::from(found.earliest_ns), i128::from(found.latest_ns)), (clamped(first), clamped(last)));
    let can = |at: &usize| bounds(&readings[*at])[0] <= *last && *first <= bounds(&readings[*at])[1];
    let (right, wrong): (Vec<usize>, Vec<usize>) = (0..readings.len()).partition(can);
    assert_eq!((found.right, found.wrong), (right, wrong));
}
