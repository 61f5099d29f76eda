//! A folder that appears whole or not at all: it is filled under a temporary name beside its own, and renamed
//! at the end.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, ensure};
use tempfile::TempDir;

use crate::files::reason;

/// A database's folder under construction. Dropped before [`NewFolder::finish`], it leaves nothing.
pub struct NewFolder {
    target: PathBuf,
    folder: TempDir,
}

impl NewFolder {
    /// Begins the folder that will be the database `target`, which must not exist.
    pub fn create(target: &Path) -> Result<Self> {
        let shown = target.display();
        ensure!(
            target.symlink_metadata().is_err(),
            "{shown} exists already; nothing is overwritten: remove it or give another name"
        );
        let failed = |said: String| anyhow!("cannot make the database {shown}: {said}");
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        ensure!(
            parent.is_dir(),
            failed(format!("{} is no folder", parent.display()))
        );
        let mut builder = tempfile::Builder::new();
        builder.prefix(".dsd-").suffix(".tmp");
        #[cfg(unix)]
        {
            // The usual permissions, less the umask, and not the private ones of a temporary folder.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o777));
        }
        let folder = builder.tempdir_in(parent).map_err(|e| match e.kind() {
            io::ErrorKind::PermissionDenied => failed("permission denied".into()),
            _ => failed(reason(&e)),
        })?;
        Ok(Self {
            target: target.to_path_buf(),
            folder,
        })
    }

    /// The folder as it is now.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The name that it will have.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// An error of writing it.
    pub fn failed(&self, said: &str) -> anyhow::Error {
        anyhow!(
            "cannot write the database {}: {said}",
            self.target.display()
        )
    }

    /// Gives the folder, whose files are closed and synced, its name.
    pub fn finish(self) -> Result<()> {
        share(self.folder.path()).map_err(|e| self.failed(&reason(&e)))?;
        ensure!(
            self.target.symlink_metadata().is_err(),
            self.failed("somebody has made another of this name meanwhile")
        );
        fs::rename(self.folder.path(), &self.target).map_err(|e| self.failed(&reason(&e)))?;
        // It has its name: nothing is left to be removed.
        let _ = self.folder.keep();
        let parent = self.target.parent().filter(|p| !p.as_os_str().is_empty());
        // The rename itself survives a crash only once the folder is synced; not every file system can.
        let _ = File::open(parent.unwrap_or(Path::new("."))).and_then(|f| f.sync_all());
        Ok(())
    }
}

/// Gives the files in `folder`, private as some libraries make them, the permissions that the folder has.
fn share(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(folder)?.permissions().mode() & 0o666;
        for file in fs::read_dir(folder)? {
            fs::set_permissions(file?.path(), fs::Permissions::from_mode(mode))?;
        }
    }
    let _ = folder;
    Ok(())
}
