//! The only PyO3 code: extract, call, convert errors. No protocol decision is made here.
//!
//! One file per algorithm; [`call`] is the one way into the core (releases the GIL, stops panics), [`error`] the one
//! table of exceptions, [`buffer`] the one way bytes come in, [`int`], [`real`] and [`text`] numbers and text, [`keys`]
//! many byte strings, [`output`] the way bytes go out, [`record`] what all record classes share.

mod abba;
mod audit;
mod buffer;
mod call;
mod cbf;
mod dpos;
mod ec;
mod error;
mod hs;
mod hvp;
mod identity;
mod int;
mod kem;
mod keys;
mod ml_dsa;
mod output;
mod poh;
mod pop;
mod real;
mod record;
mod records;
mod rvh;
mod sc;
mod session;
mod signatures;
mod sim;
mod tes;
mod text;
mod tnh;
mod twins;
mod vrf;

use pyo3::prelude::*;

/// The native extension of city-chain. Use `city_chain`, which documents and types all of this.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    call::loaded();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    identity::register(module)?;
    ec::register(module)?;
    rvh::register(module)?;
    sc::register(module)?;
    vrf::register(module)?;
    cbf::register(module)?;
    tnh::register(module)?;
    hs::register(module)?;
    hvp::register(module)?;
    signatures::register(module)?;
    ml_dsa::register(module)?;
    kem::register(module)?;
    tes::register(module)?;
    abba::register(module)?;
    poh::register(module)?;
    session::register(module)?;
    audit::register(module)?;
    dpos::register(module)?;
    pop::register(module)?;
    sim::register(module)?;
    twins::register(module)?;
    records::register(module)
}
