//! BLS12-381 as a group, over blst.
