//! Folders: the repository, and one of one's own for files.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The folder of the repository: the one place that knows where the tests stand in it.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("this package is `tests/support`")
}

/// A new, empty folder that is gone with its test. (Worlds hold themselves in circles: at the latest it goes with the
/// thread that made it.)
pub struct Folder(PathBuf);

thread_local! {
    static MADE: RefCell<Vec<Folder>> = RefCell::default();
}

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = place().join(format!("tower-oidc-records-{process}-{count}"));
        // What a process of the same number left that was killed.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        MADE.with_borrow_mut(|made| made.push(Self(path.clone())));
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A file for records.
    pub fn file(&self) -> PathBuf {
        self.0.join("records.sqlite")
    }
}

/// In memory where the system has that, so that no write waits for a slow disk. Tests kill processes, not machines.
fn place() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
