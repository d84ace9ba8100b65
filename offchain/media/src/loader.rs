//! Shared libraries opened when they are needed: those that only some machines have, and those that few segments take.
use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    ptr::NonNull,
};

/// Every symbol is resolved at once, and seen by this process alone.
const RTLD_NOW: c_int = 2;

#[allow(unsafe_code)] // the functions of the C library that open another one
unsafe extern "C" {
    fn dlopen(name: *const c_char, mode: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
}

/// An open library. It stays loaded until the process ends: drivers start threads that would run on in freed code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Library(NonNull<c_void>);

// SAFETY: the handle is never closed, and looking up symbols is allowed from every thread.
#[allow(unsafe_code)]
unsafe impl Send for Library {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Library {}

impl Library {
    /// # Errors
    /// The words of the dynamic loader, which name the library.
    #[allow(unsafe_code)] // the call into the loader
    pub(crate) fn open(name: &str) -> Result<Self, String> {
        let c_name = CString::new(name).map_err(|error| error.to_string())?;
        // SAFETY: the name is a C string that lives through the call. Initialisers of the library run: it is the vendor's
        // driver or a part of libav, of which this process already runs others.
        let handle = unsafe { dlopen(c_name.as_ptr(), RTLD_NOW) };
        NonNull::new(handle).map(Self).ok_or_else(|| last_error(name))
    }

    /// A function of the library.
    ///
    /// # Safety
    /// `F` must be the type of a pointer to the function of that name, calling convention included.
    #[allow(unsafe_code)] // what a symbol is, the loader does not know
    pub(crate) unsafe fn function<F: Copy>(self, name: &CStr) -> Result<F, String> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        // SAFETY: the handle is open, and the name is a C string that lives through the call.
        let symbol = unsafe { dlsym(self.0.as_ptr(), name.as_ptr()) };
        if symbol.is_null() {
            return Err(last_error(&name.to_string_lossy()));
        }
        // SAFETY: both have the size of a pointer, and the caller vouches for the type.
        Ok(unsafe { std::mem::transmute_copy::<*mut c_void, F>(&symbol) })
    }
}

#[allow(unsafe_code)] // the call into the loader
fn last_error(name: &str) -> String {
    // SAFETY: returns null or a C string that is valid until the next call of this thread.
    let text = unsafe { dlerror() };
    if text.is_null() {
        return format!("{name} cannot be loaded");
    }
    // SAFETY: not null, hence a C string, copied before anything else is called.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_named() {
        let said = Library::open("libnothing-of-ours.so.1").unwrap_err();
        assert!(said.contains("libnothing-of-ours.so.1") && said.contains("No such file"), "{said}");
    }

    #[test]
    #[allow(unsafe_code)] // the call of a foreign function
    fn functions_are_found_by_their_names() {
        let libm = Library::open("libm.so.6").unwrap();
        // SAFETY: `double fabs(double)` of the C library.
        let fabs = unsafe { libm.function::<unsafe extern "C" fn(f64) -> f64>(c"fabs") }.unwrap();
        // SAFETY: it takes every number.
        assert_eq!(unsafe { fabs(-3.0) }, 3.0);
        // SAFETY: nothing has this name, so nothing is called.
        let missing = unsafe { libm.function::<unsafe extern "C" fn()>(c"fabs_of_ours") }.unwrap_err();
        assert!(missing.contains("fabs_of_ours"), "{missing}");
    }
}
