//! Writes credentials into a `.env`: whole or not at all, for its owner alone, and every other byte as it was.

use std::io::ErrorKind;
use std::path::Path;

use caduceus_actors::atomic;
use caduceus_actors::files::{Symlinks, small};
use caduceus_actors::profile::env_edit::{MergeError, merge};
use caduceus_actors::profile::env_file::MAX_BYTES;
use secrecy::SecretString;
use zeroize::Zeroizing;

/// Why the file is unchanged.
#[derive(Debug, thiserror::Error)]
pub(super) enum EnvWriteError {
    /// The file is there and cannot be read, or its folder cannot be written to.
    #[error(transparent)]
    System(#[from] std::io::Error),
    /// The file is not UTF-8.
    #[error("the file is not UTF-8")]
    NotText,
    /// The connector gave a value that such a file cannot hold.
    #[error(transparent)]
    Merge(#[from] MergeError),
}

/// Puts `values` into the file at `path`, which may be missing. A symbolic link is kept.
pub(super) fn write_env(path: &Path, values: &[(&str, SecretString)]) -> Result<(), EnvWriteError> {
    let target = match path.canonicalize() {
        Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
        target => target?,
    };
    let text = match small::read(&target, MAX_BYTES, Symlinks::Follow) {
        Err(error) if error.is_missing() => Zeroizing::default(),
        read => read.map_err(std::io::Error::from)?.bytes,
    };
    let text = std::str::from_utf8(&text).map_err(|_| EnvWriteError::NotText)?;
    let values: Vec<_> = values.iter().map(|(name, value)| (*name, value)).collect();
    let merged = merge(text, &values)?;
    // Run by root for another user's home: the file keeps its owner.
    Ok(atomic::replace_keeping_owner(&target, merged.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_values_are_written_the_rest_is_kept_and_only_the_owner_can_read() {
        let home = tempfile::tempdir().unwrap();
        let (file, link) = (home.path().join("real"), home.path().join(".env"));
        fs::write(&file, "# kept\r\nA='1'\n\nGATEWAY_RELAY_ID=old # x\n").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        write_env(&link, &[("GATEWAY_RELAY_ID", "new".into()), ("B", "2".into())]).unwrap();
        let written = fs::read_to_string(&file).unwrap();
        assert!(written.starts_with("# kept\r\nA='1'\n\nGATEWAY_RELAY_ID=new"), "{written:?}");
        assert!(written.contains("B=2"), "{written:?}");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2, "no other file is left");
    }

    #[test]
    fn what_cannot_be_merged_leaves_the_file_as_it_was() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".env");
        fs::write(&file, b"A=\xff\n").unwrap();
        assert!(matches!(write_env(&file, &[("B", "2".into())]), Err(EnvWriteError::NotText)));
        fs::write(&file, "A=1\n").unwrap();
        assert!(matches!(write_env(&file, &[("B", "2\nC=3".into())]), Err(EnvWriteError::Merge(_))));
        assert_eq!(fs::read(&file).unwrap(), b"A=1\n");
    }
}
