//! What survives when things break: kill -9, rotten bits.
mod kills;
mod rot;
