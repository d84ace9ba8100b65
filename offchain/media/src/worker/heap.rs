//! Memory of frames. glibc either keeps all that encoders free, with holes that the frames of the next do not fit into, or
//! gives every frame back to the system, which clears it before it is used again: a fifteenth of all CPU time. Here large
//! pieces are kept for the next that is as long, as long as they take no more than what was in use at a time anyway.
//!
//! libav and libx264 allocate with `memalign` and `posix_memalign`. This program has its own, which libraries find before
//! those of glibc. Until [`keep`], and for what is small, they only hand on.
use std::{
    ffi::{c_int, c_void},
    ptr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    io::Errno,
    mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap},
};

const PAGE: usize = 4096;
/// Bytes from which on a piece is kept.
const LARGE: usize = 128 << 10;
/// Lengths of pieces of which is known what of them is written to, and their most pages.
const LENGTHS: usize = 32;
const PAGES: usize = 4096;
/// Pieces of a length that are looked at before what they have in common is expected of the next.
const LOOKS: usize = 4;
/// Pieces that there may be; more are glibc's.
const PIECES: usize = 4096;
/// What a piece that `realloc` moves is aligned to: the widest instructions want no more.
const MOVED: usize = 64;
/// Tenths of what was in use at a time that pieces may take together with those that are kept. Pieces that were used before
/// have all their pages, new ones only those that were written to.
const FULL: usize = 9;

static KEEPS: AtomicBool = AtomicBool::new(false);
static HEAP: Mutex<Heap> = Mutex::new(Heap::new());

/// From here on large pieces are kept.
pub(super) fn keep() {
    // Libraries alone name these: the linker leaves them out otherwise.
    let ours = [memalign as *const (), posix_memalign as *const (), realloc as *const (), free as *const ()];
    KEEPS.store(!std::hint::black_box(ours).is_empty(), Ordering::Relaxed);
}

/// A segment begins. What was needed before the one before it counts no more.
pub(super) fn next_segment() {
    heap().next_segment();
}

fn heap() -> MutexGuard<'static, Heap> {
    HEAP.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whole pages from the system.
#[derive(Clone, Copy)]
struct Piece {
    start: usize,
    /// Bytes.
    len: usize,
    used: bool,
    /// The segment in which it was freed.
    freed: u64,
}

/// The pages that all pieces of a length were written to that were given back to the system. The next will need them too, and many at
/// once cost a third of what each costs alone.
#[derive(Clone, Copy)]
struct Written {
    /// Bytes; 0 where none is known.
    len: usize,
    /// Pieces looked at.
    looks: usize,
    /// As mincore(2) tells of each.
    pages: [u8; PAGES],
}

impl Written {
    const NONE: Self = Self { len: 0, looks: 0, pages: [0; PAGES] };

    /// Gives a new piece the pages.
    fn populate(&self, start: usize) {
        let pages = &self.pages[..self.len / PAGE];
        let mut at = 0;
        for run in pages.chunk_by(|one, other| one & 1 == other & 1) {
            if run[0] & 1 == 1 {
                // SAFETY: the pages are mapped, and nobody has them yet. Where it fails, each comes when it is written to.
                #[allow(unsafe_code)]
                let _ = unsafe {
                    madvise((start + at * PAGE) as *mut c_void, run.len() * PAGE, Advice::LinuxPopulateWrite)
                };
            }
            at += run.len();
        }
    }
}

/// Allocates nothing itself: allocations come here.
struct Heap {
    /// Those that are kept in the order they were freed.
    pieces: [Piece; PIECES],
    count: usize,
    /// Bytes in use.
    used: usize,
    /// Bytes kept.
    kept: usize,
    /// The most bytes that were in use at a time, in this segment and in the one before it.
    most: [usize; 2],
    segment: u64,
    written: [Written; LENGTHS],
    /// The one of `written` that is forgotten next.
    oldest: usize,
    /// Of the piece that was looked at last.
    pages: [u8; PAGES],
}

impl Heap {
    const fn new() -> Self {
        let none = Piece { start: 0, len: 0, used: false, freed: 0 };
        Self {
            pieces: [none; PIECES],
            count: 0,
            used: 0,
            kept: 0,
            most: [0; 2],
            segment: 0,
            written: [Written::NONE; LENGTHS],
            oldest: 0,
            pages: [0; PAGES],
        }
    }

    fn all(&self) -> &[Piece] {
        &self.pieces[..self.count]
    }

    fn next_segment(&mut self) {
        self.segment += 1;
        self.most = [self.used, self.most[0]];
        self.make_room(0);
    }

    /// Bytes of the piece in use that begins there.
    fn len(&self, start: usize) -> Option<usize> {
        self.all().iter().find(|piece| piece.used && piece.start == start).map(|piece| piece.len)
    }

    /// The address of `size` bytes, a multiple of `align` and of a page.
    fn take(&mut self, align: usize, size: usize) -> Option<usize> {
        let len = size.checked_next_multiple_of(PAGE)?;
        let fits = |piece: &Piece| !piece.used && piece.len == len && piece.start.is_multiple_of(align);
        let start = if let Some(at) = self.all().iter().rposition(fits) {
            self.kept -= len;
            self.remove(at).start
        } else {
            self.make_room(len);
            if self.count == PIECES {
                return None;
            }
            let start = map(align, len)?;
            if let Some(written) = self.written.iter().find(|written| written.len == len && written.looks >= LOOKS) {
                written.populate(start);
            }
            start
        };
        self.insert(Piece { start, len, used: true, freed: 0 });
        self.used += len;
        self.most[0] = self.most[0].max(self.used);
        Some(start)
    }

    /// False where no piece in use begins there.
    fn give(&mut self, start: usize) -> bool {
        let Some(at) = self.all().iter().position(|piece| piece.used && piece.start == start) else { return false };
        let piece = self.remove(at);
        self.insert(Piece { used: false, freed: self.segment, ..piece });
        self.used -= piece.len;
        self.kept += piece.len;
        self.make_room(0);
        true
    }

    /// Gives pieces back to the system until `more` bytes have room: what two segments did not need, then what was freed
    /// last. Segments are alike, so that what was freed first is needed first.
    fn make_room(&mut self, more: usize) {
        let most = self.most[0].max(self.most[1]).max(self.used + more);
        let full = (most / 10 * FULL).max(self.used + more);
        while self.used + more + self.kept > full {
            let stale = |piece: &Piece| !piece.used && piece.freed + 1 < self.segment;
            let last = || self.all().iter().rposition(|piece| !piece.used);
            let Some(at) = self.all().iter().position(stale).or_else(last) else { return };
            let Piece { start, len, .. } = self.remove(at);
            self.kept -= len;
            self.look(start, len);
            unmap(start, len);
        }
    }

    /// Remembers what was written to of a piece, of lengths of which at least half is.
    #[allow(unsafe_code)] // a function of the C library
    fn look(&mut self, start: usize, len: usize) {
        let Some(pages) = self.pages.get_mut(..len / PAGE) else { return };
        // SAFETY: the pages are mapped, and there is a byte for each.
        if unsafe { mincore(start as *mut c_void, len, pages.as_mut_ptr()) } != 0 {
            return;
        }
        if let Some(known) = self.written.iter_mut().find(|written| written.len == len) {
            known.looks += 1;
            known.pages.iter_mut().zip(&*pages).for_each(|(all, page)| *all &= page);
        } else if pages.iter().filter(|page| *page & 1 == 1).count() * 2 >= pages.len() {
            self.oldest = (self.oldest + 1) % LENGTHS;
            let new = &mut self.written[self.oldest];
            (new.len, new.looks) = (len, 1);
            new.pages[..pages.len()].copy_from_slice(pages);
        }
    }

    fn insert(&mut self, piece: Piece) {
        self.pieces[self.count] = piece;
        self.count += 1;
    }

    fn remove(&mut self, at: usize) -> Piece {
        let piece = self.pieces[at];
        self.pieces.copy_within(at + 1..self.count, at);
        self.count -= 1;
        piece
    }
}

/// New pages that begin at a multiple of `align`, a power of two.
fn map(align: usize, len: usize) -> Option<usize> {
    let whole = len.checked_add(align.saturating_sub(PAGE))?;
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the system chooses a place where nothing is.
    #[allow(unsafe_code)]
    let mapped = unsafe { mmap_anonymous(ptr::null_mut(), whole, access, MapFlags::PRIVATE) }.ok()? as usize;
    let start = mapped.next_multiple_of(align);
    unmap(mapped, start - mapped);
    unmap(start + len, mapped + whole - start - len);
    Some(start)
}

/// Gives pages back that nobody uses.
fn unmap(start: usize, len: usize) {
    if len > 0 {
        // SAFETY: the pages are this module's, and nobody else has their address any more.
        #[allow(unsafe_code)]
        let _ = unsafe { munmap(start as *mut c_void, len) };
    }
}

#[allow(unsafe_code)] // what glibc calls its own
unsafe extern "C" {
    fn __libc_memalign(align: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(start: *mut c_void, size: usize) -> *mut c_void;
    fn __libc_free(start: *mut c_void);
    fn mincore(start: *mut c_void, len: usize, pages: *mut u8) -> c_int;
}

/// Whether this can be the beginning of a piece.
fn may_be_ours(start: *mut c_void) -> bool {
    !start.is_null() && start.addr().is_multiple_of(PAGE) && KEEPS.load(Ordering::Relaxed)
}

/// memalign(3).
#[allow(unsafe_code)] // libraries call it
#[unsafe(no_mangle)]
extern "C" fn memalign(align: usize, size: usize) -> *mut c_void {
    let large = size >= LARGE && align.is_power_of_two() && KEEPS.load(Ordering::Relaxed);
    match large.then(|| heap().take(align, size)).flatten() {
        Some(start) => start as *mut c_void,
        // SAFETY: any numbers may be asked for.
        None => unsafe { __libc_memalign(align, size) },
    }
}

/// posix_memalign(3).
#[allow(unsafe_code)] // libraries call it
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(place: *mut *mut c_void, align: usize, size: usize) -> c_int {
    if !align.is_power_of_two() || !align.is_multiple_of(size_of::<*mut c_void>()) {
        return Errno::INVAL.raw_os_error();
    }
    let start = memalign(align, size);
    if start.is_null() {
        return Errno::NOMEM.raw_os_error();
    }
    // SAFETY: the caller wants the address there.
    unsafe { place.write(start) };
    0
}

/// realloc(3).
#[allow(unsafe_code)] // libraries call it
#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(start: *mut c_void, size: usize) -> *mut c_void {
    let Some(len) = may_be_ours(start).then(|| heap().len(start.addr())).flatten() else {
        // SAFETY: no piece of ours, so one of glibc's, or nothing yet.
        return unsafe { __libc_realloc(start, size) };
    };
    let moved = memalign(MOVED, size);
    if !moved.is_null() {
        // SAFETY: both are that long, and the new one overlaps nothing that is in use.
        unsafe { ptr::copy_nonoverlapping(start.cast::<u8>(), moved.cast(), len.min(size)) };
        // SAFETY: the caller uses the new one from here on.
        unsafe { free(start) };
    }
    moved
}

/// free(3).
#[allow(unsafe_code)] // libraries call it
#[unsafe(no_mangle)]
unsafe extern "C" fn free(start: *mut c_void) {
    if !may_be_ours(start) || !heap().give(start.addr()) {
        // SAFETY: no piece of ours, so one of glibc's, or nothing.
        unsafe { __libc_free(start) };
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use ffmpeg_next::{format::Pixel, frame};

    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn what_is_freed_serves_the_next_that_is_as_long() {
        let mut heap = Heap::new();
        let [first, other, more] = [MIB, 16 * MIB, 16 * MIB].map(|len| heap.take(64, len).unwrap());
        assert!(heap.give(more));
        assert!(heap.give(first));
        assert!(!heap.give(first), "it is free already");
        assert_ne!(heap.take(64, 2 * MIB).unwrap(), first);
        assert_eq!(heap.take(64, MIB - 1).unwrap(), first, "whole pages");
        assert_eq!((heap.len(first), heap.len(other), heap.len(first + PAGE)), (Some(MIB), Some(16 * MIB), None));
    }

    #[test]
    fn pieces_begin_where_the_caller_wants_them() {
        let mut heap = Heap::new();
        for align in [8, PAGE, 2 * MIB, 16 * MIB] {
            let start = heap.take(align, MIB).unwrap();
            assert!(start.is_multiple_of(align.max(PAGE)));
            // SAFETY: the piece is in use and a mebibyte long.
            #[allow(unsafe_code)]
            unsafe { std::slice::from_raw_parts_mut(start as *mut u8, MIB) }.fill(7);
        }
    }

    #[test]
    fn no_more_is_kept_than_was_in_use() {
        let mut heap = Heap::new();
        let first: Vec<_> = (0..20).map(|_| heap.take(64, MIB).unwrap()).collect();
        first.iter().for_each(|start| assert!(heap.give(*start)));
        assert_eq!((heap.used, heap.kept), (0, 18 * MIB));
        let other = heap.take(64, 8 * MIB).unwrap();
        assert_eq!((heap.used, heap.kept), (8 * MIB, 10 * MIB), "others make room");
        heap.give(other);
        (0..2).for_each(|_| heap.next_segment());
        assert_eq!((heap.used, heap.kept), (0, 0), "nobody needed it for two segments");
    }

    #[test]
    fn what_a_segment_needs_is_there_for_the_one_after_it() {
        let mut heap = Heap::new();
        let segment = |heap: &mut Heap| {
            heap.next_segment();
            let frames: Vec<_> = (1..=20).map(|len| heap.take(64, len * LARGE).unwrap()).collect();
            frames.iter().for_each(|start| assert!(heap.give(*start)));
            frames
        };
        let (first, second) = (segment(&mut heap), segment(&mut heap));
        let again = first.iter().filter(|start| second.contains(start)).count();
        assert!(again >= 17, "{again} of 20");
    }

    #[test]
    fn what_finds_no_place_in_the_table_is_left_to_others() {
        let mut heap = Heap::new();
        let all: Vec<_> = (0..PIECES).map(|_| heap.take(64, PAGE).unwrap()).collect();
        assert_eq!(heap.take(64, PAGE), None);
        all.into_iter().for_each(|start| assert!(heap.give(start)));
        assert!(heap.take(64, PAGE).is_some());
        assert_eq!(heap.take(64, usize::MAX), None);
    }

    #[test]
    fn a_piece_has_the_pages_that_all_of_its_length_were_written_to() {
        crate::worker::memory::prepare();
        let mut heap = Heap::new();
        let (len, pages) = (MIB, MIB / PAGE);
        let mut after = |written: Range<usize>| {
            let start = map(64, len).unwrap();
            // SAFETY: the piece is that long, and nobody else's.
            #[allow(unsafe_code)]
            let bytes = unsafe { std::slice::from_raw_parts_mut(start as *mut u8, len) };
            bytes[written.start * PAGE..written.end * PAGE].fill(7);
            heap.look(start, len);
            unmap(start, len);
            let (next, mut look) = (heap.take(64, len).unwrap(), Written::NONE);
            // SAFETY: the piece is mapped, and there is a byte for each of its pages.
            #[allow(unsafe_code)]
            unsafe {
                mincore(next as *mut c_void, len, look.pages.as_mut_ptr())
            };
            look.pages[..pages].iter().filter(|page| *page & 1 == 1).count()
        };
        assert_eq!(after(0..pages / 2 - 1), 0, "hardly written to");
        (1..LOOKS).for_each(|_| assert_eq!(after(0..pages), 0, "too few"));
        assert_eq!(after(0..pages - 2), pages - 2);
        assert_eq!(after(10..pages), pages - 12);
    }

    #[test]
    fn more_lengths_than_there_is_room_for_forget_the_oldest() {
        let mut heap = Heap::new();
        for pages in 1..=LENGTHS + 1 {
            let start = map(64, pages * PAGE).unwrap();
            // SAFETY: the piece is that long, and nobody else's.
            #[allow(unsafe_code)]
            unsafe { std::slice::from_raw_parts_mut(start as *mut u8, pages * PAGE) }.fill(7);
            heap.look(start, pages * PAGE);
        }
        let known = |pages: usize| heap.written.iter().any(|written| written.len == pages * PAGE);
        assert_eq!((known(1), known(2), known(LENGTHS + 1)), (false, true, true));
        // Too long to be looked at.
        heap.look(0, (PAGES + 1) * PAGE);
    }

    #[test]
    fn what_is_hardly_written_to_makes_nobody_forgotten() {
        let mut heap = Heap::new();
        let mut look = |pages: usize, written: usize| {
            let start = map(64, pages * PAGE).unwrap();
            // SAFETY: the piece is that long, and nobody else's.
            #[allow(unsafe_code)]
            unsafe { std::slice::from_raw_parts_mut(start as *mut u8, written * PAGE) }.fill(7);
            heap.look(start, pages * PAGE);
            unmap(start, pages * PAGE);
        };
        look(9, 9);
        (10..20 + LENGTHS).for_each(|pages| look(pages, 1));
        assert!(heap.written.iter().any(|written| written.len == 9 * PAGE));
    }

    /// The one test that shares this process's heap: libraries have to come here.
    #[test]
    fn frames_of_libav_are_pieces() {
        keep();
        let picture = frame::Video::new(Pixel::YUV420P, 1280, 720);
        let held = heap().all().iter().any(|piece| {
            let start = picture.data(0).as_ptr().addr();
            piece.used && (piece.start..piece.start + piece.len).contains(&start)
        });
        assert!(held);
        let bytes: Vec<_> = (0..MIB).map(|at| at.to_le_bytes()[0]).collect();
        let start = memalign(64, MIB).cast::<u8>();
        // SAFETY: as long as was asked for, and nobody else's.
        #[allow(unsafe_code)]
        let longer = unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), start, MIB);
            let longer = realloc(start.cast(), 2 * MIB).cast::<u8>();
            assert_eq!(std::slice::from_raw_parts(longer, MIB), bytes);
            longer
        };
        assert_eq!(heap().len(longer.addr()), Some(2 * MIB));
        // SAFETY: it is nobody's any more.
        #[allow(unsafe_code)]
        unsafe {
            free(longer.cast());
        }
        assert_eq!(heap().len(longer.addr()), None);
    }
}
