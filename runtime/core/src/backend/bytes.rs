//! Plain numbers as the bytes they are in memory, which is how devices hold them.

/// Numbers without padding, for which every bit pattern is a value.
///
/// # Safety
/// That.
pub(super) unsafe trait Plain: Copy {}
// SAFETY: integers and floats of the machine.
unsafe impl Plain for i32 {}
// SAFETY: as above.
unsafe impl Plain for f32 {}

/// The bytes of `values`.
pub(super) fn of<T: Plain>(values: &[T]) -> &[u8] {
    // SAFETY: `Plain` has no padding, and bytes need no alignment.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// The bytes of `values`, to be overwritten.
pub(super) fn of_mut<T: Plain>(values: &mut [T]) -> &mut [u8] {
    // SAFETY: as in `of`; whatever is written is a value of `T`.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) }
}
