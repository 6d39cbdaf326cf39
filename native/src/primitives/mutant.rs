//! Seeded mutants: faults that a test switches on to see that the suite notices.
//!
//! `mutant!("name")` stands where a rule is kept, and is `false` unless the crate is built with the feature `mutants` and
//! the calling thread is inside [`with`]. Without the feature it is the constant `false`, and nothing is left of it.

/// Whether the named fault is switched on here.
macro_rules! mutant {
    ($name:literal) => {{
        #[cfg(feature = "mutants")]
        let on = $crate::primitives::mutant::is_on($name);
        #[cfg(not(feature = "mutants"))]
        let on = false;
        on
    }};
}
pub(crate) use mutant;

#[cfg(feature = "mutants")]
mod switch {
    use std::cell::Cell;

    thread_local! {
        static ON: Cell<&'static str> = const { Cell::new("") };
    }

    /// Runs `scenario` with one fault switched on in this thread.
    pub fn with<T>(name: &'static str, scenario: impl FnOnce() -> T) -> T {
        struct Off(&'static str);
        impl Drop for Off {
            fn drop(&mut self) {
                ON.set(self.0);
            }
        }
        let _off = Off(ON.replace(name));
        scenario()
    }

    /// Whether the named fault is switched on in this thread.
    pub fn is_on(name: &str) -> bool {
        ON.get() == name
    }
}
#[cfg(feature = "mutants")]
pub use switch::{is_on, with};
