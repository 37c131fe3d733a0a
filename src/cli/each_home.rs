//! Looks into the homes of profiles, each on a thread of its own: one whose disk does not answer keeps no other waiting.

use std::path::Path;
use std::time::Instant;

use caduceus_actors::files::workers::{NoAnswer, Owner, TIMEOUT};
use caduceus_actors::files::{FileWorker, Purpose};

/// Homes that are looked into together; there are only so many threads.
const AT_ONCE: usize = 64;

/// What `look` answers for each of `profiles`, in their order; `home` gives the directory of a profile. Blocks, for 10 s and a little at most
/// where few disks are dead.
pub(super) fn each_home<P: Clone + Send + 'static, T: Send + 'static>(
    profiles: &[P],
    home: impl Fn(&P) -> &Path,
    look: impl Fn(&P) -> T + Clone + Send + 'static,
) -> Vec<Result<T, NoAnswer>> {
    let mut found = Vec::with_capacity(profiles.len());
    for some in profiles.chunks(AT_ONCE) {
        let begun = some.iter().map(|profile| {
            let (own, look) = (profile.clone(), look.clone());
            FileWorker::of(home(profile), Purpose::Settings, Owner::Profile).begin(move || look(&own))
        });
        let begun: Vec<_> = begun.collect();
        // A file within that has a limit of its own, such as the `.env`, has as long again.
        let deadline = Instant::now() + TIMEOUT * 2;
        found.extend(begun.into_iter().map(|looking| looking.wait(deadline)));
    }
    found
}

/// Whether `path`, or where it leads, is a directory.
///
/// # Errors
/// [`NoAnswer`] where the disk does not answer.
pub(super) fn is_directory(path: &Path) -> Result<bool, NoAnswer> {
    let place = path.to_owned();
    let looking = FileWorker::of(path, Purpose::Settings, Owner::Profile).begin(move || place.is_dir());
    looking.wait(Instant::now() + TIMEOUT)
}
