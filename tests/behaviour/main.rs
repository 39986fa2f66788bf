//! What the whole cloud does, seen from outside.
mod life;
mod objects;
