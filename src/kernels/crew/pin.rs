//! Keeps a thread on a processor.

#![allow(unsafe_code)]

/// Keeps this thread on the processor of that number. Two threads that wake each other every 100 µs are else often put
/// on one processor, for milliseconds, beside an idle one. Where the processor is not there, nothing happens.
pub fn pin(processor: usize) {
    #[cfg(target_os = "linux")]
    if processor < libc::CPU_SETSIZE as usize {
        // SAFETY: all zeros is a valid set; the number is one that a set holds; the call reads the set, whose size
        // it is told.
        unsafe {
            let mut one: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(processor, &mut one);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &one);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = processor;
}
