//! What `dsd new` decides for a set of pictures: how they are split, to what size they are brought, which net fits them,
//! how long and how fast it learns. Nothing here touches a file.

mod adapt;
mod net;
mod plan;
mod split;

pub use adapt::{Adapted, adapt};
pub use net::fire_net;
pub use plan::{Batches, Lengths, side};
pub use split::{Split, shuffled, split};

/// The pictures as the net's data layers get them.
#[derive(Clone, Debug)]
pub struct Pictures {
    /// The database to train on, relative to the net's file.
    pub train: String,
    /// The database to test on.
    pub val: String,
    /// Channels, height and width of every record.
    pub size: [usize; 3],
    /// The mean of each channel (blue, green, red) over the training pictures.
    pub mean: Vec<f32>,
    /// Whether training mirrors half of the pictures.
    pub mirror: bool,
    /// How many classes there are.
    pub classes: usize,
}
