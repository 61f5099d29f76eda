//! How values lie in memory, what is written in place and what is fused must not show. Nets are written
//! once as users write them, layers in place, and once with a blob of its own for every layer, all of them
//! in C order (the *plain twin*); outputs and gradients of both must agree.

mod elements;
mod fuzz;
mod pairs;
mod real_nets;
mod twins;
mod two_bottoms;
