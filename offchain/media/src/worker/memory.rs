//! What a worker has in memory, and what of it is left to others.
use std::{env, fs, ops::Range, os::fd::OwnedFd, sync::OnceLock};

use rustix::{
    fs::{Mode, OFlags, open},
    io::pread,
    mm::{Advice, madvise},
    param::page_size,
    process::{Resource, getrlimit},
    thread::disable_transparent_huge_pages,
};

/// The part of what a process may write to from which on it has no room for what may be of use: stacks of threads take the rest.
const TIGHT: (usize, usize) = (3, 4);

/// What [`settle`] gives back.
static CODE: OnceLock<Vec<Range<usize>>> = OnceLock::new();

/// Frames are a little larger than a huge page, of which the second would hardly be used: a tenth of all memory.
///
/// Must come before anything loads a library that it may unload.
pub(super) fn prepare() {
    // Kernels without huge pages have nothing to disable.
    let _ = disable_transparent_huge_pages(true);
    CODE.get_or_init(|| {
        // Where /proc is not mounted, a worker is just larger.
        let maps = fs::read_to_string("/proc/self/smaps").unwrap_or_default();
        let program = env::current_exe().unwrap_or_default();
        code(&maps, &program.to_string_lossy())
    });
}

/// Gives back the pages of code: most of what loading libraries, opening a segment or an encoder takes is never run again. What
/// is needed is read from the page cache, where it stays as long as any process uses it: a few hundred times, half a millisecond
/// in all.
pub(super) fn settle() {
    for pages in CODE.get().into_iter().flatten() {
        // SAFETY: these pages are mapped from the program or a library that was there from the start, so they stay mapped. They
        // cannot be written to, and none of them differs from the file, so the same bytes are there when they are read next.
        #[allow(unsafe_code)]
        let _ = unsafe { madvise(pages.start as *mut _, pages.len(), Advice::LinuxDontNeed) };
    }
}

/// Pages that this process has in memory; `None` where /proc is not mounted. Allocates nothing.
pub(super) fn resident() -> Option<usize> {
    statm(1)
}

/// Bytes that this process may write to (`RLIMIT_DATA`). Allocates nothing.
pub(super) fn limit() -> Option<u64> {
    getrlimit(Resource::Data).current
}

/// Whether this process would come near its [`limit`] with so many bytes more. Allocates nothing.
pub(super) fn is_tight(more: usize) -> bool {
    let limit = limit().and_then(|limit| usize::try_from(limit).ok());
    let used = || (statm(5).unwrap_or(0) * page_size()).saturating_add(more);
    limit.is_some_and(|limit| used() > limit / TIGHT.1 * TIGHT.0)
}

/// Pages, as proc_pid_statm(5) tells of them.
fn statm(field: usize) -> Option<usize> {
    static STATM: OnceLock<Option<OwnedFd>> = OnceLock::new();
    let statm = STATM.get_or_init(|| open(c"/proc/self/statm", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok());
    let mut line = [0; 128];
    let len = pread(statm.as_ref()?, &mut line, 0).ok()?;
    str::from_utf8(&line[..len]).ok()?.split(' ').nth(field)?.parse().ok()
}

/// Mappings of the program and of libraries that cannot be written to and were not, out of `/proc/self/smaps`. Relocated tables cannot be written to
/// either, but were, which shows in their anonymous pages, and where those are if there are none.
fn code(smaps: &str, program: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut current = None;
    for line in smaps.lines() {
        if let Some(mapping) = mapping(line, program) {
            current = mapping;
        } else if line.strip_prefix("Anonymous:").is_some_and(|size| size.trim() != "0 kB") {
            current = None;
        } else if line.strip_prefix("Swap:").is_some_and(|size| size.trim() == "0 kB") {
            found.extend(current.take());
        }
    }
    found
}

/// Reads `7f0a-7f0c r-xp 0000 08:01 1234 /usr/lib/libx264.so`; `None` where the line is no mapping at all, `Some(None)` where
/// it is one that is not to be touched.
fn mapping(line: &str, program: &str) -> Option<Option<Range<usize>>> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let hex = |address| usize::from_str_radix(address, 16).ok();
    let pages = hex(start)?..hex(end)?;
    let flags = words.next()?;
    let stays = words.nth(3).is_some_and(|path| path == program || is_library(path));
    Some((stays && matches!(flags, "r--p" | "r-xp")).then_some(pages))
}

/// Whether the name ends as in `libx264.so.164`; that of the loader's cache does not.
fn is_library(path: &str) -> bool {
    let version = path.rsplit_once(".so").map(|(_, version)| version);
    version.is_some_and(|version| version.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_the_process_are_those_that_the_system_tells() {
        // Other tests take and give meanwhile.
        assert!((0..100).any(|_| {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let told = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
            let kib: usize = told.trim().trim_end_matches(" kB").parse().unwrap();
            resident().unwrap().abs_diff(kib / 4) < 1024
        }));
    }

    const SMAPS: &str = "\
55d0c0000000-55d0c0002000 r--p 00000000 08:01 42                         /usr/bin/worker
Rss:                   8 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd mr mw me sd
7f0a00000000-7f0a00010000 r-xp 00002000 08:01 43                         /usr/lib/libx264.so.164
Anonymous:             0 kB
Swap:                  0 kB
7f0a00010000-7f0a00020000 r--p 00012000 08:01 43                         /usr/lib/libx264.so.164
Anonymous:            64 kB
Swap:                  0 kB
7f0a00020000-7f0a00030000 rw-p 00022000 08:01 43                         /usr/lib/libx264.so.164
Anonymous:             0 kB
Swap:                  0 kB
7f0a00030000-7f0a00040000 r--p 00000000 00:00 0
Anonymous:             0 kB
Swap:                  0 kB
7f0a00040000-7f0a00050000 r--p 00012000 08:01 43                         /usr/lib/libx264.so.164
Anonymous:             0 kB
Swap:                 64 kB
7f0a00050000-7f0a00060000 r--p 00000000 08:01 44                         /etc/ld.so.cache
Anonymous:             0 kB
Swap:                  0 kB
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                          [vdso]
Anonymous:             0 kB
Swap:                  0 kB
";

    #[test]
    fn only_clean_pages_of_code_are_given_back() {
        assert_eq!(code(SMAPS, "/usr/bin/worker"), [0x55d0c0000000..0x55d0c0002000, 0x7f0a00000000..0x7f0a00010000]);
        assert!(code("", "").is_empty());
    }

    #[test]
    fn this_process_goes_on_after_it() {
        prepare();
        (0..3).for_each(|_| settle());
        assert!(!code(&fs::read_to_string("/proc/self/smaps").unwrap(), "").is_empty());
    }
}
