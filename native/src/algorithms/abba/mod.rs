//! Asynchronous binary Byzantine agreement (ABY22).
