//! Compiles `proto/caffe.proto` to Rust types, in pure Rust (protox), so that no `protoc` is needed.
//!
//! Besides the types, the descriptors themselves go to `OUT_DIR/caffe.fds`: the text format is read and
//! printed by reflection on them.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=proto/caffe.proto");
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    let mut descriptors = protox::compile(["proto/caffe.proto"], ["proto"])?;
    prost_build::Config::new()
        .enable_type_names()
        .compile_fds(descriptors.clone())?;
    // Comments have served their purpose in the generated docs; the binary needs only names and types.
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    fs::write(out_dir.join("caffe.fds"), descriptors.encode_to_vec())?;
    Ok(())
}
