//! The original, installed once for all tests that compare Caduceus with it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::target;

/// The supported version.
pub(crate) const PINNED: &str = "0.19.0";

/// The original's Python, installed on first use.
///
/// Panics if it cannot be installed: a test that needs it must fail then, not pass.
pub(crate) fn original_python() -> PathBuf {
    let folder = target().join("original-venv");
    let python = folder.join("bin/python");
    std::fs::create_dir_all(target()).unwrap();
    let lock = File::create(target().join("original-venv.lock")).unwrap();
    lock.lock().expect("the lock of the virtual environment is taken");
    if installed(&python).as_deref() != Some(PINNED) {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
        // The relay's own transport needs `websockets`, which is only an extra of the package.
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "websockets"];
        run(Command::new(&python).args(install).arg(format!("hermes-agent=={PINNED}")));
    }
    assert_eq!(installed(&python).as_deref(), Some(PINNED), "the pinned original is installed");
    python
}

fn installed(python: &Path) -> Option<String> {
    let script = "import importlib.metadata as m; import websockets; print(m.version('hermes-agent'))";
    let output = Command::new(python).args(["-c", script]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?} failed: {errors}");
}
