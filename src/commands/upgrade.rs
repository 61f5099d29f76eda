//! `dsd upgrade_net_proto_text`, `…_binary` and `upgrade_solver_proto_text`: files of Caffe's older
//! generations in today's form. As Caffe's tools, they write a file that needs nothing as it is, and fail
//! after writing where a setting had to be dropped.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::cli::Upgrade;
use crate::proto::{self, NetParameter, binary, upgrade, upgrade_solver};
use crate::{files, info, warn};

/// A net's text.
pub fn net_text(args: &Upgrade) -> Result<ExitCode> {
    let mut net = proto::read_net(&args.input)?.message;
    let code = net_in_memory(&mut net, &args.input)?;
    write(&args.output, &proto::print(&net))?;
    let path = args.output.display();
    info!("Wrote upgraded NetParameter text proto to {path}");
    Ok(code)
}

/// A caffemodel. What it has beyond the schema, as forks of Caffe write it, stays; one of today's form stays as it is.
pub fn net_binary(args: &Upgrade) -> Result<ExitCode> {
    let bytes = files::read(&args.input)?;
    let old = binary::decode_caffemodel(&bytes, &args.input.display().to_string())?;
    let mut net = old.clone();
    let code = net_in_memory(&mut net, &args.input)?;
    if net == old {
        files::write_atomic(&args.output, |w| Ok(w.write_all(&bytes)?))?;
    } else {
        binary::rewrite(&args.output, &net, &bytes)?;
    }
    let path = args.output.display();
    info!("Wrote upgraded NetParameter binary proto to {path}");
    Ok(code)
}

/// A solver's text.
pub fn solver_text(args: &Upgrade) -> Result<ExitCode> {
    let mut solver = proto::read_solver(&args.input)?.message;
    let notes = upgrade_solver(&mut solver).with_context(|| args.input.display().to_string())?;
    tell(&notes, &args.input);
    write(&args.output, &proto::print(&solver))?;
    let path = args.output.display();
    info!("Wrote upgraded SolverParameter text proto to {path}");
    Ok(ExitCode::SUCCESS)
}

fn net_in_memory(net: &mut NetParameter, input: &Path) -> Result<ExitCode> {
    let done = upgrade::convert(net).with_context(|| input.display().to_string())?;
    tell(&done.notes, input);
    if done.dropped > 0 {
        warn!("{} settings were dropped", done.dropped);
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what was converted.
fn tell(notes: &[String], input: &Path) {
    if notes.is_empty() {
        warn!("File already in latest proto format: {}", input.display());
    }
    for note in notes {
        info!("{note}");
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    files::write_atomic(path, |w| Ok(w.write_all(text.as_bytes())?))
}
