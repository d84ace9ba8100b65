//! Memory of frames. glibc either keeps all that encoders free, with holes that the frames of the next do not fit into, or
//! gives every frame back to the system, which clears it before it is used again: a fifteenth of all CPU time. Here large
//! pieces are kept for the next that is as long, while their pages are hardly more than were in use at a time anyway. Where
//! they are, the pages of a new piece are moved there from pieces of other lengths.
//!
//! libav and libx264 allocate with `memalign` and `posix_memalign`. This program has its own, which libraries find before
//! those of glibc. Until [`keep`], and for what is small, they only hand on.
use std::{
    ffi::{c_int, c_void},
    ptr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use rustix::{
    io::Errno,
    mm::{Advice, MapFlags, MremapFlags, ProtFlags, madvise, mmap_anonymous, mremap_fixed, munmap},
};

use super::memory::{is_tight, resident};

const PAGE: usize = 4096;
/// Bytes from which on a piece is kept.
const LARGE: usize = 128 << 10;
/// Lengths of pieces of which is known what of them is written to, and their most pages.
const LENGTHS: usize = 64;
const PAGES: usize = 4096;
/// Pieces of a length that are looked at before what they have in common is expected of the next.
const LOOKS: usize = 4;
/// Pieces that there may be; more are glibc's.
const PIECES: usize = 4096;
/// What a piece that `realloc` moves is aligned to: the widest instructions want no more.
const MOVED: usize = 64;
/// Bytes that are moved at a time from one piece to another. A piece has seams of its mappings at multiples of this, and mremap(2)
/// of older kernels moves nothing across a seam.
const BRICK: usize = 256 << 10;
/// Hundredths of the most pages that the process needed at a time, which it may have together with those that are kept: pieces come to
/// have more pages than they are counted with.
const FULL: usize = 97;
/// Takes and gives from one look at the pages of the whole process to the next: its other memory has its peak at another time.
const TURNS: u64 = 8;

static KEEPS: AtomicBool = AtomicBool::new(false);
static REFUSED: AtomicU64 = AtomicU64::new(0);
static BLANKS: AtomicUsize = AtomicUsize::new(0);
static HEAP: Mutex<Heap> = Mutex::new(Heap::new());

/// From here on large pieces are kept.
pub(super) fn keep() {
    // Libraries alone name these: the linker leaves them out otherwise.
    let ours = [memalign as *const (), posix_memalign as *const (), realloc as *const (), free as *const ()];
    KEEPS.store(!std::hint::black_box(ours).is_empty(), Ordering::Relaxed);
}

/// While one lives, memory that libraries take is blank. libav reads some that it never wrote to: the H.265 decoder the QP of slices
/// that are lost, where others are deblocked across their edges.
pub(super) struct Blank(());

impl Blank {
    pub(super) fn begin() -> Self {
        BLANKS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Blank {
    fn drop(&mut self) {
        BLANKS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A segment begins. What was needed before the one before it counts no more.
pub(super) fn next_segment() {
    turn().next_segment();
}

/// How often there was no memory, although no piece was kept any more. libav goes on without some of what it was refused, as if the
/// media were damaged there.
pub(super) fn refused() -> u64 {
    REFUSED.load(Ordering::Relaxed)
}

fn heap() -> MutexGuard<'static, Heap> {
    HEAP.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The heap, which in some of its turns hears what the process has.
fn turn() -> MutexGuard<'static, Heap> {
    let mut heap = heap();
    heap.turns += 1;
    if heap.turns.is_multiple_of(TURNS) {
        // Where it cannot be told, pieces alone are counted.
        heap.present = resident().unwrap_or(heap.present);
    }
    heap
}

/// Whole pages from the system.
#[derive(Clone, Copy)]
struct Piece {
    start: usize,
    /// Bytes.
    len: usize,
    /// Pages that it has, as it was looked at when it was freed; of one in use for the first time, those that are expected.
    resident: usize,
    state: State,
    /// The segment in which it was freed.
    freed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Used,
    /// For the next that is as long.
    Kept,
    /// What is left of one whose first pages were moved: only good for more of that.
    Rest,
}

/// A new piece that pages are moved to.
struct Built {
    start: usize,
    len: usize,
    /// Bytes that were moved there.
    moved: usize,
    /// Pages of them.
    resident: usize,
}

impl Built {
    fn new(align: usize, len: usize) -> Option<Self> {
        Some(Self { start: map(align, len)?, len, moved: 0, resident: 0 })
    }
}

/// The pages that all pieces of a length were written to when they were freed. The next will need them too, and many at once
/// cost a third of what each costs alone.
#[derive(Clone, Copy)]
struct Written {
    /// Bytes; 0 where none is known.
    len: usize,
    /// Pieces looked at.
    looks: usize,
    /// When the last of them was.
    last: u64,
    /// Pages that it had.
    resident: usize,
    /// As mincore(2) tells of each.
    pages: [u8; PAGES],
}

impl Written {
    const NONE: Self = Self { len: 0, looks: 0, last: 0, resident: 0, pages: [0; PAGES] };

    /// Gives a new piece the pages that it lacks, and takes those that it does not need. `there` tells which its first ones are there.
    fn populate(&self, start: usize, there: &[u8]) {
        let pages = &self.pages[..self.len / PAGE];
        let advice = |at: usize| match (pages[at] & 1 == 1, there.get(at).is_some_and(|page| page & 1 == 1)) {
            (true, false) => Some(Advice::LinuxPopulateWrite),
            (false, true) => Some(Advice::LinuxDontNeed),
            _ => None,
        };
        let mut first = 0;
        while first < pages.len() {
            let wanted = advice(first);
            let end = (first..pages.len()).find(|at| advice(*at) != wanted).unwrap_or(pages.len());
            if let Some(wanted) = wanted {
                // SAFETY: the pages are mapped, and nobody has them yet. Where it fails, each comes when it is written to.
                #[allow(unsafe_code)]
                let _ = unsafe { madvise((start + first * PAGE) as *mut c_void, (end - first) * PAGE, wanted) };
            }
            first = end;
        }
    }
}

/// Allocates nothing itself: allocations come here.
struct Heap {
    /// Those that are kept in the order they were freed.
    pieces: [Piece; PIECES],
    count: usize,
    /// Takes and gives.
    turns: u64,
    /// Pages of the process: of pieces, and of all else as it was when that was looked at.
    present: usize,
    /// Pages kept.
    kept: usize,
    /// The most pages that were needed at a time, kept ones not counted, in this segment and in the one before it.
    most: [usize; 2],
    segment: u64,
    /// Whether the system moves pages.
    moves: bool,
    written: [Written; LENGTHS],
    /// Pieces looked at, of all lengths.
    looks: u64,
    /// Of the piece that was looked at last.
    pages: [u8; PAGES],
}

impl Heap {
    const fn new() -> Self {
        let none = Piece { start: 0, len: 0, resident: 0, state: State::Rest, freed: 0 };
        Self {
            pieces: [none; PIECES],
            count: 0,
            turns: 0,
            present: 0,
            kept: 0,
            most: [0; 2],
            segment: 0,
            moves: true,
            written: [Written::NONE; LENGTHS],
            looks: 0,
            pages: [0; PAGES],
        }
    }

    fn all(&self) -> &[Piece] {
        &self.pieces[..self.count]
    }

    /// Where the piece in use is that begins there.
    fn position(&self, start: usize) -> Option<usize> {
        self.all().iter().position(|piece| piece.state == State::Used && piece.start == start)
    }

    /// Bytes of the piece in use that begins there.
    fn len(&self, start: usize) -> Option<usize> {
        self.position(start).map(|at| self.pieces[at].len)
    }

    fn next_segment(&mut self) {
        self.segment += 1;
        self.most = [self.needed(), self.most[0]];
        self.forget();
        self.make_room();
    }

    /// Pages that are not kept.
    fn needed(&self) -> usize {
        self.present.saturating_sub(self.kept)
    }

    fn count_pages(&mut self, more: usize, less: usize) {
        self.present = (self.present + more).saturating_sub(less);
    }

    /// The address of `size` bytes, a multiple of `align` and of a page.
    fn take(&mut self, align: usize, size: usize) -> Option<usize> {
        let len = size.checked_next_multiple_of(PAGE)?;
        let fits = |piece: &Piece| piece.state == State::Kept && piece.len == len && piece.start.is_multiple_of(align);
        let piece = if let Some(at) = self.all().iter().rposition(fits) {
            let piece = self.remove(at);
            self.kept -= piece.resident;
            piece
        } else if self.count < PIECES {
            self.build(align, len)?
        } else {
            return None;
        };
        self.insert(Piece { state: State::Used, ..piece });
        self.most[0] = self.most[0].max(self.needed());
        Some(piece.start)
    }

    /// False where no piece in use begins there.
    fn give(&mut self, start: usize) -> bool {
        let Some(at) = self.position(start) else { return false };
        let piece = self.remove(at);
        let resident = self.look(piece.start, piece.len);
        self.learn(piece.len, resident);
        self.count_pages(resident, piece.resident);
        self.keep(Piece { resident, state: State::Kept, freed: self.segment, ..piece });
        self.make_room();
        true
    }

    /// A new piece with the pages that it is expected to have. Where they are known, and are most of it, they are those of pieces that make
    /// room for it, as far as there are any.
    fn build(&mut self, align: usize, len: usize) -> Option<Piece> {
        let known = self.written.iter().position(|written| written.len == len && written.looks >= LOOKS);
        let expected = known.map_or(len / PAGE, |known| self.written[known].resident);
        if self.kept > 0 && is_tight(len) {
            self.give_back(|_| true);
        }
        let mut new = Built::new(align, len)?;
        while let Some((piece, over)) = self.surplus(expected.saturating_sub(new.resident)) {
            let movable = self.moves && known.is_some() && expected * 2 >= len / PAGE;
            if let Err(Gap { at, len: gap }) = self.scavenge(piece, over, movable.then_some(&mut new)) {
                self.moves = false;
                self.count_pages(0, new.resident);
                unmap(new.start, at - new.start);
                unmap(at + gap, new.start + len - at - gap);
                new = Built::new(align, len)?;
            }
        }
        if let Some(known) = known {
            self.look(new.start, new.moved);
            self.written[known].populate(new.start, &self.pages[..new.moved / PAGE]);
        }
        self.count_pages(expected, new.resident);
        Some(Piece { start: new.start, len, resident: expected, state: State::Used, freed: 0 })
    }

    /// Moves the first pages of a piece that has to go to where a new one lacks them, and gives back as many of its last ones as are
    /// `over` then. What is left of it is kept.
    fn scavenge(&mut self, piece: Piece, over: usize, new: Option<&mut Built>) -> Result<(), Gap> {
        let (mut moved, mut result) = (0, Ok(()));
        if let Some(new) = new {
            let before = new.moved;
            result = self.extend(new, &piece);
            moved = new.moved - before;
        }
        let first = moved.next_multiple_of(BRICK);
        let cut = (over * PAGE).saturating_sub(first).next_multiple_of(BRICK);
        if first + cut + BRICK <= piece.len {
            let (start, len) = (piece.start + first, piece.len - first - cut);
            unmap(piece.start + moved, first - moved);
            unmap(start + len, cut);
            let resident = self.look(start, len);
            self.count_pages(resident, 0);
            self.keep(Piece { start, len, resident, state: State::Rest, freed: piece.freed });
        } else {
            unmap(piece.start + moved, piece.len - moved);
        }
        result
    }

    /// Moves the first pages of a piece to where a new one lacks them.
    fn extend(&mut self, new: &mut Built, piece: &Piece) -> Result<(), Gap> {
        let lacks = new.len - new.moved;
        let end = if piece.len < lacks { piece.len / BRICK * BRICK } else { lacks };
        let resident = self.look(piece.start, end);
        for moved in (0..end).step_by(BRICK) {
            let (to, len) = (new.start + new.moved, BRICK.min(end - moved));
            if !shift(piece.start + moved, to, len) {
                return Err(Gap { at: to, len });
            }
            new.moved += len;
        }
        self.count_pages(resident, 0);
        new.resident += resident;
        Ok(())
    }

    /// Gives back what two segments did not need. Room is not what counts: a piece that was hardly written to takes addresses too, which
    /// the worker's limit is about.
    fn forget(&mut self) {
        let segment = self.segment;
        self.give_back(|piece| piece.freed + 1 < segment);
    }

    /// Gives kept pieces back to the system.
    fn give_back(&mut self, goes: impl Fn(&Piece) -> bool) {
        while let Some(at) = self.all().iter().position(|piece| piece.state != State::Used && goes(piece)) {
            let piece = self.drop_kept(at);
            unmap(piece.start, piece.len);
        }
    }

    /// Takes a piece out that is kept, with its pages.
    fn drop_kept(&mut self, at: usize) -> Piece {
        let piece = self.remove(at);
        self.kept -= piece.resident;
        self.count_pages(0, piece.resident);
        piece
    }

    /// Gives pages back to the system until those that are kept have no more than they may.
    fn make_room(&mut self) {
        while let Some((piece, over)) = self.surplus(0) {
            // Without a new piece, nothing is moved that could fail.
            let _ = self.scavenge(piece, over, None);
        }
    }

    /// Takes a piece out that has to go before `more` pages have room, and tells how many are too many: what is left of one, else the
    /// one that was freed last. Segments are alike, so that what was freed first is needed first.
    fn surplus(&mut self, more: usize) -> Option<(Piece, usize)> {
        let most = self.most[0].max(self.most[1]).max(self.needed() + more);
        let may = (most * FULL / 100).max(self.needed() + more);
        let over = (self.present + more).saturating_sub(may);
        if over == 0 {
            return None;
        }
        let last = |state| self.all().iter().rposition(|piece| piece.state == state);
        let at = last(State::Rest).or_else(|| last(State::Kept))?;
        let piece = self.drop_kept(at);
        Some((piece, over))
    }

    /// Pages that a piece has; all, where they cannot be told.
    fn look(&mut self, start: usize, len: usize) -> usize {
        let Some(pages) = self.pages.get_mut(..len / PAGE) else { return len / PAGE };
        // SAFETY: the pages are mapped, and there is a byte for each.
        #[allow(unsafe_code)] // a function of the C library
        let error = unsafe { mincore(start as *mut c_void, len, pages.as_mut_ptr()) };
        if error != 0 {
            pages.fill(1);
        }
        pages.iter().filter(|page| *page & 1 == 1).count()
    }

    /// Remembers what was written to of the piece that was looked at last.
    fn learn(&mut self, len: usize, resident: usize) {
        let Some(pages) = self.pages.get(..len / PAGE) else { return };
        self.looks += 1;
        let place = self.written.iter().position(|written| written.len == len);
        let oldest = || self.written.iter().enumerate().min_by_key(|(_, written)| written.last).map(|(at, _)| at);
        let Some(at) = place.or_else(oldest) else { return };
        let written = &mut self.written[at];
        if place.is_some() {
            written.pages.iter_mut().zip(pages).for_each(|(all, page)| *all &= page);
        } else {
            (written.len, written.looks) = (len, 0);
            written.pages[..pages.len()].copy_from_slice(pages);
        }
        (written.looks, written.last, written.resident) = (written.looks + 1, self.looks, resident);
    }

    fn keep(&mut self, piece: Piece) {
        self.kept += piece.resident;
        self.insert(piece);
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

/// Where the system did not move pages to. It tells not whether anything is mapped there now, nor whose: it stays as it is, without a
/// page that was ever written to.
#[derive(Debug, PartialEq, Eq)]
struct Gap {
    at: usize,
    len: usize,
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

/// Moves pages to where others are mapped, which go.
fn shift(from: usize, to: usize, len: usize) -> bool {
    // SAFETY: both are this module's, as long as that, and apart; nobody else has their addresses.
    #[allow(unsafe_code)]
    let moved = unsafe { mremap_fixed(from as *mut c_void, len, len, MremapFlags::MAYMOVE, to as *mut c_void) };
    moved.is_ok()
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

/// What glibc gives. Where it has nothing, it is asked once more without the pieces that are kept: the limit of memory counts those too.
fn from_glibc(give: impl Fn() -> *mut c_void) -> *mut c_void {
    let start = give();
    if !start.is_null() || !KEEPS.load(Ordering::Relaxed) {
        return start;
    }
    heap().give_back(|_| true);
    let start = give();
    REFUSED.fetch_add(u64::from(start.is_null()), Ordering::Relaxed);
    start
}

/// memalign(3).
#[allow(unsafe_code)] // libraries call it
#[unsafe(no_mangle)]
extern "C" fn memalign(align: usize, size: usize) -> *mut c_void {
    let large = size >= LARGE && align.is_power_of_two() && KEEPS.load(Ordering::Relaxed);
    let start = match large.then(|| turn().take(align, size)).flatten() {
        Some(start) => start as *mut c_void,
        // SAFETY: any numbers may be asked for.
        None => from_glibc(|| unsafe { __libc_memalign(align, size) }),
    };
    if !start.is_null() && BLANKS.load(Ordering::Relaxed) > 0 {
        // SAFETY: it is that long, and the caller's from here on.
        unsafe { ptr::write_bytes(start.cast::<u8>(), 0, size) };
    }
    start
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
        let give = || {
            // SAFETY: no piece of ours, so one of glibc's, or nothing yet; it stays as it is where there is no memory.
            unsafe { __libc_realloc(start, size) }
        };
        // One of no bytes is freed, which may not be done twice.
        return if size == 0 { give() } else { from_glibc(give) };
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
    if !may_be_ours(start) || !turn().give(start.addr()) {
        // SAFETY: no piece of ours, so one of glibc's, or nothing.
        unsafe { __libc_free(start) };
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, ops::Range};

    use ffmpeg_next::{format::Pixel, frame};
    use proptest::prelude::*;

    use super::*;

    const MIB: usize = 1 << 20;

    /// The bytes of a piece in use.
    fn bytes<'a>(start: usize, len: usize) -> &'a mut [u8] {
        // SAFETY: the piece is that long, and nobody else's.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts_mut(start as *mut u8, len)
        }
    }

    /// A piece that was written to.
    fn take(heap: &mut Heap, len: usize) -> usize {
        let start = heap.take(64, len).unwrap();
        bytes(start, len).fill(7);
        start
    }

    /// Pages that are there.
    fn resident(start: usize, len: usize) -> usize {
        Heap::new().look(start, len)
    }

    /// Makes known that all of a length is written to.
    fn teach(heap: &mut Heap, len: usize) {
        for _ in 0..LOOKS {
            let start = map(64, len).unwrap();
            bytes(start, len).fill(7);
            let resident = heap.look(start, len);
            heap.learn(len, resident);
            unmap(start, len);
        }
    }

    /// Of two pieces one that is kept and one in use, so that a new one of more than half of their length needs the room of the first.
    fn kept_and_used(heap: &mut Heap, len: usize) -> [usize; 2] {
        let [more, kept, used] = [len / 8, len, len].map(|len| take(heap, len));
        assert!(heap.give(more) && heap.give(kept));
        assert_eq!(heap.kept, len / PAGE);
        [kept, used]
    }

    #[test]
    fn what_is_freed_serves_the_next_that_is_as_long() {
        let mut heap = Heap::new();
        let [first, other, more] = [MIB, 16 * MIB, 16 * MIB].map(|len| take(&mut heap, len));
        assert!(heap.give(more));
        assert!(heap.give(first));
        assert!(!heap.give(first), "it is free already");
        assert_ne!(heap.take(64, 2 * MIB).unwrap(), first);
        assert_eq!(heap.take(64, MIB - 1).unwrap(), first, "whole pages");
        assert_eq!((heap.len(first), heap.len(other), heap.len(first + PAGE)), (Some(MIB), Some(16 * MIB), None));
    }

    #[test]
    #[allow(unsafe_code)] // as libraries call it
    fn blank_memory_shows_nothing_of_what_was_there() {
        let _blank = Blank::begin();
        for len in [513, LARGE - 1] {
            for _ in 0..4 {
                let start = memalign(64, len);
                // SAFETY: it is that long, and nobody else's.
                let taken = unsafe { std::slice::from_raw_parts_mut(start.cast::<u8>(), len) };
                assert!(taken.iter().all(|byte| *byte == 0));
                taken.fill(7);
                // SAFETY: nobody uses it any more.
                unsafe { free(start) };
            }
        }
    }

    #[test]
    fn pieces_begin_where_the_caller_wants_them() {
        let mut heap = Heap::new();
        for align in [8, PAGE, 2 * MIB, 16 * MIB] {
            let start = heap.take(align, MIB).unwrap();
            assert!(start.is_multiple_of(align.max(PAGE)));
            bytes(start, MIB).fill(7);
        }
    }

    #[test]
    fn hardly_more_is_kept_than_was_needed() {
        let mut heap = Heap::new();
        let pages = MIB / PAGE;
        let first: Vec<_> = (0..20).map(|_| take(&mut heap, MIB)).collect();
        first.iter().for_each(|start| assert!(heap.give(*start)));
        let full =
            |heap: &Heap| (20 * pages * FULL / 100 - BRICK / PAGE..=20 * pages * FULL / 100).contains(&heap.present);
        assert!(full(&heap) && heap.needed() == 0, "{} of {} pages", heap.kept, 20 * pages);
        assert!(heap.all().iter().all(|piece| resident(piece.start, piece.len) == piece.resident));
        let other = take(&mut heap, 8 * MIB);
        assert!(full(&heap) && heap.needed() == 8 * pages, "others make room: {} of {}", heap.present, heap.needed());
        heap.give(other);
        (0..2).for_each(|_| heap.next_segment());
        assert_eq!((heap.present, heap.kept, heap.count), (0, 0, 0), "nobody needed it for two segments");
    }

    #[test]
    fn what_else_the_process_has_leaves_less_to_keep() {
        let mut heap = Heap::new();
        let pages = MIB / PAGE;
        let [first, second] = [8 * MIB, 8 * MIB].map(|len| take(&mut heap, len));
        heap.give(first);
        assert_eq!((heap.present, heap.needed()), (16 * pages * FULL / 100 / 64 * 64, 8 * pages));
        let kept = heap.kept;
        heap.present += 2 * pages;
        heap.give(second);
        assert!(heap.kept < 8 * pages + kept - pages, "{} of {}", heap.kept, 8 * pages + kept);
        assert!(heap.present <= 16 * pages * FULL / 100);
    }

    #[test]
    fn what_was_hardly_written_to_is_hardly_counted() {
        let mut heap = Heap::new();
        let start = heap.take(64, MIB).unwrap();
        bytes(start, 10 * PAGE).fill(7);
        heap.give(start);
        assert_eq!((heap.needed(), heap.kept), (0, 10));
    }

    #[test]
    fn what_two_segments_did_not_need_is_given_back_where_there_is_room() {
        let mut heap = Heap::new();
        let (large, seldom, often) = (take(&mut heap, 2 * MIB), take(&mut heap, PAGE), take(&mut heap, MIB));
        [large, seldom, often].into_iter().for_each(|start| assert!(heap.give(start)));
        let there = |heap: &Heap| heap.all().iter().any(|piece| piece.start == seldom);
        heap.next_segment();
        let often = take(&mut heap, MIB);
        heap.give(often);
        assert!(there(&heap));
        heap.next_segment();
        assert!(!there(&heap));
    }

    #[test]
    fn what_a_segment_needs_is_there_for_the_one_after_it() {
        let mut heap = Heap::new();
        let segment = |heap: &mut Heap| {
            heap.next_segment();
            let frames: Vec<_> = (1..=20).map(|len| take(heap, len * LARGE)).collect();
            frames.iter().for_each(|start| assert!(heap.give(*start)));
            frames
        };
        let (first, second) = (segment(&mut heap), segment(&mut heap));
        let again = first.iter().filter(|start| second.contains(start)).count();
        assert!(again >= 15, "{again} of 20");
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
            bytes(start, len)[written.start * PAGE..written.end * PAGE].fill(7);
            let there = heap.look(start, len);
            heap.learn(len, there);
            unmap(start, len);
            let next = heap.take(64, len).unwrap();
            resident(next, len)
        };
        (1..LOOKS).for_each(|_| assert_eq!(after(0..pages), 0, "too few"));
        assert_eq!(after(0..pages - 2), pages - 2);
        assert_eq!(after(10..pages), pages - 12);
    }

    #[test]
    fn a_new_piece_has_the_pages_of_one_that_makes_room_for_it() {
        crate::worker::memory::prepare();
        let mut heap = Heap::new();
        let (long, short) = (2 * MIB, MIB + 10 * PAGE);
        [long, short].into_iter().for_each(|len| teach(&mut heap, len));
        let [start, other] = kept_and_used(&mut heap, long);
        bytes(start, long).chunks_mut(PAGE).enumerate().for_each(|(at, page)| page.fill(at.to_le_bytes()[0]));
        let new = heap.take(64, short).unwrap();
        assert!(heap.moves);
        let whole = bytes(new, short).chunks(PAGE).enumerate();
        assert!(whole.into_iter().all(|(at, page)| page.iter().all(|byte| *byte == at.to_le_bytes()[0])));
        assert_eq!(resident(new, short), short / PAGE);
        assert!(bytes(other, long).iter().all(|byte| *byte == 7));
        // What is left begins where a brick does.
        let rest = heap.all().iter().find(|piece| piece.state == State::Rest).unwrap();
        assert_eq!((rest.start, rest.len), (start + MIB + BRICK, long - MIB - BRICK));
        assert_eq!((heap.needed(), heap.kept), ((long + short) / PAGE, (long - MIB - BRICK) / PAGE));
    }

    #[test]
    fn pages_that_are_not_needed_do_not_come_along() {
        crate::worker::memory::prepare();
        let mut heap = Heap::new();
        let (long, short, pages) = (2 * MIB, MIB, MIB / PAGE);
        for _ in 0..LOOKS {
            let start = heap.take(64, short).unwrap();
            bytes(start, short)[10 * PAGE..].fill(7);
            heap.give(start);
            heap.make_room();
        }
        heap = Heap { kept: 0, count: 0, present: 0, most: [0; 2], ..heap };
        kept_and_used(&mut heap, long);
        let new = heap.take(64, short).unwrap();
        assert!(heap.all().iter().any(|piece| piece.state == State::Rest), "it was moved there");
        assert_eq!((resident(new, short), heap.len(new)), (pages - 10, Some(short)));
    }

    #[test]
    fn where_pages_cannot_be_moved_new_ones_come() {
        let mut heap = Heap::new();
        let start = take(&mut heap, MIB);
        let at = heap.position(start).unwrap();
        let piece = heap.remove(at);
        // No address of a page.
        let nowhere = piece.start + 2 * MIB + 1;
        let mut new = Built { start: nowhere, ..Built::new(64, MIB).unwrap() };
        assert_eq!(heap.scavenge(piece, MIB / PAGE, Some(&mut new)), Err(Gap { at: nowhere, len: BRICK }));
        assert_eq!(heap.count, 0, "it went all the same");
        heap = Heap { moves: false, ..Heap::new() };
        teach(&mut heap, MIB);
        kept_and_used(&mut heap, MIB + BRICK);
        let new = heap.take(64, MIB).unwrap();
        assert!(bytes(new, MIB).iter().all(|byte| *byte == 0));
    }

    #[test]
    fn more_lengths_than_there_is_room_for_forget_what_is_not_seen_any_more() {
        let mut heap = Heap::new();
        let mut see = |pages: usize| {
            let start = heap.take(64, pages * PAGE).unwrap();
            heap.give(start);
            let known = |pages: usize| heap.written.iter().any(|written| written.len == pages * PAGE);
            [1, 2, pages].map(known)
        };
        (1..=LENGTHS).for_each(|pages| _ = see(pages));
        assert_eq!(see(1), [true, true, true]);
        assert_eq!(see(LENGTHS + 1), [true, false, true]);
        assert_eq!(see(PAGES + 1), [true, false, false], "too long to be looked at");
    }

    proptest! {
        /// Whoever has a piece finds in it what was written there, whatever else was moved, given back or taken.
        #[test]
        fn nobody_writes_into_the_piece_of_another(
            steps in prop::collection::vec((0..6usize, 0..40usize, any::<bool>()), 1..60),
        ) {
            let lengths = [2 * BRICK, 3 * BRICK + PAGE, 5 * BRICK - PAGE, BRICK + 7 * PAGE, 11 * BRICK, LARGE];
            let mut heap = Heap::new();
            lengths.into_iter().for_each(|len| teach(&mut heap, len));
            let mut held: Vec<(usize, usize, u8)> = Vec::new();
            for (number, (length, index, takes)) in steps.into_iter().enumerate() {
                let mark = number.to_le_bytes()[0];
                if takes || held.is_empty() {
                    let len = lengths[length];
                    let start = heap.take(64, len).unwrap();
                    bytes(start, len).chunks_mut(PAGE).for_each(|page| page[0] = mark);
                    held.push((start, len, mark));
                } else {
                    let (start, len, mark) = held.remove(index % held.len());
                    prop_assert!(bytes(start, len).chunks(PAGE).all(|page| page[0] == mark));
                    prop_assert!(heap.give(start));
                }
                if index == 0 {
                    heap.next_segment();
                }
                let of = |used: bool| heap.all().iter().filter(move |piece| (piece.state == State::Used) == used);
                prop_assert_eq!(of(true).map(|piece| piece.resident).sum::<usize>(), heap.needed());
                prop_assert_eq!(of(false).map(|piece| piece.resident).sum::<usize>(), heap.kept);
                let most = heap.most[0].max(heap.most[1]);
                prop_assert!(heap.present <= most.max(heap.needed()), "{} of {most}", heap.present);
                let there: usize = heap.all().to_vec().iter().map(|piece| heap.look(piece.start, piece.len)).sum();
                prop_assert_eq!(there, heap.present);
                prop_assert!(heap.moves);
            }
            for (start, len, mark) in held {
                prop_assert!(bytes(start, len).chunks(PAGE).all(|page| page[0] == mark));
                heap.give(start);
            }
        }
    }

    #[test]
    fn what_is_kept_goes_before_anything_is_refused() {
        let mut heap = Heap::new();
        let pieces = [take(&mut heap, MIB), take(&mut heap, 2 * MIB)];
        let used = take(&mut heap, MIB);
        pieces.into_iter().for_each(|start| assert!(heap.give(start)));
        heap.give_back(|_| true);
        assert_eq!((heap.kept, heap.all().len()), (0, 1));
        assert!(heap.give(used));
    }

    /// The one test that shares this process's heap: libraries have to come here.
    #[test]
    fn frames_of_libav_are_pieces() {
        keep();
        let picture = frame::Video::new(Pixel::YUV420P, 1280, 720);
        let held = heap().all().iter().any(|piece| {
            let start = picture.data(0).as_ptr().addr();
            piece.state == State::Used && (piece.start..piece.start + piece.len).contains(&start)
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

        let (tries, before) = (Cell::new(0), refused());
        let from = |lucky| {
            from_glibc(|| {
                tries.update(|tries| tries + 1);
                if tries.get() == lucky { ptr::dangling_mut() } else { ptr::null_mut() }
            })
        };
        assert!(!from(2).is_null());
        assert_eq!(refused(), before);
        assert!(from(0).is_null());
        assert_eq!(refused(), before + 1);
    }
}
