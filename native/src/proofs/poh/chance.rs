//! How likely an audit is to catch a node that dropped some blocks: the hypergeometric law.
//!
//! Of `total` blocks `lost` are gone; `asked` are drawn without replacement. The chance that all of them are still there is
//! Π (total − lost − i)/(total − i) for i = 0 … asked − 1, and each further audit draws anew.

use super::audit::{BLOCK_LEN, BLOCKS_MAX, FRAGMENT_MAX};
use crate::error::{Error, Result};

/// The most blocks of a fragment.
const TOTAL_MAX: u64 = FRAGMENT_MAX / BLOCK_LEN;

/// The largest number below 1.
const BELOW_ONE: f64 = 1.0 - f64::EPSILON / 2.0;

fn check(total: u64, lost: u64, audits: u32) -> Result<()> {
    if total == 0 || total > TOTAL_MAX {
        return Err(Error::input(format!("audit chance: {total} blocks, 1 to {TOTAL_MAX} are allowed")));
    }
    if lost > total {
        return Err(Error::input(format!("audit chance: {lost} of {total} blocks are lost: more than there are")));
    }
    if audits == 0 {
        return Err(Error::input("audit chance: 0 audits, at least 1 is needed"));
    }
    Ok(())
}

/// The chance that at least one of `audits` audits of `asked` blocks each finds one of the `lost` blocks.
///
/// Exactly 0 if nothing is lost, exactly 1 if and only if it is certain, else within a relative error of 1e-12.
///
/// # Errors
/// [`Error::Input`]: no blocks or more than 2³⁰, more lost than there are, 0 or too many asked for, no audits.
pub fn chance(total: u64, lost: u64, asked: usize, audits: u32) -> Result<f64> {
    check(total, lost, audits)?;
    let most = total.min(BLOCKS_MAX as u64);
    if asked == 0 || asked as u64 > most {
        return Err(Error::input(format!("audit chance: {asked} blocks are asked for, 1 to {most} can be")));
    }
    Ok(chance_of(total, lost, asked as u64, audits))
}

fn chance_of(total: u64, lost: u64, asked: u64, audits: u32) -> f64 {
    if lost == 0 {
        return 0.0;
    }
    if asked > total - lost {
        return 1.0;
    }
    // ln of the chance to miss. The law is symmetric in what is lost and what is asked for: the shorter product is taken.
    let (few, many) = (lost.min(asked), lost.max(asked));
    let (mut sum, mut rest) = (0.0f64, 0.0f64);
    for at in 0..few {
        let (all, kept) = ((total - at) as f64, (total - many - at) as f64);
        let share = many as f64 / all;
        let term = if share < 0.5 { (-share).ln_1p() } else { (kept / all).ln() };
        // Neumaier's sum: what each addition rounds off is kept.
        let next = sum + term;
        rest += if sum.abs() >= term.abs() { (sum - next) + term } else { (term - next) + sum };
        sum = next;
    }
    let missed = f64::from(audits) * (sum + rest);
    (-missed.exp_m1()).min(BELOW_ONE)
}

/// The fewest blocks to ask for, so that `audits` audits catch a node that lost `lost` blocks with at least this chance.
///
/// # Errors
/// [`Error::Input`]: as [`chance`]; nothing is lost; a chance not above 0 and at most 1; or one that no number of blocks
/// reaches, with the chance that the most reach.
pub fn blocks_for(total: u64, lost: u64, wanted: f64, audits: u32) -> Result<u64> {
    check(total, lost, audits)?;
    if lost == 0 {
        return Err(Error::input("audit chance: no block is lost, so no audit can find one"));
    }
    if !(wanted > 0.0 && wanted <= 1.0) {
        return Err(Error::input(format!("audit chance: {wanted}, above 0 and at most 1 is needed")));
    }
    let most = total.min(BLOCKS_MAX as u64);
    let reached = chance_of(total, lost, most, audits);
    if reached < wanted {
        return Err(Error::input(format!(
            "audit chance: {most} blocks, the most that can be asked for, reach {reached} and not {wanted}: more audits are \
             needed"
        )));
    }
    let (mut low, mut high) = (1, most);
    while low < high {
        let middle = low + (high - low) / 2;
        if chance_of(total, lost, middle, audits) >= wanted {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(low)
}
