//! HotStuff BFT (two-chain, Jolteon).
