//! Reading and writing whole files, with errors that name them. A file is written beside its target and
//! renamed, so that it appears whole or not at all.

pub mod encoding;

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};

/// Makes a write beyond the limit on file sizes (`ulimit -f`) an error like a full disk, where the system
/// would end the process.
///
/// # Errors
/// The system refuses.
pub fn outlive_size_limit() -> Result<()> {
    #[cfg(unix)]
    {
        // A signal that is handled, in whatever way, lets the write fail instead.
        let noted = std::sync::Arc::default();
        signal_hook::flag::register(libc::SIGXFSZ, noted)
            .map_err(|e| anyhow!("cannot listen to signals: {e}"))?;
    }
    Ok(())
}

/// How the names of files begin and end that are not yet whole.
const TEMPORARY: (&str, &str) = (".dsd-", ".tmp");

/// Whether a file of this name was left by a process that was killed while writing.
pub fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY.0) && name.ends_with(TEMPORARY.1)
}

/// What the system said, without its error number.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

/// The path `name` as a prototxt means it: from the working folder, as in Caffe; else, if it is not
/// there, from `folder`, that of the file which names it.
pub fn resolve(name: &str, folder: &Path) -> PathBuf {
    let path = encoding::path(name);
    let beside = folder.join(&path);
    if !path.exists() && beside.exists() {
        beside
    } else {
        path
    }
}

/// The most that is read of a file at once: protobuf's own limit, which Caffe's files have.
const MOST: u64 = i32::MAX as u64;

/// What weights files begin with that may be larger: HDF5's, and npz's.
const LARGE: [&[u8]; 2] = [b"\x89HDF", b"PK"];

/// The bytes of a file.
///
/// # Errors
/// It cannot be read, or is larger than any file of its kind.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let large = path.metadata().map_or(0, |m| m.len());
    if large > MOST {
        let head = head(path, 4)?;
        if !LARGE.iter().any(|l| head.starts_with(l)) {
            bail!(
                "{} has {large} bytes; Caffe's files have at most {MOST} (protobuf's limit), and only .h5 and .npz may have more",
                path.display()
            );
        }
    }
    fs::read(path).map_err(|e| anyhow!("cannot read {}: {}", path.display(), reason(&e)))
}

/// The first `count` bytes of a file, or all of a shorter one.
///
/// # Errors
/// It cannot be read.
pub fn head(path: &Path, count: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(count).read_to_end(&mut bytes));
    read.map_err(|e| anyhow!("cannot read {}: {}", path.display(), reason(&e)))?;
    Ok(bytes)
}

/// The text of a file, in whatever encoding that has ASCII's characters or is UTF-16; see [`encoding`] for what
/// becomes of bytes that are not UTF-8.
///
/// # Errors
/// As of [`read`], or it is no text.
pub fn read_text(path: &Path) -> Result<String> {
    // What shows at its beginning to be no text is not read to its end; a pipe can be read but once.
    let head = match path.is_file() {
        true => head(path, 512)?,
        false => Vec::new(),
    };
    let text = match encoding::text(head) {
        Ok(_) => encoding::text(read(path)?),
        Err(e) => Err(e),
    };
    text.map_err(|e| {
        anyhow!(
            "{}: not a text file (byte {} is {:#04x}, a control character)",
            path.display(),
            e.at,
            e.byte
        )
    })
}

/// The bytes that are free for this user on the file system of `path`, or of the first folder above it that is there; nothing
/// where the system does not say.
pub fn free_space(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let path = std::path::absolute(path).ok()?;
        let there = path.ancestors().find(|p| p.exists())?;
        let system = rustix::fs::statvfs(there).ok()?;
        Some(system.f_bavail.saturating_mul(system.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// Makes a folder and those above it, where they are missing.
///
/// # Errors
/// The system's reason, with the folder's name.
pub fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| anyhow!("cannot make {}: {}", path.display(), reason(&e)))
}

/// Writes a file whole or not at all: `fill` writes to a temporary file in the same folder, which is synced
/// and renamed. A symbolic link stays and its target is replaced; a pipe or device is written directly.
pub fn write_atomic(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    // A closure's error keeps its own words; only what the system says is trimmed.
    let failed = |e: anyhow::Error| {
        let said = match e.downcast_ref::<io::Error>() {
            Some(e) => reason(e),
            None => format!("{e:#}"),
        };
        anyhow!("cannot write {}: {said}", path.display())
    };
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match fs::metadata(&target) {
        Ok(m) if m.is_dir() => bail!("cannot write {}: it is a folder", path.display()),
        Ok(m) if !m.is_file() => write_through(&target, fill).map_err(failed),
        _ => write_beside(&target, fill).map_err(failed),
    }
}

fn write_through(target: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut writer = BufWriter::new(File::options().write(true).open(target)?);
    fill(&mut writer)?;
    Ok(writer.flush()?)
}

fn write_beside(target: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let folder = match target.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY.0).suffix(TEMPORARY.1);
    #[cfg(unix)]
    {
        // The usual permissions, less the umask, and not the private ones of a temporary file.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    // tempfile's own error would name the temporary file.
    let temporary = builder
        .tempfile_in(&folder)
        .map_err(|e| anyhow!("{}", cause(&e)))?;
    let mut writer = BufWriter::with_capacity(1 << 20, temporary);
    fill(&mut writer)?;
    let temporary = writer.into_inner().map_err(|e| e.into_error())?;
    temporary.as_file().sync_all()?;
    temporary.persist(target).map_err(|e| e.error)?;
    // The rename itself survives a crash only once the folder is synced; not every file system can.
    let _ = File::open(&folder).and_then(|f| f.sync_all());
    Ok(())
}

/// The first name of the form `PATH.old1`, `PATH.old2` … that is free: where what is there already can be moved.
pub fn aside(path: &Path) -> PathBuf {
    let mut n = 1u64;
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".old{n}"));
        let aside = PathBuf::from(name);
        if fs::symlink_metadata(&aside).is_err() {
            return aside;
        }
        n += 1;
    }
}

/// The system's words in an error that tempfile has wrapped.
fn cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "its folder does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => reason(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        write_atomic(&path, |w| Ok(w.write_all(b"old")?)).unwrap();
        let error = write_atomic(&path, |w| {
            w.write_all(b"half")?;
            bail!("the loss is NaN")
        });
        let wanted = format!("cannot write {}: the loss is NaN", path.display());
        assert_eq!(error.unwrap_err().to_string(), wanted);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn errors_name_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none/out");
        let error = write_atomic(&path, |_| Ok(())).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("cannot write {}: its folder does not exist", path.display())
        );
        let error = write_atomic(folder.path(), |_| Ok(()))
            .unwrap_err()
            .to_string();
        assert!(error.ends_with("it is a folder"));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_and_the_usual_permissions_hold() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&real, "old").unwrap();
        let usual = fs::metadata(&real).unwrap().permissions().mode();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write_atomic(&link, |w| Ok(w.write_all(b"new")?)).unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&real).unwrap(), b"new");
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode(), usual);
    }

    #[test]
    fn what_is_larger_than_its_kind_or_no_text_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.prototxt");
        // Three gigabytes that take no room on the disk.
        File::create(&path).unwrap().set_len(3 << 30).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("has 3221225472 bytes"), "{error}");
        let error = read_text(&path).unwrap_err().to_string();
        assert!(error.contains("not a text file (byte 0 is 0x00"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_is_written_directly() {
        write_atomic(Path::new("/dev/null"), |w| Ok(w.write_all(b"x")?)).unwrap();
        let full = write_atomic(Path::new("/dev/full"), |w| Ok(w.write_all(b"x")?));
        assert_eq!(
            full.unwrap_err().to_string(),
            "cannot write /dev/full: No space left on device"
        );
    }
}
