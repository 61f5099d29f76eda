//! What `classify` and `detect` have of pycaffe's preprocessing.

use anyhow::{Context, Result};
use clap::Args;

/// pycaffe's preprocessing: pictures as numbers from 0 to 1, red, green, blue.
#[derive(Clone, Debug, Default, Args)]
#[command(rename_all = "snake_case")]
pub struct Pycaffe {
    /// As pycaffe's: multiply the picture's numbers from 0 to 1 by this before the mean is subtracted [default: 255]
    #[arg(long, value_name = "V", allow_hyphen_values = true)]
    pub raw_scale: Option<f32>,
    /// As pycaffe's: the order of the channels, of red, green and blue; empty leaves them [default: 2,1,0]
    #[arg(long, value_name = "A,B,C")]
    pub channel_swap: Option<String>,
    /// As pycaffe's: multiply by this after the mean is subtracted
    #[arg(long, value_name = "V", allow_hyphen_values = true)]
    pub input_scale: Option<f32>,
}

impl Pycaffe {
    /// The order of the channels for a net whose input has so many.
    ///
    /// # Errors
    /// The words are no numbers.
    pub fn order(&self, channels: usize) -> Result<Option<Vec<usize>>> {
        let words = match self.channel_swap.as_deref() {
            None if channels == 3 => "2,1,0",
            None | Some("") => return Ok(None),
            Some(words) => words,
        };
        let numbers = words.split(',').map(|w| w.trim().parse::<usize>());
        let order: Result<Vec<usize>, _> = numbers.collect();
        order.map(Some).with_context(|| {
            format!("--channel_swap: expected numbers such as 2,1,0, found '{words}'")
        })
    }
}
