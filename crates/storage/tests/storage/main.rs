//! What the store promises, on a simulated disk and on a real one.

mod crash;

mod golden;
mod laws;
mod model;
mod real;
mod rot;
