//! Networks, faults and limits, as the facade hands them in: tuples of plain values.

use pyo3::prelude::*;

use crate::python::error::input;
use crate::python::int::Int;
use crate::python::text::Str;
use crate::sim::protocols::Workload;
use crate::sim::{Crash, Faults, Latency, Limits, Moment, Network, Partition, Point, Slow, Storm};

type U = Int<u64>;

/// One latency or a row for each node.
#[derive(FromPyObject)]
pub(super) enum LatencyIn {
    Same(U),
    Matrix(Vec<Vec<U>>),
}

/// begin, end, groups, holds.
type PartitionIn = (U, U, Vec<Vec<Int<u16>>>, bool);
/// node, begin, end, extra.
type SlowIn = (Int<u16>, U, U, U);
/// loss, duplication, reordering in parts per million; how late; when they end.
type ChancesIn = (Int<u32>, Int<u32>, Int<u32>, U, Option<U>);
/// latency, jitter, chances, partitions, slow nodes, whether it holds for who is down, (write, its jitter).
pub(super) type NetworkIn = (LatencyIn, U, ChancesIn, Vec<PartitionIn>, Vec<SlowIn>, bool, (U, U));
/// node, what is counted, its number or time, down for, wiped.
type CrashIn = (Int<u16>, Str, U, Option<U>, bool);
/// begin, end, every, down, at once.
type StormIn = (U, U, U, U, Int<u16>);
/// Crashes and a storm.
pub(super) type FaultsIn = (Vec<CrashIn>, Option<StormIn>);
/// happenings, queue, rows, digest.
pub(super) type LimitsIn = (U, U, U, bool);
/// batch, slots, timeout.
pub(super) type WorkloadIn = (U, U, U);

pub(super) fn network(given: NetworkIn) -> Network {
    let (latency, jitter, (loss, duplication, reordering, late, calm), partitions, slow, holds_for_down, write) = given;
    let latency = match latency {
        LatencyIn::Same(same) => Latency::Same(same.0),
        LatencyIn::Matrix(rows) => {
            Latency::Matrix(rows.into_iter().map(|row| row.into_iter().map(|cell| cell.0).collect()).collect())
        }
    };
    let partition = |(begin, end, groups, holds): PartitionIn| {
        let groups = groups.into_iter().map(|group| group.into_iter().map(|node| node.0).collect()).collect();
        Partition { begin: begin.0, end: end.0, groups, holds }
    };
    let slowness =
        |(node, begin, end, extra): SlowIn| Slow { node: node.0, begin: begin.0, end: end.0, extra: extra.0 };
    Network {
        latency,
        jitter: jitter.0,
        loss: loss.0,
        duplication: duplication.0,
        reordering: reordering.0,
        late: late.0,
        calm: calm.map(|calm| calm.0),
        partitions: partitions.into_iter().map(partition).collect(),
        slow: slow.into_iter().map(slowness).collect(),
        holds_for_down,
        write: write.0.0,
        write_jitter: write.1.0,
    }
}

pub(super) fn faults(py: Python<'_>, (crashes, storm): FaultsIn) -> PyResult<Faults> {
    let crash = |(node, when, number, restart, wiped): CrashIn| {
        let when = moment(py, &when.0, number.0)?;
        Ok(Crash { node: node.0, when, restart: restart.map(|restart| restart.0), wiped })
    };
    let crashes = crashes.into_iter().map(crash).collect::<PyResult<_>>()?;
    let storm = storm.map(|(begin, end, every, down, at_once)| Storm {
        begin: begin.0,
        end: end.0,
        every: every.0,
        down: down.0,
        at_once: at_once.0,
    });
    Ok(Faults { crashes, storm })
}

fn moment(py: Python<'_>, when: &str, number: u64) -> PyResult<Moment> {
    if when == "at" {
        return Ok(Moment::At(number));
    }
    let (side, point) = when.split_once(' ').unwrap_or((when, ""));
    let point = match point {
        "step" => Some(Point::Step),
        "persist" => Some(Point::Persist),
        "send" => Some(Point::Send),
        "durable" => Some(Point::Durable),
        _ => None,
    };
    match (side, point) {
        ("before", Some(point)) => Ok(Moment::Before(point, number)),
        ("after", Some(point)) => Ok(Moment::After(point, number)),
        _ => Err(input(
            py,
            format!(
                "crash: when {when:?}; \"at\", or \"before\" or \"after\" with step, persist, send or durable, is right"
            ),
        )),
    }
}

pub(super) fn limits((happenings, queue, rows, digest): LimitsIn) -> Limits {
    let size = |value: U| usize::try_from(value.0).unwrap_or(usize::MAX);
    Limits { happenings: happenings.0, queue: size(queue), rows: size(rows), digest }
}

pub(super) fn workload((batch, slots, timeout): WorkloadIn) -> Workload {
    Workload { batch: usize::try_from(batch.0).unwrap_or(usize::MAX), slots: slots.0, timeout: timeout.0 }
}
